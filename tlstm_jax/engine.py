"""The loop over time, and its gradient.

JAX differentiates a scan step by step: the gradient by a weight matrix is a product at every step,
and a sum over steps. The deferred engine's backward loop makes only what is sequential, the gradients
of the state and of the pre-activations a_t; the gradients by the weights are products over many steps
at once, behind it. It serves every cell that gives its step as project / mix / update (`typing.Cell`),
without a word in the cell:

    forward    z_t = project(params, x_t), for all t at once
               a_t = mix(params, carry_t, z_t);  carry_{t+1}, y_t = update(params, carry_t, a_t)
    backward   da_t, and dcarry_t in part    from the derivative of update by (carry_t, a_t)
               dz_t, and the rest of dcarry_t    from the derivative of mix by (carry_t, z_t)
    behind     dparams    from the derivatives of mix and project by params, with steps folded into
                          the batch, about ROWS rows at a time
               (and of what parameters update has, summed in the loop: they are small)

Saved are the carries and what is expensive in update (`pullbacks.EXPENSIVE`), rather than a_t. The
loops are not unrolled: with 2 or 4 steps an iteration they were no faster on a CPU.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax import fused, layout
from tlstm_jax.layout import whole
from tlstm_jax.pullbacks import Pullbacks
from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree

ENGINES = ("deferred", "scan")
BY_NAME = (*ENGINES, "fused")  # accepted
# Of one product for a weight gradient: enough that adding it to the others costs little, and few enough
# that the pre-activations' gradients of these steps stay in a cache.
ROWS = 4096


def check_engine(engine: str) -> None:
    """Raises ValueError unless `engine` is one of BY_NAME."""
    if engine not in BY_NAME:
        raise ValueError(f"engine is {engine!r}; accepted are {', '.join(BY_NAME)}")


def is_split(cell: Cell) -> bool:
    """Whether the cell gives its step as project / mix / update."""
    return all(hasattr(cell, part) for part in ("project", "mix", "update"))


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
    deferred = engine == "deferred" and apart and noise is None and is_split(cell)
    parts = layout.parts(xs.shape[1]) if apart else 1
    if engine == "fused" and (not apart or noise is not None or parts > 1):
        raise ValueError(
            "engine is 'fused', which takes no noise, observe, several devices, reset with initial, nor "
            "cells that couple examples; accepted with these are " + ", ".join(ENGINES)
        )

    def loop(params: Params, carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        def steps(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
            if engine == "fused":
                carry, ys = fused.run(cell, params, carry, *inputs)
                return carry, (ys, None)
            if deferred:
                carry, ys = _deferred(cell, params, carry, *inputs)
                return carry, (ys, None)
            carry, (ys, observed, _) = _scan(
                cell, params, carry, *inputs, initial=initial, observe=observe
            )
            return carry, (ys, observed)

        return _in_chunks(steps, carry, inputs, remat_every)

    inputs = (xs, start, live) if noise is None else (xs, start, live, noise)
    if parts > 1:
        loop = _in_parts(loop, parts, copies=not deferred or remat_every is not None)
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


def select(mask: Array | None, new: PyTree, old: PyTree) -> PyTree:
    """where(mask, new, old) for every leaf; mask [B] or [T, B] leads each leaf's axes; None: new."""
    if mask is None:
        return new

    def choose(a: Array, b: Array) -> Array:
        m = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return jnp.where(jnp.broadcast_to(m, a.shape), a, b)

    return jax.tree.map(choose, new, old)


def anew(cell: Cell, carry: Carry, initial: Carry | None = None) -> Carry:
    """`initial`, or the cell's initial carry; of the batch size and in the dtypes of `carry`."""
    if initial is None:
        initial = cell.init_carry(jax.tree.leaves(carry)[0].shape[0])
    return jax.tree.map(lambda a, b: a.astype(b.dtype), initial, carry)


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


