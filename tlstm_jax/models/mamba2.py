"""Mamba-2: a matrix for each head that decays at a rate which the input says.

Dao and Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured
State Space Duality", ICML 2024. For each head, with B and C that all heads share:

    u_t = x_t W_u,  B_t = x_t W_B,  C_t = x_t W_C
    dt_t = softplus(x_t W_dt + b_dt)
    S_t = exp(-exp(log_a) dt_t) S_{t-1} + dt_t B_t^T u_t                    [N, V]
    y_t = C_t S_t + D u_t

The authors have a short convolution and a SiLU before u, B and C, and a gate, a normalization and
an output projection behind them, as `Block` has.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import linear
from tlstm_jax.models.matrix_recurrence import MatrixRecurrence, step_bias, step_decay
from tlstm_jax.recurrence.matrix_recurrence import Terms
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class Mamba2(MatrixRecurrence):
    """One layer of Mamba-2, in parallel over time; a SequenceModel.

    Parameters: {"input": {"kernel" [I, M]}, "key": B, "query": C: {"kernel" [I, K]}, "decay": {"kernel"
    [I, H], "bias", "log_a" [H]}, "skip": {"scale" [H]}: D}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import Mamba2
      >>> model = Mamba2(4, num_heads=2)
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
        H, K = self.num_heads, self.key_size
        of_kernels, of_steps, of_decays = jax.random.split(key, 3)
        params = self.init_kernels(
            of_kernels, input_shape, input=self.features, key=K, query=K, decay=H
        )
        params["decay"]["bias"] = step_bias(of_steps, H)
        params["decay"]["log_a"] = jnp.log(
            jax.random.uniform(of_decays, (H,), jnp.float32, 1.0, 16.0)
        )
        params["skip"] = {"scale": jnp.ones((H,), jnp.float32)}
        return params, ()

    def terms(self, params: Params, x: Array) -> Terms:
        u = self._of(params, "input", x)  # [.., H, V]
        shared = (*u.shape[:-1], self.key_size)
        k, q = (
            jnp.broadcast_to(linear(x, params[name], self.dtype)[..., None, :], shared)
            for name in ("key", "query")
        )
        a = self._of(params, "decay", x)
        return Terms(q, jax.nn.softplus(a) * k, u, step_decay(params["decay"], a))

    def output(self, params: Params, o: Array, x: Array) -> Array:
        u = self._of(params, "input", x)
        D = params["skip"]["scale"].astype(u.dtype)[:, None]
        return super().output(params, o + jnp.broadcast_to(D, u.shape) * u, x)
