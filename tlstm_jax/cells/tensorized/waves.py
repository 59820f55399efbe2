"""The tensorized cells one token at a time: every location is computed once, in waves.

Location p works on the token of step t at step t + u(p), with u(p) = max_d floor(p_d / r). It reads
only locations of the waves u - 1, u and u + 1, which worked on the tokens t, t - 1 and t - 2 in the
step before. So y_t is computed from x_t by the waves 0..L-1 in order, if every location's states on
the last two tokens are kept. For D >= 2 a wave is a shell of the tensor, not a slab.

A *table* [B, 3N + 2, M] lays one state out for gathering: N locations (row-major) on this token, N
on the last, N on the one before, the projected input, and zero.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from tlstm_jax.cells.linear import add_bias
from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.typing import Array, Params


class Wave(NamedTuple):
    """The n locations of one wave, and the table rows that they read; static int arrays."""

    locations: np.ndarray  # [n]
    reads: (
        np.ndarray
    )  # [n, K^D]: the hidden states under the taps; outside the tensor, corner or zero
    neighbours: np.ndarray  # [n, K^D]: the memories under the taps, clipped into the tensor
    own: np.ndarray  # [n]: the location's own memory on the last token


def schedule(tensor_shape: tuple[int, ...], kernel_size: int) -> list[Wave]:
    """The waves 0..L-1; each location is in exactly one."""
    shape = np.array(tensor_shape)
    N = math.prod(tensor_shape)
    u = convolution.wave_index(tensor_shape, kernel_size)  # [P..]
    coordinates = convolution.taps(tensor_shape, kernel_size).reshape(N, -1, len(shape))

    def row(at: np.ndarray, reader: np.ndarray) -> np.ndarray:
        """Table rows of coordinates [N, K^D, D] in the tensor, for readers in the waves [N, 1]."""
        token = (
            1 + u[tuple(np.moveaxis(at, -1, 0))] - reader
        )  # 0: this token, 1: the last, 2: before
        return token * N + np.ravel_multi_index(np.moveaxis(at, -1, 0), tensor_shape)

    reader = u.reshape(N, 1)
    neighbours = row(np.clip(coordinates, 0, shape - 1), reader)
    inside = np.all((coordinates >= 0) & (coordinates < shape), axis=-1)
    corner = np.all(coordinates == -1, axis=-1)
    reads = np.where(inside, neighbours, np.where(corner, 3 * N, 3 * N + 1))
    waves = [np.flatnonzero(u.reshape(N) == i) for i in range(int(u.max()) + 1)]
    return [Wave(at, reads[at], neighbours[at], N + at) for at in waves]


def table(tokens: Array, corner: Array | None = None) -> Array:
    """[B, 3N + 2, M] from the states on the last two tokens [B, 2, N, M] and X'_t [B, M]."""
    B, _, N, M = tokens.shape
    zeros = jnp.zeros((B, N, M), tokens.dtype)
    corner = zeros[:, :1] if corner is None else corner.astype(tokens.dtype)[:, None]
    return jnp.concatenate([zeros, tokens.reshape(B, 2 * N, M), corner, zeros[:, :1]], axis=1)


def mix(cross_layer: Params, hidden: Array, wave: Wave) -> Array:
    """A_t at the wave's locations: [B, n, Z] from the table of hidden states."""
    kernel = cross_layer["kernel"].astype(hidden.dtype)
    read = hidden[:, wave.reads]  # [B, n, K^D, M]
    a = lax.dot_general(
        read.reshape(*read.shape[:2], -1),
        kernel.reshape(-1, kernel.shape[-1]),
        (((2,), (0,)), ((), ())),
        preferred_element_type=convolution.sum_dtype(hidden.dtype),
    )
    return add_bias(a.astype(hidden.dtype), cross_layer["bias"])


def tokens(table: Array) -> Array:
    """The states on the token just computed and on the one before it: [B, 2, N, M]."""
    B, rows, M = table.shape
    N = (rows - 2) // 3
    return table[:, : 2 * N].reshape(B, 2, N, M)


def output(table: Array) -> Array:
    """The output corner's state on this token: [B, M]."""
    return table[:, (table.shape[1] - 2) // 3 - 1]
