"""Recurrences that are linear in the state, for all steps at once."""

import jax.numpy as jnp
from jax import lax

from tlstm_jax.devices import platforms
from tlstm_jax.recurrence.delays import hold_back
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask
from tlstm_jax.typing import Array


def linear_recurrence(
    f: Array,
    u: Array,
    c: Array,
    lengths: Array | None = None,
    reset: Array | None = None,
    *,
    pairs: bool = False,
) -> tuple[Array, Array]:
    """c_t = f_t * c_{t-1} + u_t by an associative scan, in O(log T) sequential steps.

    On a CPU it is a loop over time, which is faster there.

    Args:
      f, u: [T, B, M].
      c: the state before, [B, M].
      lengths: [B] int or None: beyond an example's length, its state is kept.
      reset: [T, B] bool or None: where True, c_{t-1} is 0.
      pairs: whether all are complex numbers, [Re, Im] along M.

    Returns:
      (the last state [B, M], all states [T, B, M]).
    """
    times = complex_times if pairs else jnp.multiply
    if reset is not None:
        f = select(reset, jnp.zeros_like(f), f)
    if lengths is not None:
        unit = jnp.ones_like(f).at[..., f.shape[-1] // 2 :].set(0) if pairs else jnp.ones_like(f)
        f, u = select(sequence_mask(f, lengths), (f, u), (unit, jnp.zeros_like(u)))

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return times(first[0], then[0]), times(first[1], then[0]) + then[1]

    def step(c: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        c = times(at[0], c) + at[1]
        return c, c

    def compute(in_parallel: bool, f: Array, u: Array, c: Array) -> tuple[Array, Array]:
        if not in_parallel:
            return lax.scan(step, c, (f, u))
        decay, driven = lax.associative_scan(compose, (f, u))
        cs = times(decay, jnp.broadcast_to(c[None], decay.shape)) + driven
        return cs[-1], cs

    return platforms.choose_linear(compute, f, u, c)


def complex_times(a: Array, b: Array) -> Array:
    """The products of complex numbers, [Re, Im] along the last axis."""
    (a, a_imag), (b, b_imag) = (jnp.split(x, 2, axis=-1) for x in (a, b))
    return jnp.concatenate([a * b - a_imag * b_imag, a * b_imag + a_imag * b], axis=-1)


def segment_ids(reset: Array | None, lengths: Array | None) -> Array | None:
    """Which example of its row each step belongs to: int32 [T, B], one more after every reset.

    None where nothing is reset: each row is one example.
    """
    if reset is None:
        return None
    if lengths is not None:
        reset = reset & sequence_mask(reset, lengths)
    return jnp.cumsum(reset.astype(jnp.int32), axis=0)


def shift(
    held: Array, xs: Array, segments: Array | None, lengths: Array | None
) -> tuple[Array, Array]:
    """x_{t-d}, for a causal convolution: (what is held at the end [B, d, M], [T, B, M]).

    Args:
      held: the d inputs before xs, oldest first, [B, d, M].
      xs: [T, B, M].
      segments: see `segment_ids`; inputs of an earlier example are 0.
    """
    at_end, late = hold_back(held, xs, lengths)
    if segments is None:
        return at_end, late
    before = jnp.zeros(held.shape[:2], segments.dtype)
    of_end, of_late = hold_back(before, segments, lengths)
    at_end = select(of_end == segments[-1][:, None], at_end, jnp.zeros_like(at_end))
    return at_end, select(of_late == segments, late, jnp.zeros_like(late))
