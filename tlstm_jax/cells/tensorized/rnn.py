"""The tensorized RNN: the tensorized LSTM's hidden tensor without gates and memory.

He et al., "Wider and Deeper, Cheaper and Faster: Tensorized LSTMs for Sequence Learning", NIPS 2017
(arXiv 1711.01577).

    X'_t = x_t W^x + b^x                        [M]
    A_t  = H^cat_{t-1} (*) W^h + b^h            [P.., M]   X'_t enters at the first corner
    H_t  = tanh(A_t)
    y_t  = H_{t+L-1}(P - 1)                     [M]        read at the last corner
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from tlstm_jax.cells.base import SplitStep
from tlstm_jax.cells.linear import as_tuple, linear
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.cells.tensorized import convolution, waves
from tlstm_jax.cells.tensorized import shared as tensor
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class TensorizedRNNCarry(NamedTuple):
    hidden: Array  # H [B, P_1..P_D, M]
    age: Array  # [B] int32


class TensorizedRNNTokenCarry(NamedTuple):
    hidden: Array  # [B, 2, N, M]


@dataclasses.dataclass(frozen=True)
class TensorizedRNN(SplitStep):
    """The tensorized RNN (tRNN): H_t = tanh(A_t). Parameters as in `TensorizedLSTM`.

    Attributes:
      features: M.
      tensor_shape: (P_1..P_D); any number of axes.
      kernel_size: K >= 2, the kernel size along every tensor axis.
      input_scale: initial standard deviation of W^x; None is variance scaling, 1 / sqrt(I).
      input_bias_scale: initial standard deviation of b^x.
      kernel_scale: factor on W^h's variance-scaled standard deviation 1 / sqrt(K^D M).
      dtype: the dtype of the computation; None is the parameters' dtype.
      convolution: how the cross-layer convolution is computed: "conv", "products" or "auto", as in
        `convolution.cross_layer_convolution`.
      convolution_gradient: how it is differentiated: "products", "xla" or "auto".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import TensorizedRNN, unroll
      >>> cell = TensorizedRNN(4, tensor_shape=(3,))
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.hidden.shape
      ((5, 2, 4), (2, 3, 4))
    """

    features: int
    tensor_shape: tuple[int, ...]
    _: dataclasses.KW_ONLY
    kernel_size: int = 3
    input_scale: float | None = None
    input_bias_scale: float = 0.1
    kernel_scale: float = 1.0
    dtype: Any = None
    convolution: str = "auto"
    convolution_gradient: str = "auto"

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "tensor_shape", as_tuple(self.tensor_shape))
        tensor.check_settings(self)

    @property
    def depth(self) -> int:
        """L, as in `TensorizedLSTM`."""
        return convolution.depth(self.tensor_shape, self.kernel_size)

    @property
    def delay(self) -> int:
        """L - 1: steps between reading x_t and emitting y_t."""
        return self.depth - 1

    @property
    def causal(self) -> bool:
        return True

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        return tensor.init_params(self, key, I, self.features)

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> TensorizedRNNCarry:
        shape = (batch_size, *self.tensor_shape, self.features)
        hidden = jnp.zeros(shape, self.dtype or dtype)
        return TensorizedRNNCarry(hidden, age=jnp.zeros((batch_size,), jnp.int32))

    def project(self, params: Params, x: Array) -> Array:
        """X' = x W^x + b^x: [.., I] or tokens [..] to [.., M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: TensorizedRNNCarry, z: Array) -> Array:
        """A_t: [B, P.., M] from H_{t-1} and z = X'_t."""
        return tensor.mix(self, params["cross_layer"], carry.hidden, z)

    def update(
        self, params: Params, carry: TensorizedRNNCarry, a: Array
    ) -> tuple[TensorizedRNNCarry, Array]:
        """H_t from A_t, and the output corner."""
        del params
        hidden = jnp.where(tensor.awake(self, carry.age), jnp.tanh(a), jnp.zeros_like(a))
        hidden = hidden.astype(carry.hidden.dtype)
        age = jnp.minimum(carry.age + 1, self.delay)
        return TensorizedRNNCarry(hidden, age), tensor.output_corner(hidden)

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32
    ) -> TensorizedRNNTokenCarry:
        shape = (batch_size, 2, math.prod(self.tensor_shape), self.features)
        return TensorizedRNNTokenCarry(jnp.zeros(shape, self.dtype or dtype))

    def token_step(
        self, params: Params, carry: TensorizedRNNTokenCarry, x: Array
    ) -> tuple[TensorizedRNNTokenCarry, Array]:
        """y_t [B, M] of x_t at once, computing every location once, wave after wave."""
        H = waves.table(carry.hidden, self.project(params, x))
        for wave in waves.schedule(self.tensor_shape, self.kernel_size):
            hidden = jnp.tanh(waves.mix(params["cross_layer"], H, wave))
            H = H.at[:, wave.locations].set(hidden.astype(H.dtype))
        return TensorizedRNNTokenCarry(waves.tokens(H)), waves.output(H)
