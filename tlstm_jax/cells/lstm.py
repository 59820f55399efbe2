"""The LSTM with forget gate, and the first one, without.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997; Gers, Schmidhuber
and Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation 12, 2000.

    i, f, o = sigm(x_t W + h_{t-1} U + b) each        g = tanh(x_t W + h_{t-1} U + b)
    c_t = f * c_{t-1} + i * g                         1997: c_t = c_{t-1} + i * g
    h_t = o * tanh(c_t)                               y_t = h_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class LSTMCarry(NamedTuple):
    hidden: Array  # h [B, M], compute dtype
    memory: Array  # c [B, M], the dtype given to init_carry


def zero_carry(batch_size: int, features: int, dtype: Any, compute: Any) -> LSTMCarry:
    """h = 0 in `compute` (None: `dtype`) and c = 0 in `dtype`, both [B, M]."""
    shape = (batch_size, features)
    return LSTMCarry(jnp.zeros(shape, compute or dtype), jnp.zeros(shape, dtype))


def init_gates(key: Array, input_size: int, features: int, scale: Any, forget_bias: Any) -> Params:
    """The parameters of `LSTM`, which its relatives share."""
    w, u = jax.random.split(key)
    M = features
    bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(forget_bias)
    return {
        "input": {"kernel": input_kernel(w, (input_size, 4 * M), scale)},
        "recurrent": {"kernel": recurrent_kernel(u, M, gates=4), "bias": bias},
    }


@dataclasses.dataclass(frozen=True)
class LSTM(SplitStep, DelayFree):
    """The LSTM; gates in torch's order, i, f, g, o.

    Parameters: {"input": {"kernel" [I, 4M]}, "recurrent": {"kernel" [M, 4M], "bias" [4M]}}. Equal
    to torch.nn.LSTMCell with its two biases summed.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, unroll
      >>> cell = LSTM(4, forget_bias=2.0)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, ys = unroll(cell, params, cell.init_carry(batch_size=2), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.memory.shape
      ((5, 2, 4), (2, 4))
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
        return init_gates(key, I, self.features, self.input_scale, self.forget_bias)

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
        del params
        i, f, g, o = jnp.split(a.astype(carry.memory.dtype), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h


@dataclasses.dataclass(frozen=True)
class LSTM1997(SplitStep, DelayFree):
    """The LSTM of 1997: it never forgets. Gates in the order i, g, o.

    Parameters: {"input": {"kernel" [I, 3M]}, "recurrent": {"kernel" [M, 3M], "bias" [3M]}}.

    Attributes:
      features: M.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM1997
      >>> cell = LSTM1997(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["recurrent"]["kernel"].shape
      ((2, 4), (4, 12))
    """

    features: int
    _: dataclasses.KW_ONLY
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, u = jax.random.split(key)
        return {
            "input": {"kernel": input_kernel(w, (I, 3 * M), self.input_scale)},
            "recurrent": {
                "kernel": recurrent_kernel(u, M, gates=3),
                "bias": jnp.zeros((3 * M,), jnp.float32),
            },
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 3M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + h U + b: [B, 3M]."""
        return z + linear(carry.hidden, params["recurrent"], z.dtype)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the pre-activations."""
        del params
        i, g, o = jnp.split(a.astype(carry.memory.dtype), 3, axis=-1)
        c = carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
