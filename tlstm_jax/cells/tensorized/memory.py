"""What the tensorized LSTM does to its memory cells: their convolution and their normalization.

Source: He et al., "Wider and Deeper, Cheaper and Faster: Tensorized LSTMs for Sequence Learning",
NIPS 2017 (arXiv 1711.01577). Letters as in `convolution`.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tlstm_jax.cells.tensorized.convolution import sum_dtype, taps
from tlstm_jax.devices import platforms
from tlstm_jax.devices.platforms import Choices
from tlstm_jax.typing import Array

FEW_TAPS = 9  # each is an operation of its own: with 27, XLA takes minutes for a GPU


@jax.custom_jvp
def softmax_over_taps(q: Array) -> Array:
    """softmax over the last axis, [.., K^D]."""
    return platforms.choose(_softmax, q)


@softmax_over_taps.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """dQ = Q * (dq - sum(Q * dq))."""
    # Named, so that it is saved whichever form made it.
    Q = checkpoint_name(platforms.choose(_softmax, *primals), "softmax_over_taps")
    weighted = Q * tangents[0]
    return Q, weighted - Q * platforms.choose(_sum, weighted)


def _by_tap(choices: Choices, q: Array) -> bool:
    return choices.taps == "shifts" and q.shape[-1] <= FEW_TAPS


def _sum(choices: Choices, x: Array) -> Array:
    if not _by_tap(choices, x):
        return jnp.sum(x, axis=-1, keepdims=True)
    return functools.reduce(jnp.add, jnp.split(x, x.shape[-1], axis=-1))


def _softmax(choices: Choices, q: Array) -> Array:
    if not _by_tap(choices, q):
        return jax.nn.softmax(q)
    q = jnp.split(q, q.shape[-1], axis=-1)
    largest = functools.reduce(jnp.maximum, q)
    e = [jnp.exp(x - largest) for x in q]
    total = functools.reduce(jnp.add, e)
    return jnp.concatenate([x / total for x in e], axis=-1)


def memory_cell_convolution(memory: Array, q: Array) -> Array:
    """C^conv(p) = sum_k Q(p)[k] C_{t-1}(clip(p - r + k)): each location's own kernel.

    clip repeats the border value, so that no memory is lost at the edges.

    Args:
      memory: C_{t-1} [B, P_1..P_D, M].
      q: Q_t [B, P_1..P_D, K^D], taps in row-major order, of the same dtype.

    Returns:
      [B, P_1..P_D, M].
    """
    return platforms.choose(_memory_cell_convolution, memory, q)


def _memory_cell_convolution(choices: Choices, memory: Array, q: Array) -> Array:
    return (_mix_by_shifts if _by_tap(choices, q) else _mix_by_matrix)(memory, q)


def _mix_by_shifts(memory: Array, q: Array) -> Array:
    """A sum of shifted copies, all of it elementwise."""
    shape = memory.shape[1:-1]
    K = round(q.shape[-1] ** (1 / len(shape)))
    r = K // 2
    margins = ((0, 0), *((r, K - 1 - r),) * len(shape), (0, 0))
    padded = jnp.pad(memory, margins, mode="edge")
    parts = []
    for k, tap in enumerate(itertools.product(range(K), repeat=len(shape))):
        window = (slice(first, first + n) for first, n in zip(tap, shape, strict=True))
        parts.append(q[..., k : k + 1] * padded[(slice(None), *window)])
    return functools.reduce(jnp.add, parts)


def _mix_by_matrix(memory: Array, q: Array) -> Array:
    """Each example's kernels as one matrix over locations: on a CPU faster than shifted copies."""
    B, *shape, M = memory.shape
    D, N = len(shape), math.prod(shape)
    K = round(q.shape[-1] ** (1 / D))
    near = np.clip(taps(tuple(shape), K), 0, np.array(shape) - 1).reshape(N, -1, D)
    near = np.ravel_multi_index(np.moveaxis(near, -1, 0), shape)  # [N, K^D]: the location read
    reads = jnp.asarray(near[..., None] == np.arange(N), q.dtype)  # [N, K^D, N]
    # An accelerator's default precision would round the memory at every step.
    product = functools.partial(
        jnp.einsum, precision=lax.Precision.HIGHEST, preferred_element_type=sum_dtype(q.dtype)
    )
    mixing = product("bpk,pkn->bpn", q.reshape(B, N, -1), reads).astype(q.dtype)
    out = product("bpn,bnm->bpm", mixing, memory.reshape(B, N, M))
    return out.astype(memory.dtype).reshape(memory.shape)


def normalize(z: Array, scale: Array, bias: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """(z - mean) / sqrt(var + epsilon) * scale + bias, mean and biased variance over `axes`.

    Args:
      z: [B, P_1..P_D, M]. Channel normalization: axes (-1,); layer normalization: all but the
        first.
      scale, bias: z.shape[1:].
    """
    mean = jnp.mean(z, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(z - mean), axis=axes, keepdims=True)
    return (z - mean) * lax.rsqrt(variance + epsilon) * scale[None] + bias[None]
