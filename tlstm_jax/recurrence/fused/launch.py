"""How the fused engine launches its kernels: a program for each block of rows, on any platform."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.experimental import pallas as pl

from tlstm_jax.typing import Array


def launch(kernel: Callable, arrays: list, outputs: list, blocks: int, *, interpret: bool) -> list:
    """The kernel on `blocks` programs.

    Args:
      kernel: takes two lists of references, without the axis of blocks.
      arrays, outputs: pairs of an array (or shape and dtype) and its axis of blocks, or None.
    """

    def spec(shape: tuple[int, ...], axis: int | None) -> pl.BlockSpec:
        if axis is None:
            return pl.BlockSpec(shape, lambda b: (0,) * len(shape))
        block = tuple(None if n == axis else size for n, size in enumerate(shape))
        return pl.BlockSpec(
            block, lambda b: tuple(b if n == axis else 0 for n in range(len(shape)))
        )

    def body(*refs: Any) -> None:
        kernel(refs[: len(arrays)], refs[len(arrays) :])

    settings = {} if interpret else {"compiler_params": _triton()}
    call = pl.pallas_call(
        body,
        grid=(blocks,),
        in_specs=[spec(x.shape, axis) for x, axis in arrays],
        out_specs=[spec(x.shape, axis) for x, axis in outputs],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x, _ in outputs],
        interpret=interpret,
        **settings,
    )
    return call(*(x for x, _ in arrays))


def _triton() -> Any:
    from jax.experimental.pallas import triton

    return triton.CompilerParams(num_warps=8, num_stages=1)


def flatten(tree: tuple, axes: tuple) -> tuple[list[Array], list, Any]:
    """The leaves of a tuple of trees, each one's axis of blocks, and the structure."""
    arrays, structure = jax.tree.flatten(tree)
    parts = zip(tree, axes, strict=True)
    return arrays, [axis for part, axis in parts for _ in jax.tree.leaves(part)], structure


def on_any_platform(call: Callable[..., list], *arrays: Any) -> list:
    """Compiled by Triton for CUDA; interpreted elsewhere."""
    return lax.platform_dependent(
        *arrays,
        cuda=functools.partial(call, interpret=False),
        default=functools.partial(call, interpret=True),
    )
