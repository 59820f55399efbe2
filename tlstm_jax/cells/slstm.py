"""The scalar LSTM of xLSTM: exponential gates, a normalizer and a stabilizer.

Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter and Hochreiter, "xLSTM:
Extended Long Short-Term Memory", NeurIPS 2024. With U of `num_heads` blocks on the diagonal:

    i, f, z, o = x_t W + h_{t-1} U + b
    m_t = max(log sigm(f) + m_{t-1}, i)                                     i where nothing is stored
    f' = exp(log sigm(f) + m_{t-1} - m_t),  i' = exp(i - m_t)
    c_t = f' * c_{t-1} + i' * tanh(z)
    n_t = f' * n_{t-1} + i'
    h_t = sigm(o) * c_t / n_t                                               y_t = h_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import (
    add_bias,
    check_heads,
    check_size,
    input_kernel,
    linear,
    recurrent_kernel,
)
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class SLSTMCarry(NamedTuple):
    hidden: Array  # h [B, M], compute dtype
    memory: Array  # [c, n, m], [B, 3M], the dtype given to init_carry


@dataclasses.dataclass(frozen=True)
class SLSTM(SplitStep, DelayFree):
    """The sLSTM of xLSTM; gates in the order i, f, z, o.

    Parameters: {"input": {"kernel" [I, 4M]}, "recurrent": {"kernel" [H, M / H, 4 M / H], "bias"
    [4M]}}; the columns of a block are those of its head in each gate.

    Attributes:
      features: M.
      num_heads: H, blocks of U, by which M can be divided.
      forget_bias: initial bias of f; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import SLSTM, unroll
      >>> cell = SLSTM(4, num_heads=2)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, ys = unroll(cell, params, cell.init_carry(batch_size=2), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.memory.shape
      ((5, 2, 4), (2, 12))
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 1
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_heads(self.num_heads, self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M, H = self.features, self.num_heads
        w, u = jax.random.split(key)
        blocks = [recurrent_kernel(k, M // H, gates=4) for k in jax.random.split(u, H)]
        bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
        return {
            "input": {"kernel": input_kernel(w, (I, 4 * M), self.input_scale)},
            "recurrent": {"kernel": jnp.stack(blocks), "bias": bias},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> SLSTMCarry:
        hidden = jnp.zeros((batch_size, self.features), self.dtype or dtype)
        return SLSTMCarry(hidden, jnp.zeros((batch_size, 3 * self.features), dtype))

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 4M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: SLSTMCarry, z: Array) -> Array:
        """z + h U + b: [B, 4M]."""
        B, H = carry.hidden.shape[0], self.num_heads
        h = carry.hidden.astype(z.dtype).reshape(B, H, -1)
        kernel = params["recurrent"]["kernel"].astype(z.dtype)
        sums = jnp.einsum("bhk,hkm->bhm", h, kernel)  # [B, H, 4 M / H]
        sums = sums.reshape(B, H, 4, -1).swapaxes(1, 2).reshape(z.shape)
        return add_bias(z + sums, params["recurrent"]["bias"])

    def update(self, params: Params, carry: SLSTMCarry, a: Array) -> tuple[SLSTMCarry, Array]:
        """The gates, c_t, n_t, m_t and h_t from the pre-activations."""
        del params
        i, f, z, o = jnp.split(a.astype(carry.memory.dtype), 4, axis=-1)
        c, n, m = jnp.split(carry.memory, 3, axis=-1)
        kept = jax.nn.log_sigmoid(f) + m
        m = jnp.where(n == 0, i, jnp.maximum(kept, i))
        f, i = jnp.exp(kept - m), jnp.exp(i - m)
        f = jnp.where(n == 0, jnp.zeros_like(f), f)  # which multiplies zeros, and may be infinite
        c = f * c + i * jnp.tanh(z)
        n = f * n + i
        h = (jax.nn.sigmoid(o) * c / n).astype(carry.hidden.dtype)
        return SLSTMCarry(h, jnp.concatenate([c, n, m], axis=-1)), h
