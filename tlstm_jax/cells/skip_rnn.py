"""The tanh network with skips through time, sTANH.

Zhang, Wu, Che, Lin, Memisevic, Salakhutdinov and Bengio, "Architectural Complexity Measures of
Recurrent Neural Networks", NIPS 2016.

    h_t = tanh(x_t W + h_{t-1} U + h_{t-s} U_s + b)        y_t = h_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.linear import check_size, input_kernel, is_integer, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class SkipCarry(NamedTuple):
    history: Array  # h_{t-1}, .., h_{t-s} [B, s, M]


@dataclasses.dataclass(frozen=True)
class SkipRNN(DelayFree):
    """sTANH. With U_s = 0 it is the Elman network; with U = 0, a dilated one.

    Parameters: {"input": {"kernel" [I, M]}, "recurrent": {"kernel" [M, M], "bias" [M]}, "skip":
    {"kernel" [M, M]}}. It has no project / mix / update: an engine that saves carries would save s
    states a step.

    Attributes:
      features: M.
      skip: s >= 2 steps; the paper's best are 21 for sequential MNIST, 11 for permuted.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import SkipRNN
      >>> cell = SkipRNN(4, skip=3)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, sorted(params)
      ((2, 4), ['input', 'recurrent', 'skip'])
    """

    features: int
    _: dataclasses.KW_ONLY
    skip: int = 21
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if not is_integer(self.skip, 2):
            raise ValueError(f"skip is {self.skip}; accepted are integers >= 2")

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, u, skip = jax.random.split(key, 3)
        return {
            "input": {"kernel": input_kernel(w, (I, M), self.input_scale)},
            "recurrent": {
                "kernel": recurrent_kernel(u, M, gates=1),
                "bias": jnp.zeros((M,), jnp.float32),
            },
            "skip": {"kernel": recurrent_kernel(skip, M, gates=1)},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> SkipCarry:
        return SkipCarry(jnp.zeros((batch_size, self.skip, self.features), self.dtype or dtype))

    def step(self, params: Params, carry: SkipCarry, x: Array) -> tuple[SkipCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        history = carry.history
        a = linear(x, params["input"], self.dtype)
        a = a + linear(history[:, 0], params["recurrent"], a.dtype)
        a = a + linear(history[:, -1], params["skip"], a.dtype)
        h = jnp.tanh(a).astype(history.dtype)
        return SkipCarry(jnp.concatenate([h[:, None], history[:, :-1]], axis=1)), h
