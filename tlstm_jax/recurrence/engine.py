"""Runs a cell over time: the choice of loop and gradient, chunks of steps, shards of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.devices import layout
from tlstm_jax.recurrence import parallel
from tlstm_jax.recurrence.deferred import deferred
from tlstm_jax.recurrence.fused import loop as fused
from tlstm_jax.recurrence.loop import Inputs, is_split, scan
from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree

ENGINES = ("auto", "deferred", "cudnn", "fused", "parallel", "scan")


def check_engine(engine: str) -> None:
    """Raises ValueError unless `engine` is one of ENGINES."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; accepted are {', '.join(ENGINES)}")


def run(
    cell: Cell,
    params: Params,
    carry: Carry,
    inputs: Inputs,
    *,
    initial: Carry | None = None,
    observe: Observe | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
) -> tuple[Carry, Array, PyTree]:
    """`cell` over T steps.

    Args:
      initial, observe, remat_every, engine: see `unroll`.

    Returns:
      (carry, ys [T, B, M], what observe returned, stacked over steps).
    """
    # Whether nothing but params, carry and xs is differentiated.
    plain = inputs.reset is None or initial is None
    separate = plain and observe is None and not _couples_examples(cell)
    is_deferred = engine == "deferred" and separate and inputs.noise is None and is_split(cell)
    shards = layout.num_shards(inputs.xs.shape[1]) if separate else 1
    alone = not separate or inputs.noise is not None or shards > 1
    if engine in ("fused", "parallel") and alone:
        raise ValueError(
            f"engine is {engine!r}, which takes no noise, observe, several devices, reset with "
            "initial, nor cells that couple examples; accepted with these are auto, deferred, scan"
        )

    def loop(params: Params, carry: Carry, inputs: Inputs) -> tuple[Carry, tuple]:
        def steps(carry: Carry, inputs: Inputs) -> tuple[Carry, tuple]:
            if engine == "fused":
                carry, ys = fused.run(cell, params, carry, inputs)
                return carry, (ys, None)
            if engine == "parallel":
                carry, ys, _ = parallel.run(cell, params, carry, inputs)
                return carry, (ys, None)
            if is_deferred:
                carry, ys = deferred(cell, params, carry, inputs)
                return carry, (ys, None)
            carry, outputs = scan(cell, params, carry, inputs, initial=initial, observe=observe)
            return carry, (outputs.ys, outputs.observed)

        return _in_chunks(steps, carry, inputs, remat_every)

    if shards > 1:
        loop = _in_shards(loop, shards, copies=not is_deferred or remat_every is not None)
    carry, (ys, observed) = loop(params, carry, inputs)
    return carry, ys, observed


def _in_shards(loop: Callable[..., Any], number: int, *, copies: bool) -> Callable[..., Any]:
    """`loop` on each shard of a batch separately, on its own device.

    Every device then sums the weights' gradient over its own examples and all steps, and the sums
    are reduced across devices once, rather than at every step. For JAX's own gradient this needs a
    copy of the parameters for each shard; the deferred gradient needs none.
    """

    def split(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(
            lambda x: x.reshape(*x.shape[:axis], number, -1, *x.shape[axis + 1 :]), tree
        )

    def join(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :]), tree)

    def run(params: Params, carry: Carry, inputs: Inputs) -> tuple[Carry, tuple]:
        axes = (0 if copies else None, 0, 1)
        each = jax.vmap(loop, in_axes=axes, out_axes=(0, 1), spmd_axis_name=layout.BATCH)
        params = layout.copy_to_shards(params, number) if copies else params
        carry, outputs = each(params, split(carry, 0), split(inputs, 1))
        return join(carry, 0), join(outputs, 1)

    return run


def _couples_examples(cell: Cell) -> bool:
    """Whether the cell says that its `mix` couples the examples of a batch."""
    return getattr(cell, "couples_examples", False)


def _in_chunks(
    steps: Callable[[Carry, Inputs], tuple[Carry, tuple]],
    carry: Carry,
    inputs: Inputs,
    remat_every: int | None,
) -> tuple[Carry, tuple]:
    """`steps` over all inputs, or over checkpointed chunks of `remat_every` of them."""
    if remat_every is None:
        return steps(carry, inputs)
    chunk = jax.checkpoint(steps, prevent_cse=False)
    T = inputs.xs.shape[0]
    end = T - T % remat_every  # of the full chunks
    split = jax.tree.map(lambda x: x[:end].reshape(-1, remat_every, *x.shape[1:]), inputs)
    carry, outputs = lax.scan(chunk, carry, split)
    outputs = jax.tree.map(lambda y: y.reshape(end, *y.shape[2:]), outputs)
    if end < T:
        carry, rest = chunk(carry, jax.tree.map(lambda x: x[end:], inputs))
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, rest)
    return carry, outputs
