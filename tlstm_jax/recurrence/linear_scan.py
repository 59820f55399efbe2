"""Recurrences that are linear in the state, for all steps at once."""

import jax.numpy as jnp
from jax import lax

from tlstm_jax.recurrence.delays import hold_back
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import within
from tlstm_jax.typing import Array


def linear_recurrence(
    f: Array, u: Array, c: Array, lengths: Array | None = None, reset: Array | None = None
) -> tuple[Array, Array]:
    """c_t = f_t * c_{t-1} + u_t by an associative scan, in O(log T) sequential steps.

    Args:
      f, u: [T, B, M].
      c: the state before, [B, M].
      lengths: [B] int or None: behind an example's end, its state stands still.
      reset: [T, B] bool or None: where True, c_{t-1} is 0.

    Returns:
      (the last state [B, M], all states [T, B, M]).
    """
    if reset is not None:
        f = select(reset, jnp.zeros_like(f), f)
    if lengths is not None:
        f, u = select(within(f, lengths), (f, u), (jnp.ones_like(f), jnp.zeros_like(u)))

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * then[0], first[1] * then[0] + then[1]

    decay, driven = lax.associative_scan(compose, (f, u))
    cs = decay * jnp.broadcast_to(c[None], decay.shape) + driven
    return cs[-1], cs


def starts(reset: Array | None, lengths: Array | None) -> Array | None:
    """How many starts each example has had until every step: int32 [T, B]; None if there are none.

    Steps belong to one example if this number is the same.
    """
    if reset is None:
        return None
    if lengths is not None:
        reset = reset & within(reset, lengths)
    return jnp.cumsum(reset.astype(jnp.int32), axis=0)


def shift(
    held: Array, xs: Array, starts: Array | None, lengths: Array | None
) -> tuple[Array, Array]:
    """x_{t-d}, for a causal convolution: (what is held at the end [B, d, M], [T, B, M]).

    Args:
      held: the d inputs before xs, oldest first, [B, d, M].
      xs: [T, B, M].
      starts: see `starts`; inputs of an earlier example are 0.
    """
    at_end, late = hold_back(held, xs, lengths)
    if starts is None:
        return at_end, late
    before = jnp.zeros(held.shape[:2], starts.dtype)
    of_end, of_late = hold_back(before, starts, lengths)
    at_end = select(of_end == starts[-1][:, None], at_end, jnp.zeros_like(at_end))
    return at_end, select(of_late == starts, late, jnp.zeros_like(late))
