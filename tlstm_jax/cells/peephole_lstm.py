"""The LSTM with peepholes: gates see the memory that they guard.

Gers, Schraudolph and Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", JMLR 3,
2002.

    i, f = sigm(x_t W + h_{t-1} U + p * c_{t-1} + b) each        g = tanh(x_t W + h_{t-1} U + b)
    c_t = f * c_{t-1} + i * g
    o = sigm(x_t W + h_{t-1} U + p_o * c_t + b)
    h_t = o * tanh(c_t)                                          y_t = h_t
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import check_size, linear, scaled_normal, times
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class PeepholeLSTM(SplitStep, DelayFree):
    """The peephole LSTM; gates in the order i, f, g, o.

    Parameters: the LSTM's, and {"peephole": {"kernel" [3, M]}}: p_i, p_f, p_o.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      peephole_scale: initial standard deviation of the peepholes p.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import PeepholeLSTM
      >>> cell = PeepholeLSTM(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["peephole"]["kernel"].shape
      ((2, 4), (3, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    peephole_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        gates, peephole = jax.random.split(key)
        kernel = scaled_normal(peephole, (3, M), self.peephole_scale, fan_in=1)
        return {
            **init_gates(gates, I, M, self.input_scale, self.forget_bias),
            "peephole": {"kernel": kernel},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 4M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + h U + b: [B, 4M]."""
        return z + linear(carry.hidden, params["recurrent"], z.dtype)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the pre-activations."""
        p_i, p_f, p_o = params["peephole"]["kernel"]
        c = carry.memory
        i, f, g, o = jnp.split(a.astype(c.dtype), 4, axis=-1)
        i, f = jax.nn.sigmoid(i + times(c, p_i)), jax.nn.sigmoid(f + times(c, p_f))
        c = f * c + i * jnp.tanh(g)
        h = (jax.nn.sigmoid(o + times(c, p_o)) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
