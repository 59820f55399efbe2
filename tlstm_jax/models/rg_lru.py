"""The real-gated linear recurrent unit of Griffin.

De, Smith, Fernando, Botev, Cristian-Muraru et al., "Griffin: Mixing Gated Linear Recurrences with
Local Attention for Efficient Language Models", 2024. With u_t = x_t W + b and matrices R and G of
`num_heads` blocks on the diagonal:

    r_t = sigm(u_t R + b_r),  i_t = sigm(u_t G + b_i)
    a_t = exp(-8 r_t softplus(decay))
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * u_t)                     y_t = h_t

At the first step of a sequence there is no square root. a_t starts, where r_t is 1 / 8, on a ring
from 0.9 to 0.999. The authors have a short convolution behind W, a gate and an output projection
around it, as `Block` has.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import (
    add_bias,
    check_heads,
    check_size,
    input_kernel,
    linear,
    scaled_normal,
)
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.base import AllStepsModel
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.linear_scan import linear_recurrence
from tlstm_jax.typing import Array, InputShape, Params, State

MIN_RADIUS, MAX_RADIUS = 0.9, 0.999
SHARPNESS = 8.0


class RGLRUCarry(NamedTuple):
    memory: Array  # h [B, M]
    age: Array  # int32 [B], steps since the sequence began


@dataclasses.dataclass(frozen=True)
class RGLRU(AllStepsModel):
    """One layer of RG-LRU, in parallel over time; a SequenceModel.

    Parameters: {"input": {"kernel" [I, M], "bias" [M]}, "gates": {"kernel" [H, M / H, 2 M / H],
    "bias" [2M]}: R and G, "decay": {"bias" [M]}}.

    Attributes:
      features: M.
      num_heads: H, blocks of the gates' matrices, by which M can be divided.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import RGLRU
      >>> model = RGLRU(4, num_heads=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 1
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_heads(self.num_heads, self.features)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M, H = self.features, self.num_heads
        of_input, of_gates, of_decay = jax.random.split(key, 3)
        low, high = MIN_RADIUS**2, MAX_RADIUS**2
        squared = jax.random.uniform(of_decay, (M,), jnp.float32, low, high)
        return {
            "input": {
                "kernel": input_kernel(of_input, (I, M), None),
                "bias": jnp.zeros((M,), jnp.float32),
            },
            "gates": {
                "kernel": scaled_normal(of_gates, (H, M // H, 2 * M // H), 1.0, fan_in=M // H),
                "bias": jnp.zeros((2 * M,), jnp.float32),
            },
            # Whose softplus is -log |a|.
            "decay": {"bias": jnp.log(jnp.expm1(-0.5 * jnp.log(squared)))},
        }, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> RGLRUCarry:
        del params
        memory = jnp.zeros((batch_size, self.features), dtype)
        return RGLRUCarry(memory, jnp.zeros((batch_size,), jnp.int32))

    def run(
        self,
        params: Params,
        carry: RGLRUCarry,
        xs: Array,
        lengths: Array | None,
        reset: Array | None,
    ) -> tuple[RGLRUCarry, Array]:
        h, age = carry
        a, gated, u = self._gated(params, xs, h.dtype)
        first = jnp.zeros(xs.shape[:2], bool).at[0].set(age == 0)
        first = first if reset is None else first | reset
        h, hs = linear_recurrence(a, _driven(a, gated, first), h, lengths, reset)
        steps = jnp.full_like(age, len(xs)) if lengths is None else lengths
        return RGLRUCarry(h, age + steps), hs.astype(u.dtype)

    def token_step(
        self, params: Params, state: State, carry: RGLRUCarry, x: Array
    ) -> tuple[RGLRUCarry, Array]:
        del state
        h, age = carry
        a, gated, u = self._gated(params, x, h.dtype)
        h = a * h + _driven(a, gated, age == 0)
        return RGLRUCarry(h, age + 1), h.astype(u.dtype)

    def _gated(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array, Array]:
        """a_t, i_t * u_t in `dtype`, and u_t."""
        H = self.num_heads
        u = linear(x, params["input"], self.dtype)
        kernel = params["gates"]["kernel"].astype(u.dtype)
        blocks = jnp.einsum("...hk,hkm->...hm", u.reshape(*u.shape[:-1], H, -1), kernel)
        r, i = (part.reshape(u.shape) for part in jnp.split(blocks, 2, axis=-1))
        sums = add_bias(jnp.concatenate([r, i], axis=-1), params["gates"]["bias"])
        r, i = jnp.split(jax.nn.sigmoid(sums.astype(dtype)), 2, axis=-1)
        decay = jax.nn.softplus(params["decay"]["bias"].astype(dtype))
        log_a = -SHARPNESS * r * jnp.broadcast_to(decay, r.shape)
        return jnp.exp(log_a), i * u.astype(dtype), u


def _rest(a: Array) -> Array:
    """sqrt(1 - a^2), whose slope by 1 - a^2 is 1000 where that of the root is more."""
    squared = 1 - jnp.square(a)
    least = jnp.asarray(2.5e-7, a.dtype)
    root = jnp.sqrt(jnp.maximum(squared, least))
    fixed = lax.stop_gradient(squared)
    steep = jnp.sqrt(jnp.maximum(fixed, 0)) + 1000 * (squared - fixed)
    return jnp.where(squared < least, steep, root)


def _driven(a: Array, gated: Array, first: Array) -> Array:
    """What is added to the state; `first` [..], where a sequence begins."""
    first = jnp.broadcast_to(first[..., None], a.shape)
    return jnp.where(first, gated, _rest(a) * gated)
