"""What is computed how on which kind of device: every such choice, with its reason.

All choices give the same numbers up to rounding; they are made when a program is lowered for its
device, not when it is traced, so that a program compiled for another device is that device's.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax import lax


@dataclasses.dataclass(frozen=True)
class Choices:
    """How a kind of device computes.

    Attributes:
      convolution: the cross-layer convolution with one axis and with several: "conv" is
        `lax.conv_general_dilated`, "products" one product with all that a location reads.
      convolution_gradient: its derivative by the state and by the kernel, "products" or "xla".
      memory: memory-cell convolution, "matrix" (one matrix over locations for each example) or
        "shifts" (a sum of shifted copies).
      few_rows: of a product, up to which its kernel is turned over outside a loop.
      multiple: what the sizes of the cross-layer product are padded to multiples of.
      remake: what the backward pass needs beside the carries is made again, many steps at once,
        rather than stored at every step.
      pack: the loop over time carries and stores its state as one array of each dtype.
      unroll: at most so many steps of the loop over time in one of the compiled loop's.
      weight_rows, weight_numbers: at most so many rows, and numbers of pre-activations, of as many steps
        as are one product for a weight gradient.
    """

    convolution: tuple[str, str]
    convolution_gradient: str
    memory: str
    few_rows: int
    multiple: int
    remake: bool
    pack: bool
    unroll: int
    weight_rows: int
    weight_numbers: int


# A CPU's time is arithmetic and memory: what is expensive is saved, and weight gradients are made of rows
# that still lie in its cache. XLA's gradient of a convolution is several times slower there than products.
CPU = Choices(
    convolution=("conv", "products"),
    convolution_gradient="products",
    memory="matrix",
    few_rows=32,
    multiple=1,
    remake=False,
    pack=False,
    unroll=1,
    weight_rows=4096,
    weight_numbers=2**62,
)
# A GPU's time at these sizes is the number of kernels. cuDNN's convolutions cannot be part of a CUDA graph
# and take three axes at most, so that products it is; what can be made for many steps at once is kept out
# of the loop; Triton would pad products of odd sizes at every step.
CUDA = Choices(
    convolution=("products", "products"),
    convolution_gradient="products",
    memory="shifts",
    few_rows=0,
    multiple=16,
    remake=True,
    pack=True,
    unroll=4,
    weight_rows=2**62,
    weight_numbers=2**27,
)
# A TPU has a convolution; its lanes are 128 wide, so that arrays laid side by side cost moves.
TPU = Choices(
    convolution=("conv", "conv"),
    convolution_gradient="xla",
    memory="shifts",
    few_rows=0,
    multiple=1,
    remake=True,
    pack=False,
    unroll=1,
    weight_rows=2**62,
    weight_numbers=2**27,
)


def choose(function: Callable[..., Any], *args: Any) -> Any:
    """function(choices, *args) with the choices of the platform that it is lowered for."""
    branches: dict[str, Callable[..., Any]] = {
        name: lambda *x, c=choices: function(c, *x)
        for name, choices in (("cpu", CPU), ("cuda", CUDA))
    }
    return lax.platform_dependent(*args, **branches, default=lambda *x: function(TPU, *x))
