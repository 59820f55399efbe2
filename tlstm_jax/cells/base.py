"""What cells have in common, as mixins; a cell of a user's own needs none of them (`typing.Cell`)."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from tlstm_jax.typing import Array, Carry, Cell, Params


class SplitStep:
    """A step that is the composition of project, mix and update."""

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: x [B, I] or tokens [B]; returns the carry and y [B, M]."""
        return self.update(params, carry, self.mix(params, carry, self.project(params, x)))


class DelayFree:
    """y_t follows from the inputs up to x_t at once, so that a step is a whole token."""

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = True

    def init_token_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.init_carry(batch_size, dtype)

    def token_step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return self.step(params, carry, x)


class OfCell:
    """What is as wide and as late as its `cell`: cells around one, and models of one."""

    cell: Cell

    @property
    def features(self) -> int:
        return self.cell.features

    @property
    def delay(self) -> int:
        return self.cell.delay

    @property
    def causal(self) -> bool:
        return self.cell.causal


class CellWrapper(OfCell):
    """What a cell around `cell` hands through."""

    def init(self, key: Array, input_size: int) -> Params:
        return self.cell.init(key, input_size)

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.cell.init_carry(batch_size, dtype)

    @property
    def project(self) -> Callable[..., Array]:
        return self.cell.project

    def init_token_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.cell.init_token_carry(batch_size, dtype)

    def token_step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return self.cell.token_step(params, carry, x)
