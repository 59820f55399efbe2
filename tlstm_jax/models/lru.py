"""The linear recurrent unit: a diagonal, complex transition that does not depend on the input.

Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu and De, "Resurrecting Recurrent Neural Networks for
Long Sequences", ICML 2023.

    lambda = exp(-exp(nu) + i exp(theta)),  gamma = exp(log_gamma)
    h_t = lambda * h_{t-1} + gamma * (x_t B)                                complex, [N]
    y_t = Re(h_t C) + x_t D

lambda starts uniform on a ring between two radii, its phase up to `max_phase`, and gamma at
sqrt(1 - |lambda|^2), with which h has the variance of x B. The authors' blocks have a gate and a
normalization around it, and no nonlinearity is in it.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, linear, scaled_normal
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.linear_recurrence import LinearRecurrence
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class LRU(LinearRecurrence):
    """One layer of LRU, in parallel over time; a SequenceModel.

    Parameters: {"transition": {"nu", "theta", "log_gamma" [N]}, "input": {"kernel" [I, 2N]}: Re and
    Im of B, "output": {"kernel" [2N, M]}: Re C and -Im C, "skip": {"kernel" [I, M]}: D}. The carry
    has [Re h, Im h].

    Attributes:
      features: M.
      state_features: N, the number of complex states; None is M.
      min_radius: of |lambda| at the start.
      max_radius: likewise, at most 1.
      max_phase: of lambda at the start, in radians.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LRU
      >>> model = LRU(4, state_features=8)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    state_features: int | None = None
    min_radius: float = dataclasses.field(default=0.0, metadata=STATIC)  # checked together
    max_radius: float = dataclasses.field(default=1.0, metadata=STATIC)
    max_phase: float = 2 * math.pi
    dtype: Any = None

    pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if self.state_features is not None:
            check_size("state_features", self.state_features)
        if not 0 <= self.min_radius < self.max_radius <= 1:
            raise ValueError(
                f"min_radius is {self.min_radius} and max_radius {self.max_radius}; accepted are "
                "0 <= min_radius < max_radius <= 1"
            )

    @property
    def _states(self) -> int:
        return self.features if self.state_features is None else self.state_features

    @property
    def state_size(self) -> int:
        return 2 * self._states

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        N, M = self._states, self.features
        radius, phase, b, c, d = jax.random.split(key, 5)
        low, high = self.min_radius**2, self.max_radius**2
        # Neither 0 nor 1, whose logarithms are infinite.
        squared = jax.random.uniform(radius, (N,), jnp.float32, minval=1e-6, maxval=1 - 1e-6)
        squared = low + squared * (high - low)
        share = jax.random.uniform(phase, (N,), jnp.float32, minval=1e-6)
        transition = {
            "nu": jnp.log(-0.5 * jnp.log(squared)),
            "theta": jnp.log(self.max_phase * share),
            "log_gamma": 0.5 * jnp.log1p(-squared),
        }
        return {
            "transition": transition,
            "input": {"kernel": scaled_normal(b, (I, 2 * N), 0.5**0.5)},
            "output": {"kernel": scaled_normal(c, (2 * N, M), N**-0.5, fan_in=1)},
            "skip": {"kernel": scaled_normal(d, (I, M), 1.0)},
        }, ()

    def coefficients(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array, Array]:
        nu, theta, log_gamma = (
            params["transition"][name].astype(dtype) for name in ("nu", "theta", "log_gamma")
        )
        modulus, phase = jnp.exp(-jnp.exp(nu)), jnp.exp(theta)
        f = jnp.concatenate([modulus * jnp.cos(phase), modulus * jnp.sin(phase)])
        gamma = jnp.tile(jnp.exp(log_gamma), 2)
        u = linear(x, params["input"], self.dtype).astype(dtype)
        lead = (1,) * (u.ndim - 1)
        return (
            f.reshape(*lead, -1),
            u * gamma.reshape(*lead, -1),
            linear(x, params["skip"], self.dtype),
        )

    def output(self, params: Params, h: Array, a: Array) -> Array:
        return linear(h.astype(a.dtype), params["output"], self.dtype) + a
