"""The LSTM with forget gate.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997; Gers, Schmidhuber and
Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation 12, 2000.

    i, f, o = sigm(x_t W + h_{t-1} U + b) each        g = tanh(x_t W + h_{t-1} U + b)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)                               y_t = h_t
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel, with_hyper
from tlstm_jax.typing import Array, Hyper, Params


class LSTMCarry(NamedTuple):
    hidden: Array  # h [B, M], compute dtype
    memory: Array  # c [B, M], the dtype given to init_carry


@dataclasses.dataclass(frozen=True)
class LSTM:
    """The LSTM; gates in torch's order, i, f, g, o.

    Parameters: {"input": {"kernel" [I, 4M]}, "recurrent": {"kernel" [M, 4M], "bias" [4M]}}.
    torch.nn.LSTMCell with its two biases summed.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: standard deviation of W at the start; None is variance scaling, 1 / sqrt(I).
      dtype: what is computed in; None is the parameters' dtype.
    """

    features: int
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_size("features", self.features)

    def init(self, key: Array, input_size: int, *, hyper: Hyper | None = None) -> Params:
        s, M = with_hyper(self, hyper), self.features
        w, u = jax.random.split(key)
        bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(s.forget_bias)
        return {
            "input": {"kernel": input_kernel(w, (input_size, 4 * M), s.input_scale)},
            "recurrent": {"kernel": recurrent_kernel(u, M, gates=4), "bias": bias},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        shape = (batch_size, self.features)
        return LSTMCarry(jnp.zeros(shape, self.dtype or dtype), jnp.zeros(shape, dtype))

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

    def step(self, params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        return self.update(params, carry, self.mix(params, carry, self.project(params, x)))

    init_token_carry = init_carry
    token_step = step
