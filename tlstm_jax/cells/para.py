"""ParaGRU and ParaLSTM: recurrent weights on the diagonal, so that training can be in parallel.

Danieli, Rodriguez, Sarabia, Suau and Zappella, "ParaRNN: Unlocking Parallel Training of Nonlinear
RNNs for Large Language Models", 2025. All states are elementwise in each other:

    ParaGRU   z, r = sigm(x_t W + u * h_{t-1} + b) each
              n = tanh(x_t W_n + u_n * (r * h_{t-1}) + b_n)
              h_t = (1 - z) * h_{t-1} + z * n                               y_t = h_t

    ParaLSTM  f = sigm(x_t W_f + u_f * h_{t-1} + p_f * c_{t-1} + b_f)
              g = tanh(x_t W_g + u_g * h_{t-1} + b_g)
              c_t = f * c_{t-1} + (1 - f) * g
              o = sigm(x_t W_o + u_o * h_{t-1} + p_o * c_t + b_o)
              h_t = o * tanh(c_t)                                           y_t = h_t
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.gru import GRUCarry
from tlstm_jax.cells.linear import check_size, input_kernel, linear, scaled_normal, times
from tlstm_jax.cells.lstm import LSTMCarry, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class _Diagonal(SplitStep, DelayFree):
    """A cell with diagonal recurrent weights."""

    elementwise: ClassVar[bool] = True  # of `recurrence.parallel`
    features: int
    input_scale: float | None
    dtype: Any

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def project(self, params: Params, x: Array) -> Array:
        """x W + b: [.., 3M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: GRUCarry | LSTMCarry, z: Array) -> Array:
        """z: no matrix meets the state."""
        del params, carry
        return z

    def _init(self, key: Array, input_shape: InputShape, **rows: int) -> Params:
        """{"input": kernel and bias, name: {"kernel" [n, M]}} for each of `rows`, these N(0, 1 / 4)."""
        I, M = vector_size(self, input_shape), self.features
        w, *keys = jax.random.split(key, 1 + len(rows))
        params = {
            "input": {
                "kernel": input_kernel(w, (I, 3 * M), self.input_scale),
                "bias": jnp.zeros((3 * M,), jnp.float32),
            }
        }
        for k, (name, n) in zip(keys, rows.items(), strict=True):
            params[name] = {"kernel": scaled_normal(k, (n, M), 0.5, fan_in=1)}
        return params


@dataclasses.dataclass(frozen=True)
class ParaGRU(_Diagonal):
    """A GRU, reset before, with diagonal recurrent weights; gates in the order z, r, n.

    Parameters: {"input": {"kernel" [I, 3M], "bias" [3M]}, "recurrent": {"kernel" [3, M]}: u}.

    Attributes:
      features: M.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import ParaGRU, unroll
      >>> cell = ParaGRU(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, ys = unroll(cell, params, cell.init_carry(batch_size=2), jnp.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent"]["kernel"].shape
      ((5, 2, 4), (3, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    input_scale: float | None = None
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> Params:
        return self._init(key, input_shape, recurrent=3)

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.features), dtype))

    def update(self, params: Params, carry: GRUCarry, a: Array) -> tuple[GRUCarry, Array]:
        """h_t from x_t W + b."""
        a_z, a_r, a_n = jnp.split(a, 3, axis=-1)
        u_z, u_r, u_n = params["recurrent"]["kernel"]
        h = carry.hidden.astype(a_z.dtype)
        z = jax.nn.sigmoid(a_z + times(h, u_z))
        r = jax.nn.sigmoid(a_r + times(h, u_r))
        n = jnp.tanh(a_n + times(r * h, u_n))
        y = (1 - z) * h + z * n
        return GRUCarry(y.astype(carry.hidden.dtype)), y


@dataclasses.dataclass(frozen=True)
class ParaLSTM(_Diagonal):
    """An LSTM of coupled gates with diagonal recurrent weights; gates in the order f, g, o.

    Parameters: {"input": {"kernel" [I, 3M], "bias" [3M]}, "recurrent": {"kernel" [3, M]}: u,
    "peephole": {"kernel" [2, M]}: p_f, p_o}.

    Attributes:
      features: M.
      forget_bias: initial bias of f; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import ParaLSTM, unroll
      >>> cell = ParaLSTM(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, ys = unroll(cell, params, cell.init_carry(batch_size=2), jnp.ones((5, 2, 3)))
      >>> ys.shape, params["peephole"]["kernel"].shape
      ((5, 2, 4), (2, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> Params:
        params = self._init(key, input_shape, recurrent=3, peephole=2)
        bias = params["input"]["bias"].at[: self.features].set(self.forget_bias)
        params["input"]["bias"] = bias
        return params

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from x_t W + b."""
        dtype = carry.memory.dtype
        a_f, a_g, a_o = jnp.split(a.astype(dtype), 3, axis=-1)
        u_f, u_g, u_o = params["recurrent"]["kernel"]
        p_f, p_o = params["peephole"]["kernel"]
        h, c = carry.hidden.astype(dtype), carry.memory
        f = jax.nn.sigmoid(a_f + times(h, u_f) + times(c, p_f))
        g = jnp.tanh(a_g + times(h, u_g))
        c = f * c + (1 - f) * g
        o = jax.nn.sigmoid(a_o + times(h, u_o) + times(c, p_o))
        h = (o * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
