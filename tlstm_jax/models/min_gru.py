"""The GRU without recurrent weights: linear in its state, and so in parallel over time.

Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?", 2024.

    z_t = sigm(x_t W_z + b_z)
    n_t = g(x_t W_n + b_n)          g(u) = u + 1/2 if u >= 0, else sigm(u)
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t                                   y_t = h_t

g keeps the candidates positive, which the authors' training by logarithms needs; ours does not, and
without it (`positive`) they are x_t W_n + b_n, as in the paper's first version.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import input_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.linear_recurrence import GatedLinearRecurrence
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class MinGRU(GatedLinearRecurrence):
    """One layer of minGRU, in parallel over time; a SequenceModel. Blocks in the order z, n.

    Parameters: {"input": {"kernel" [I, 2M], "bias" [2M]}}.

    Attributes:
      features: M.
      positive: whether candidates go through g, after which they are positive.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MinGRU
      >>> model = MinGRU(4)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    positive: bool = True
    input_scale: float | None = None
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        kernel = input_kernel(key, (I, 2 * self.features), self.input_scale)
        bias = jnp.zeros((2 * self.features,), jnp.float32)
        return {"input": {"kernel": kernel, "bias": bias}}, ()

    def gates(self, a: Array) -> tuple[Array, Array]:
        z, n = jnp.split(a, 2, axis=-1)
        z = jax.nn.sigmoid(z)
        return 1 - z, z * (positive(n) if self.positive else n)


def positive(u: Array) -> Array:
    """g(u) = u + 1/2 if u >= 0, else sigm(u); of slope 1 above 0, and continuous."""
    return jnp.where(u >= 0, u + 0.5, jax.nn.sigmoid(u))
