"""Runs a cell over time: which loop, in which parts, and who makes its gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.devices import layout
from tlstm_jax.recurrence.deferred import deferred
from tlstm_jax.recurrence.fused import loop as fused
from tlstm_jax.recurrence.loop import is_split, scan
from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree

ENGINES = ("auto", "deferred", "cudnn", "fused", "scan")


def check_engine(engine: str) -> None:
    """Raises ValueError unless `engine` is one of ENGINES."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; accepted are {', '.join(ENGINES)}")


def run(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    start: Array | None,
    live: Array | None,
    *,
    noise: PyTree = None,
    initial: Carry | None = None,
    observe: Observe | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
) -> tuple[Carry, Array, PyTree]:
    """`cell` over T steps.

    Args:
      xs: [T, B, I] float, or tokens [T, B] int.
      start: [T, B] bool or None: where True, the example starts anew with this step.
      live: [T, B] bool or None: where False, the example's carry stands still and its y is zero.
      noise, initial, observe, remat_every, engine: see `unroll`.

    Returns:
      (carry, ys [T, B, M], what observe returned, stacked over steps).
    """
    plain = start is None or initial is None  # nothing but params and carry to be differentiated
    apart = plain and observe is None and not _couples(cell)
    is_deferred = engine == "deferred" and apart and noise is None and is_split(cell)
    parts = layout.parts(xs.shape[1]) if apart else 1
    if engine == "fused" and (not apart or noise is not None or parts > 1):
        raise ValueError(
            "engine is 'fused', which takes no noise, observe, several devices, reset with initial, nor "
            "cells that couple examples; accepted with these are auto, deferred, scan"
        )

    def loop(params: Params, carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        def steps(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
            if engine == "fused":
                carry, ys = fused.run(cell, params, carry, *inputs)
                return carry, (ys, None)
            if is_deferred:
                carry, ys = deferred(cell, params, carry, *inputs)
                return carry, (ys, None)
            carry, (ys, observed, _) = scan(
                cell, params, carry, *inputs, initial=initial, observe=observe
            )
            return carry, (ys, observed)

        return _in_chunks(steps, carry, inputs, remat_every)

    inputs = (xs, start, live) if noise is None else (xs, start, live, noise)
    if parts > 1:
        loop = _in_parts(loop, parts, copies=not is_deferred or remat_every is not None)
    carry, (ys, observed) = loop(params, carry, inputs)
    return carry, ys, observed


def _in_parts(loop: Callable[..., Any], number: int, *, copies: bool) -> Callable[..., Any]:
    """`loop` on the parts of a batch that lie on different devices, each for itself.

    Every device then sums the weights' gradient over its own examples and all steps, and they add
    their sums up once, rather than at every step. The deferred gradient does so by itself; JAX's own
    needs a copy of the parameters for each part.
    """

    def split(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(
            lambda x: x.reshape(*x.shape[:axis], number, -1, *x.shape[axis + 1 :]), tree
        )

    def join(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :]), tree)

    def run(params: Params, carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        axes = (0 if copies else None, 0, 1)
        each = jax.vmap(loop, in_axes=axes, out_axes=(0, 1), spmd_axis_name=layout.BATCH)
        params = layout.copies(params, number) if copies else params
        carry, outputs = each(params, split(carry, 0), split(inputs, 1))
        return join(carry, 0), join(outputs, 1)

    return run


def _couples(cell: Cell) -> bool:
    """Whether the cell says that its `mix` couples the examples of a batch."""
    return getattr(cell, "couples_examples", False)


def _in_chunks(
    steps: Callable[[Carry, tuple], tuple[Carry, tuple]],
    carry: Carry,
    inputs: tuple,
    remat_every: int | None,
) -> tuple[Carry, tuple]:
    """`steps` over all inputs, or over checkpointed chunks of `remat_every` of them."""
    if remat_every is None:
        return steps(carry, inputs)
    chunk = jax.checkpoint(steps, prevent_cse=False)
    T = inputs[0].shape[0]
    whole = T - T % remat_every
    split = jax.tree.map(lambda x: x[:whole].reshape(-1, remat_every, *x.shape[1:]), inputs)
    carry, outputs = lax.scan(chunk, carry, split)
    outputs = jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), outputs)
    if whole < T:
        carry, rest = chunk(carry, jax.tree.map(lambda x: x[whole:], inputs))
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, rest)
    return carry, outputs
