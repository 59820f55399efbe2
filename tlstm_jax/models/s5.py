"""S5: one state space of complex, diagonal transitions for all channels.

Smith, Warrington and Linderman, "Simplified State Space Layers for Sequence Modeling", ICLR 2023.

    lambda = -exp(log_rate) + i frequency,  dt = exp(log_step)                      [N]
    h_t = e^(lambda dt) * h_{t-1} + (e^(lambda dt) - 1) / lambda * (x_t B)          complex, [N]
    y_t = 2 Re(h_t C) + x_t D

Half of the states is enough, since the other half is conjugate to it. lambda starts at the
eigenvalues of HiPPO-N (Gu, Goel, Gupta and Re, "On the Parameterization and Initialization of
Diagonal State Space Models", NeurIPS 2022), with real parts -1/2. The authors also turn B and C by
its eigenvectors, and have a normalization and a gate around it, as `Block` has.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.cells.linear import check_size, linear, scaled_normal
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.linear_recurrence import LinearRecurrence
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.recurrence.linear_scan import complex_times
from tlstm_jax.typing import Array, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class S5(LinearRecurrence):
    """One layer of S5, in parallel over time; a SequenceModel.

    Parameters: {"transition": {"log_rate", "frequency", "log_step" [N]}, "input": {"kernel" [I,
    2N]}: Re and Im of B, "output": {"kernel" [2N, M]}: Re C and -Im C, "skip": {"kernel" [I, M]}:
    D}. The carry has [Re h, Im h].

    Attributes:
      features: M.
      state_features: N, the number of complex states; None is M / 2, rounded up.
      min_step: of dt at the start, which is log-uniform up to `max_step`.
      max_step: likewise.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import S5
      >>> model = S5(4, state_features=8)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    state_features: int | None = None
    min_step: float = dataclasses.field(default=1e-3, metadata=STATIC)  # checked together
    max_step: float = dataclasses.field(default=0.1, metadata=STATIC)
    dtype: Any = None

    pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if self.state_features is not None:
            check_size("state_features", self.state_features)
        check_steps(self.min_step, self.max_step)

    @property
    def _states(self) -> int:
        return -(-self.features // 2) if self.state_features is None else self.state_features

    @property
    def state_size(self) -> int:
        return 2 * self._states

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        N, M = self._states, self.features
        of_steps, b, c, d = jax.random.split(key, 4)
        transition = {
            "log_rate": jnp.full((N,), math.log(0.5), jnp.float32),
            "frequency": jnp.asarray(hippo_frequencies(N), jnp.float32),
            "log_step": log_steps(of_steps, N, self.min_step, self.max_step),
        }
        return {
            "transition": transition,
            "input": {"kernel": scaled_normal(b, (I, 2 * N), 0.5**0.5)},
            "output": {"kernel": scaled_normal(c, (2 * N, M), (2 * N) ** -0.5, fan_in=1)},
            "skip": {"kernel": scaled_normal(d, (I, M), 1.0)},
        }, ()

    def coefficients(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array, Array]:
        f, weight = discretized(params["transition"], dtype)
        u = linear(x, params["input"], self.dtype).astype(dtype)
        lead = (1,) * (u.ndim - 1)
        f, weight = (a.reshape(*lead, -1) for a in (f, weight))
        u = complex_times(jnp.broadcast_to(weight, u.shape), u)
        return f, u, linear(x, params["skip"], self.dtype)

    def output(self, params: Params, h: Array, a: Array) -> Array:
        return 2 * linear(h.astype(a.dtype), params["output"], self.dtype) + a


def discretized(transition: Params, dtype: Any) -> tuple[Array, Array]:
    """e^(lambda dt) and (e^(lambda dt) - 1) / lambda, complex, [Re, Im] along the last axis."""
    log_rate, frequency, log_step = (
        transition[name].astype(dtype) for name in ("log_rate", "frequency", "log_step")
    )
    real, dt = -jnp.exp(log_rate), jnp.exp(log_step)
    x, y = real * dt, frequency * dt
    modulus = jnp.exp(x)
    f = jnp.concatenate([modulus * jnp.cos(y), modulus * jnp.sin(y)], axis=-1)
    # e^(x + iy) - 1 without a difference of nearly equal numbers.
    less_one = jnp.expm1(x) * jnp.cos(y) - 2 * jnp.square(jnp.sin(y / 2))
    imag = modulus * jnp.sin(y)
    squared = jnp.square(real) + jnp.square(frequency)
    weight = [less_one * real + imag * frequency, imag * real - less_one * frequency]
    return f, jnp.concatenate([w / squared for w in weight], axis=-1)


def hippo_frequencies(number: int) -> np.ndarray:
    """[N] > 0, imaginary parts of the eigenvalues of the normal part of HiPPO-LegS, of size 2N."""
    n = np.sqrt(np.arange(2 * number) + 0.5)
    lower = np.tril(np.outer(n, n), -1)
    return np.linalg.eigvalsh(1j * (lower - lower.T))[number:]


def log_steps(key: Array, number: int, low: float, high: float) -> Array:
    """[N], log dt of step sizes log-uniform from low to high."""
    return jax.random.uniform(key, (number,), jnp.float32, math.log(low), math.log(high))


def check_steps(low: float, high: float) -> None:
    """Raises ValueError unless 0 < low < high."""
    if not 0 < low < high < math.inf:
        raise ValueError(
            f"min_step is {low} and max_step {high}; accepted are 0 < min_step < max_step"
        )
