"""engine="fused": all T steps in one kernel.

A loop of XLA launches several kernels at every step, each of some microseconds, for products that
take less. Here one Pallas kernel (`kernels.py`) runs the forward loop over time, and another the
backward loop; what is not sequential is outside of them, over all steps at once, as in the deferred
engine: the projection, what `mix` makes of inputs alone, and the gradients of parameters.

It works for vector cells whose mix is one product, linear in the state, and whose update is
elementwise over features (`plan.py`), and for the tensorized LSTM (`tensor.py`); it refuses others.
It is compiled by Pallas' Triton for CUDA; anywhere else the same kernels are interpreted, which is
slow.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.tensorized import shared as tensor
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.recurrence.fused import kernels
from tlstm_jax.recurrence.fused import tensor as fused_tensor
from tlstm_jax.recurrence.fused.blocks import RefusedError
from tlstm_jax.recurrence.fused.plan import Plan, vector_plan
from tlstm_jax.recurrence.loop import Inputs, fold, is_split
from tlstm_jax.recurrence.pullbacks import Choice
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


class Residuals(NamedTuple):
    """What the forward pass hands to the backward pass; see `kernels.Forward` for the last two."""

    params: Params
    carry: Carry
    inputs: Inputs
    zs: Array
    states: list[Array]
    pre_activations: list[Array]


class _Steps(NamedTuple):
    """What the kernels read at every step beside zs.

    Attributes:
      extras, masks: arguments of `kernels.forward`.
      age: the carry's, int32 [T, B]; None where it has none.
      last_age: after the last step, [B].
    """

    extras: list[Array]
    masks: kernels.Masks
    age: Array | None = None
    last_age: Array | None = None


def run(cell: Cell, params: Params, carry: Carry, inputs: Inputs) -> tuple[Carry, Array]:
    """`cell` over T steps; arguments as in `engine.run`, without noise.

    Raises:
      ValueError: the kernels cannot run the cell, or its size.
    """
    try:
        if not is_split(cell):
            raise RefusedError(f"{type(cell).__name__} has no project, mix and update")
        return _fused(cell, params, carry, inputs)
    except RefusedError as error:
        raise ValueError(
            f"engine is 'fused', but {error}; accepted are auto, deferred, scan"
        ) from None


def _plan(cell: Cell, params: Params, carry: Carry, zs: Array) -> Plan:
    if isinstance(cell, TensorizedLSTM):
        return fused_tensor.tensor_plan(cell, params, zs.shape[1], zs[0])
    return vector_plan(cell, params, carry, zs[0])


def _steps(cell: Cell, plan: Plan, carry: Carry, inputs: Inputs) -> _Steps:
    reset, mask = inputs.reset, inputs.mask
    packed = [None if m is None else plan.rows.pack_masks(m) for m in (reset, mask)]
    masks = kernels.Masks(reset=packed[0], mask=packed[1])
    if not isinstance(cell, TensorizedLSTM):
        return _Steps([], masks)
    age, last = fused_tensor.ages(cell, carry.age, len(inputs.xs), reset, mask)
    awake = tensor.awake(cell, fold(age)).reshape(*age.shape, -1)
    return _Steps([plan.rows.pack_masks(awake)], masks, age, last)


def _is_float(tree: PyTree) -> Choice:
    return Choice([jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(tree)])


def _forward(
    cell: Cell, params: Params, carry: Carry, inputs: Inputs, *, save: bool
) -> tuple[Carry, Array, Residuals]:
    xs = inputs.xs
    zs = cell.project(params, xs)
    plan = _plan(cell, params, carry, zs)
    T, B = xs.shape[:2]
    floats = _is_float(carry)
    # What mix makes of inputs alone, for all steps at once.
    silent = jax.tree.map(lambda x: jnp.zeros((T * B, *x.shape[1:]), x.dtype), carry)
    alone = cell.mix(params, silent, zs.reshape(T * B, *zs.shape[2:]))
    alone = plan.split(alone.reshape(T, B, *alone.shape[1:]), 1)
    steps = _steps(cell, plan, carry, inputs)
    state = floats.take(carry)
    initial = floats.take(cell.init_carry(B)) if inputs.reset is not None else []
    initial = [x.astype(old.dtype) for x, old in zip(initial, state, strict=False)]
    M = state[0].shape[-1]
    y = jax.eval_shape(lambda: cell.step(params, carry, xs[0])[1])
    state, initial = ([plan.rows.pack(x) for x in leaves] for leaves in (state, initial))
    last, ys, states, pre_activations = kernels.forward(
        plan.step,
        plan.constants,
        plan.moves,
        plan.weights,
        steps.extras,
        steps.masks,
        initial,
        state,
        alone,
        jax.ShapeDtypeStruct(state[0].shape, y.dtype),
        save=save,
    )
    new = floats.put(carry, [plan.rows.unpack(x, M) for x in last])
    if steps.last_age is not None:
        new = new._replace(age=steps.last_age)
    residuals = Residuals(params, carry, inputs, zs, states, pre_activations)
    return new, plan.read(plan.rows.unpack(ys, M, 1)), residuals


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(cell: Cell, params: Params, carry: Carry, inputs: Inputs) -> tuple[Carry, Array]:
    carry, ys, _ = _forward(cell, params, carry, inputs, save=False)
    return carry, ys


def _fused_fwd(
    cell: Cell, params: Params, carry: Carry, inputs: Inputs
) -> tuple[tuple[Carry, Array], Residuals]:
    new, ys, residuals = _forward(cell, params, carry, inputs, save=True)
    return (new, ys), residuals


def _fused_bwd(
    cell: Cell, residuals: Residuals, cotangents: tuple[Carry, Array]
) -> tuple[Params, Carry, Inputs]:
    params, carry, inputs, zs, states, saved = residuals
    xs, mask = inputs.xs, inputs.mask
    dlast, dys = cotangents
    plan = _plan(cell, params, carry, zs)
    T, B = xs.shape[:2]
    floats = _is_float(carry)
    steps = _steps(cell, plan, carry, inputs)
    M = floats.take(carry)[0].shape[-1]
    if mask is not None:
        dys = jnp.where(jnp.broadcast_to(mask[..., None], dys.shape), dys, jnp.zeros_like(dys))
    shape = (T, B, *plan.rows.tensor_shape, M)
    (dread,) = jax.linear_transpose(plan.read, jax.ShapeDtypeStruct(shape, dys.dtype))(dys)
    dfirst, das, dnew = kernels.backward(
        plan.step,
        plan.constants,
        None if plan.moves is None else plan.moves.swapaxes(1, 2),
        {n: w.swapaxes(1, 2) for n, w in plan.weights.items()},
        steps.extras,
        steps.masks,
        states,
        saved,
        [plan.rows.pack(x) for x in floats.take(dlast)],
        plan.rows.pack(dread, 1),
    )

    carries = floats.put(carry, [plan.rows.unpack(x, M, 1) for x in states])
    carries = fold(carries if steps.age is None else carries._replace(age=steps.age))
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
    return dparams, dcarry, Inputs(dxs)


_fused.defvjp(_fused_fwd, _fused_bwd)
