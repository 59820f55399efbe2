"""Retention: a matrix for each head that decays at a rate of its own.

Sun, Dong, Huang, Ma, Xia, Xue, Wang and Wei, "Retentive Network: A Successor to Transformer for
Large Language Models", 2023. For head h = 0, 1, ..:

    q_t = x_t W_q / sqrt(K),  k_t = x_t W_k,  v_t = x_t W_v
    S_t = (1 - 2^(-5 - h)) S_{t-1} + k_t^T v_t                              [K, V]
    y_t = q_t S_t

The authors also turn q_t and k_t by an angle that grows with t, and have a normalization of each
head, a gate and an output projection around it, as `Block` has.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from tlstm_jax.models.matrix_recurrence import MatrixRecurrence
from tlstm_jax.recurrence.matrix_recurrence import Terms
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class RetNet(MatrixRecurrence):
    """One layer of retention, in parallel over time; a SequenceModel.

    Parameters: {"query", "key": {"kernel" [I, H K]}, "value": {"kernel" [I, M]}}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import RetNet
      >>> model = RetNet(4, num_heads=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 2
    key_features: int | None = None
    chunk_size: int = 32
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        HK = self.num_heads * self.key_size
        return self.init_kernels(key, input_shape, query=HK, key=HK, value=self.features), ()

    def terms(self, params: Params, x: Array) -> Terms:
        q, k, v = (self._of(params, name, x) for name in ("query", "key", "value"))
        head = jnp.arange(self.num_heads, dtype=v.dtype)
        log_decay = jnp.log1p(-jnp.exp2(-5 - head))[:, None]  # [H, 1]
        log_decay = jnp.broadcast_to(log_decay, (*v.shape[:-1], 1))
        return Terms(q / self.key_size**0.5, k, v, log_decay)
