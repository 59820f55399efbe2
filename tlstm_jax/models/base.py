"""Mixins for models; a user's own model needs none of them (`typing.SequenceModel`)."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp

from tlstm_jax.cells.linear import widened
from tlstm_jax.cells.shapes import row_mask, spatial_shape
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.sequence import as_sequence, finished_first
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State


class DelayFreeModel:
    """Without delay: y_t is computed from inputs up to x_t; a token's carry is the sequence's."""

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = True

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return self.init_carry(batch_size, dtype, params=params)


class AllStepsModel(DelayFreeModel, abc.ABC):
    """A layer that computes all steps of a sequence in one call, `run`."""

    @abc.abstractmethod
    def run(
        self, params: Params, carry: Carry, xs: Array, lengths: Array | None, reset: Array | None
    ) -> tuple[Carry, Array]:
        """(the carry behind xs, y [T, B, M]); beyond an example's length xs are 0, and y is not read."""

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
        """[T, B, I] or tokens [T, B] to [T, B, M]."""
        del flush, key, train
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        carry, ys = self.run(params, carry, zero_beyond(xs, lengths), lengths, reset)
        if lengths is not None:
            ys = select(sequence_mask(xs, lengths), ys, jnp.zeros_like(ys))
        return carry, ys, state, {}


class ModelWrapper:
    """What a wrapper passes on from its `model`, a cell or a model."""

    model: Cell | SequenceModel

    @property
    def features(self) -> int:
        return self.model.features

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return spatial_shape(self.model)

    @property
    def row_mask(self) -> str:
        return row_mask(self.model)

    @property
    def delay(self) -> int:
        return self.model.delay

    @property
    def causal(self) -> bool:
        return self.model.causal

    @property
    def finished_first(self) -> tuple[bool, ...]:
        return finished_first(self.model)

    @property
    def _model(self) -> SequenceModel:
        return as_sequence(self.model)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        return self._model.init(key, input_shape)

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return self._model.init_carry(batch_size, dtype, params=params)

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return self._model.init_token_carry(batch_size, dtype, params=params)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        return self._model.token_step(params, state, carry, x)
