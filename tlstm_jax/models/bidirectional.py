"""Two models, one in each direction of time.

Schuster and Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal
Processing 45, 1997.

    y_t = [forward(x_1 .. x_t), backward(x_n .. x_t)]        n: the example's length
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import widened
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.sequence import (
    as_sequence,
    cells_at_once,
    finished_first,
    memory_dtype,
    split_key,
)
from tlstm_jax.recurrence import cudnn
from tlstm_jax.recurrence.engine import run
from tlstm_jax.recurrence.loop import Inputs
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State


class BidirectionalCarry(NamedTuple):
    forward: Carry
    backward: Carry


@dataclasses.dataclass(frozen=True)
class Bidirectional:
    """Forward and backward, their outputs side by side; a SequenceModel that is not causal.

    Each direction is flushed on its own, so there is no delay. The backward one starts at each
    example's last input, whatever follows it. In a stream (flush=False) it is reset with every
    segment. The model cannot generate. The forward half has seen the entire example at its last
    output, the backward half at its first: `last_output` reads these.

    Parameters: {"forward": .., "backward": ..}.

    Attributes:
      forward, backward: cells or models. Two LSTMs of one width and engine are one call of cuDNN,
        where `unroll` would use it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, Bidirectional
      >>> model = Bidirectional(LSTM(4), LSTM(4))
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, sorted(params)
      ((5, 2, 8), ['backward', 'forward'])
    """

    forward: Cell | SequenceModel
    backward: Cell | SequenceModel

    def __post_init__(self) -> None:
        check_model("forward", self.forward)
        check_model("backward", self.backward)
        sizes = spatial_shape(self.forward), spatial_shape(self.backward)
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the two directions have spatial_shape {sizes[0]} and {sizes[1]}; accepted by "
                "Bidirectional are equal ones"
            )

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return spatial_shape(self.forward)

    @property
    def features(self) -> int:
        return self.forward.features + self.backward.features

    @property
    def delay(self) -> int:
        return 0

    @property
    def causal(self) -> bool:
        return False

    @property
    def finished_first(self) -> tuple[bool, ...]:
        backward = (not first for first in finished_first(self.backward))
        return (*finished_first(self.forward), *backward)

    @property
    def _models(self) -> tuple[SequenceModel, SequenceModel]:
        return as_sequence(self.forward), as_sequence(self.backward)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        keys = jax.random.split(key)
        (forward, f), (backward, b) = (
            model.init(k, input_shape) for model, k in zip(self._models, keys, strict=True)
        )
        state = (f, b) if jax.tree.leaves((f, b)) else ()
        return {"forward": forward, "backward": backward}, state

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> BidirectionalCarry:
        return BidirectionalCarry(
            *(
                model.init_carry(batch_size, dtype, params=params and params[name])
                for model, name in zip(self._models, BidirectionalCarry._fields, strict=True)
            )
        )

    def apply(
        self,
        params: Params,
        state: State,
        carry: BidirectionalCarry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[BidirectionalCarry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., features].

        Raises:
          ValueError: a stream, of a model with a delay.
        """
        forward, backward = self._models
        if not flush and (forward.delay or backward.delay):
            raise ValueError(
                f"the two directions have delays of {forward.delay} and {backward.delay}; "
                "accepted by Bidirectional in a stream (flush=False) are 0"
            )
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        xs = zero_beyond(xs, lengths)
        keys, states = split_key(key, 2), state or ((), ())
        options |= {"flush": flush, "lengths": lengths}
        start = carry.backward
        if not flush:
            dtype = memory_dtype(carry.backward)
            start = self.init_carry(xs.shape[1], dtype, params=params).backward
            start = jax.tree.map(lambda a, b: a.astype(b.dtype), start, carry.backward)
        layer = (params["forward"], params["backward"]), (carry.forward, start), xs
        cells = cells_at_once(self._models, *layer, reset=reset, directions=2)
        if cells is not None:
            mask = None if lengths is None else sequence_mask(xs, lengths)
            ours = functools.partial(_deferred, cells)
            carries, ys = cudnn.apply(forward.engine, ours, *layer, mask, directions=2)
            return BidirectionalCarry(*carries), ys, state, {}
        carry_f, ys_f, state_f, aux = forward.apply(
            params["forward"], states[0], carry.forward, xs, reset=reset, key=keys[0], **options
        )
        carry_b, ys_b, state_b, more = backward.apply(
            params["backward"],
            states[1],
            start,
            reverse(xs, lengths),
            reset=None if reset is None else reverse(ends(reset), lengths),
            key=keys[1],
            **options,
        )
        ys = jnp.concatenate([ys_f, reverse(ys_b, lengths)], axis=-1)
        aux = aux | {name: aux.get(name, 0.0) + value for name, value in more.items()}
        state = (state_f, state_b) if jax.tree.leaves((state_f, state_b)) else ()
        return BidirectionalCarry(carry_f, carry_b), ys, state, aux

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        """Raises ValueError: see `token_step`."""
        raise ValueError("Bidirectional is not causal; accepted token by token are causal models")

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        """Raises ValueError: what comes later is not known yet."""
        raise ValueError("Bidirectional is not causal; accepted token by token are causal models")


def _deferred(cells: tuple[Cell, Cell], floats: tuple, others: tuple) -> tuple[tuple, Array]:
    """The deferred engine in both directions, as `cudnn.apply` expects it."""
    (params, carries, vectors), (tokens, mask) = floats, others
    xs = tokens if vectors is None else vectors
    lengths = None if mask is None else jnp.sum(mask, axis=0)
    carry_f, ys_f, _ = run(cells[0], params[0], carries[0], Inputs(xs, mask=mask))
    reversed_ = Inputs(reverse(xs, lengths), mask=mask)
    carry_b, ys_b, _ = run(cells[1], params[1], carries[1], reversed_)
    return (carry_f, carry_b), jnp.concatenate([ys_f, reverse(ys_b, lengths)], axis=-1)


def reverse(xs: Array, lengths: Array | None) -> Array:
    """xs [T, B, ..] with each example's first `lengths` steps in reverse."""
    if lengths is None:
        return xs[::-1]
    T, B = xs.shape[:2]
    steps = jnp.broadcast_to(jnp.arange(T)[:, None], (T, B))
    ends = jnp.broadcast_to(jnp.clip(lengths, 0, T)[None].astype(steps.dtype), (T, B))
    index = jnp.where(steps < ends, ends - 1 - steps, steps)
    return jnp.take_along_axis(xs, index.reshape(T, B, *(1,) * (xs.ndim - 2)), axis=0)


def ends(reset: Array) -> Array:
    """The last step of each example of a stream, from the first steps: bool [T, B]."""
    return jnp.concatenate([reset[1:], jnp.zeros_like(reset[:1])])
