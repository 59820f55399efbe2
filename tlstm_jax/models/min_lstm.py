"""The LSTM without recurrent weights and output gate: linear in its state, in parallel over time.

Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?", 2024.

    f_t = sigm(x_t W_f + b_f),  i_t = sigm(x_t W_i + b_i)
    n_t = g(x_t W_n + b_n)          g(u) = u + 1/2 if u >= 0, else sigm(u)
    h_t = (f_t * h_{t-1} + i_t * n_t) / (f_t + i_t)                         y_t = h_t

g as in `tlstm_jax.models.min_gru`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import input_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.linear_recurrence import GatedLinearRecurrence
from tlstm_jax.models.min_gru import positive
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class MinLSTM(GatedLinearRecurrence):
    """One layer of minLSTM, in parallel over time; a SequenceModel. Blocks in the order f, i, n.

    Parameters: {"input": {"kernel" [I, 3M], "bias" [3M]}}.

    Attributes:
      features: M.
      positive: whether candidates go through g, after which they are positive.
      forget_bias: initial b_f; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MinLSTM
      >>> model = MinLSTM(4)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    positive: bool = True
    forget_bias: float = 0.0
    input_scale: float | None = None
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M = self.features
        kernel = input_kernel(key, (I, 3 * M), self.input_scale)
        bias = jnp.zeros((3 * M,), jnp.float32).at[:M].set(self.forget_bias)
        return {"input": {"kernel": kernel, "bias": bias}}, ()

    def gates(self, a: Array) -> tuple[Array, Array]:
        f, i, n = jnp.split(a, 3, axis=-1)
        # f / (f + i), by logarithms: both may be too small for a quotient.
        forget = jax.nn.sigmoid(jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i))
        return forget, (1 - forget) * (positive(n) if self.positive else n)
