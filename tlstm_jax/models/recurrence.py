"""Recurrences that are linear in the state, for all steps at once."""

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.typing import Array
from tlstm_jax.unroll import within


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
        f = jnp.where(_over(reset, f), jnp.zeros_like(f), f)
    if lengths is not None:
        real = _over(within(f, lengths), f)
        f, u = jnp.where(real, f, jnp.ones_like(f)), jnp.where(real, u, jnp.zeros_like(u))

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * then[0], first[1] * then[0] + then[1]

    decay, driven = lax.associative_scan(compose, (f, u))
    cs = decay * jnp.broadcast_to(c[None], decay.shape) + driven
    return cs[-1], cs


def _over(mask: Array, xs: Array) -> Array:
    return jnp.broadcast_to(mask[..., None], xs.shape)


def starts(reset: Array | None, lengths: Array | None, num_steps: int) -> Array | None:
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
    (T, B, _), d = xs.shape, held.shape[1]
    queue = jnp.concatenate([jnp.swapaxes(held, 0, 1), xs])
    ends = jnp.full((B,), T) if lengths is None else jnp.clip(lengths, 0, T)

    def last(queue: Array, end: Array) -> Array:
        return lax.dynamic_slice_in_dim(queue, end, d)

    at_end = jax.vmap(last, in_axes=(1, 0))(queue, ends)
    if starts is None:
        return at_end, queue[:T]
    of_queue = jnp.concatenate([jnp.zeros((d, B), jnp.int32), starts])
    same = of_queue[:T] == starts
    late = jnp.where(_over(same, xs), queue[:T], jnp.zeros_like(xs))
    same = jax.vmap(last, in_axes=(1, 0))(of_queue, ends) == starts[-1][:, None]
    return jnp.where(_over(same, at_end), at_end, jnp.zeros_like(at_end)), late
