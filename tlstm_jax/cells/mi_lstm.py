"""The LSTM with multiplicative integration of input and state.

Wu, Zhang, Zhang, Bengio and Salakhutdinov, "On Multiplicative Integration with Recurrent Neural
Networks", NIPS 2016.

    a = alpha * (x_t W) * (h_{t-1} U) + beta_h * (h_{t-1} U) + beta_x * (x_t W) + b
    i, f, o = sigm(a) each                   g = tanh(a)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)                      y_t = h_t
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import add_bias, check_size, linear, times
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class MILSTM(SplitStep, DelayFree):
    """The MI-LSTM; gates in the order i, f, g, o. With alpha = 0 and beta = 1 it is the LSTM.

    Parameters: the LSTM's, and {"integration": {"alpha", "beta_h", "beta_x" [4M]}}.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      alpha, beta: initial values of the integration's vectors (the same for both betas).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MILSTM
      >>> cell = MILSTM(4, alpha=1.0, beta=0.5)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, sorted(params["integration"])
      ((2, 4), ['alpha', 'beta_h', 'beta_x'])
    """

    features: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    alpha: float = 1.0
    beta: float = 0.5

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        start = {"alpha": self.alpha, "beta_h": self.beta, "beta_x": self.beta}
        return {
            **init_gates(key, I, M, self.input_scale, self.forget_bias),
            "integration": {k: jnp.full((4 * M,), v, jnp.float32) for k, v in start.items()},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 4M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z and h U side by side: [B, 8M]."""
        kernel = {"kernel": params["recurrent"]["kernel"]}
        return jnp.concatenate([z, linear(carry.hidden, kernel, z.dtype)], axis=-1)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from x W and h U."""
        p = params["integration"]
        xW, hU = jnp.split(a.astype(carry.memory.dtype), 2, axis=-1)
        a = times(xW * hU, p["alpha"]) + times(hU, p["beta_h"]) + times(xW, p["beta_x"])
        i, f, g, o = jnp.split(add_bias(a, params["recurrent"]["bias"]), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
