"""Mamba: a state space for each channel whose step size, input and output weights the input says.

Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023. For each
channel of u_t = x_t W, with B and C that all channels share:

    dt_t = softplus(u_t W_down W_up + b_dt)
    h_t = exp(-exp(log_rate) dt_t) * h_{t-1} + dt_t (u_t W_B) u_t               [N]
    y_t = h_t . (u_t W_C) + D u_t

The rates start at 1, 2, .., N, and dt log-uniform from 0.001 to 0.1. The authors have a short
convolution and a SiLU behind W, and a gate and an output projection around it, as `Block` has.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, input_kernel, linear, times
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.linear_recurrence import LinearRecurrence
from tlstm_jax.models.matrix_recurrence import step_bias
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class Mamba(LinearRecurrence):
    """One layer of Mamba, in parallel over time; a SequenceModel.

    Parameters: {"input": {"kernel" [I, M]}, "selection": {"kernel" [M, R + 2N]}: W_down, W_B, W_C,
    "step": {"kernel" [R, M], "bias" [M]}: W_up, b_dt, "transition": {"log_rate" [M, N]}, "skip":
    {"scale" [M]}: D}.

    Attributes:
      features: M.
      state_features: N, the number of states of a channel.
      step_rank: R; None is M / 16, rounded up.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import Mamba
      >>> model = Mamba(4, state_features=8)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.hidden.shape
      ((5, 2, 4), (2, 32))
    """

    features: int
    _: dataclasses.KW_ONLY
    state_features: int = 16
    step_rank: int | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("state_features", self.state_features)
        if self.step_rank is not None:
            check_size("step_rank", self.step_rank)

    @property
    def _rank(self) -> int:
        return -(-self.features // 16) if self.step_rank is None else self.step_rank

    @property
    def state_size(self) -> int:
        return self.features * self.state_features

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M, N, R = self.features, self.state_features, self._rank
        of_input, of_selection, of_kernel, of_bias = jax.random.split(key, 4)
        rate = jnp.arange(1, N + 1, dtype=jnp.float32)
        bound = R**-0.5
        return {
            "input": {"kernel": input_kernel(of_input, (I, M), None)},
            "selection": {"kernel": input_kernel(of_selection, (M, R + 2 * N), None)},
            "step": {
                "kernel": jax.random.uniform(of_kernel, (R, M), jnp.float32, -bound, bound),
                "bias": step_bias(of_bias, M),
            },
            "transition": {"log_rate": jnp.broadcast_to(jnp.log(rate)[None], (M, N))},
            "skip": {"scale": jnp.ones((M,), jnp.float32)},
        }, ()

    def coefficients(
        self, params: Params, x: Array, dtype: Any
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        N, R = self.state_features, self._rank
        u = linear(x, params["input"], self.dtype)
        selected = linear(u, params["selection"], self.dtype)
        step, B, C = jnp.split(selected, [R, R + N], axis=-1)
        dt = jax.nn.softplus(linear(step, params["step"], self.dtype)).astype(dtype)
        rate = jnp.exp(params["transition"]["log_rate"].astype(dtype))  # [M, N]
        wide = (*dt.shape, N)
        decay = jnp.exp(-jnp.broadcast_to(rate, wide) * dt[..., None])
        driven = (dt * u.astype(dtype))[..., None] * B.astype(dtype)[..., None, :]
        flat = (*dt.shape[:-1], self.state_size)
        return decay.reshape(flat), driven.reshape(flat), (u, C)

    def output(self, params: Params, h: Array, a: tuple[Array, Array]) -> Array:
        u, C = a
        h = h.reshape(*h.shape[:-1], self.features, self.state_features).astype(u.dtype)
        return jnp.einsum("...mn,...n->...m", h, C) + times(u, params["skip"]["scale"])
