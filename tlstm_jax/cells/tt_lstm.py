"""The LSTM whose matrices are tensor trains.

Yang, Krompass and Tresp, "Tensor-Train Recurrent Neural Networks for Video Classification", ICML
2017.

    i, f, o = sigm(x_t W + h_{t-1} U + b) each        g = tanh(x_t W + h_{t-1} U + b)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)                               y_t = h_t

    W[i, j] = G_1[i_1, j_1] .. G_d[i_d, j_d]          U likewise; see `tensor_train`

All four gates are one train with 4 M columns, and the factor 4 is in the first core, as in the
authors' code (Tuyki/TT_RNN): so the gates share all other cores, and are side by side in x W. There,
as in the paper, only W is a train; `tt_recurrent=False` is that.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells import tensor_train
from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import (
    add_bias,
    as_tuple,
    check_size,
    is_sizes,
    linear,
    recurrent_kernel,
)
from tlstm_jax.cells.lstm import LSTM, LSTMCarry, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params, PyTree

_NUMBER = 3  # of factors, where no shape is given


@dataclasses.dataclass(frozen=True)
class TTLSTM(SplitStep, DelayFree):
    """The TT-LSTM; gates in the order i, f, g, o.

    Parameters: {"input": cores of [I, 4M], "recurrent": {cores of [M, 4M], "bias" [4M]}}, where
    cores are {"core_0": {"kernel" [1, I_1, 4 M_1, r]}, "core_1": {"kernel" [r, I_2, M_2, r]}, ..};
    without `tt_recurrent`, "recurrent" is that of an `LSTM`. Equal to the LSTM with the matrices of
    its trains (`as_lstm`). U starts as a normalized sum of orthogonal matrices.

    Attributes:
      features: M.
      tt_shape: (M_1..M_d), whose product is M; None: three factors as even as possible.
      tt_rank: r, of all trains.
      tt_input_shape: (I_1..I_d), whose product is I; None: factors as even as possible. It is of
        the first layer: above, I is M.
      tt_recurrent: whether U is a train, too; in the paper it is not.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import TTLSTM
      >>> cell = TTLSTM(12, tt_shape=(3, 4), tt_rank=2)
      >>> params = cell.init(jax.random.key(0), input_shape=10)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 10)))
      >>> y.shape, [core["kernel"].shape for core in params["input"].values()]
      ((2, 12), [(1, 2, 12, 2), (2, 5, 4, 1)])
    """

    features: int
    _: dataclasses.KW_ONLY
    tt_shape: tuple[int, ...] | None = None
    tt_rank: int = 4
    tt_input_shape: tuple[int, ...] | None = None
    tt_recurrent: bool = True
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("tt_rank", self.tt_rank)
        for name in ("tt_shape", "tt_input_shape"):
            shape = as_tuple(getattr(self, name))
            object.__setattr__(self, name, shape)
            if shape is not None and not is_sizes(shape):
                raise ValueError(f"{name} is {shape}; accepted are one or more integers >= 1")
        if self.tt_shape is not None:
            _check_product("tt_shape", self.tt_shape, "features", self.features)
        if self.tt_input_shape is not None and len(self.tt_input_shape) != len(self._shape):
            raise ValueError(
                f"tt_input_shape is {self.tt_input_shape}; accepted beside the tt_shape "
                f"{self._shape} are {len(self._shape)} integers"
            )

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.tt_shape or tensor_train.balanced(self.features, _NUMBER)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        """See `Cell`; raises ValueError where the product of tt_input_shape is not I."""
        I = vector_size(self, input_shape)
        w, u = jax.random.split(key)
        M, (first, *others) = self.features, self._shape
        rows = self.tt_input_shape or tensor_train.balanced(I, len(self._shape))
        _check_product("tt_input_shape", rows, "the number of inputs", I)
        columns, scale = (4 * first, *others), self.input_scale
        if self.tt_recurrent:
            recurrent = tensor_train.init_orthogonal(u, self._shape, 4, self.tt_rank)
        else:
            recurrent = {"kernel": recurrent_kernel(u, M, gates=4)}
        bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
        return {
            "input": tensor_train.init_normal(w, rows, columns, self.tt_rank, scale),
            "recurrent": {**recurrent, "bias": bias},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 4M]."""
        return tensor_train.multiply(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + h U + b: [B, 4M]."""
        U, h = params["recurrent"], carry.hidden
        if not self.tt_recurrent:
            return z + linear(h, U, z.dtype)
        return z + add_bias(tensor_train.multiply(h, U, z.dtype), U["bias"])

    update = LSTM.update

    def as_lstm(self, params: Params) -> Params:
        """The parameters of the `LSTM` that computes the same: its kernels are the trains' matrices."""
        recurrent = {"bias": params["recurrent"]["bias"]}
        recurrent["kernel"] = (
            tensor_train.dense(params["recurrent"])
            if self.tt_recurrent
            else params["recurrent"]["kernel"]
        )
        return {"input": {"kernel": tensor_train.dense(params["input"])}, "recurrent": recurrent}

    def about(self, params: PyTree) -> str:
        """What the trains save, in a line.

        Args:
          params: a tree, of arrays or their shapes, with the cell's parameters anywhere in it.
        """
        sizes = [tensor_train.sizes(train) for train in tensor_train.trains(params)]
        cores, matrices = map(sum, zip(*sizes, strict=True))
        difference = f"{abs(matrices - cores):,} {'saved' if cores <= matrices else 'more'}"
        return (
            f"{len(sizes)} matrices are tensor trains of rank {self.tt_rank}: {cores:,} parameters "
            f"in place of {matrices:,}, {difference}"
        )


def _check_product(name: str, shape: tuple[int, ...], what: str, size: int) -> None:
    if math.prod(shape) != size:
        raise ValueError(
            f"{name} is {shape}, with the product {math.prod(shape)}; accepted are factors of "
            f"{what}, {size}, as {tensor_train.balanced(size, len(shape))}"
        )
