"""What counts as work: products of weights at real inputs, on taps inside the tensor."""

import numpy as np

from tlstm_jax.cells.tensorized import convolution

TRAINING = 3  # forward, gradient by the state, gradient by the weights


def lstm_flops(B: int, M: int, T: int, layers: int) -> int:
    """Forward: every layer's input and state, both M wide, times M x 4M."""
    return T * B * layers * 2 * (2 * M) * (4 * M)


def tlstm_flops(B: int, M: int, T: int, shape: tuple[int, ...], kernel_size: int) -> int:
    """Forward: the projection of M wide inputs, and at each location the taps that it can read."""
    gates = 4 * M + kernel_size ** len(shape)
    return T * B * (2 * M * M + inner_taps(shape, kernel_size) * 2 * M * gates)


def inner_taps(shape: tuple[int, ...], kernel_size: int) -> int:
    """Taps of all locations that lie inside the tensor or at the input's corner."""
    at = convolution.taps(shape, kernel_size)
    inside = np.all((at >= 0) & (at < np.array(shape)), axis=-1)
    return int(np.sum(inside | np.all(at == -1, axis=-1)))