def _scan(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    start: Array | None,
    live: Array | None,
    noise: PyTree = None,
    *,
    initial: Carry | None = None,
    observe: Observe | None = None,
    step: Callable[[Carry, Array], tuple[Carry, Array, PyTree]] | None = None,
    hold: Callable[[PyTree], PyTree] | None = None,
) -> tuple[Carry, tuple[Array, PyTree, PyTree]]:
    """(carry, (ys, observed, saved)): the loop of `step(carry, z) -> (carry, y, saved)`, or the cell's."""
    split = is_split(cell)

    def plain(carry: Carry, z: Array, *noise: PyTree) -> tuple[Carry, Array, None]:
        if not split:
            return *cell.step(params, carry, z, *noise), None
        return *cell.update(params, carry, cell.mix(params, carry, z, *noise), *noise), None

    def body(before: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        z, start, live, noise = inputs
        before, z = hold((before, z)) if hold else (before, z)
        carry = before if start is None else select(start, anew(cell, before, initial), before)
        new, y, saved = (step or plain)(carry, z, *(() if noise is None else (noise,)))
        new, y = select(live, (new, y), (before, jnp.zeros_like(y)))
        return new, (y, None if observe is None else observe(new), saved)

    zs = cell.project(params, xs) if split else xs
    return lax.scan(body, carry, (zs, start, live, noise))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _deferred(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[Carry, Array]:
    def step(carry: Carry, z: Array) -> tuple[Carry, Array, None]:
        return *cell.update(params, carry, whole(cell.mix(params, carry, z))), None

    carry, (ys, _, _) = _scan(cell, params, carry, xs, start, live, step=step, hold=whole)
    return carry, ys


def _deferred_fwd(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[tuple[Carry, Array], tuple]:
    pullbacks = Pullbacks(cell, params, carry, xs[0])

    def step(carry: Carry, z: Array) -> tuple[Carry, Array, tuple]:
        new, y, pull = pullbacks.update(params, carry, whole(cell.mix(params, carry, z)))
        return new, y, whole((carry, pullbacks.saved(pull)))

    carry, (ys, _, saved) = _scan(cell, params, carry, xs, start, live, step=step, hold=whole)
    return (carry, ys), (params, xs, start, live, *saved)


def _deferred_bwd(cell: Cell, residuals: tuple, cotangents: tuple[Carry, Array]) -> tuple:
    params, xs, start, live, carries, saved = residuals
    dcarry, dys = cotangents
    carry, x = jax.tree.map(lambda leaf: leaf[0], (carries, xs))
    pullbacks = Pullbacks(cell, params, carry, x)
    # The first step's derivatives lend theirs to every step where they follow from params alone.
    a = jnp.zeros(pullbacks.a.shape, pullbacks.a.dtype)
    pull_update = pullbacks.update(params, carry, a)[2]
    pull_mix = jax.linearize(pullbacks.mix(params, carry, cell.project(params, x)), a)[1]
    N = _steps_of_a_product(xs.shape[0], a)

    def step(first: Array, zs: Array, loop: tuple, n: Array) -> tuple[tuple, tuple]:
        """One step back."""
        dcarry, dupdate = loop
        dy, start_, live_, carry, saved_ = jax.tree.map(
            lambda leaf: lax.dynamic_index_in_dim(leaf, first + n, keepdims=False),
            (dys, start, live, carries, saved),
        )
        dcarry, dy, carry, saved_ = whole((dcarry, dy, carry, saved_))
        zeros = jax.tree.map(jnp.zeros_like, (dcarry, dy))
        pull = pullbacks.at_step(pull_update, carry, saved_)
        more, dbefore, da = pull(select(live_, (dcarry, dy), zeros))
        da = whole(da)
        pull = pullbacks.mix(params, carry, zs[n]) if pullbacks.mix_varies else pull_mix
        dmixed, dz = pull(da)
        dbefore = jax.tree.map(jnp.add, dbefore, dmixed)
        if start_ is not None:
            dbefore = select(start_, zeros[0], dbefore)
        if live_ is not None:
            dbefore = select(live_, dbefore, dcarry)
        dz = None if dz is da else dz  # where mix adds z, lest it be stored twice
        return (dbefore, jax.tree.map(jnp.add, dupdate, more)), (da, dz)

    def steps(loop: tuple, first: Array) -> tuple[tuple, Array | None]:
        """N steps back from first + N - 1 to first, and their share of the weights' gradient."""
        dcarry, dupdate, dmix, dproject = loop
        some = functools.partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=N)
        some_carries, some_xs = jax.tree.map(some, (carries, xs))
        zs, pull_project = pullbacks.project(params, some_xs)
        (dcarry, dupdate), (das, dzs) = lax.scan(
            functools.partial(step, first, zs), (dcarry, dupdate), jnp.arange(N), reverse=True
        )
        (more_mix,) = pullbacks.mix_weights(params, *_fold((some_carries, zs)))(_fold(das))
        more_project, dxs = pull_project(das if dzs is None else dzs)
        dmix, dproject = jax.tree.map(jnp.add, (dmix, dproject), (more_mix, more_project))
        return (dcarry, dupdate, dmix, dproject), dxs

    choices = (pullbacks.of_update, pullbacks.of_mix, pullbacks.of_project)
    loop = tuple(jax.tree.map(jnp.zeros_like, choice.take(params)) for choice in choices)
    firsts = jnp.arange(0, xs.shape[0], N)
    loop, dxs = lax.scan(steps, (pullbacks.state.take(dcarry), *loop), firsts, reverse=True)
    dparams = zeros = jax.tree.map(jnp.zeros_like, params)
    for choice, chosen in zip(choices, loop[1:], strict=True):
        dparams = jax.tree.map(jnp.add, dparams, choice.put(zeros, chosen))
    dxs = None if dxs is None else dxs.reshape(xs.shape)
    return dparams, pullbacks.state.put(dcarry, loop[0]), dxs, None, None


_deferred.defvjp(_deferred_fwd, _deferred_bwd)


def _steps_of_a_product(T: int, a: Array) -> int:
    """Over how many of T steps a weight gradient is one product: a divisor, or T if none fits."""
    rows = a.size // a.shape[-1]
    divisors = [n for n in range(1, T + 1) if T % n == 0 and n * rows <= ROWS]
    most = max(divisors, default=1)
    return most if 4 * most * rows >= ROWS else T


def _fold(tree: PyTree) -> PyTree:
    """[T, B, ..] to [T B, ..]: every step an example of its own."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
