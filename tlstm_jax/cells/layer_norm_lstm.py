"""The LSTM with layer normalization.

Ba, Kiros and Hinton, "Layer Normalization", 2016.

    a = LN(x_t W) + LN(h_{t-1} U) + b        over all gates together, each LN with its own scale and bias
    i, f, o = sigm(a) each                   g = tanh(a)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(LN(c_t))                  y_t = h_t
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import add_bias, check_size, init_norm, layer_norm, linear
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.hyper import STATIC, plain, with_hyper
from tlstm_jax.typing import Array, Hyper, Params


@dataclasses.dataclass(frozen=True)
class LayerNormLSTM:
    """The layer-normalized LSTM; gates in the order i, f, g, o. The memory is carried un-normalized.

    Parameters: the LSTM's, and {"input_norm", "recurrent_norm": {"scale", "bias" [4M]}, "memory_norm":
    {"scale", "bias" [M]}}.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: standard deviation of W at the start; None is variance scaling, 1 / sqrt(I).
      dtype: what is computed in; None is the parameters' dtype.
      epsilon: added to the variances.
    """

    features: int
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    epsilon: float = dataclasses.field(default=1e-5, metadata=STATIC)

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_size: int, *, hyper: Hyper | None = None) -> Params:
        s, M = with_hyper(self, hyper), self.features
        return {
            **init_gates(key, input_size, M, s.input_scale, s.forget_bias),
            "input_norm": init_norm(4 * M),
            "recurrent_norm": init_norm(4 * M),
            "memory_norm": init_norm(M),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """LN(x W): [.., 4M]."""
        return layer_norm(
            linear(x, params["input"], self.dtype), params["input_norm"], self.epsilon
        )

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z and h U side by side: [B, 8M]."""
        kernel = {"kernel": params["recurrent"]["kernel"]}
        return jnp.concatenate([z, linear(carry.hidden, kernel, z.dtype)], axis=-1)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the pre-activations."""
        z, hU = jnp.split(a.astype(carry.memory.dtype), 2, axis=-1)
        a = z + layer_norm(hU, params["recurrent_norm"], self.epsilon)
        i, f, g, o = jnp.split(add_bias(a, params["recurrent"]["bias"]), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        shown = layer_norm(c, params["memory_norm"], self.epsilon)
        h = (jax.nn.sigmoid(o) * jnp.tanh(shown)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h

    def step(self, params: Params, carry: LSTMCarry, x: Array) -> tuple[LSTMCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        return self.update(params, carry, self.mix(params, carry, self.project(params, x)))

    init_token_carry = init_carry
    token_step = step
