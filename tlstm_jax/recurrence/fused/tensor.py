"""The tensorized LSTM as the fused engine's kernels run it: a row for every location.

The equations are those of `cells/tensorized/lstm.py`. Rows are moved by products with matrices of
zeros and ones: S_k h is the location p - r + k of every row, zero outside the tensor; N_k c the
same with clipped coordinates. The input corner is not a row: what it adds to a_t is computed before
the loop, for all t at once.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.cells.tensorized.shared import output_corner
from tlstm_jax.recurrence.fused import kernels
from tlstm_jax.recurrence.fused.blocks import RefusedError, fill_padding
from tlstm_jax.recurrence.fused.plan import Plan, Rows, check_features, check_weights, pad_weights
from tlstm_jax.typing import Array, Params

LOCATIONS = 64
ROOM = 144 * 1024  # the matrices that move rows need some, too


def tensor_plan(cell: TensorizedLSTM, params: Params, batch_size: int, z: Array) -> Plan:
    """The plan of a tensorized LSTM; z: one step's projected inputs.

    Raises:
      RefusedError: layer normalization, or sizes that are too large.
    """
    M = cell.features
    check_features(M, cell)
    rows = Rows(batch_size, cell.tensor_shape)
    if rows.locations > LOCATIONS:
        raise RefusedError(f"TensorizedLSTM has {rows.locations} locations, over {LOCATIONS}")
    if cell.normalization == "layer":
        raise RefusedError("TensorizedLSTM has normalization 'layer', not None or 'channel'")
    outside, clipped = _reads(cell.tensor_shape, cell.kernel_size)
    moves = np.stack([_on_rows(m, rows) for m in outside])
    near = [_on_rows(m, rows) for m in clipped if not _is_identity(m)]
    taps = [k for k, m in enumerate(moves) if m.any()]  # the others read zeros everywhere
    moved = tuple(k in taps and not _is_identity(outside[k]) for k in range(len(moves)))

    widths = [M] * 4 + ([len(moves)] if cell.memory_convolution else [])
    kernel = params["cross_layer"]["kernel"].astype(z.dtype).reshape(len(moves), M, -1)
    parts = jnp.split(kernel, np.cumsum(widths)[:-1], axis=-1)
    weights = {n: pad_weights(part) for n, part in enumerate(parts)}
    check_weights(weights, cell)
    products = tuple((k, n) for k in taps for n in range(len(widths)))

    constants = [jnp.asarray(m) for m in near] if cell.memory_convolution else []
    if cell.normalization is not None:
        for name in ("scale", "bias"):
            leaf = params["norm"][name]
            leaf = jnp.broadcast_to(leaf[None], (rows.examples, *leaf.shape))
            constants.append(Rows(rows.examples, cell.tensor_shape).pack(leaf)[0])

    def update(
        constants: list[Array], extras: list[Array], state: list[Array], a: list[Array]
    ) -> tuple[list[Array], Array]:
        H, C = state
        (awake,) = extras
        g, i, f, o, *q = (x.astype(C.dtype) for x in a)
        rest = iter(constants)
        C_conv = C
        if q:
            at = [None if _is_identity(m) else next(rest) for m in clipped]
            C_conv = _convolve(C, q[0], at)
        norm = list(rest)
        C = jnp.tanh(g) * jax.nn.sigmoid(i) + C_conv * jax.nn.sigmoid(f)
        awake = jnp.broadcast_to(awake[:, None], C.shape) > 0
        C = jnp.where(awake, C, jnp.zeros_like(C))
        exposed = _normalize(C, *norm, M, cell.epsilon) if norm else C
        new = jnp.where(awake, jnp.tanh(exposed) * jax.nn.sigmoid(o), jnp.zeros_like(C))
        new = new.astype(H.dtype)
        return [new, C], new

    step = kernels.Step(update, 0, products, moved, ROOM)
    return Plan(step, rows, widths, constants, jnp.asarray(moves), weights, jax.vmap(output_corner))


def ages(
    cell: TensorizedLSTM, age: Array, num_steps: int, reset: Array | None, mask: Array | None
) -> tuple[Array, Array]:
    """The age [T, B] at every step, and the one after the last [B]; reset, mask: [T, B] or None."""
    shape = (num_steps, *age.shape)
    mask = jnp.ones(shape, bool) if mask is None else mask
    done = jnp.cumsum(mask.astype(jnp.int32), axis=0)
    before = done - mask.astype(jnp.int32)  # steps that the example has taken
    since, first = before + jnp.broadcast_to(age[None], shape), jnp.full(shape, -1, jnp.int32)
    if reset is not None:
        # At the latest reset, of those that took place.
        first = lax.cummax(jnp.where(reset & mask, before, first), axis=0)
        since = jnp.where(first >= 0, before - first, since)
    since = since.astype(age.dtype)
    last = since[-1] + mask[-1].astype(age.dtype)
    return jnp.minimum(since, cell.delay), jnp.minimum(last, cell.delay)


def _reads(shape: tuple[int, ...], K: int) -> tuple[np.ndarray, np.ndarray]:
    """Which location [K^D, P, P] each one reads, by taps: zeros outside the tensor, and clipped."""
    P, sizes = int(np.prod(shape)), np.array(shape)
    at = convolution.taps(shape, K).reshape(P, -1, len(shape))
    inside = ((at >= 0) & (at < sizes)).all(-1)
    place = np.ravel_multi_index(np.moveaxis(np.clip(at, 0, sizes - 1), -1, 0), shape)
    clipped = (place[..., None] == np.arange(P)).astype(np.float32).transpose(1, 0, 2)
    return clipped * inside.T[..., None], clipped


def _on_rows(move: np.ndarray, rows: Rows) -> np.ndarray:
    """A matrix over locations as one over the rows of a program."""
    missing = rows.padded - rows.locations
    return np.kron(np.eye(rows.examples, dtype=np.float32), np.pad(move, ((0, missing),) * 2))


def _is_identity(move: np.ndarray) -> bool:
    return bool((move == np.eye(len(move))).all())


def _convolve(C: Array, q: Array, near: list[Array | None]) -> Array:
    """C^conv = sum_k Q[k] N_k C, with Q every row's softmax over taps; None is the identity.

    The memory is moved before it is weighted: if a product's result is an operand of another,
    Triton has every warp compute all of it.
    """
    q = fill_padding(q, len(near), -1e30)
    Q = jnp.exp(q - lax.stop_gradient(jnp.max(q, axis=1))[:, None])
    Q = Q / jnp.broadcast_to(jnp.sum(Q, axis=1)[:, None], Q.shape)
    column = lax.broadcasted_iota(jnp.int32, Q.shape, 1)
    total = jnp.zeros_like(C)
    for k, move in enumerate(near):
        own = jnp.sum(jnp.where(column == k, Q, jnp.zeros_like(Q)), axis=1)
        moved = C
        if move is not None:
            # Otherwise the memory would be rounded at every step.
            precise = functools.partial(jnp.dot, precision=lax.Precision.HIGHEST)
            moved = precise(move, C.astype(move.dtype)).astype(C.dtype)
        total += jnp.broadcast_to(own[:, None], C.shape) * moved
    return total


def _normalize(C: Array, scale: Array, bias: Array, M: int, epsilon: float) -> Array:
    """Channel normalization of [R, M'], of which M are channels."""

    def mean(x: Array) -> Array:
        return jnp.broadcast_to((jnp.sum(fill_padding(x, M, 0.0), axis=1) / M)[:, None], x.shape)

    centred = C - mean(C)
    variance = mean(jnp.square(centred))
    return centred * lax.rsqrt(variance + epsilon) * scale.astype(C.dtype) + bias.astype(C.dtype)
