"""The multiplicative RNN: every input has its own transition, factored.

Sutskever, Martens and Hinton, "Generating Text with Recurrent Neural Networks", ICML 2011.

    m_t = (x_t W_m) * (h_{t-1} U_m)
    h_t = tanh(x_t W + m_t U + b)        y_t = h_t

So h_{t-1} meets the matrix U_m diag(x_t W_m) U. Irsoy and Cardie, "Modeling Compositionality with
Multiplicative Recurrent Neural Networks", ICLR 2015, is the same with a tensor of low rank.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.elman import ElmanCarry
from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class MultiplicativeRNN(DelayFree):
    """The MRNN, with F factors.

    Parameters: {"input": {"kernel" [I, M]}, "input_factor": {"kernel" [I, F]}, "recurrent_factor":
    {"kernel" [M, F]}, "recurrent": {"kernel" [F, M], "bias" [M]}}. Its two products with the state
    follow one another, so it has no project / mix / update.

    Attributes:
      features: M.
      factors: F; None is M.
      input_scale: initial standard deviation of W and W_m; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MultiplicativeRNN
      >>> cell = MultiplicativeRNN(4, factors=6)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["recurrent_factor"]["kernel"].shape
      ((2, 4), (4, 6))
    """

    features: int
    _: dataclasses.KW_ONLY
    factors: int | None = None
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if self.factors is not None:
            check_size("factors", self.factors)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M, F = self.features, self.factors or self.features
        w, w_m, u, u_m = jax.random.split(key, 4)
        return {
            "input": {"kernel": input_kernel(w, (I, M), self.input_scale)},
            "input_factor": {"kernel": input_kernel(w_m, (I, F), self.input_scale)},
            "recurrent_factor": {"kernel": recurrent_kernel(u_m, F, gates=1, rows=M)},
            "recurrent": {
                "kernel": recurrent_kernel(u, M, gates=1, rows=F),
                "bias": jnp.zeros((M,), jnp.float32),
            },
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> ElmanCarry:
        return ElmanCarry(jnp.zeros((batch_size, self.features), self.dtype or dtype))

    def step(self, params: Params, carry: ElmanCarry, x: Array) -> tuple[ElmanCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        xW_m = linear(x, params["input_factor"], self.dtype)
        m = xW_m * linear(carry.hidden, params["recurrent_factor"], xW_m.dtype)
        a = linear(x, params["input"], self.dtype) + linear(m, params["recurrent"], m.dtype)
        hidden = jnp.tanh(a).astype(carry.hidden.dtype)
        return ElmanCarry(hidden), hidden
