"""DeltaNet: fast weights that are corrected by the delta rule.

Schlag, Irie and Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021;
in parallel: Yang, Wang, Zhang, Shen and Kim, "Parallelizing Linear Transformers with the Delta Rule
over Sequence Length", NeurIPS 2024. For each head:

    q_t = unit(silu(x_t W_q)) / sqrt(K),  k_t = unit(silu(x_t W_k)),  v_t = silu(x_t W_v)
    beta_t = sigm(x_t W_beta + b_beta)
    S_t = S_{t-1} + beta_t k_t^T (v_t - k_t S_{t-1})                        [K, V]
    y_t = q_t S_t

with unit(a) = a / |a|. With `gated` all of it is forgotten at a rate alpha_t, before it is corrected
(Yang, Kautz and Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule", ICLR 2025):

    alpha_t = exp(-exp(log_a) softplus(x_t W_alpha + b_alpha))
    S_t = alpha_t S_{t-1} + beta_t k_t^T (v_t - alpha_t k_t S_{t-1})

With `beta_range` 2 the transition's eigenvalue along k_t is 1 - beta_t down to -1 (Grazzi, Siems,
Zela, Franke, Hutter and Pontil, "Unlocking State-Tracking in Linear RNNs Through Negative
Eigenvalues", ICLR 2025).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.models.matrix_recurrence import MatrixRecurrence, normalized, step_bias, step_decay
from tlstm_jax.recurrence.matrix_recurrence import Terms
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class DeltaNet(MatrixRecurrence):
    """One layer of the delta rule, in parallel over time; a SequenceModel.

    Parameters: {"query", "key": {"kernel" [I, H K]}, "value": {"kernel" [I, M]}, "beta": {"kernel" [I, H],
    "bias" [H]}}, and with `gated` "decay": {"kernel" [I, H], "bias", "log_a" [H]}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      gated: whether S is also forgotten, at a rate that the input says.
      beta_range: what beta_t is at most, in (0, 2].
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import DeltaNet
      >>> model = DeltaNet(4, num_heads=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 2
    key_features: int | None = None
    gated: bool = False
    beta_range: float = 1.0
    chunk_size: int = 16
    dtype: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.beta_range, jax.Array) and not 0 < self.beta_range <= 2:
            raise ValueError(f"beta_range is {self.beta_range}; accepted are numbers in (0, 2]")

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        H, HK = self.num_heads, self.num_heads * self.key_size
        sizes = {"query": HK, "key": HK, "value": self.features, "beta": H}
        sizes |= {"decay": H} if self.gated else {}
        of_kernels, of_steps, of_decays = jax.random.split(key, 3)
        params = self.init_kernels(of_kernels, input_shape, **sizes)
        params["beta"]["bias"] = jnp.zeros((H,), jnp.float32)
        if self.gated:
            params["decay"]["bias"] = step_bias(of_steps, H)
            params["decay"]["log_a"] = jnp.log(
                jax.random.uniform(of_decays, (H,), jnp.float32, 1.0, 16.0)
            )
        return params, ()

    def terms(self, params: Params, x: Array) -> Terms:
        q, k, v = (jax.nn.silu(self._of(params, n, x)) for n in ("query", "key", "value"))
        q, k = normalized(q) / self.key_size**0.5, normalized(k)
        beta = self._of(params, "beta", x)
        beta = jnp.asarray(self.beta_range, beta.dtype) * jax.nn.sigmoid(beta)  # [.., H, 1]
        log_decay = jnp.zeros_like(beta)
        if self.gated:
            log_decay = step_decay(params["decay"], self._of(params, "decay", x))
        return Terms(q, beta * k, v, log_decay, -beta * jnp.exp(log_decay) * k, k)
