"""The recurrent highway network.

Zilly, Srivastava, Koutnik and Schmidhuber, "Recurrent Highway Networks", ICML 2017.

    s_0 = h_{t-1};  for l = 1 .. D:
        n = tanh([l = 1] x_t W_H + s_{l-1} U_H^l + b_H^l)
        t = sigm([l = 1] x_t W_T + s_{l-1} U_T^l + b_T^l)
        s_l = n * t + s_{l-1} * (1 - t)
    h_t = s_D        y_t = h_t
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.gru import GRUCarry
from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class RHN(DelayFree):
    """The RHN with coupled gates (carry = 1 - transform); blocks in the order n, t.

    Parameters: {"input": {"kernel" [I, 2M]}, "recurrent": {"kernel" [D, M, 2M], "bias" [D, 2M]}}.
    Its D products with the state follow one another, so it has no project / mix / update.

    Attributes:
      features: M.
      depth: D >= 1, highway layers within a step.
      transform_bias: initial b_T: -2 in the paper, -4 on enwik8.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import RHN
      >>> cell = RHN(4, depth=3)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["recurrent"]["kernel"].shape
      ((2, 4), (3, 4, 8))
    """

    features: int
    _: dataclasses.KW_ONLY
    depth: int = 5
    transform_bias: float = -2.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("depth", self.depth)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M, D = self.features, self.depth
        w, u = jax.random.split(key)
        kernels = [recurrent_kernel(k, M, gates=2) for k in jax.random.split(u, D)]
        bias = jnp.zeros((D, 2 * M), jnp.float32).at[:, M:].set(self.transform_bias)
        return {
            "input": {"kernel": input_kernel(w, (I, 2 * M), self.input_scale)},
            "recurrent": {"kernel": jnp.stack(kernels), "bias": bias},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.features), dtype))

    def step(self, params: Params, carry: GRUCarry, x: Array) -> tuple[GRUCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        s, xW = carry.hidden, linear(x, params["input"], self.dtype)
        for depth in range(self.depth):
            layer = jax.tree.map(lambda leaf: leaf[depth], params["recurrent"])  # noqa: B023
            a = linear(s, layer, xW.dtype)
            a = a if depth else a + xW
            n, t = jnp.split(a.astype(s.dtype), 2, axis=-1)
            t = jax.nn.sigmoid(t)
            s = jnp.tanh(n) * t + s * (1 - t)
        return GRUCarry(s), s.astype(xW.dtype)
