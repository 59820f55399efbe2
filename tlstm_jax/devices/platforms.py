"""What is computed how on which kind of device: every such choice, with its reason.

All choices give the same numbers up to rounding; they are made when a program is lowered for its
device, not when it is traced, so that a program compiled for another device is that device's.
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
      convolution: the cross-layer convolution with one axis and with several: "conv" is
        `lax.conv_general_dilated`, "products" one product with all that a location reads.
      convolution_gradient: its derivative by the state and by the kernel, "products" or "xla".
      few_rows: of a product, up to which its kernel is turned over outside a loop.
      multiple: what the sizes of the cross-layer product are padded to multiples of.
      taps: memory-cell convolution and the softmax over its taps: "matrix", one matrix over locations
        for each example, or "shifts", a sum of shifted copies, tap by tap.
    """

    convolution: tuple[str, str]
    convolution_gradient: str
    few_rows: int
    multiple: int
    taps: str


# XLA's gradient of a convolution is several times slower on a CPU than products; with several axes, so
# is the convolution itself.
CPU = Choices(
    convolution=("conv", "products"),
    convolution_gradient="products",
    few_rows=32,
    multiple=1,
    taps="matrix",
)
# A GPU's time at these sizes is the number of kernels. cuDNN's convolutions cannot be part of a CUDA graph
# and take three axes at most, so that products it is, which Triton would pad at every step if their sizes
# are odd; what is elementwise becomes part of other kernels.
CUDA = Choices(
    convolution=("products", "products"),
    convolution_gradient="products",
    few_rows=0,
    multiple=16,
    taps="shifts",
)
# A TPU has a convolution; there each of the shifted copies is an operation of its own.
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
      remake: what the backward loop needs beside the carries is made again, many steps at once, rather
        than stored at every step, and what a loop does store is one array of each dtype.
      unroll: at most so many steps are one of the compiled loop's.
      weight_rows, weight_numbers: at most so many rows, and numbers of pre-activations, of as many steps
        as are one product for a weight gradient.
    """

    remake: bool
    unroll: int
    weight_rows: int
    weight_numbers: int


# A CPU's time is arithmetic and memory: what is expensive is saved, and weight gradients are made of rows
# that still lie in its cache; longer bodies are no faster. On a TPU storing is part of other operations,
# and its lanes are 128 wide, so that laying arrays side by side moves them about.
PLAIN_LOOP = LoopChoices(remake=False, unroll=1, weight_rows=4096, weight_numbers=2**62)
# On a GPU every array that is stored is a kernel at every step, and every step of the compiled loop a
# launch; a product with all steps at once is as good as free.
CUDA_LOOP = LoopChoices(remake=True, unroll=4, weight_rows=2**62, weight_numbers=2**27)


def is_at_most(number: Any, limit: int) -> bool:
    """Whether a size is known to be at most `limit`; one of `jax.export`'s symbolic shapes is not."""
    return not export.is_symbolic_dim(number) and number <= limit


def choose(function: Callable[..., Any], *args: Any) -> Any:
    """function(choices, *args) with the Choices of the platform that it is lowered for."""
    return _choose(function, {"cpu": CPU, "cuda": CUDA}, TPU, args)


def choose_loop(function: Callable[..., Any], *args: Any) -> Any:
    """function(choices, *args) with the LoopChoices of the platform that it is lowered for."""
    return _choose(function, {"cuda": CUDA_LOOP}, PLAIN_LOOP, args)


def _choose(
    function: Callable[..., Any], known: dict[str, Any], default: Any, args: tuple[Any, ...]
) -> Any:
    branches = {name: functools.partial(function, choices) for name, choices in known.items()}
    return lax.platform_dependent(*args, **branches, default=functools.partial(function, default))
