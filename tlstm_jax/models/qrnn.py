"""The quasi-recurrent network: convolutions over time, and a pooling that is linear in the state.

Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks", ICLR 2017.

    z = tanh(W_z * x),  f, o, i = sigm(W * x + b) each        causal convolutions of width k
    f pooling      h_t = f * h_{t-1} + (1 - f) * z            y_t = h_t
    fo pooling     c_t = f * c_{t-1} + (1 - f) * z            y_t = o * c_t
    ifo pooling    c_t = f * c_{t-1} + i * z                  y_t = o * c_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import add_bias, check_size, linear, scaled_normal
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.base import AllStepsModel
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.linear_scan import linear_recurrence, segment_ids
from tlstm_jax.recurrence.loop import select
from tlstm_jax.typing import Array, InputShape, Params, State

POOLINGS = ("f", "fo", "ifo")


class QRNNCarry(NamedTuple):
    pending: Array  # what the last k - 1 inputs add to the next k - 1 sums [B, k - 1, n M]
    memory: Array  # c, or h of f pooling [B, M], the dtype given to init_carry


@dataclasses.dataclass(frozen=True)
class QRNN(AllStepsModel):
    """One layer of QRNN, in parallel over time; a SequenceModel. Blocks in the order z, f, o, i.

    Parameters: {"input": {"kernel" [k, I, n M], "bias" [n M]}}, n = 2, 3, 4 for f, fo, ifo pooling;
    kernel[k - 1] multiplies x_t.

    Attributes:
      features: M.
      pooling: "f", "fo" or "ifo".
      width: k >= 1, of the convolution over time.
      forget_bias: initial bias of f; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(k I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import QRNN
      >>> model = QRNN(4, pooling="ifo")
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    pooling: str = "fo"
    width: int = 2
    forget_bias: float = 0.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("width", self.width)
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}; accepted are {', '.join(POOLINGS)}")

    @property
    def _blocks(self) -> int:
        return 1 + len(self.pooling)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M, k = self.features, self.width
        bias = jnp.zeros((self._blocks * M,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
        shape = (k, I, self._blocks * M)
        scale, fan_in = (1.0, None) if self.input_scale is None else (self.input_scale, 1)
        return {
            "input": {"kernel": scaled_normal(key, shape, scale, fan_in=fan_in), "bias": bias}
        }, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> QRNNCarry:
        del params
        B, M = batch_size, self.features
        pending = jnp.zeros((B, self.width - 1, self._blocks * M), self.dtype or dtype)
        return QRNNCarry(pending, jnp.zeros((B, M), dtype))

    def run(
        self,
        params: Params,
        carry: QRNNCarry,
        xs: Array,
        lengths: Array | None,
        reset: Array | None,
    ) -> tuple[QRNNCarry, Array]:
        pending, sums = self._convolve(params, carry, xs, lengths, reset)
        z, f, o, i = self._gates(params, sums, carry.memory.dtype)
        c, cs = linear_recurrence(f, i * z, carry.memory, lengths, reset)
        return QRNNCarry(pending, c), (o * cs).astype(sums.dtype)

    def _convolve(
        self,
        params: Params,
        carry: QRNNCarry,
        xs: Array,
        lengths: Array | None,
        reset: Array | None,
    ) -> tuple[Array, Array]:
        """(what is pending at the end, the sums [T, B, n M] without bias)."""
        (T, B), k, kernel = xs.shape[:2], self.width, params["input"]["kernel"]
        segments = segment_ids(reset, lengths)
        if segments is not None:  # also of the k - 1 steps after the end
            segments = jnp.concatenate([segments, *[segments[-1:]] * (k - 1)])

        def same(first: Array, then: Array, part: Array) -> Array:
            """`part` where both steps are of one example."""
            if segments is None:
                return part
            return select(first == then, part, jnp.zeros_like(part))

        sums = jnp.zeros((T + k - 1, B, kernel.shape[-1]), carry.pending.dtype)
        if k > 1:
            before = jnp.swapaxes(carry.pending, 0, 1)
            if segments is not None:
                before = same(jnp.zeros_like(segments[: k - 1]), segments[: k - 1], before)
            sums = sums.at[: k - 1].add(before)
        for n in range(k):  # x_t is read n steps later
            part = linear(xs, {"kernel": kernel[k - 1 - n]}, self.dtype).astype(sums.dtype)
            if segments is not None:
                part = same(segments[:T], segments[n : n + T], part)
            sums = sums.at[n : n + T].add(part)
        ends = jnp.full((B,), T) if lengths is None else jnp.clip(lengths, 0, T)

        def after(sums: Array, end: Array) -> Array:
            return lax.dynamic_slice_in_dim(sums, end, k - 1)

        return jax.vmap(after, in_axes=(1, 0))(sums, ends), sums[:T]

    def _gates(self, params: Params, sums: Array, dtype: Any) -> tuple[Array, Array, Array, Array]:
        """z, f, o, i from the sums."""
        a = jnp.split(add_bias(sums, params["input"]["bias"]).astype(dtype), self._blocks, axis=-1)
        f = jax.nn.sigmoid(a[1])
        o = jnp.ones_like(f) if self.pooling == "f" else jax.nn.sigmoid(a[2])
        i = jax.nn.sigmoid(a[3]) if self.pooling == "ifo" else 1 - f
        return jnp.tanh(a[0]), f, o, i

    def token_step(
        self, params: Params, state: State, carry: QRNNCarry, x: Array
    ) -> tuple[QRNNCarry, Array]:
        del state
        pending, sums = self._convolve(params, carry, x[None], None, None)
        z, f, o, i = self._gates(params, sums[0], carry.memory.dtype)
        c = f * carry.memory + i * z
        return QRNNCarry(pending, c), (o * c).astype(sums.dtype)
