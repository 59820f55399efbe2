"""Gated linear attention: a matrix whose rows decay as the input says.

Yang, Wang, Shen, Panda and Kim, "Gated Linear Attention Transformers with Hardware-Efficient
Training", ICML 2024. For each head:

    q_t = x_t W_q / sqrt(K),  k_t = x_t W_k,  v_t = x_t W_v
    alpha_t = sigm(x_t W_alpha + b_alpha)^(1/16)
    S_t = diag(alpha_t) S_{t-1} + k_t^T v_t                                 [K, V]
    y_t = q_t S_t

The authors' W_alpha is of rank 16; around it they have a normalization of each head, a gate and an
output projection, as `Block` has.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.models.matrix_recurrence import MatrixRecurrence
from tlstm_jax.recurrence.matrix_recurrence import Terms
from tlstm_jax.typing import Array, InputShape, Params, State

TEMPERATURE = 16  # of the decay


@dataclasses.dataclass(frozen=True)
class GLA(MatrixRecurrence):
    """One layer of gated linear attention, in parallel over time; a SequenceModel.

    Parameters: {"query", "key": {"kernel" [I, H K]}, "value": {"kernel" [I, M]}, "decay": {"kernel"
    [I, H K], "bias" [H K]}}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GLA
      >>> model = GLA(4, num_heads=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 2
    key_features: int | None = None
    chunk_size: int = 8
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        HK = self.num_heads * self.key_size
        params = self.init_kernels(
            key, input_shape, query=HK, key=HK, value=self.features, decay=HK
        )
        params["decay"]["bias"] = jnp.zeros((HK,), jnp.float32)
        return params, ()

    def terms(self, params: Params, x: Array) -> Terms:
        q, k, v, decay = (self._of(params, n, x) for n in ("query", "key", "value", "decay"))
        return Terms(q / self.key_size**0.5, k, v, jax.nn.log_sigmoid(decay) / TEMPERATURE)
