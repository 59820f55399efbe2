"""The backward pass of the deferred gradient; `deferred` has the equations."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export, lax

from tlstm_jax.devices import platforms
from tlstm_jax.devices.layout import replicate
from tlstm_jax.devices.platforms import LoopChoices
from tlstm_jax.recurrence.loop import Inputs, fold, select, unroll_factor
from tlstm_jax.recurrence.packing import pack, unpack
from tlstm_jax.recurrence.pullbacks import Pullbacks
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


class Residuals(NamedTuple):
    """What the forward pass hands to the backward pass.

    Attributes:
      carries: the carry before each step, leaves [T, B, ..].
      saved: what else is saved of the pullbacks of update, [T, B, ..] each.
    """

    params: Params
    inputs: Inputs
    carries: Carry
    saved: list[Array]


class Gradients(NamedTuple):
    """Of the carry, and of the parameters that each part of the cell reads."""

    carry: list[Array]
    update: list[Array]
    mix: list[Array]
    project: list[Array]


def backward(
    cell: Cell, residuals: Residuals, cotangents: tuple[Carry, Array]
) -> tuple[Params, Carry, Inputs]:
    """The cotangents of params, carry and inputs, from those of the last carry and of ys."""
    params, inputs, carries, _ = residuals
    pullbacks = Pullbacks(cell, params, *_at((carries, inputs.xs), 0))
    loop = functools.partial(_backward, cell, pullbacks)
    dcarry, dys = cotangents
    gradients, dxs = platforms.choose_loop(loop, residuals, (pullbacks.state.take(dcarry), dys))
    dparams = zeros = jax.tree.map(jnp.zeros_like, params)
    parts = (pullbacks.of_update, pullbacks.of_mix, pullbacks.of_project)
    for part, chosen in zip(parts, gradients[1:], strict=True):
        dparams = jax.tree.map(jnp.add, dparams, part.put(zeros, chosen))
    return dparams, pullbacks.state.put(dcarry, gradients.carry), Inputs(dxs)


def _backward(
    cell: Cell,
    pullbacks: Pullbacks,
    choices: LoopChoices,
    residuals: Residuals,
    cotangents: tuple[list[Array], Array],
) -> tuple[Gradients, Array | None]:
    """The gradients, and dxs; None for tokens."""
    params, inputs, carries, saved = residuals
    xs, reset, mask, _ = inputs
    dcarry, dys = cotangents
    carry, x = _at((carries, xs), 0)
    # Residuals that follow from params alone are those of the first step, at every step.
    a = jnp.zeros(pullbacks.a.shape, pullbacks.a.dtype)
    pull_update = pullbacks.update(params, carry, a)[2]
    pull_mix = jax.linearize(pullbacks.mix(params, carry, cell.project(params, x)), a)[1]
    T, N = xs.shape[0], steps_of_a_product(xs.shape[0], a, choices)
    # Whether the gradient of update's own parameters is computed after the loop.
    later = choices.recompute and pullbacks.of_update.any

    def by_update(carry: Carry, saved: list, mask: Array | None, dnew: list, dy: Array) -> tuple:
        zeros = jax.tree.map(jnp.zeros_like, (dnew, dy))
        return pullbacks.at_step(pull_update, carry, saved)(select(mask, (dnew, dy), zeros))

    def step(first: Array, made: tuple, loop: tuple, n: Array) -> tuple[tuple, tuple]:
        """One step back; `made` is of the N steps from `first` on."""
        dnew, dupdate = loop
        dy, reset_, mask_, carry, saved_ = _at((dys, reset, mask, carries, saved), first + n)
        z, recomputed = _at(made, n)
        saved_ = saved_ if recomputed is None else recomputed
        dnew, dy, carry, saved_ = replicate((dnew, dy, carry, saved_))
        more, dbefore, da = by_update(carry, saved_, mask_, dnew, dy)
        da = replicate(da)
        pull = pullbacks.mix(params, carry, z) if pullbacks.mix_varies else pull_mix
        dmixed, dz = pull(da)
        dbefore = jax.tree.map(jnp.add, dbefore, dmixed)
        if reset_ is not None:
            dbefore = select(reset_, jax.tree.map(jnp.zeros_like, dbefore), dbefore)
        if mask_ is not None and mask_.ndim == 1:
            dbefore = select(mask_, dbefore, dnew)
        elif mask_ is not None:  # of parts of an example, which others read though they rest
            kept = select(mask_, jax.tree.map(jnp.zeros_like, dnew), dnew)
            dbefore = jax.tree.map(jnp.add, dbefore, kept)
        dz = None if dz is da else dz  # not stored twice where mix adds z
        rest = (dz, dnew if later else None)
        dupdate = dupdate if later else jax.tree.map(jnp.add, dupdate, more)
        return (dbefore, dupdate), (da, pack(rest) if choices.recompute else rest)

    def steps(total: Gradients, first: Array) -> tuple[Gradients, Array | None]:
        """N steps back, from first + N - 1 to first, and their part of the parameters' gradient."""
        some = functools.partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=N)
        some_carries, some_xs, some_mask = jax.tree.map(some, (carries, xs, mask))
        zs, pull_project = pullbacks.project(params, some_xs)
        mixed, pull_weights = pullbacks.mix_weights(params, *fold((some_carries, zs)))
        recomputed = None
        if choices.recompute:
            recompute = jax.vmap(functools.partial(pullbacks.recomputed, params))
            recomputed = recompute(some_carries, mixed.reshape(N, *a.shape))
        (dcarry, dupdate), (das, rest) = lax.scan(
            functools.partial(step, first, (zs, recomputed)),
            (total.carry, total.update),
            jnp.arange(N),
            reverse=True,
            unroll=unroll_factor(N, choices),
        )
        dzs, dnews = unpack(rest) if choices.recompute else rest
        if later:
            back = (some_carries, recomputed, some_mask, dnews, some(dys))
            more = jax.vmap(lambda *at: by_update(*at)[0])(*back)
            dupdate = jax.tree.map(lambda d, more: d + jnp.sum(more, axis=0), dupdate, more)
        (more_mix,) = pull_weights(fold(das))
        more_project, dxs = pull_project(das if dzs is None else dzs)
        dmix, dproject = jax.tree.map(jnp.add, (total.mix, total.project), (more_mix, more_project))
        return Gradients(dcarry, dupdate, dmix, dproject), dxs

    parts = (pullbacks.of_update, pullbacks.of_mix, pullbacks.of_project)
    zeros = (jax.tree.map(jnp.zeros_like, part.take(params)) for part in parts)
    total, dxs = lax.scan(steps, Gradients(dcarry, *zeros), jnp.arange(0, T, N), reverse=True)
    return total, None if dxs is None else dxs.reshape(xs.shape)


def steps_of_a_product(num_steps: int, a: Array, choices: LoopChoices) -> int:
    """The number of steps of which a weight gradient is one product: a divisor of `num_steps`.

    It is `num_steps` if no divisor fits, or if sizes are symbolic.

    Args:
      a: pre-activations of one step.
    """
    T = num_steps
    if export.is_symbolic_dim(T) or export.is_symbolic_dim(a.size):
        return T
    most = min(choices.weight_rows * a.shape[-1], choices.weight_numbers) // a.size
    largest = max((n for n in range(1, T + 1) if T % n == 0 and n <= most), default=1)
    return largest if 4 * largest >= most else T


def _at(tree: PyTree, n: Array | int) -> PyTree:
    """Step n of every leaf [T, ..]."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, n, keepdims=False), tree)
