"""The deferred gradient of a loop over time.

JAX differentiates a scan step by step: the gradient with respect to a weight matrix is a product at
every step, and a sum over steps. Here the backward loop computes only what is sequential, the
gradients of the state and of the pre-activations a_t; those of the weights are products over many
steps at once, after the loop. It works for every cell that gives its step as project / mix / update
(`typing.Cell`), without a line in the cell:

    forward    z_t = project(params, x_t), for all t at once
               a_t = mix(params, carry_t, z_t);  carry_{t+1}, y_t = update(params, carry_t, a_t)
    backward   da_t, and part of dcarry_t    from the derivative of update by (carry_t, a_t)
               dz_t, and the rest of dcarry_t    from the derivative of mix by (carry_t, z_t)
    after it   dparams    from the derivatives of mix and project by params, with steps folded into
                          the batch

Beside the carries, the derivative of update needs what is expensive in it (`pullbacks.EXPENSIVE`).
By `platforms.LoopChoices`, the forward loop saves that at every step, or it is recomputed from the
carries after the loop, for many steps at once; likewise the gradients of update's own parameters
are summed in the backward loop, or after it. The loops are unrolled only where `LoopChoices` says
so.

This file has the forward pass, `deferred_backward` the backward pass.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.devices import platforms
from tlstm_jax.devices.layout import replicate
from tlstm_jax.devices.platforms import LoopChoices
from tlstm_jax.recurrence.deferred_backward import Residuals, backward
from tlstm_jax.recurrence.loop import Inputs, initial_carry, scan, select, unroll_factor
from tlstm_jax.recurrence.packing import pack, unpack
from tlstm_jax.recurrence.pullbacks import Pullbacks
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def deferred(cell: Cell, params: Params, carry: Carry, inputs: Inputs) -> tuple[Carry, Array]:
    """(the last carry, ys) of `engine.run`.

    Its gradient is plain JAX, and can be differentiated again in either mode, but the first
    derivative has to be in reverse mode: forward mode first (jvp, jacfwd, linearize) raises JAX's
    TypeError; engine="scan" has it.

    Args:
      inputs: without noise.
    """
    # Chosen by platform, as in `_fwd`, for its unrolling, and since JAX wants the outputs of both
    # batched along the same axes under vmap.
    return platforms.choose_loop(functools.partial(_loop, cell), params, carry, inputs)


def _loop(
    cell: Cell, choices: LoopChoices, params: Params, carry: Carry, inputs: Inputs
) -> tuple[Carry, Array]:
    def step(carry: Carry, z: Array) -> tuple[Carry, Array, None]:
        return *cell.update(params, carry, replicate(cell.mix(params, carry, z))), None

    unroll = unroll_factor(len(inputs.xs), choices)
    carry, outputs = scan(
        cell, params, carry, inputs, step=step, constrain=replicate, unroll=unroll
    )
    return carry, outputs.ys


class Forward(NamedTuple):
    """What the forward loop returns for the backward pass.

    Attributes:
      last: the last carry.
      ys: [T, B, M].
      carries: the carry before each step, leaves [T, B, ..].
      saved: what else is saved of the pullbacks of update, [T, B, ..] each.
    """

    last: Carry
    ys: Array
    carries: Carry
    saved: list[Array]


def _fwd(
    cell: Cell, params: Params, carry: Carry, inputs: Inputs
) -> tuple[tuple[Carry, Array], Residuals]:
    pullbacks = Pullbacks(cell, params, carry, inputs.xs[0])
    forward = functools.partial(_forward, cell, pullbacks)
    last, ys, carries, saved = platforms.choose_loop(forward, params, carry, inputs)
    return (last, ys), Residuals(params, inputs, carries, saved)


def _forward(
    cell: Cell,
    pullbacks: Pullbacks,
    choices: LoopChoices,
    params: Params,
    carry: Carry,
    inputs: Inputs,
) -> Forward:
    loop = functools.partial(scan, cell, params, carry, inputs, constrain=replicate)
    if not choices.recompute:

        def saving(carry: Carry, z: Array) -> tuple[Carry, Array, PyTree]:
            new, y, pull = pullbacks.update(params, carry, replicate(cell.mix(params, carry, z)))
            return new, y, replicate((carry, pullbacks.saved(pull)))

        last, outputs = loop(step=saving)
        return Forward(last, outputs.ys, *outputs.saved)

    def storing(carry: Carry, z: Array) -> tuple[Carry, Array | None, None]:
        new, y = cell.update(params, carry, replicate(cell.mix(params, carry, z)))
        return new, None if pullbacks.read else y, None

    T = len(inputs.xs)
    last, outputs = loop(step=storing, observe=pack, unroll=unroll_factor(T, choices))
    ys, news = outputs.ys, unpack(outputs.observed)
    if pullbacks.read:
        ys = jax.vmap(pullbacks.read)(news)
        ys = select(inputs.mask, ys, jnp.zeros_like(ys))
    carries = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), carry, news)
    if inputs.reset is not None:
        initial = jax.vmap(functools.partial(initial_carry, cell))(carries)
        carries = select(inputs.reset, initial, carries)
    nothing = [jnp.zeros((T, *leaf.shape), leaf.dtype) for leaf in pullbacks.to_save]
    return Forward(last, ys, carries, nothing)


deferred.defvjp(_fwd, backward)
