"""How each kind of device computes: every choice that depends on the platform, with its reason.

All choices give the same numbers up to rounding. They are made when a program is lowered for its
device, not when it is traced, so that a program compiled for another device has that device's
choices.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from jax import export, lax


@dataclasses.dataclass(frozen=True)
class Choices:
    """How a kind of device computes the operations of a step.

    Attributes:
      convolution: the cross-layer convolution with one tensor axis, and with several: "conv" is
        `lax.conv_general_dilated`, "products" one product with all that a location reads.
      convolution_gradient: its derivative by the state and by the kernel, "products" or "xla".
      few_rows: products of at most this many rows have their kernel transposed outside the loop.
      multiple: the sizes of the cross-layer product are padded to multiples of this.
      taps: memory-cell convolution and the softmax over its taps: "matrix", one matrix over
        locations for each example, or "shifts", a sum of shifted copies, tap by tap.
    """

    convolution: tuple[str, str]
    convolution_gradient: str
    few_rows: int
    multiple: int
    taps: str


# XLA's gradient of a convolution is several times slower on a CPU than products; with several axes,
# so is the convolution itself.
CPU = Choices(
    convolution=("conv", "products"),
    convolution_gradient="products",
    few_rows=32,
    multiple=1,
    taps="matrix",
)
# At these sizes a GPU's time is proportional to the number of kernels. cuDNN's convolutions cannot
# be part of a CUDA graph and have at most three axes; hence products, of even sizes, since Triton
# would pad others at every step. Elementwise operations are fused into other kernels.
CUDA = Choices(
    convolution=("products", "products"),
    convolution_gradient="products",
    few_rows=0,
    multiple=16,
    taps="shifts",
)
# A TPU has a convolution unit; each shifted copy would be an operation of its own.
TPU = Choices(
    convolution=("conv", "conv"),
    convolution_gradient="xla",
    few_rows=0,
    multiple=1,
    taps="matrix",
)


@dataclasses.dataclass(frozen=True)
class LoopChoices:
    """How a kind of device runs the deferred gradient's loops over time.

    Attributes:
      recompute: what the backward loop needs beside the carries is recomputed, many steps at once,
        rather than stored at every step, and what a loop does store is one array of each dtype.
      unroll: at most this many steps make one iteration of the compiled loop.
      weight_rows, weight_numbers: the most rows, and numbers of pre-activations, of the steps that
        make one product for a weight gradient.
    """

    recompute: bool
    unroll: int
    weight_rows: int
    weight_numbers: int


# On a CPU arithmetic and memory take the time: what is expensive is saved, and weight gradients are
# computed from rows that are still in cache; unrolling is no faster. On a TPU stores are fused into
# other operations, and concatenating arrays along its lanes, 128 wide, moves them.
PLAIN_LOOP = LoopChoices(recompute=False, unroll=1, weight_rows=4096, weight_numbers=2**62)
# On a GPU every array that is stored is a kernel at every step, and every iteration of the compiled
# loop a launch; a product over all steps at once costs next to nothing.
CUDA_LOOP = LoopChoices(recompute=True, unroll=4, weight_rows=2**62, weight_numbers=2**27)


def is_at_most(number: Any, limit: int) -> bool:
    """Whether a size is known to be at most `limit`; symbolic sizes (`jax.export`) are not."""
    return not export.is_symbolic_dim(number) and number <= limit


def choose(function: Callable[..., Any], *args: Any) -> Any:
    """function(choices, *args) with the Choices of the platform that it is lowered for."""
    return _choose(function, {"cpu": CPU, "cuda": CUDA}, TPU, args)


def choose_loop(function: Callable[..., Any], *args: Any) -> Any:
    """function(choices, *args) with the LoopChoices of the platform that it is lowered for."""
    return _choose(function, {"cuda": CUDA_LOOP}, PLAIN_LOOP, args)


def choose_linear(function: Callable[..., Any], *args: Any) -> Any:
    """function(in_parallel, *args): whether a recurrence linear in its state is an associative scan.

    Not on a CPU, where the passes of a scan through memory take 2 to 9 times as long as a loop.
    """
    return _choose(function, {"cpu": False}, True, args)


def _choose(
    function: Callable[..., Any], known: dict[str, Any], default: Any, args: tuple[Any, ...]
) -> Any:
    branches = {name: functools.partial(function, choices) for name, choices in known.items()}
    return lax.platform_dependent(*args, **branches, default=functools.partial(function, default))
