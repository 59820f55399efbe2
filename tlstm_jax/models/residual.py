"""A residual connection around a model.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; over recurrent
layers: Wu et al., "Google's Neural Machine Translation System", 2016.

    y_t = x_t + model(x)_t
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from tlstm_jax.cells.linear import widened
from tlstm_jax.cells.shapes import output_shape, row_mask, sizes_of
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.base import ModelWrapper
from tlstm_jax.recurrence.delays import age_at_end, ages, flushed, hold_back
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State


class HeldCarry(NamedTuple):
    """Around a model with a delay, x is held back until the model answers it."""

    model: Carry
    held: Array  # the last inputs, oldest first [B, delay, .., M]
    age: Array  # int32 [B]: steps since the example's start


@dataclasses.dataclass(frozen=True)
class Residual(ModelWrapper):
    """x + model(x), for vectors, or maps, as wide as the model's output; a SequenceModel.

    Parameters and carry: the model's; with a delay, the carry is a HeldCarry.

    Attributes:
      model: a Cell or a SequenceModel.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, Residual
      >>> model = Residual(LSTM(3))
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 3)
    """

    model: Cell | SequenceModel

    def __post_init__(self) -> None:
        check_model("model", self.model)

    @property
    def row_mask(self) -> str:
        return "none" if row_mask(self.model) == "none" else "B"

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        """Raises ValueError if inputs are not as wide as outputs."""
        if sizes_of(input_shape) != sizes_of(output_shape(self)):
            raise ValueError(
                f"a residual connection around {output_shape(self)} features has {input_shape} "
                "inputs; accepted are as many as features"
            )
        return self._model.init(key, input_shape)

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        carry = self._model.init_carry(batch_size, dtype, params=params)
        if not self.delay:
            return carry
        held = jnp.zeros((batch_size, self.delay, *sizes_of(output_shape(self))), dtype)
        return HeldCarry(carry, held, jnp.zeros((batch_size,), jnp.int32))

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
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., M] to [T, B, .., M]."""
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        check_vectors(xs)
        lengths = widened(lengths)
        xs = zero_beyond(xs, lengths)
        if not self.delay:
            carry, ys, state, aux = self._model.apply(
                params, state, carry, xs, flush=flush, lengths=lengths, reset=reset, **options
            )
            return carry, ys + xs.astype(ys.dtype), state, aux

        def stream(
            carry: HeldCarry, xs: Array, reset: Array | None, lengths: Array | None
        ) -> tuple[HeldCarry, Array, tuple[State, Aux]]:
            inner, ys, new_state, aux = self._model.apply(
                params, state, carry.model, xs, flush=False, lengths=lengths, reset=reset, **options
            )
            held, late = hold_back(carry.held, xs.astype(carry.held.dtype), lengths)
            answers = ages(carry.age, xs.shape[0], reset) >= self.delay
            ys = select(answers, ys + late.astype(ys.dtype), jnp.zeros_like(ys))
            age = age_at_end(carry.age, xs.shape[0], reset, lengths)
            return HeldCarry(inner, held, age), zero_beyond(ys, lengths), (new_state, aux)

        if flush:
            carry, ys, (state, aux) = flushed(stream, self.delay, carry, xs, reset, lengths)
        else:
            carry, ys, (state, aux) = stream(carry, xs, reset, lengths)
        return carry, ys, state, aux

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        check_vectors(x)
        carry, y = self._model.token_step(params, state, carry, x)
        return carry, y + x.astype(y.dtype)


def check_vectors(x: Array) -> None:
    """Raises ValueError if x are tokens."""
    if jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError("a residual connection was given tokens; accepted are vectors")
