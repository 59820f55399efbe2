"""The simple recurrent unit, step by step: no weight matrix multiplies the state.

Lei, Zhang and Artzi, "Training RNNs as Fast as CNNs", 2017; Lei, Zhang, Wang, Dai and Artzi,
"Simple Recurrent Units for Highly Parallelizable Recurrence", EMNLP 2018.

    u = x_t W
    f = sigm(x_t W_f + b_f),  r = sigm(x_t W_r + b_r)      2018: + v_f * c_{t-1} and + v_r * c_{t-1}
    c_t = f * c_{t-1} + (1 - f) * u
    y_t = r * tanh(c_t) + (1 - r) * x_t                    2018: r * c_t + (1 - r) * alpha x_t

y_t has x_t itself where it is as wide as the state, otherwise x_t W_x.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import add_bias, check_size, input_kernel, linear, scaled_normal, times
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params

VERSIONS = (2017, 2018)


class SRUCarry(NamedTuple):
    memory: Array  # c [B, M], the dtype given to init_carry


@dataclasses.dataclass(frozen=True)
class SRUCell(SplitStep, DelayFree):
    """The SRU; blocks in the order u, f, r, and x W_x if I is not M.

    `tlstm_jax.models.sru` runs it in parallel over time.

    Parameters: {"input": {"kernel" [I, 3M or 4M], "bias" [2M]}: b_f, b_r}; 2018 also {"peephole":
    {"kernel" [2, M]}}: v_f, v_r.

    Attributes:
      features: M.
      version: 2017 or 2018.
      scale: alpha, in the version of 2018; None is the paper's sqrt(1 + 2 exp(highway_bias)).
      highway_bias: initial b_r; if it is negative, more of x passes.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import SRUCell
      >>> cell = SRUCell(4, version=2018)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    version: int = 2018
    scale: float | None = dataclasses.field(default=None, metadata=STATIC)
    highway_bias: float = dataclasses.field(default=0.0, metadata=STATIC)  # alpha follows from it
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if self.version not in VERSIONS:
            raise ValueError(f"version is {self.version}; accepted are 2017, 2018")
        if self.version == 2017 and self.scale is not None:
            raise ValueError(f"scale is {self.scale}; accepted in the version of 2017 is None")

    @property
    def alpha(self) -> float:
        """The factor of x_t in y_t."""
        if self.version == 2017:
            return 1.0
        return (1 + 2 * math.exp(self.highway_bias)) ** 0.5 if self.scale is None else self.scale

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, v = jax.random.split(key)
        blocks = 3 if I == M else 4
        bias = jnp.zeros((2 * M,), jnp.float32).at[M:].set(self.highway_bias)
        kernel = input_kernel(w, (I, blocks * M), self.input_scale)
        params = {"input": {"kernel": kernel, "bias": bias}}
        if self.version == 2018:
            params["peephole"] = {"kernel": scaled_normal(v, (2, M), M**-0.5, fan_in=1)}
        return params

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> SRUCarry:
        return SRUCarry(jnp.zeros((batch_size, self.features), dtype))

    def project(self, params: Params, x: Array) -> Array:
        """[u, f's and r's sums, x or x W_x]: [.., 4M]."""
        M = self.features
        a = linear(x, {"kernel": params["input"]["kernel"]}, self.dtype)
        passing = a[..., 3 * M :]
        if not passing.shape[-1]:
            tokens = jnp.issubdtype(x.dtype, jnp.integer)
            passing = jax.nn.one_hot(x, M, dtype=a.dtype) if tokens else x.astype(a.dtype)
        gates = add_bias(a[..., M : 3 * M], params["input"]["bias"])
        return jnp.concatenate([a[..., :M], gates, passing * self.alpha], axis=-1)

    def mix(self, params: Params, carry: SRUCarry, z: Array) -> Array:
        """z itself: nothing is to be mixed."""
        del params, carry
        return z

    def update(self, params: Params, carry: SRUCarry, a: Array) -> tuple[SRUCarry, Array]:
        """c_t and y_t from the pre-activations."""
        c = carry.memory
        u, f, r, x = jnp.split(a.astype(c.dtype), 4, axis=-1)
        if self.version == 2018:
            v_f, v_r = params["peephole"]["kernel"]
            f, r = f + times(c, v_f), r + times(c, v_r)
        f = jax.nn.sigmoid(f)
        c = f * c + (1 - f) * u
        return SRUCarry(c), self.output(r, c, x).astype(a.dtype)

    def output(self, r: Array, c: Array, x: Array) -> Array:
        """y from r's sum, c_t and alpha x_t."""
        r = jax.nn.sigmoid(r)
        return r * (jnp.tanh(c) if self.version == 2017 else c) + (1 - r) * x
