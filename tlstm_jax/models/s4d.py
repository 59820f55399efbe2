"""S4D: a state space of complex, diagonal transitions for each channel.

Gu, Goel, Gupta and Re, "On the Parameterization and Initialization of Diagonal State Space Models",
NeurIPS 2022. For each channel of u_t = x_t W + b:

    lambda = -exp(log_rate) + i frequency,  dt = exp(log_step)                      [N]
    h_t = e^(lambda dt) * h_{t-1} + (e^(lambda dt) - 1) / lambda * u_t              complex, [N]
    y_t = 2 Re(h_t . C) + D u_t

lambda starts at -1/2 + i pi n (S4D-Lin). B is 1 here, since C can take its part. The authors mix
channels behind it with a gate, and have a normalization around it, as `Block` has.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, input_kernel, linear, times
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.linear_recurrence import LinearRecurrence
from tlstm_jax.models.s5 import check_steps, discretized, log_steps
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class S4D(LinearRecurrence):
    """One layer of S4D, in parallel over time; a SequenceModel.

    Parameters: {"input": {"kernel" [I, M], "bias" [M]}, "transition": {"log_rate", "frequency" [M,
    N], "log_step" [M]}, "output": {"real", "imag" [M, N]}: C, "skip": {"scale" [M]}: D}. The carry
    has [Re h, Im h], each of all channels in turn.

    Attributes:
      features: M.
      state_features: N, the number of complex states of a channel.
      min_step: of dt at the start, which is log-uniform up to `max_step`.
      max_step: likewise.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import S4D
      >>> model = S4D(4, state_features=8)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.hidden.shape
      ((5, 2, 4), (2, 64))
    """

    features: int
    _: dataclasses.KW_ONLY
    state_features: int = 16
    min_step: float = dataclasses.field(default=1e-3, metadata=STATIC)  # checked together
    max_step: float = dataclasses.field(default=0.1, metadata=STATIC)
    dtype: Any = None

    pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("state_features", self.state_features)
        check_steps(self.min_step, self.max_step)

    @property
    def state_size(self) -> int:
        return 2 * self.features * self.state_features

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M, N = self.features, self.state_features
        of_input, of_steps, real, imag = jax.random.split(key, 4)
        frequency = jnp.broadcast_to(math.pi * jnp.arange(N, dtype=jnp.float32)[None], (M, N))
        return {
            "input": {
                "kernel": input_kernel(of_input, (I, M), None),
                "bias": jnp.zeros((M,), jnp.float32),
            },
            "transition": {
                "log_rate": jnp.full((M, N), math.log(0.5), jnp.float32),
                "frequency": frequency,
                "log_step": log_steps(of_steps, M, self.min_step, self.max_step),
            },
            "output": {
                "real": 0.5**0.5 * jax.random.normal(real, (M, N), jnp.float32),
                "imag": 0.5**0.5 * jax.random.normal(imag, (M, N), jnp.float32),
            },
            "skip": {"scale": jnp.ones((M,), jnp.float32)},
        }, ()

    def coefficients(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array, Array]:
        M, N = self.features, self.state_features
        step = jnp.broadcast_to(params["transition"]["log_step"][:, None], (M, N))
        f, weight = discretized(params["transition"] | {"log_step": step}, dtype)  # [M, 2N]
        u = linear(x, params["input"], self.dtype)
        wide = u.astype(dtype)[..., None]
        lead = (1,) * (u.ndim - 1)
        weight = jnp.broadcast_to(weight.reshape(*lead, M, 2 * N), (*u.shape, 2 * N))
        return _flat(f.reshape(*lead, M, 2 * N)), _flat(weight * wide), u

    def output(self, params: Params, h: Array, a: Array) -> Array:
        M, N = self.features, self.state_features
        h = h.astype(a.dtype).reshape(*h.shape[:-1], 2, M, N)
        real, imag = (params["output"][part].astype(a.dtype) for part in ("real", "imag"))
        read = jnp.einsum("...mn,mn->...m", h[..., 0, :, :], real)
        read = read - jnp.einsum("...mn,mn->...m", h[..., 1, :, :], imag)
        return 2 * read + times(a, params["skip"]["scale"])


def _flat(a: Array) -> Array:
    """[.., M, 2N], [Re, Im], as [.., 2 M N]: all real parts first."""
    *lead, M, twice = a.shape
    a = jnp.moveaxis(a.reshape(*lead, M, 2, twice // 2), -2, -3)
    return a.reshape(*lead, -1)
