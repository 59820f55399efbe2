"""The gated recurrent unit, with the reset gate before or after the recurrent product.

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation", EMNLP 2014 (reset before). Reset after is the form of cuDNN and PyTorch.

    r, z = sigm(x_t W + h_{t-1} U + b) each
    n = tanh(x_t W + b + (r * h_{t-1}) U)             reset before
    n = tanh(x_t W + b + r * (h_{t-1} U + b_n))       reset after
    h_t = z * h_{t-1} + (1 - z) * n                   y_t = h_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import add_bias, check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class GRUCarry(NamedTuple):
    hidden: Array  # h [B, M], the dtype given to init_carry


@dataclasses.dataclass(frozen=True)
class GRU(SplitStep, DelayFree):
    """The GRU, reset after, as torch.nn.GRUCell and flax.linen.GRUCell. Gates in the order r, z, n.

    Parameters: {"input": {"kernel" [I, 3M], "bias" [3M]}, "recurrent": {"kernel" [M, 3M],
    "bias" [M]}}, the last being b_n (torch's other recurrent biases are summed into the input's).

    Attributes:
      features: M.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU
      >>> cell = GRU(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["recurrent"]["kernel"].shape
      ((2, 4), (4, 12))
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
        params = _init_params(key, I, self.features, self.input_scale)
        params["recurrent"]["bias"] = jnp.zeros((self.features,), jnp.float32)
        return params

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.features), dtype))

    def project(self, params: Params, x: Array) -> Array:
        """x W + b: [.., 3M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: GRUCarry, z: Array) -> Array:
        """[B, 4M]: the sums of r and z, x's part of n, and h's part of n."""
        M = self.features
        h = linear(carry.hidden, {"kernel": params["recurrent"]["kernel"]}, z.dtype)
        h_n = add_bias(h[..., 2 * M :], params["recurrent"]["bias"])
        return jnp.concatenate([z[..., : 2 * M] + h[..., : 2 * M], z[..., 2 * M :], h_n], axis=-1)

    def update(self, params: Params, carry: GRUCarry, a: Array) -> tuple[GRUCarry, Array]:
        """h_t from the pre-activations."""
        del params
        r, z, x_n, h_n = jnp.split(a.astype(carry.hidden.dtype), 4, axis=-1)
        n = jnp.tanh(x_n + jax.nn.sigmoid(r) * h_n)
        return _interpolate(carry, jax.nn.sigmoid(z), n, a.dtype)


@dataclasses.dataclass(frozen=True)
class ResetBeforeGRU(DelayFree):
    """The GRU as first published, reset before, as Keras' GRU(reset_after=False).

    Parameters: {"input": {"kernel" [I, 3M], "bias" [3M]}, "recurrent": {"kernel" [M, 3M]}}. Its two
    products with the state follow one another, so it has no project / mix / update.

    Attributes:
      features: M.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import ResetBeforeGRU
      >>> cell = ResetBeforeGRU(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)
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
        return _init_params(key, I, self.features, self.input_scale)

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.features), dtype))

    def step(self, params: Params, carry: GRUCarry, x: Array) -> tuple[GRUCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        M, h = self.features, carry.hidden
        xW = linear(x, params["input"], self.dtype)
        U = params["recurrent"]["kernel"].astype(xW.dtype)
        rz = xW[..., : 2 * M] + h.astype(xW.dtype) @ U[:, : 2 * M]
        r, z = jnp.split(jax.nn.sigmoid(rz.astype(h.dtype)), 2, axis=-1)
        n = xW[..., 2 * M :] + (r * h).astype(xW.dtype) @ U[:, 2 * M :]
        return _interpolate(carry, z, jnp.tanh(n.astype(h.dtype)), xW.dtype)


def _init_params(key: Array, input_size: int, M: int, scale: Any) -> dict[str, dict[str, Array]]:
    w, u = jax.random.split(key)
    return {
        "input": {
            "kernel": input_kernel(w, (input_size, 3 * M), scale),
            "bias": jnp.zeros((3 * M,), jnp.float32),
        },
        "recurrent": {"kernel": recurrent_kernel(u, M, gates=3)},
    }


def _interpolate(carry: GRUCarry, z: Array, n: Array, dtype: Any) -> tuple[GRUCarry, Array]:
    """h_t = z * h_{t-1} + (1 - z) * n; the state keeps its dtype, the output is in `dtype`."""
    hidden = z * carry.hidden + (1 - z) * n
    return GRUCarry(hidden), hidden.astype(dtype)
