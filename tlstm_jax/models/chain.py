"""Models on top of each other; their delays add up."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import as_tuple, widened
from tlstm_jax.cells.shapes import output_shape, row_mask, spatial_shape
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.sequence import as_sequence, cells_at_once, finished_first, split_key
from tlstm_jax.recurrence import cudnn
from tlstm_jax.recurrence.delays import age_at_end, ages, flushed
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State


class DelayedCarry(NamedTuple):
    """For a layer that lags the input: it starts when its first input arrives, as `age` tells."""

    layers: tuple[Carry, ...]
    age: Array  # int32 [B]: steps since the example's start


class OfLayers:
    """Has `layers`, a tuple of cells or models on top of each other."""

    layers: tuple[Cell | SequenceModel, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", as_tuple(self.layers))
        if not isinstance(self.layers, tuple) or not self.layers:
            raise ValueError(
                f"layers is {self.layers!r}; accepted are one or more cells or models, in a tuple"
            )
        for n, layer in enumerate(self.layers):
            check_model(f"layers[{n}]", layer)
        check_order(self.layers)

    @property
    def delay(self) -> int:
        return sum(layer.delay for layer in self.layers)

    @property
    def causal(self) -> bool:
        return all(layer.causal for layer in self.layers)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return spatial_shape(self.layers[-1])

    @property
    def _models(self) -> tuple[SequenceModel, ...]:
        return tuple(map(as_sequence, self.layers))

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        pairs = zip(self._models, self._each(params), strict=True)
        return tuple(layer.init_token_carry(batch_size, dtype, params=p) for layer, p in pairs)

    def _each(self, params: Params | None) -> tuple[Params | None, ...]:
        return tuple(params and params[f"layer_{i}"] for i in range(len(self.layers)))


@dataclasses.dataclass(frozen=True)
class Chain(OfLayers):
    """Layers on top of each other: h^0 = x, h^l = layer^l(h^{l-1}), y = h^L; a SequenceModel.

    Parameters: {"layer_0": .., "layer_1": .., ..}. The carry is the tuple of the layers' carries;
    if a layer below the top has a delay, a DelayedCarry.

    Attributes:
      layers: cells or models. LSTMs of one width and engine are one call of cuDNN, where `unroll`
        would use it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU, LSTM, Chain
      >>> model = Chain((LSTM(4), GRU(6)))
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, sorted(params)
      ((5, 2, 6), ['layer_0', 'layer_1'])
    """

    layers: tuple[Cell | SequenceModel, ...]

    @property
    def features(self) -> int:
        return self.layers[-1].features

    @property
    def row_mask(self) -> str:
        masks = set(map(row_mask, self.layers))
        return next(mask for mask in ("none", "A", "B") if mask in masks)

    @property
    def finished_first(self) -> tuple[bool, ...]:
        return finished_first(self.layers[-1])

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        params, states = {}, []
        for i, (layer, k) in enumerate(
            zip(self._models, jax.random.split(key, len(self.layers)), strict=True)
        ):
            params[f"layer_{i}"], state = layer.init(k, input_shape)
            states.append(state)
            input_shape = output_shape(layer)
        return params, gather_states(states)

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return init_layers(self._models, self._each(params), batch_size, dtype)

    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        lengths: Array | None = None,
        reset: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M], layer by layer."""
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        options |= {"lengths": lengths, "reset": reset}
        return apply_layers(self._models, self._each(params), state, carry, xs, **options)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        return step_layers(self._models, self._each(params), state, carry, x)


def gather_states(states: Sequence[State]) -> State:
    """The tuple of the layers' states; () if none has one."""
    return tuple(states) if jax.tree.leaves(states) else ()


def lags(layers: Sequence[Cell | SequenceModel]) -> tuple[int, ...]:
    """By how many steps each layer lags a stream's input."""
    return tuple(sum(layer.delay for layer in layers[:n]) for n in range(len(layers)))


def check_order(layers: Sequence[Cell | SequenceModel]) -> None:
    """Raises ValueError if a layer that is not causal lags the input."""
    for layer, lag in zip(layers, lags(layers), strict=True):
        if lag and not layer.causal:
            raise ValueError(
                f"{type(layer).__name__} is not causal, and its inputs are {lag} steps late; "
                "accepted above layers with a delay are causal ones"
            )


def init_layers(
    layers: Sequence[SequenceModel],
    params: Sequence[Params | None],
    batch_size: int,
    dtype: Any,
) -> Carry:
    """The carry of layers on top of each other."""
    carries = tuple(
        layer.init_carry(batch_size, dtype, params=p)
        for layer, p in zip(layers, params, strict=True)
    )
    if not any(lags(layers)):
        return carries
    return DelayedCarry(carries, jnp.zeros((batch_size,), jnp.int32))


def apply_layers(
    layers: Sequence[SequenceModel],
    params: Sequence[Params],
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
    """`SequenceModel.apply` of layers on top of each other.

    A layer that lags in a stream is reset when its first input arrives; what it read before is
    dropped.
    """
    xs, lengths = widened(xs), widened(lengths)
    xs = zero_beyond(xs, lengths)  # an embedding's gradient would also see what is there
    late = any(lags(layers))
    cells = None if late else cells_at_once(layers, params, carry, xs, reset=reset)
    if cells is not None:
        mask = None if lengths is None else sequence_mask(xs, lengths)
        ours = functools.partial(cudnn.deferred, cells)
        carry, ys = cudnn.apply(layers[0].engine, ours, params, carry, xs, mask)
        return carry, ys, (), {}
    keys = split_key(key, len(layers))
    states = state or ((),) * len(layers)

    def run(
        carry: Carry, xs: Array, reset: Array | None, lengths: Array | None, flush: bool
    ) -> tuple[Carry, Array, tuple[State, Aux]]:
        carries, new_states, aux = [], [], {}
        steps = ages(carry.age, xs.shape[0], reset) if late else None
        for n, (layer, lag) in enumerate(zip(layers, lags(layers), strict=True)):
            layer_carry, xs, layer_state, more = layer.apply(
                params[n],
                states[n],
                (carry.layers if late else carry)[n],
                xs,
                flush=flush,
                lengths=lengths,
                reset=steps == lag if lag else reset,
                key=keys[n],
                train=train,
            )
            carries.append(layer_carry)
            new_states.append(layer_state)
            aux |= {name: aux.get(name, 0.0) + value for name, value in more.items()}
        new = tuple(carries)
        if late:
            delay = sum(layer.delay for layer in layers)
            xs = select(steps >= delay, xs, jnp.zeros_like(xs))
            new = DelayedCarry(new, age_at_end(carry.age, steps.shape[0], reset, lengths))
        return new, xs, (gather_states(new_states), aux)

    if flush and late:
        stream = functools.partial(run, flush=False)
        delay = sum(layer.delay for layer in layers)
        carry, ys, (state, aux) = flushed(stream, delay, carry, xs, reset, lengths)
    else:
        carry, ys, (state, aux) = run(carry, xs, reset, lengths, flush)
    return carry, ys, state, aux


def step_layers(
    layers: Sequence[SequenceModel],
    params: Sequence[Params],
    state: State,
    carry: Carry,
    x: Array,
) -> tuple[Carry, Array]:
    """`SequenceModel.token_step` of layers on top of each other."""
    carries, states = [], state or ((),) * len(layers)
    for layer, p, s, layer_carry in zip(layers, params, states, carry, strict=True):
        layer_carry, x = layer.token_step(p, s, layer_carry, x)
        carries.append(layer_carry)
    return tuple(carries), x
