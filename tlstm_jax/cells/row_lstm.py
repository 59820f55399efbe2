"""The Row LSTM: an LSTM down the rows of an image, whose products are convolutions along the row.

Van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML 2016.

    i, f, o = sigm(K_is * x_t + K_ss * h_{t-1} + b) each    g = tanh(K_is * x_t + K_ss * h_{t-1} + b)
    c_t = f . c_{t-1} + i . g
    h_t = o . tanh(c_t)                                     y_t = h_t

A step t is a row, and `*` runs along it. K_is is masked: of the row's own pixels, output c sees
those before it (mask A), those and itself (mask B), or all (none). K_ss is not: all of the row
above is known. So h sees a triangle of the rows above.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import as_tuple, check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.cells.maps import check_kernel_size, convolve
from tlstm_jax.cells.shapes import check_spatial_shape, map_features
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params

MASKS = ("A", "B", "none")


@dataclasses.dataclass(frozen=True)
class RowLSTM(SplitStep, DelayFree):
    """The Row LSTM, over rows [B, W, I]; gates in the order i, f, g, o.

    With mask A, y at (r, c) depends on rows above r and on x at (r, < c) alone; layers above it have
    mask B, since there y at c is known at c. The last pixel of a row is before no other, so that
    mask A shows it to no output at all. The mask is over locations: all I features of a location
    come together (the paper also orders the colours of a pixel).

    Parameters: {"input": {"kernel" [taps, I, 4M]}, "recurrent": {"kernel" [K, M, 4M], "bias" [4M]}}.
    Of K_is only the taps that the mask leaves are there, from the left: K' // 2 with mask A, one
    more with B, K' with none. U starts orthogonal for each gate, as a matrix [K M, M].

    Attributes:
      features: M.
      spatial_shape: (W,), the width of a row; () while it is not known, which `init` refuses.
      kernel_size: K, odd, of K_ss.
      mask: A, B or none: whether y at c sees, of its own row, x before c, also at c, or all of it.
      input_kernel_size: K', odd, of K_is before it is masked; None is K.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of K_is; None is variance scaling, 1 / sqrt(taps I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import RowLSTM, unroll
      >>> cell = RowLSTM(4, spatial_shape=(8,), mask="A")
      >>> params = cell.init(jax.random.key(0), input_shape=(8, 1))
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), jnp.ones((6, 2, 8, 1)))
      >>> ys.shape, params["input"]["kernel"].shape
      ((6, 2, 8, 4), (1, 1, 16))
    """

    features: int
    _: dataclasses.KW_ONLY
    spatial_shape: tuple[int, ...] = ()
    kernel_size: int = 3
    mask: str = "A"
    input_kernel_size: int | None = None
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "spatial_shape", as_tuple(self.spatial_shape))
        check_size("features", self.features)
        check_spatial_shape(self.spatial_shape)
        if self.spatial_shape:
            self._check_row()
        check_kernel_size(self.kernel_size)
        if self.input_kernel_size is not None:
            check_kernel_size(self.input_kernel_size, "input_kernel_size")
        if self.mask not in MASKS:
            raise ValueError(f"mask is {self.mask!r}; accepted are {', '.join(MASKS)}")
        if not self._taps:
            name = "kernel_size" if self.input_kernel_size is None else "input_kernel_size"
            raise ValueError(
                f"{name} is 1; accepted with mask A, which leaves none of it, are odd integers >= 3"
            )

    @property
    def row_mask(self) -> str:
        """See `cells.shapes.row_mask`."""
        return self.mask

    def _check_row(self) -> None:
        if len(self.spatial_shape) != 1:
            raise ValueError(
                f"spatial_shape is {self.spatial_shape}; accepted by RowLSTM, whose steps are rows "
                "[B, W, I], is (W,)"
            )

    @property
    def _reach(self) -> int:
        """How far from c the taps of K_is begin."""
        return (self.input_kernel_size or self.kernel_size) // 2

    @property
    def _taps(self) -> int:
        return {"A": self._reach, "B": self._reach + 1, "none": 2 * self._reach + 1}[self.mask]

    def init(self, key: Array, input_shape: InputShape) -> Params:
        self._check_row()
        I, M, K, taps = map_features(self, input_shape), self.features, self.kernel_size, self._taps
        w, u = jax.random.split(key)
        of_x = input_kernel(w, (taps * I, 4 * M), self.input_scale)
        of_h = recurrent_kernel(u, M, gates=4, rows=K * M)
        bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
        return {
            "input": {"kernel": of_x.reshape(taps, I, 4 * M)},
            "recurrent": {"kernel": of_h.reshape(K, M, 4 * M), "bias": bias},
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        """h and c, both [B, W, M]."""
        shape = (batch_size, *self.spatial_shape, self.features)
        return LSTMCarry(jnp.zeros(shape, self.dtype or dtype), jnp.zeros(shape, dtype))

    def project(self, params: Params, x: Array) -> Array:
        """K_is * x: [.., W, 4M]."""
        kernel = params["input"]["kernel"]
        (W,), taps, left = self.spatial_shape, self._taps, self._reach
        edges = [(0, 0)] * (x.ndim - 2) + [(left, max(taps - 1 - left, 0)), (0, 0)]
        padded = jnp.pad(x, edges)
        read = jnp.concatenate([padded[..., n : n + W, :] for n in range(taps)], axis=-1)
        return linear(read, {"kernel": kernel.reshape(-1, kernel.shape[-1])}, self.dtype)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + K_ss * h + b: [B, W, 4M]."""
        kernel, bias = params["recurrent"]["kernel"], params["recurrent"]["bias"]
        return z + convolve(carry.hidden.astype(z.dtype), kernel.astype(z.dtype), bias=bias)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the pre-activations."""
        del params
        i, f, g, o = jnp.split(a.astype(carry.memory.dtype), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h
