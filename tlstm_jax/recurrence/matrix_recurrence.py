"""Recurrences of a matrix for each head, linear in it: a loop, chunks, and one step.

    S_t = diag(w_t) S_{t-1} + e_t^T (r_t S_{t-1}) + k_t^T v_t           S [K, V]
    y_t = q_t S_t

w_t = exp(log_decay_t) <= 1, for each row of S or one for all of them; e and r, erasing what r reads,
are of the delta rule. All models of `models.matrix_recurrence` are of this form.

In chunks of C steps (Yang, Wang, Shen, Panda and Kim, "Gated Linear Attention Transformers with
Hardware-Efficient Training", ICML 2024; Yang, Wang, Zhang, Shen and Kim, "Parallelizing Linear
Transformers with the Delta Rule over Sequence Length", NeurIPS 2024) what steps of one chunk do to
each other are products of [C, C] matrices, and only the chunks' states are sequential. With
W(t, s) = w_{s+1} .. w_t, and S the state before the chunk, p_t = r_t S_{t-1} solves

    p_t = (r_t W(t-1, 0)) S + sum_{s<t} (r_t W(t-1, s) k_s^T) v_s + (r_t W(t-1, s) e_s^T) p_s

a triangular system, and then y_t is a sum of the same form. Every W is the exponential of a sum of
log decays, never a quotient, so that nothing overflows however long the sequence is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask
from tlstm_jax.typing import Array


class Terms(NamedTuple):
    """What a step does to the matrices of a batch, or, with T in front, what all steps do.

    Attributes:
      q: [.., B, H, K].
      k: [.., B, H, K].
      v: [.., B, H, V].
      log_decay: <= 0, [.., B, H, K], or [.., B, H, 1] where all rows decay alike.
      erase: e, [.., B, H, K], or None.
      read: r, [.., B, H, K], or None like `erase`.
    """

    q: Array
    k: Array
    v: Array
    log_decay: Array
    erase: Array | None = None
    read: Array | None = None


def matrix_recurrence(
    terms: Terms,
    S: Array,
    lengths: Array | None = None,
    reset: Array | None = None,
    *,
    chunk_size: int = 16,
) -> tuple[Array, Array]:
    """All outputs of T steps, and the matrices behind them.

    It computes in the dtype of S, whatever that of the terms is.

    Args:
      terms: of all steps.
      S: the matrices before, [B, H, K, V].
      lengths: [B] int or None: beyond an example's length its matrices are kept.
      reset: [T, B] bool or None: where True, S_{t-1} is 0.
      chunk_size: C; 1 is a loop over the steps.

    Returns:
      (the last S, y [T, B, H, V]).
    """
    terms = Terms(*(None if a is None else a.astype(S.dtype) for a in terms))
    if lengths is not None:
        within = sequence_mask(terms.q, lengths)
        still = jax.tree.map(jnp.zeros_like, terms)
        terms = select(within, terms, still)
        reset = None if reset is None else reset & within
    if reset is not None:  # where the decay does not matter, even if it is infinite
        log_decay = select(reset, jnp.zeros_like(terms.log_decay), terms.log_decay)
        terms = terms._replace(log_decay=log_decay)
    if chunk_size == 1:
        return _loop(terms, S, reset)
    return _chunks(terms, S, reset, chunk_size)


def matrix_step(terms: Terms, S: Array) -> tuple[Array, Array]:
    """One step: (the next S [B, H, K, V], y [B, H, V]), in the dtype of S."""
    q, k, v, log_decay, e, r = (None if a is None else a.astype(S.dtype) for a in terms)
    kept = jnp.exp(log_decay)[..., None] * S
    if e is not None:
        kept = kept + e[..., None] * jnp.einsum("bhk,bhkv->bhv", r, S)[..., None, :]
    S = kept + k[..., None] * v[..., None, :]
    return S, jnp.einsum("bhk,bhkv->bhv", q, S)


def _loop(terms: Terms, S: Array, reset: Array | None) -> tuple[Array, Array]:
    def step(S: Array, at: tuple[Terms, Array | None]) -> tuple[Array, Array]:
        terms, anew = at
        if anew is not None:
            S = select(anew, jnp.zeros_like(S), S)
        return matrix_step(terms, S)

    return lax.scan(step, S, (terms, reset))


def _chunks(terms: Terms, S: Array, reset: Array | None, C: int) -> tuple[Array, Array]:
    T = len(terms.q)
    N = -(-T // C)

    def chunked(a: Array) -> Array:
        """[T, B, ..] to [N, B, .., C, last], steps that do nothing behind the last one."""
        a = jnp.pad(a, [(0, N * C - T)] + [(0, 0)] * (a.ndim - 1))
        return jnp.moveaxis(a.reshape(N, C, *a.shape[1:]), 1, -2)

    terms = jax.tree.map(chunked, terms)
    if reset is not None:
        reset = chunked(reset[..., None])[..., 0]  # [N, B, C]
    body = jax.checkpoint(_chunk, prevent_cse=False)  # its [C, C, K] are not kept
    S, ys = lax.scan(lambda S, at: body(*at, S), S, (terms, reset))  # [N, B, H, C, V]
    ys = jnp.moveaxis(ys, -2, 1)
    return S, ys.reshape(N * C, *ys.shape[2:])[:T]


def _chunk(terms: Terms, reset: Array | None, S: Array) -> tuple[Array, Array]:
    """(S after a chunk, its ys [B, H, C, V]); all terms are [B, H, C, ..]."""
    q, k, v, log_decay, e, r = terms
    C = q.shape[-2]
    each = jnp.repeat(log_decay[..., None, :], C, axis=-2)  # [B, H, t, s, K or 1]
    t, s = (lax.broadcasted_iota(jnp.int32, each.shape, axis) for axis in (2, 3))
    zero = jnp.zeros_like(each)
    # Of sums over the steps from s + 1 to t, which are not made as differences of two sums.
    sums = jnp.cumsum(jnp.where(s < t, each, zero), axis=-3)
    decay = jnp.where(s <= t, jnp.exp(sums), zero)  # W(t, s)
    from_start = jnp.exp(jnp.cumsum(log_decay, axis=-2))  # W(t, 0), [B, H, C, K or 1]
    to_end = decay[..., -1, :, :]  # W(C, s)
    if reset is not None:
        segment = jnp.cumsum(reset.astype(jnp.int32), axis=-1)  # [B, C]
        alike = segment[:, :, None] == segment[:, None]
        decay = decay * alike[:, None, :, :, None].astype(decay.dtype)
        first = (segment == 0)[:, None, :, None].astype(decay.dtype)
        from_start = from_start * first
        to_end = to_end * (segment == segment[:, -1:])[:, None, :, None].astype(decay.dtype)
        all_first = first[:, :, -1:]  # [B, 1, 1, 1]

    def between(a: Array, b: Array, decay: Array) -> Array:
        """[B, H, t, s]: sum over K of a_t W(t, s) b_s."""
        if decay.shape[-1] == 1:
            return jnp.einsum("bhtk,bhsk->bhts", a, b) * decay[..., 0]
        return jnp.einsum("bhtk,bhsk,bhtsk->bhts", a, b, decay)

    ys = jnp.einsum("bhtk,bhkv->bhtv", q * from_start, S)
    ys = ys + jnp.einsum("bhts,bhsv->bhtv", between(q, k, decay), v)
    end = jnp.exp(jnp.sum(log_decay, axis=-2))[..., None] * S
    if reset is not None:
        end = end * all_first
    end = end + jnp.einsum("bhsk,bhsv->bhkv", k * to_end, v)
    if e is None:
        return end, ys

    def late(a: Array, axis: int) -> Array:
        """One step later: at t what was at t - 1, and 0 at the chunk's first."""
        a = jnp.moveaxis(a, axis, 0)
        return jnp.moveaxis(jnp.concatenate([jnp.zeros_like(a[:1]), a[:-1]]), 0, axis)

    before = late(decay, -3)  # W(t - 1, s)
    start = late(from_start, -2).at[..., 0, :].set(1)  # W(t - 1, 0)
    if reset is not None:
        before = before * alike[:, None, :, :, None].astype(decay.dtype)
        start = start * first
    p = jnp.einsum("bhtk,bhkv->bhtv", r * start, S)
    p = p + jnp.einsum("bhts,bhsv->bhtv", between(r, k, before), v)
    p = jnp.einsum("bhts,bhsv->bhtv", _inverse(-between(r, e, before)), p)
    ys = ys + jnp.einsum("bhts,bhsv->bhtv", between(q, e, decay), p)
    return end + jnp.einsum("bhsk,bhsv->bhkv", e * to_end, p), ys


def _inverse(below: Array) -> Array:
    """(1 + below)^-1, [.., C, C] of zeros but below the diagonal, in log2 C pairs of products.

    Of blocks twice as large it is [[A, 0], [B, D]]^-1 = [[A^-1, 0], [-D^-1 B A^-1, D^-1]], as stable
    as substitution. XLA's triangular_solve is a library's call for each matrix, which can wait for
    ever on a CPU where a training with a vmap over it is compiled.
    """
    C = below.shape[-1]
    last = below.ndim - 1
    row, column = (lax.broadcasted_iota(jnp.int32, below.shape, n) for n in (last - 1, last))
    inverse = (row == column).astype(below.dtype)
    size = 1
    while size < C:
        left_of_it = (row // size % 2 == 1) & (column // size == row // size - 1)
        B = below * left_of_it.astype(below.dtype)
        inverse = inverse - inverse @ B @ inverse
        size *= 2
    return inverse
