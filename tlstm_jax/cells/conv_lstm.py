"""The convolutional LSTM: an LSTM over maps, whose products are convolutions.

Shi, Chen, Wang, Yeung, Wong and Woo, "Convolutional LSTM Network: A Machine Learning Approach for
Precipitation Nowcasting", NIPS 2015.

    i, f = sigm(W * x_t + U * h_{t-1} + p . c_{t-1} + b) each        g = tanh(W * x_t + U * h_{t-1} + b)
    c_t = f . c_{t-1} + i . g
    o = sigm(W * x_t + U * h_{t-1} + p_o . c_t + b)
    h_t = o . tanh(c_t)                                              y_t = h_t

`*` is a convolution whose output is as large as its input, `.` elementwise; without peepholes p is
0. With no spatial axes it is the LSTM.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import (
    as_tuple,
    check_size,
    input_kernel,
    linear,
    recurrent_kernel,
    scaled_normal,
)
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.cells.maps import check_kernel_size, convolve
from tlstm_jax.cells.shapes import check_spatial_shape, map_features
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class ConvLSTM(SplitStep, DelayFree):
    """The convolutional LSTM; gates in the order i, f, g, o.

    Parameters: {"input": {"kernel" [K,..,K, I, 4M]}, "recurrent": {"kernel" [K,..,K, M, 4M],
    "bias" [4M]}}, and with peepholes {"peephole": {"kernel" [3, S_1..S_D, M]}}: p_i, p_f, p_o, for
    each location its own. U starts orthogonal for each gate, as a matrix [K^D M, M]. Inputs are
    maps [B, S_1..S_D, I]; with D = 0 also tokens.

    Attributes:
      features: M.
      spatial_shape: the sizes S_1..S_D of the maps' axes; any number of them, also none.
      kernel_size: K, odd, along every axis, of both convolutions.
      dilation: the distance of two locations that the convolution of h reads.
      peepholes: whether the gates see the memory.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(K^D I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      peephole_scale: initial standard deviation of the peepholes p; the paper's text has none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import ConvLSTM, unroll
      >>> cell = ConvLSTM(4, spatial_shape=(8, 6))
      >>> params = cell.init(jax.random.key(0), input_shape=(8, 6, 1))
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), jnp.ones((5, 2, 8, 6, 1)))
      >>> ys.shape, params["input"]["kernel"].shape
      ((5, 2, 8, 6, 4), (3, 3, 1, 16))
    """

    features: int
    _: dataclasses.KW_ONLY
    spatial_shape: tuple[int, ...] = ()
    kernel_size: int = 3
    dilation: int = 1
    peepholes: bool = False
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    peephole_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "spatial_shape", as_tuple(self.spatial_shape))
        check_size("features", self.features)
        check_spatial_shape(self.spatial_shape)
        check_kernel_size(self.kernel_size)
        check_size("dilation", self.dilation)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I, M = map_features(self, input_shape), self.features
        w, u, p = jax.random.split(key, 3)
        taps = (self.kernel_size,) * len(self.spatial_shape)
        of_x = input_kernel(w, (math.prod(taps) * I, 4 * M), self.input_scale)
        of_h = recurrent_kernel(u, M, gates=4, rows=math.prod(taps) * M)
        bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
        params = {
            "input": {"kernel": of_x.reshape(*taps, I, 4 * M)},
            "recurrent": {"kernel": of_h.reshape(*taps, M, 4 * M), "bias": bias},
        }
        if not self.peepholes:
            return params
        shape = (3, *self.spatial_shape, M)
        kernel = scaled_normal(p, shape, self.peephole_scale, fan_in=1)
        return {**params, "peephole": {"kernel": kernel}}

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        """h and c, both [B, S_1..S_D, M]."""
        shape = (batch_size, *self.spatial_shape, self.features)
        return LSTMCarry(jnp.zeros(shape, self.dtype or dtype), jnp.zeros(shape, dtype))

    def project(self, params: Params, x: Array) -> Array:
        """W * x: [.., S_1..S_D, 4M]."""
        if not self.spatial_shape:
            return linear(x, params["input"], self.dtype)
        kernel = params["input"]["kernel"]
        dtype = self.dtype or kernel.dtype
        return convolve(x.astype(dtype), kernel.astype(dtype))

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + U * h + b: [B, S_1..S_D, 4M]."""
        kernel, bias = params["recurrent"]["kernel"], params["recurrent"]["bias"]
        h = carry.hidden.astype(z.dtype)
        return z + convolve(h, kernel.astype(z.dtype), dilation=self.dilation, bias=bias)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the pre-activations."""
        c = carry.memory
        i, f, g, o = jnp.split(a.astype(c.dtype), 4, axis=-1)
        if self.peepholes:
            p_i, p_f, p_o = (
                jnp.broadcast_to(p[None], c.shape)
                for p in params["peephole"]["kernel"].astype(c.dtype)
            )
            i, f = i + p_i * c, f + p_f * c
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        o = o + p_o * c if self.peepholes else o
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
