"""engine="fused": all T steps in one kernel.

A loop of XLA starts some kernels at every step, each of some microseconds, for products that take less.
Here one Pallas kernel (`kernels.py`) runs the loop over time, forwards, and one more the loop back; what
is not sequential is around them, over all steps at once, as in the deferred engine: the projection, what
`mix` makes of inputs alone, and the gradients by parameters.

It serves the vector cells whose mix is one product, linear in the state, and whose update is elementwise
over channels (`fused_plan.py`), and the tensorized LSTM (`fused_tensor.py`); others it refuses. Compiled
by Pallas' Triton for CUDA; anywhere else the same kernels are interpreted, which is slow.
"""

import functools

import jax
import jax.numpy as jnp

from tlstm_jax.cells.tensorized import shared as tensor
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.recurrence.fused import kernels
from tlstm_jax.recurrence.fused import tensor as fused_tensor
from tlstm_jax.recurrence.fused.blocks import RefusedError
from tlstm_jax.recurrence.fused.plan import Plan, vector_plan
from tlstm_jax.recurrence.loop import fold, is_split
from tlstm_jax.recurrence.pullbacks import Choice
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


def run(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[Carry, Array]:
    """`cell` over T steps; arguments as in `engine.run`.

    Raises:
      ValueError: the cell, or its size, is none that the kernels can run.
    """
    try:
        if not is_split(cell):
            raise RefusedError(f"{type(cell).__name__} has no project, mix and update")
        return _fused(cell, params, carry, xs, start, live)
    except RefusedError as error:
        raise ValueError(f"engine is 'fused', but {error}") from None


def _plan(cell: Cell, params: Params, carry: Carry, zs: Array) -> Plan:
    if isinstance(cell, TensorizedLSTM):
        return fused_tensor.tensor_plan(cell, params, zs.shape[1], zs[0])
    return vector_plan(cell, params, carry, zs[0])


def _inputs(
    cell: Cell, plan: Plan, carry: Carry, T: int, start: Array | None, live: Array | None
) -> tuple[list[Array], dict[str, Array], Array | None, Array | None]:
    """Extras and masks of the kernels, and the carry's age at every step and behind the last."""
    masks = {"start": start, "live": live}
    masks = {name: plan.rows.pack_masks(m) for name, m in masks.items() if m is not None}
    if not isinstance(cell, TensorizedLSTM):
        return [], masks, None, None
    age, last = fused_tensor.ages(cell, carry.age, T, start, live)
    awake = tensor.awake(cell, fold(age)).reshape(*age.shape, -1)
    return [plan.rows.pack_masks(awake)], masks, age, last


def _is_float(tree: PyTree) -> Choice:
    return Choice([jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(tree)])


def _forward(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    start: Array | None,
    live: Array | None,
    *,
    save: bool,
) -> tuple[Carry, Array, tuple]:
    zs = cell.project(params, xs)
    plan = _plan(cell, params, carry, zs)
    T, B = xs.shape[:2]
    floats = _is_float(carry)
    # What mix makes of inputs alone, for all steps at once.
    silent = jax.tree.map(lambda x: jnp.zeros((T * B, *x.shape[1:]), x.dtype), carry)
    alone = cell.mix(params, silent, zs.reshape(T * B, *zs.shape[2:]))
    alone = plan.split(alone.reshape(T, B, *alone.shape[1:]), 1)
    extras, masks, _, last_age = _inputs(cell, plan, carry, T, start, live)
    state = floats.take(carry)
    initial = floats.take(cell.init_carry(B)) if start is not None else []
    initial = [x.astype(old.dtype) for x, old in zip(initial, state, strict=False)]
    M = state[0].shape[-1]
    y = jax.eval_shape(lambda: cell.step(params, carry, xs[0])[1])
    state, initial = ([plan.rows.pack(x) for x in leaves] for leaves in (state, initial))
    state, ys, states, saved = kernels.forward(
        plan.step,
        plan.constants,
        plan.moves,
        plan.weights,
        extras,
        masks,
        initial,
        state,
        alone,
        jax.ShapeDtypeStruct(state[0].shape, y.dtype),
        save=save,
    )
    new = floats.put(carry, [plan.rows.unpack(x, M) for x in state])
    if last_age is not None:
        new = new._replace(age=last_age)
    return new, plan.read(plan.rows.unpack(ys, M, 1)), (zs, states, saved)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[Carry, Array]:
    carry, ys, _ = _forward(cell, params, carry, xs, start, live, save=False)
    return carry, ys


def _fused_fwd(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[tuple[Carry, Array], tuple]:
    new, ys, saved = _forward(cell, params, carry, xs, start, live, save=True)
    return (new, ys), (params, carry, xs, start, live, *saved)


def _fused_bwd(cell: Cell, residuals: tuple, cotangents: tuple[Carry, Array]) -> tuple:
    params, carry, xs, start, live, zs, states, saved = residuals
    dlast, dys = cotangents
    plan = _plan(cell, params, carry, zs)
    T, B = xs.shape[:2]
    floats = _is_float(carry)
    extras, masks, age, _ = _inputs(cell, plan, carry, T, start, live)
    M = floats.take(carry)[0].shape[-1]
    if live is not None:
        dys = jnp.where(jnp.broadcast_to(live[..., None], dys.shape), dys, jnp.zeros_like(dys))
    shape = (T, B, *plan.rows.tensor_shape, M)
    (dread,) = jax.linear_transpose(plan.read, jax.ShapeDtypeStruct(shape, dys.dtype))(dys)
    dfirst, das, dnew = kernels.backward(
        plan.step,
        plan.constants,
        None if plan.moves is None else plan.moves.swapaxes(1, 2),
        {n: w.swapaxes(1, 2) for n, w in plan.weights.items()},
        extras,
        masks,
        states,
        saved,
        [plan.rows.pack(x) for x in floats.take(dlast)],
        plan.rows.pack(dread, 1),
    )

    carries = floats.put(carry, [plan.rows.unpack(x, M, 1) for x in states])
    carries = fold(carries if age is None else carries._replace(age=age))
    a, da = fold((plan.join(saved, 1), plan.join(das, 1)))
    dnew = fold([plan.rows.unpack(x, M, 1) for x in dnew])

    def update(params: Params) -> tuple[list[Array], Array]:
        new, y = cell.update(params, carries, a)
        return floats.take(new), y

    (dupdate,) = jax.vjp(update, params)[1]((dnew, fold(dys)))
    dmix, dzs = jax.vjp(lambda p, z: cell.mix(p, carries, z), params, fold(zs))[1](da)
    dzs = dzs.reshape(zs.shape)
    if jnp.issubdtype(xs.dtype, jnp.inexact):
        dproject, dxs = jax.vjp(cell.project, params, xs)[1](dzs)
    else:
        (dproject,), dxs = jax.vjp(lambda p: cell.project(p, xs), params)[1](dzs), None
    dparams = jax.tree.map(lambda *x: sum(x[1:], x[0]), dupdate, dmix, dproject)
    dcarry = floats.put(dlast, [plan.rows.unpack(x, M) for x in dfirst])
    return dparams, dcarry, dxs, None, None


_fused.defvjp(_fused_fwd, _fused_bwd)
