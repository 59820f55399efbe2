"""WaveNet: gated dilated causal convolutions, with residual and skip connections.

van den Oord, Dieleman, Zen, Simonyan, Vinyals, Graves, Kalchbrenner, Senior and Kavukcuoglu,
"WaveNet: A Generative Model for Raw Audio", 2016.

    x^0_t = x_t W + b
    for each layer, with dilation d:
        z_t = tanh(x_{t-d} F_0 + x_t F_1 + b) * sigm(x_{t-d} G_0 + x_t G_1 + b)
        s += z_t W_skip + b
        x_t = x_t + z_t W_res + b
    y_t = relu(relu(s) W_post + b)
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import (
    as_tuple,
    check_size,
    input_kernel,
    is_sizes,
    linear,
    scaled_normal,
    widened,
)
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.base import DelayFreeModel
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.linear_scan import segment_ids, shift
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, InputShape, Params, State


class WaveNetCarry(NamedTuple):
    held: tuple[Array, ...]  # each layer's last inputs, oldest first [B, d, M]


@dataclasses.dataclass(frozen=True)
class WaveNet(DelayFreeModel):
    """WaveNet, in parallel over time; a SequenceModel. Its second 1x1 convolution is the readout.

    Parameters: {"input": {"kernel" [I, M], "bias" [M]}, "layer_0": {"dilated":
    {"kernel" [2, M, 2M], "bias" [2M]}, "residual": {"kernel" [M, M], "bias" [M]}, "skip":
    {"kernel" [M, S], "bias" [S]}}, .., "post": {"kernel" [S, S], "bias" [S]}}; blocks filter, gate;
    kernel[1] multiplies x_t. The top layer's residual is not used; it is there so that all layers
    have the same shapes.

    Attributes:
      features: S, the width of y and of the skip connections.
      residual_features: M, of the residual path; None: S.
      dilations: d of each layer, from the first to the last.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import WaveNet
      >>> model = WaveNet(4, dilations=(1, 2))
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    residual_features: int | None = None
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("residual_features", self._residual_features)
        object.__setattr__(self, "dilations", as_tuple(self.dilations))
        if not is_sizes(self.dilations):
            raise ValueError(
                f"dilations is {self.dilations}; accepted are one or more integers >= 1"
            )

    @property
    def _residual_features(self) -> int:
        return self.features if self.residual_features is None else self.residual_features

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M, S = self._residual_features, self.features
        w, post, *keys = jax.random.split(key, 2 + len(self.dilations))

        def dense(key: Array, shape: tuple[int, ...]) -> Params:
            bias = jnp.zeros(shape[-1:], jnp.float32)
            return {"kernel": scaled_normal(key, shape, 1.0), "bias": bias}

        params = {
            "input": {
                "kernel": input_kernel(w, (I, M), self.input_scale),
                "bias": jnp.zeros((M,), jnp.float32),
            },
            "post": dense(post, (S, S)),
        }
        for n, layer_key in enumerate(keys):
            dilated, residual, skip = jax.random.split(layer_key, 3)
            params[f"layer_{n}"] = {
                "dilated": dense(dilated, (2, M, 2 * M)),
                "residual": dense(residual, (M, M)),
                "skip": dense(skip, (M, S)),
            }
        return params, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> WaveNetCarry:
        del params
        shapes = [(batch_size, d, self._residual_features) for d in self.dilations]
        return WaveNetCarry(tuple(jnp.zeros(shape, self.dtype or dtype) for shape in shapes))

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: WaveNetCarry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[WaveNetCarry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, S]."""
        del flush, key, train
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        mask = None if lengths is None else sequence_mask(xs, lengths)
        segments = segment_ids(reset, lengths)
        x = linear(zero_beyond(xs, lengths), params["input"], self.dtype)
        total, carries = None, []
        for n, held in enumerate(carry.held):
            layer = params[f"layer_{n}"]
            held, late = shift(held, x.astype(held.dtype), segments, lengths)
            carries.append(held)
            x, skip = _layer(layer, late.astype(x.dtype), x)
            total = skip if total is None else total + skip
        ys = jax.nn.relu(linear(jax.nn.relu(total), params["post"], total.dtype))
        ys = select(mask, ys, jnp.zeros_like(ys))
        return WaveNetCarry(tuple(carries)), ys, state, {}

    def token_step(
        self, params: Params, state: State, carry: WaveNetCarry, x: Array
    ) -> tuple[WaveNetCarry, Array]:
        carry, ys, _, _ = self.apply(params, state, carry, x[None])
        return carry, ys[0]


def _layer(params: Params, late: Array, x: Array) -> tuple[Array, Array]:
    """(x_t of the next layer, this layer's skip) from x_{t-d} and x_t."""
    before, now = params["dilated"]["kernel"]
    a = linear(late, {"kernel": before}, x.dtype)
    a = a + linear(x, {"kernel": now, "bias": params["dilated"]["bias"]}, x.dtype)
    filtered, gate = jnp.split(a, 2, axis=-1)
    z = jnp.tanh(filtered) * jax.nn.sigmoid(gate)
    return x + linear(z, params["residual"], x.dtype), linear(z, params["skip"], x.dtype)
