"""The multiplicative LSTM: every input has its own transition.

Krause, Lu, Murray and Renals, "Multiplicative LSTM for Sequence Modelling", ICLR Workshop 2017.

    m = (x_t W_m) * (h_{t-1} U_m)
    i, f, o = sigm(x_t W + m U + b) each        g = tanh(x_t W + m U + b)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)                         y_t = h_t
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class MultiplicativeLSTM(DelayFree):
    """The mLSTM; gates in the order i, f, g, o, and m of width M.

    Parameters: the LSTM's (its U multiplies m), and {"input_factor": {"kernel" [I, M]},
    "recurrent_factor": {"kernel" [M, M]}}. Its two products with the state follow one another, so
    it has no project / mix / update.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MultiplicativeLSTM
      >>> cell = MultiplicativeLSTM(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["recurrent_factor"]["kernel"].shape
      ((2, 4), (4, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        gates, w, u = jax.random.split(key, 3)
        return {
            **init_gates(gates, I, M, self.input_scale, self.forget_bias),
            "input_factor": {"kernel": input_kernel(w, (I, M), self.input_scale)},
            "recurrent_factor": {"kernel": recurrent_kernel(u, M, gates=1)},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def step(self, params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        xW_m = linear(x, params["input_factor"], self.dtype)
        m = xW_m * linear(carry.hidden, params["recurrent_factor"], xW_m.dtype)
        a = linear(x, params["input"], self.dtype) + linear(m, params["recurrent"], m.dtype)
        i, f, g, o = jnp.split(a.astype(carry.memory.dtype), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
