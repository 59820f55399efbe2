"""RWKV-7: a delta rule whose rows decay, and which removes another key than it writes.

Peng, Zhang, Goldstein, Alcaide et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution",
2025. For each head:

    r_t = x_t W_r,  k_t = x_t W_k,  v_t = x_t W_v
    w_t = exp(-e^(-1/2) sigm(x_t W_w + b_w))                                decay, [K]
    a_t = sigm(x_t W_a + b_a)                                               how much is replaced
    kappa_t = unit(k_t * xi),  k'_t = k_t * (1 + (a_t - 1) * alpha)
    S_t = diag(w_t) S_{t-1} - (kappa_t * a_t)^T (kappa_t S_{t-1}) + k'_t^T v_t     [K, V]
    y_t = r_t S_t + (r_t . (rho * k'_t)) v_t

with unit(a) = a / |a|. The authors' inputs are mixtures of x_t and x_{t-1}, W_w and W_a are of low
rank with a tanh in the first, and a normalization, a gate and an output projection stand behind it,
as `Block` has.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.models.matrix_recurrence import MatrixRecurrence, normalized
from tlstm_jax.recurrence.matrix_recurrence import Terms
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class RWKV7(MatrixRecurrence):
    """One layer of RWKV-7's time mixing, in parallel over time; a SequenceModel.

    Parameters: {"query", "key": {"kernel" [I, H K]}, "value": {"kernel" [I, M]}, "decay", "replace":
    {"kernel" [I, H K], "bias" [H K]}, "removed": {"scale" [H K]}: xi, "written": {"scale" [H K]}:
    alpha, "bonus": {"scale" [H K]}: rho}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import RWKV7
      >>> model = RWKV7(4, num_heads=2)
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
        sizes = {"query": HK, "key": HK, "value": self.features, "decay": HK, "replace": HK}
        params = self.init_kernels(key, input_shape, **sizes)
        for name in ("decay", "replace"):
            params[name]["bias"] = jnp.zeros((HK,), jnp.float32)
        ones = jnp.ones((HK,), jnp.float32)
        scales = {"removed": 0.85 * ones, "written": ones, "bonus": 0 * ones}
        return params | {name: {"scale": scale} for name, scale in scales.items()}, ()

    def terms(self, params: Params, x: Array) -> Terms:
        q, k, v = (self._of(params, name, x) for name in ("query", "key", "value"))
        decay, a = (self._of(params, name, x) for name in ("decay", "replace"))
        log_decay = -math.exp(-0.5) * jax.nn.sigmoid(decay)
        a = jax.nn.sigmoid(a)
        removed = normalized(k * self._scale(params, "removed", k))
        return Terms(q, self._written(params, k, a), v, log_decay, -removed * a, removed)

    def output(self, params: Params, o: Array, x: Array) -> Array:
        q, k, v, a = (self._of(params, n, x) for n in ("query", "key", "value", "replace"))
        written = self._written(params, k, jax.nn.sigmoid(a))
        weight = jnp.sum(q * self._scale(params, "bonus", k) * written, axis=-1, keepdims=True)
        return super().output(params, o + weight * v, x)

    def _written(self, params: Params, k: Array, a: Array) -> Array:
        return k * (1 + (a - 1) * self._scale(params, "written", k))

    def _scale(self, params: Params, name: str, like: Array) -> Array:
        scale = params[name]["scale"].astype(like.dtype)
        return jnp.broadcast_to(self.heads(scale), like.shape)
