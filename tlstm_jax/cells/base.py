"""Mixins for cells; a user's own cell needs none of them (`typing.Cell`)."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from tlstm_jax.cells.shapes import row_mask, spatial_shape
from tlstm_jax.typing import Array, Carry, Cell, InputShape, Params


class SplitStep:
    """A step that is the composition of project, mix and update."""

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: x [B, I] or tokens [B]; returns the carry and y [B, M]."""
        return self.update(params, carry, self.mix(params, carry, self.project(params, x)))


class DelayFree:
    """Without delay: y_t is computed in the step that reads x_t, so a token takes one step."""

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = True

    def init_token_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.init_carry(batch_size, dtype)

    def token_step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return self.step(params, carry, x)


class OfCell:
    """Has the width and delay of its `cell`: a wrapper that is a cell, or a model of one cell."""

    cell: Cell

    @property
    def features(self) -> int:
        return self.cell.features

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return spatial_shape(self.cell)

    @property
    def delay(self) -> int:
        return self.cell.delay

    @property
    def causal(self) -> bool:
        return self.cell.causal

    @property
    def row_mask(self) -> str:
        return row_mask(self.cell)


class CellWrapper(OfCell):
    """What a wrapper passes on from its `cell`."""

    def init(self, key: Array, input_shape: InputShape) -> Params:
        return self.cell.init(key, input_shape)

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.cell.init_carry(batch_size, dtype)

    @property
    def project(self) -> Callable[..., Array]:
        return self.cell.project

    def init_token_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.cell.init_token_carry(batch_size, dtype)

    def token_step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return self.cell.token_step(params, carry, x)
