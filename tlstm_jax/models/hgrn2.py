"""HGRN2: gated linear attention whose keys are what its decay leaves.

Qin, Yang, Sun, Shen, Li, Sun and Zhong, "HGRN2: Gated Linear RNNs with State Expansion", COLM 2024.
For each head:

    q_t = silu(x_t W_q),  v_t = x_t W_v
    alpha_t = lower + (1 - lower) sigm(x_t W_alpha + b_alpha)
    S_t = diag(alpha_t) S_{t-1} + (1 - alpha_t)^T v_t                       [K, V]
    y_t = q_t S_t

The authors learn the lower bound for each layer of a stack, from 0 in the first one up; here it is
a setting. Around it they have a normalization and an output projection, as `Block` has.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.models.matrix_recurrence import MatrixRecurrence
from tlstm_jax.recurrence.matrix_recurrence import Terms
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class HGRN2(MatrixRecurrence):
    """One layer of HGRN2, in parallel over time; a SequenceModel.

    Parameters: {"query": {"kernel" [I, H K]}, "value": {"kernel" [I, M]}, "decay": {"kernel" [I, H K],
    "bias" [H K]}}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      lower_bound: of the decay, in [0, 1).
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import HGRN2
      >>> model = HGRN2(4, num_heads=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 2
    key_features: int | None = None
    lower_bound: float = 0.0
    chunk_size: int = 8
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.lower_bound, jax.Array) and not 0 <= self.lower_bound < 1:
            raise ValueError(f"lower_bound is {self.lower_bound}; accepted are numbers in [0, 1)")

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        HK = self.num_heads * self.key_size
        params = self.init_kernels(key, input_shape, query=HK, value=self.features, decay=HK)
        params["decay"]["bias"] = jnp.zeros((HK,), jnp.float32)
        return params, ()

    def terms(self, params: Params, x: Array) -> Terms:
        q, v, decay = (self._of(params, name, x) for name in ("query", "value", "decay"))
        lower = jnp.asarray(self.lower_bound, decay.dtype)
        k = (1 - lower) * jax.nn.sigmoid(-decay)  # 1 - alpha, without a difference
        # log(lower + (1 - lower) sigm(a)) = log sigm(a) + log(1 + lower e^-a).
        log_decay = jax.nn.log_sigmoid(decay) + jax.nn.softplus(jnp.log(lower) - decay)
        return Terms(jax.nn.silu(q), k, v, log_decay)
