"""Layers with skip connections: the input goes to all layers, and all layers go to the output.

Graves, "Generating Sequences With Recurrent Neural Networks", 2013.

    h^1_t = layer^1(x_t),  h^l_t = layer^l([x_t, h^{l-1}_t]),  y_t = [h^1_t, .., h^L_t]
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import linear, widened
from tlstm_jax.cells.shapes import row_mask, sizes_of
from tlstm_jax.checks import check_call, number_of_tokens
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.chain import OfLayers, gather_states, lags
from tlstm_jax.models.sequence import carry_dtype, finished_first, split_key
from tlstm_jax.recurrence.delays import age_at_end, ages, flushed, hold_back
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State


class SkippedCarry(NamedTuple):
    """With delays: what goes past a layer is held back until the layer answers it."""

    layers: tuple[Carry, ...]
    past: tuple[Array, ...]  # each layer with a delay, oldest first [B, delay, ..]
    age: Array  # int32 [B]: steps since the example's start


@dataclasses.dataclass(frozen=True)
class SkipConnections(OfLayers):
    """Layers that see the input beside the layer below, and whose outputs are all read out.

    Parameters: {"layer_0": .., "layer_1": .., ..}, those above the first for I + M inputs, x before
    h; tokens are one-hot vectors there. The carry is the tuple of the layers' carries; if a layer
    has a delay, a SkippedCarry, which needs parameters: `init_carry(B, params=params)`.

    Attributes:
      layers: cells or models, of any delay.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, SkipConnections
      >>> model = SkipConnections((LSTM(4), LSTM(6)))
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, params["layer_1"]["input"]["kernel"].shape
      ((5, 2, 10), (7, 24))
    """

    layers: tuple[Cell | SequenceModel, ...]

    @property
    def features(self) -> int:
        return sum(layer.features for layer in self.layers)

    @property
    def finished_first(self) -> tuple[bool, ...]:
        return sum(map(finished_first, self.layers), ())

    @property
    def row_mask(self) -> str:
        masks = set(map(row_mask, self.layers))
        return next(mask for mask in ("none", "B", "A") if mask in masks)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        *spatial, I = sizes_of(input_shape)
        params, states, below = {}, [], 0
        keys = jax.random.split(key, len(self.layers))
        for n, (layer, k) in enumerate(zip(self._models, keys, strict=True)):
            shape = (*spatial, I + below) if spatial else I + below
            params[f"layer_{n}"], state = layer.init(k, shape)
            states.append(state)
            below = layer.features
        return params, gather_states(states)

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        """The carry before the first step.

        Raises:
          ValueError: params is None, and a layer below another has a delay.
        """
        pairs = list(zip(self._models, self._each(params), strict=True))
        carries = tuple(layer.init_carry(batch_size, dtype, params=p) for layer, p in pairs)
        if not self.delay:
            return carries
        held, lower, top = [], 0, len(self.layers) - 1
        for n, layer in enumerate(self.layers):
            if layer.delay:
                size = lower + (self._input_size(params) if n < top else 0)
                shape = (batch_size, layer.delay, *self.spatial_shape, size)
                held.append(jnp.zeros(shape, dtype))
            lower += layer.features
        return SkippedCarry(carries, tuple(held), jnp.zeros((batch_size,), jnp.int32))

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M], M the sum of the layers' features.

        As in `Chain`, a layer that lags in a stream is reset when its first input arrives.
        """
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        xs = zero_beyond(xs, lengths)
        options = {"flush": flush and not self.delay, "train": train}
        stream = functools.partial(self._stream, params, state, key, options)
        if flush:
            carry, ys, (state, aux) = flushed(stream, self.delay, carry, xs, reset, lengths)
        else:
            carry, ys, (state, aux) = stream(carry, xs, reset, lengths)
        return carry, ys, state, aux

    def _stream(
        self,
        params: Params,
        state: State,
        key: Array | None,
        options: dict[str, bool],
        carry: Carry,
        xs: Array,
        reset: Array | None,
        lengths: Array | None,
    ) -> tuple[Carry, Array, tuple[State, Aux]]:
        """One segment; outputs lag by the delay."""
        T, late, top = xs.shape[0], bool(self.delay), len(self.layers) - 1
        old = carry.layers if late else carry
        waiting, held = iter(carry.past if late else ()), []
        steps = ages(carry.age, T, reset) if late else None
        keys, states = split_key(key, top + 1), state or ((),) * (top + 1)
        x, ys, new, new_states, aux = self._vectors(params, xs), [], [], [], {}
        for n, (layer, lag) in enumerate(zip(self._models, lags(self.layers), strict=True)):
            new_carry, y, new_state, more = layer.apply(
                params[f"layer_{n}"],
                states[n],
                old[n],
                _joined([x, ys[-1]]) if n else xs,
                lengths=lengths,
                reset=steps == lag if lag else reset,
                key=keys[n],
                **options,
            )
            if layer.delay:
                past = [x, *ys] if n < top else ys
                queue, past = _hold_back(next(waiting), past, lengths)
                held.append(queue)
                x, ys = (past[0], past[1:]) if n < top else (x, past)
            ys = [*ys, y]
            new.append(new_carry)
            new_states.append(new_state)
            aux |= {name: aux.get(name, 0.0) + value for name, value in more.items()}
        y = _joined(ys)
        if not late:
            return tuple(new), y, (gather_states(new_states), aux)
        y = zero_beyond(select(steps >= self.delay, y, jnp.zeros_like(y)), lengths)
        age = age_at_end(carry.age, T, reset, lengths)
        return SkippedCarry(tuple(new), tuple(held), age), y, (gather_states(new_states), aux)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        carries, ys, states = [], [], state or ((),) * len(self.layers)
        vectors = self._vectors(params, x)
        for n, (layer, layer_carry) in enumerate(zip(self._models, carry, strict=True)):
            inputs = _joined([vectors, ys[-1]]) if n else x
            layer_carry, y = layer.token_step(params[f"layer_{n}"], states[n], layer_carry, inputs)
            carries.append(layer_carry)
            ys.append(y)
        return tuple(carries), _joined(ys)

    def _input_size(self, params: Params | None) -> int:
        """I, from the second layer's parameters: the first may take vectors of any width."""
        if params is None:
            raise ValueError(
                "params is None; accepted by SkipConnections around layers with a delay, which "
                "hold inputs back, are the parameters"
            )
        return number_of_tokens(self.layers[1], params["layer_1"]) - self.layers[0].features

    def _vectors(self, params: Params, xs: Array) -> Array:
        """Tokens as one-hot vectors, if any layer reads these; NaN for what is no token."""
        if len(self.layers) == 1 or not jnp.issubdtype(xs.dtype, jnp.integer):
            return xs
        size, dtype = self._input_size(params), carry_dtype(params)
        return linear(widened(xs), {"kernel": jnp.eye(size, dtype=dtype)}, dtype)


def _joined(parts: Sequence[Array]) -> Array:
    """Side by side along the last axis, in the widest of their dtypes."""
    dtype = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return jnp.concatenate([part.astype(dtype) for part in parts], axis=-1)


def _hold_back(held: Array, parts: list[Array], lengths: Array | None) -> tuple[Array, list[Array]]:
    """`hold_back` of several arrays [T, B, ..] in one queue."""
    if not parts:
        return held, []
    held, late = hold_back(held, _joined(parts).astype(held.dtype), lengths)
    ends, end = [], 0
    for part in parts[:-1]:
        ends.append(end := end + part.shape[-1])
    pieces = jnp.split(late, ends, axis=-1)
    return held, [piece.astype(part.dtype) for piece, part in zip(pieces, parts, strict=True)]
