"""The IRNN: rectified linear units, and a recurrent matrix that starts as the identity.

Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
arXiv 1504.00941, 2015.

    h_t = max(0, x_t W + h_{t-1} U + b)        y_t = h_t
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.elman import ElmanCarry
from tlstm_jax.cells.linear import check_size, input_kernel, linear
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class IRNN(SplitStep, DelayFree):
    """The IRNN; torch.nn.RNNCell(nonlinearity="relu") with its two biases summed.

    Parameters: {"input": {"kernel" [I, M]}, "recurrent": {"kernel" [M, M], "bias" [M]}}.

    Attributes:
      features: M.
      input_scale: initial standard deviation of W, the paper's 0.001; None is variance scaling,
        1 / sqrt(I).
      recurrent_scale: U starts as this times the identity; below 1, states decay.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import IRNN
      >>> cell = IRNN(4, recurrent_scale=0.5)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, float(params["recurrent"]["kernel"][0, 0])
      ((2, 4), 0.5)
    """

    features: int
    _: dataclasses.KW_ONLY
    input_scale: float | None = 1e-3
    recurrent_scale: float = 1.0
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        return {
            "input": {"kernel": input_kernel(key, (I, M), self.input_scale)},
            "recurrent": {
                "kernel": jnp.eye(M, dtype=jnp.float32) * self.recurrent_scale,
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
        """h_t = max(0, a)."""
        del params
        hidden = jax.nn.relu(a).astype(carry.hidden.dtype)
        return ElmanCarry(hidden), hidden
