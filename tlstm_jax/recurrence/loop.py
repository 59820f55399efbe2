"""One loop over time, and what starts anew or stands still in it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree


def is_split(cell: Cell) -> bool:
    """Whether the cell gives its step as project / mix / update."""
    return all(hasattr(cell, part) for part in ("project", "mix", "update"))


def select(mask: Array | None, new: PyTree, old: PyTree) -> PyTree:
    """where(mask, new, old) for every leaf; mask [B] or [T, B] leads each leaf's axes; None: new."""
    if mask is None:
        return new

    def choose(a: Array, b: Array) -> Array:
        m = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return jnp.where(jnp.broadcast_to(m, a.shape), a, b)

    return jax.tree.map(choose, new, old)


def fold(tree: PyTree) -> PyTree:
    """[T, B, ..] to [T B, ..]: every step an example of its own."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def anew(cell: Cell, carry: Carry, initial: Carry | None = None) -> Carry:
    """`initial`, or the cell's initial carry; of the batch size and in the dtypes of `carry`."""
    if initial is None:
        initial = cell.init_carry(jax.tree.leaves(carry)[0].shape[0])
    return jax.tree.map(lambda a, b: a.astype(b.dtype), initial, carry)


def scan(
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
    step: Callable[..., tuple[Carry, Array, PyTree]] | None = None,
    hold: Callable[[PyTree], PyTree] | None = None,
    unroll: int = 1,
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
        new, y = select(live, (new, y), (before, jax.tree.map(jnp.zeros_like, y)))
        return new, (y, None if observe is None else observe(new), saved)

    zs = cell.project(params, xs) if split else xs
    return lax.scan(body, carry, (zs, start, live, noise), unroll=unroll)
