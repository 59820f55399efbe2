"""Three cells that a search over architectures found to rival the GRU and the LSTM.

Jozefowicz, Zaremba and Sutskever, "An Empirical Exploration of Recurrent Network Architectures",
ICML 2015.

    r = sigm(x_t W_r + h_{t-1} U_r + b_r)
    MUT1    z = sigm(x_t W_z + b_z)                      n = tanh((r * h_{t-1}) U + tanh(x_t W) + b)
    MUT2    z = sigm(x_t W_z + h_{t-1} U_z + b_z)        n = tanh((r * h_{t-1}) U + x_t W + b)
    MUT3    z = sigm(x_t W_z + tanh(h_{t-1}) U_z + b_z)  n as in MUT2
    h_t = n * z + h_{t-1} * (1 - z)                      y_t = h_t

The paper has x_t itself for x_t W in MUT1's n, and for x_t W_r in MUT2's r, where inputs have to be
as wide as the state. These two matrices are those of torchrecurrent.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.gru import GRUCarry
from tlstm_jax.cells.linear import add_bias, check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params

VARIANTS = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class MUT(DelayFree):
    """MUT1, MUT2 or MUT3; blocks in the order z, r, n.

    Parameters: {"input": {"kernel" [I, 3M]}, "recurrent": {"kernel" [M, 3M], "bias" [3M]}}; without
    U_z, MUT1's recurrent kernel is [M, 2M]. Its products with the state follow one another, so it
    has no project / mix / update.

    Attributes:
      features: M.
      variant: 1, 2 or 3.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MUT
      >>> cell = MUT(4, variant=2)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    variant: int = 1
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {self.variant}; accepted are 1, 2, 3")

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, u = jax.random.split(key)
        return {
            "input": {"kernel": input_kernel(w, (I, 3 * M), self.input_scale)},
            "recurrent": {
                "kernel": recurrent_kernel(u, M, gates=2 if self.variant == 1 else 3),
                "bias": jnp.zeros((3 * M,), jnp.float32),
            },
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.features), dtype))

    def step(self, params: Params, carry: GRUCarry, x: Array) -> tuple[GRUCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        M, h = self.features, carry.hidden
        xW = linear(x, params["input"], self.dtype)
        x_z, x_r, x_n = jnp.split(xW, 3, axis=-1)
        b_z, b_r, b_n = jnp.split(params["recurrent"]["bias"], 3)
        U = params["recurrent"]["kernel"].astype(xW.dtype)
        U_r, U_n = U[:, -2 * M : -M], U[:, -M:]
        if self.variant != 1:
            x_z = x_z + (h if self.variant == 2 else jnp.tanh(h)).astype(xW.dtype) @ U[:, :M]
        z = jax.nn.sigmoid(add_bias(x_z, b_z).astype(h.dtype))
        r = jax.nn.sigmoid(add_bias(x_r + h.astype(xW.dtype) @ U_r, b_r).astype(h.dtype))
        x_n = jnp.tanh(x_n) if self.variant == 1 else x_n
        n = jnp.tanh(add_bias((r * h).astype(xW.dtype) @ U_n + x_n, b_n).astype(h.dtype))
        h = n * z + h * (1 - z)
        return GRUCarry(h), h.astype(xW.dtype)
