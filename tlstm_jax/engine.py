"""The loop over time, and its gradient.

JAX differentiates a scan step by step: the gradient by a weight matrix is a product at every step,
and a sum over steps. The deferred engine's backward loop makes only what is sequential, the gradients
of the state and of the pre-activations a_t; the gradient by the weights is one product over all steps
behind the loop. It serves every cell that gives its step as project / mix / update (`typing.Cell`),
without a word in the cell:

    forward    a_t = mix(params, carry_t, z_t);  carry_{t+1}, y_t = update(params, carry_t, a_t)
    backward   da_t, and dcarry_t in part    from the derivative of update by (carry_t, a_t)
               dz_t, and the rest of dcarry_t    from the derivative of mix by (carry_t, z_t)
    behind     dparams    from the derivative of mix by params, with steps folded into the batch
               (and of what parameters update has, summed in the loop: they are small)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree

ENGINES = ("deferred", "scan")


def check_engine(engine: str) -> None:
    """Raises ValueError unless `engine` is one of ENGINES."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; accepted are {', '.join(ENGINES)}")


def is_split(cell: Cell) -> bool:
    """Whether the cell gives its step as project / mix / update."""
    return all(hasattr(cell, part) for part in ("project", "mix", "update"))


def run(
    cell: Cell,
    params: Params,
    carry: Carry,
    zs: Array,
    start: Array | None,
    live: Array | None,
    *,
    observe: Observe | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
) -> tuple[Carry, Array, PyTree]:
    """`cell` over T steps.

    Args:
      zs: [T, B, ..], `cell.project` of the inputs, or the inputs themselves if it has none.
      start: [T, B] bool or None: where True, the example starts anew with this step.
      live: [T, B] bool or None: where False, the example's carry stands still and its y is zero.
      observe, remat_every, engine: see `unroll`.

    Returns:
      (carry, ys [T, B, M], what observe returned, stacked over steps).
    """
    if engine == "deferred" and observe is None and is_split(cell) and not _couples(cell):

        def steps(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
            carry, ys = _deferred(cell, params, carry, *inputs)
            return carry, (ys, None)
    else:

        def steps(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
            carry, (ys, observed, _) = _scan(cell, params, carry, *inputs, observe=observe)
            return carry, (ys, observed)

    carry, (ys, observed) = _in_chunks(steps, carry, (zs, start, live), remat_every)
    return carry, ys, observed


def select(mask: Array | None, new: PyTree, old: PyTree) -> PyTree:
    """where(mask, new, old) for every leaf; mask [B] or [T, B] leads each leaf's axes; None: new."""
    if mask is None:
        return new

    def choose(a: Array, b: Array) -> Array:
        m = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return jnp.where(jnp.broadcast_to(m, a.shape), a, b)

    return jax.tree.map(choose, new, old)


def anew(cell: Cell, carry: Carry) -> Carry:
    """The initial carry, of the batch size and in the dtypes of `carry`."""
    B = jax.tree.leaves(carry)[0].shape[0]
    return jax.tree.map(lambda a, b: a.astype(b.dtype), cell.init_carry(B), carry)


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
    zs: Array,
    start: Array | None,
    live: Array | None,
    *,
    observe: Observe | None = None,
    save: bool = False,
) -> tuple[Carry, tuple[Array, PyTree, PyTree]]:
    """(carry, (ys, observed, saved)); saved, if asked for: what each step began from, and its a_t."""
    split = is_split(cell)

    def body(before: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        z, start, live = inputs
        carry = before if start is None else select(start, anew(cell, before), before)
        saved = None
        if split:
            a = cell.mix(params, carry, z)
            new, y = cell.update(params, carry, a)
            saved = (carry, a) if save else None
        else:
            new, y = cell.step(params, carry, z)
        new, y = select(live, (new, y), (before, jnp.zeros_like(y)))
        return new, (y, None if observe is None else observe(new), saved)

    return lax.scan(body, carry, (zs, start, live))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _deferred(
    cell: Cell, params: Params, carry: Carry, zs: Array, start: Array | None, live: Array | None
) -> tuple[Carry, Array]:
    carry, (ys, _, _) = _scan(cell, params, carry, zs, start, live)
    return carry, ys


def _deferred_fwd(
    cell: Cell, params: Params, carry: Carry, zs: Array, start: Array | None, live: Array | None
) -> tuple[tuple[Carry, Array], tuple]:
    carry, (ys, _, (carries, pre)) = _scan(cell, params, carry, zs, start, live, save=True)
    return (carry, ys), (params, zs, start, live, carries, pre)


def _deferred_bwd(cell: Cell, saved: tuple, cotangents: tuple[Carry, Array]) -> tuple:
    params, zs, start, live, carries, pre = saved
    dcarry, dys = cotangents
    carry, a, z = jax.tree.map(lambda x: x[0], (carries, pre, zs))
    state = _Choice([_is_float(leaf) for leaf in jax.tree.leaves(carries)])
    of_update, of_mix = (
        _Choice(_read(cell.update, params, carry, a)),
        _Choice(_read(cell.mix, params, carry, z)),
    )

    def body(loop: tuple, inputs: tuple) -> tuple[tuple, tuple]:
        dcarry, dparams = loop
        dy, z, start, live, carry, a = inputs

        def update(chosen: list, moving: list, a: Array) -> tuple[list, Array]:
            new, y = cell.update(of_update.put(params, chosen), state.put(carry, moving), a)
            return state.take(new), y

        def mix(moving: list, z: Array) -> Array:
            return cell.mix(params, state.put(carry, moving), z)

        zeros = jax.tree.map(jnp.zeros_like, (dcarry, dy))
        pull = jax.vjp(update, of_update.take(params), state.take(carry), a)[1]
        dchosen, dbefore, da = pull(select(live, (dcarry, dy), zeros))
        dmixed, dz = jax.vjp(mix, state.take(carry), z)[1](da)
        dbefore = jax.tree.map(jnp.add, dbefore, dmixed)
        if start is not None:
            dbefore = select(start, zeros[0], dbefore)
        if live is not None:
            dbefore = select(live, dbefore, dcarry)
        dz = None if dz is da else dz  # where mix adds z, lest it be stored twice
        return (dbefore, jax.tree.map(jnp.add, dparams, dchosen)), (da, dz)

    loop = (state.take(dcarry), jax.tree.map(jnp.zeros_like, of_update.take(params)))
    inputs = (dys, zs, start, live, carries, pre)
    (dbefore, dupdate), (das, dzs) = lax.scan(body, loop, inputs, reverse=True)

    def mix_all(chosen: list) -> Array:
        return cell.mix(of_mix.put(params, chosen), *_fold((carries, zs)))

    (dmix,) = jax.vjp(mix_all, of_mix.take(params))[1](_fold(das))
    zeros = jax.tree.map(jnp.zeros_like, params)
    dparams = jax.tree.map(jnp.add, of_update.put(zeros, dupdate), of_mix.put(zeros, dmix))
    return dparams, state.put(dcarry, dbefore), das if dzs is None else dzs, None, None


_deferred.defvjp(_deferred_fwd, _deferred_bwd)


def _fold(tree: PyTree) -> PyTree:
    """[T, B, ..] to [T B, ..]: every step an example of its own."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


class _Choice:
    """Some leaves of trees of one structure."""

    def __init__(self, chosen: list[bool]) -> None:
        self._chosen = chosen

    def take(self, tree: PyTree) -> list[Array]:
        leaves = jax.tree.leaves(tree)
        return [leaf for leaf, chosen in zip(leaves, self._chosen, strict=True) if chosen]

    def put(self, tree: PyTree, leaves: list[Array]) -> PyTree:
        """`tree` with `leaves` in the places of its own."""
        old, structure = jax.tree.flatten(tree)
        new = iter(leaves)
        pairs = zip(old, self._chosen, strict=True)
        return structure.unflatten([next(new) if chosen else leaf for leaf, chosen in pairs])


def _read(part: Callable[..., Any], params: Params, *args: Any) -> list[bool]:
    """Which leaves of params `part(params, *args)` reads."""
    jaxpr = jax.make_jaxpr(part)(params, *args).jaxpr
    variables = [v for e in jaxpr.eqns for v in e.invars] + jaxpr.outvars
    read = {v for v in variables if not isinstance(v, Literal)}
    return [v in read for v in jaxpr.invars[: len(jax.tree.leaves(params))]]
