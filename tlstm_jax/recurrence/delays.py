"""What models with a delay have in common: the age of a stream, and how it is flushed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import zero_input
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import align, sequence_mask
from tlstm_jax.typing import Array, Carry, PyTree


def ages(age: Array, num_steps: int, reset: Array | None) -> Array:
    """Steps since each example's start, before every step: int32 [T, B].

    Args:
      age: [B] int32, the age at the first step.
      reset: [T, B] bool, where an example starts from the initial carry, or None.
    """
    steps = jnp.broadcast_to(
        jnp.arange(num_steps, dtype=jnp.int32)[:, None], (num_steps, age.shape[0])
    )
    since = steps + age[None]
    if reset is None:
        return since
    last = lax.cummax(jnp.where(reset, steps, jnp.full_like(steps, -1)), axis=0)
    return jnp.where(last >= 0, steps - last, since)


def age_at_end(age: Array, num_steps: int, reset: Array | None, lengths: Array | None) -> Array:
    """The age after each example's last input: int32 [B]."""
    following = ages(age, num_steps, reset) + 1
    if lengths is None:
        return following[-1]
    last = jnp.clip(lengths, 1, num_steps) - 1
    at_end = jnp.take_along_axis(following, last[None].astype(jnp.int32), axis=0)[0]
    return jnp.where(lengths > 0, at_end, age)


def flushed(
    stream: Callable[..., tuple[Carry, Array, PyTree]],
    delay: int,
    carry: Carry,
    xs: Array,
    reset: Array | None,
    lengths: Array | None,
) -> tuple[Carry, Array, PyTree]:
    """`stream(carry, xs, reset, lengths) -> (carry, ys, more)`, flushed: ys[t] answers xs[t].

    The carry and `more` are those after each example's last input, as in `tlstm_jax.unroll`.
    """
    carry, ys, more = stream(carry, xs, reset, lengths)
    if delay:
        silence = zero_input(jnp.broadcast_to(xs[:1], (delay, *xs.shape[1:])))
        _, late, _ = stream(carry, silence, None, None)
        ys = align(ys, late, lengths)
        if lengths is not None:
            ys = select(sequence_mask(xs, lengths), ys, jnp.zeros_like(ys))
    return carry, ys, more


def hold_back(held: Array, xs: Array, lengths: Array | None) -> tuple[Array, Array]:
    """A queue: (what it holds at the end [B, d, ..], xs delayed by d steps [T, B, ..]).

    Args:
      held: the d inputs before xs, oldest first [B, d, ..].
    """
    T, d = xs.shape[0], held.shape[1]
    queue = jnp.concatenate([jnp.swapaxes(held, 0, 1), xs])
    if lengths is None:
        return jnp.swapaxes(queue[T:], 0, 1), queue[:T]

    def last(queue: Array, length: Array) -> Array:
        return lax.dynamic_slice_in_dim(queue, jnp.clip(length, 0, T), d)

    return jax.vmap(last, in_axes=(1, 0))(queue, lengths), queue[:T]
