"""The Elman network.

Elman, "Finding Structure in Time", Cognitive Science 14, 1990.

    h_t = tanh(x_t W + h_{t-1} U + b)        y_t = h_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class ElmanCarry(NamedTuple):
    hidden: Array  # h [B, M]


@dataclasses.dataclass(frozen=True)
class Elman(SplitStep, DelayFree):
    """The Elman RNN.

    Parameters: {"input": {"kernel" [I, M]}, "recurrent": {"kernel" [M, M], "bias" [M]}}. Equal to
    flax.linen.SimpleCell, and to torch.nn.RNNCell with its two biases summed.

    Attributes:
      features: M.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import Elman
      >>> cell = Elman(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, jax.tree.map(jnp.shape, params)
      ((2, 4), {'input': {'kernel': (3, 4)}, 'recurrent': {'bias': (4,), 'kernel': (4, 4)}})
    """

    features: int
    _: dataclasses.KW_ONLY
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, u = jax.random.split(key)
        return {
            "input": {"kernel": input_kernel(w, (I, M), self.input_scale)},
            "recurrent": {
                "kernel": recurrent_kernel(u, M, gates=1),
                "bias": jnp.zeros((M,), jnp.float32),
            },
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> ElmanCarry:
        return ElmanCarry(jnp.zeros((batch_size, self.features), self.dtype or dtype))

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: ElmanCarry, z: Array) -> Array:
        """z + h U + b: [B, M]."""
        return z + linear(carry.hidden, params["recurrent"], z.dtype)

    def update(self, params: Params, carry: ElmanCarry, a: Array) -> tuple[ElmanCarry, Array]:
        """h_t = tanh(a)."""
        del params
        hidden = jnp.tanh(a).astype(carry.hidden.dtype)
        return ElmanCarry(hidden), hidden
