"""The deferred gradient of a loop over time.

JAX differentiates a scan step by step: the gradient by a weight matrix is a product at every step,
and a sum over steps. Here the backward loop makes only what is sequential, the gradients of the state
and of the pre-activations a_t; the gradients by the weights are products over many steps at once, behind
it. It serves every cell that gives its step as project / mix / update (`typing.Cell`), without a word in
the cell:

    forward    z_t = project(params, x_t), for all t at once
               a_t = mix(params, carry_t, z_t);  carry_{t+1}, y_t = update(params, carry_t, a_t)
    backward   da_t, and dcarry_t in part    from the derivative of update by (carry_t, a_t)
               dz_t, and the rest of dcarry_t    from the derivative of mix by (carry_t, z_t)
    behind     dparams    from the derivatives of mix and project by params, with steps folded into
                          the batch

Beside the carries, the derivative of update needs what is expensive in it (`pullbacks.EXPENSIVE`). As
`platforms.LoopChoices` has it, the forward loop saves that at every step, or it is made again from the
carries behind that loop, for many steps at once; likewise the gradients by parameters that update itself
has are summed in the backward loop, or behind it. The loops are not unrolled unless `LoopChoices` says so.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import export, lax

from tlstm_jax.devices import platforms
from tlstm_jax.devices.layout import whole
from tlstm_jax.devices.platforms import LoopChoices
from tlstm_jax.recurrence.loop import anew, fold, scan, select
from tlstm_jax.recurrence.packing import pack, unpack
from tlstm_jax.recurrence.pullbacks import Pullbacks
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def deferred(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[Carry, Array]:
    """(the last carry, ys) of `engine.run`.

    Its gradient is plain JAX, and can be differentiated again in either mode; but the first derivative has
    to be a backward one. Before it, forward mode (jvp, jacfwd, linearize) ends in JAX's TypeError, and
    engine="scan" takes its place.
    """

    # By platform as `_fwd` is, for the compiled loop's steps, and since JAX wants the outputs of both
    # batched along the same axes under vmap.
    loop = functools.partial(_loop, cell)
    return platforms.choose_loop(loop, params, carry, xs, start, live)


def _loop(
    cell: Cell, choices: LoopChoices, params: Params, carry: Carry, *inputs: Any
) -> tuple[Carry, Array]:
    def step(carry: Carry, z: Array) -> tuple[Carry, Array, None]:
        return *cell.update(params, carry, whole(cell.mix(params, carry, z))), None

    unroll = _unroll(len(inputs[0]), choices)
    carry, (ys, _, _) = scan(cell, params, carry, *inputs, step=step, hold=whole, unroll=unroll)
    return carry, ys


def _fwd(cell: Cell, *inputs: Any) -> tuple[tuple[Carry, Array], tuple]:
    params, carry, xs, start, live = inputs
    pullbacks = Pullbacks(cell, params, carry, xs[0])
    forward = functools.partial(_forward, cell, pullbacks)
    last, ys, carries, saved = platforms.choose_loop(forward, *inputs)
    return (last, ys), (params, xs, start, live, carries, saved)


def _forward(
    cell: Cell,
    pullbacks: Pullbacks,
    choices: LoopChoices,
    params: Params,
    carry: Carry,
    *inputs: Any,
) -> tuple[Carry, Array, Carry, list[Array]]:
    """(the last carry, ys, the carries before each step, what is saved beside them)."""
    xs, start, live = inputs
    loop = functools.partial(scan, cell, params, carry, *inputs, hold=whole)
    if not choices.remake:

        def saving(carry: Carry, z: Array) -> tuple[Carry, Array, tuple]:
            new, y, pull = pullbacks.update(params, carry, whole(cell.mix(params, carry, z)))
            return new, y, whole((carry, pullbacks.saved(pull)))

        last, (ys, _, saved) = loop(step=saving)
        return last, ys, *saved

    def storing(carry: Carry, z: Array) -> tuple[Carry, Array | None, None]:
        new, y = cell.update(params, carry, whole(cell.mix(params, carry, z)))
        return new, None if pullbacks.read else y, None

    last, (ys, news, _) = loop(step=storing, observe=pack, unroll=_unroll(len(xs), choices))
    news = unpack(news)
    if pullbacks.read:
        ys = jax.vmap(pullbacks.read)(news)
        ys = select(live, ys, jnp.zeros_like(ys))
    carries = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), carry, news)
    if start is not None:
        carries = select(start, jax.vmap(functools.partial(anew, cell))(carries), carries)
    nothing = [jnp.zeros((len(xs), *leaf.shape), leaf.dtype) for leaf in pullbacks.to_save]
    return last, ys, carries, nothing


def _bwd(cell: Cell, residuals: tuple, cotangents: tuple[Carry, Array]) -> tuple:
    params, xs, _, _, carries, _ = residuals
    pullbacks = Pullbacks(cell, params, *_at((carries, xs), 0))
    backward = functools.partial(_backward, cell, pullbacks)
    dcarry, dys = cotangents
    dmoving, *dchosen, dxs = platforms.choose_loop(
        backward, residuals, (pullbacks.state.take(dcarry), dys)
    )
    dparams = zeros = jax.tree.map(jnp.zeros_like, params)
    parts = (pullbacks.of_update, pullbacks.of_mix, pullbacks.of_project)
    for part, chosen in zip(parts, dchosen, strict=True):
        dparams = jax.tree.map(jnp.add, dparams, part.put(zeros, chosen))
    return dparams, pullbacks.state.put(dcarry, dmoving), dxs, None, None


deferred.defvjp(_fwd, _bwd)


def _backward(
    cell: Cell, pullbacks: Pullbacks, choices: LoopChoices, residuals: tuple, cotangents: tuple
) -> tuple:
    """(dcarry, dparams of update, of mix, of project, dxs), of the leaves that have them."""
    params, xs, start, live, carries, saved = residuals
    dcarry, dys = cotangents
    carry, x = _at((carries, xs), 0)
    # The first step's derivatives lend theirs to every step where they follow from params alone.
    a = jnp.zeros(pullbacks.a.shape, pullbacks.a.dtype)
    pull_update = pullbacks.update(params, carry, a)[2]
    pull_mix = jax.linearize(pullbacks.mix(params, carry, cell.project(params, x)), a)[1]
    T, N = xs.shape[0], steps_of_a_product(xs.shape[0], a, choices)
    later = choices.remake and pullbacks.of_update.any  # dparams of update are made behind the loop

    def by_update(carry: Carry, saved: list, live: Array | None, dnew: list, dy: Array) -> tuple:
        zeros = jax.tree.map(jnp.zeros_like, (dnew, dy))
        return pullbacks.at_step(pull_update, carry, saved)(select(live, (dnew, dy), zeros))

    def step(first: Array, made: tuple, loop: tuple, n: Array) -> tuple[tuple, tuple]:
        """One step back; `made` is of the N steps from the first on."""
        dnew, dupdate = loop
        dy, start_, live_, carry, saved_ = _at((dys, start, live, carries, saved), first + n)
        z, remade = _at(made, n)
        saved_ = saved_ if remade is None else remade
        dnew, dy, carry, saved_ = whole((dnew, dy, carry, saved_))
        more, dbefore, da = by_update(carry, saved_, live_, dnew, dy)
        da = whole(da)
        pull = pullbacks.mix(params, carry, z) if pullbacks.mix_varies else pull_mix
        dmixed, dz = pull(da)
        dbefore = jax.tree.map(jnp.add, dbefore, dmixed)
        if start_ is not None:
            dbefore = select(start_, jax.tree.map(jnp.zeros_like, dbefore), dbefore)
        if live_ is not None:
            dbefore = select(live_, dbefore, dnew)
        dz = None if dz is da else dz  # where mix adds z, lest it be stored twice
        rest = (dz, dnew if later else None)
        dupdate = dupdate if later else jax.tree.map(jnp.add, dupdate, more)
        return (dbefore, dupdate), (da, pack(rest) if choices.remake else rest)

    def steps(loop: tuple, first: Array) -> tuple[tuple, Array | None]:
        """N steps back from first + N - 1 to first, and their share of the parameters' gradient."""
        dcarry, dupdate, dmix, dproject = loop
        some = functools.partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=N)
        some_carries, some_xs, some_live = jax.tree.map(some, (carries, xs, live))
        zs, pull_project = pullbacks.project(params, some_xs)
        mixed, pull_weights = pullbacks.mix_weights(params, *fold((some_carries, zs)))
        remade = None
        if choices.remake:
            remake = functools.partial(pullbacks.remade, params)
            remade = jax.vmap(remake)(some_carries, mixed.reshape(N, *a.shape))
        (dcarry, dupdate), (das, rest) = lax.scan(
            functools.partial(step, first, (zs, remade)),
            (dcarry, dupdate),
            jnp.arange(N),
            reverse=True,
            unroll=_unroll(N, choices),
        )
        dzs, dnews = unpack(rest) if choices.remake else rest
        if later:
            back = (some_carries, remade, some_live, dnews, some(dys))
            more = jax.vmap(lambda *at: by_update(*at)[0])(*back)
            dupdate = jax.tree.map(lambda d, more: d + jnp.sum(more, axis=0), dupdate, more)
        (more_mix,) = pull_weights(fold(das))
        more_project, dxs = pull_project(das if dzs is None else dzs)
        dmix, dproject = jax.tree.map(jnp.add, (dmix, dproject), (more_mix, more_project))
        return (dcarry, dupdate, dmix, dproject), dxs

    parts = (pullbacks.of_update, pullbacks.of_mix, pullbacks.of_project)
    loop = (dcarry, *(jax.tree.map(jnp.zeros_like, part.take(params)) for part in parts))
    loop, dxs = lax.scan(steps, loop, jnp.arange(0, T, N), reverse=True)
    return *loop, None if dxs is None else dxs.reshape(xs.shape)


def steps_of_a_product(T: int, a: Array, choices: LoopChoices) -> int:
    """Over how many of T steps a weight gradient is one product: a divisor; T if none fits,
    or if sizes are symbolic.

    Args:
      a: pre-activations of one step.
    """
    if export.is_symbolic_dim(T) or export.is_symbolic_dim(a.size):
        return T
    most = min(choices.weight_rows * a.shape[-1], choices.weight_numbers) // a.size
    largest = max((n for n in range(1, T + 1) if T % n == 0 and n <= most), default=1)
    return largest if 4 * largest >= most else T


def _unroll(T: int, choices: LoopChoices) -> int:
    """How many of T steps are one of the compiled loop's: a divisor, and 1 for short loops."""
    if export.is_symbolic_dim(T):
        return 1
    most = choices.unroll if 8 * choices.unroll <= T else 1
    return max(n for n in range(1, most + 1) if T % n == 0)


def _at(tree: PyTree, n: Array | int) -> PyTree:
    """Step n of every leaf [T, ..]."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, n, keepdims=False), tree)
