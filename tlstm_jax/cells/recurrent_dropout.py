"""Variational recurrent dropout: one mask per sequence, on the state that weights multiply.

Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
NIPS 2016.

    a_t = mix(d * h_{t-1}, x_t)   d ~ Bernoulli(1 - rate) / (1 - rate) for each unit, once for all t
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import CellWrapper
from tlstm_jax.cells.linear import check_rate
from tlstm_jax.cells.noise import draw, given
from tlstm_jax.checks import check_cell
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


@dataclasses.dataclass(frozen=True)
class RecurrentDropout(CellWrapper):
    """`cell` with variational dropout of its state; a Cell with the same parameters and carry.

    Each segment of a stream has its own masks. The state that is carried is not dropped, only what
    `mix` reads of it; a cell without project / mix / update must keep its memory apart from
    `hidden`, and must not copy `hidden` into the next state (`copies_hidden`).

    Attributes:
      cell: a Cell whose carry has `hidden`.
      rate: in [0, 1), the probability that a unit is dropped.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, RecurrentDropout, unroll
      >>> cell = RecurrentDropout(LSTM(4), rate=0.5)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> noise = cell.draw(jax.random.key(1), 5, 2)
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), jnp.ones((5, 2, 3)), noise=noise)
      >>> ys.shape
      (5, 2, 4)
    """

    cell: Cell
    _: dataclasses.KW_ONLY
    rate: float = dataclasses.field(metadata=STATIC)

    def __post_init__(self) -> None:
        plain(self)
        check_cell("cell", self.cell)
        check_rate("rate", self.rate)
        carry = jax.eval_shape(lambda: self.cell.init_carry(1))
        apart = hasattr(carry, "memory") and not getattr(self.cell, "copies_hidden", False)
        if not hasattr(carry, "hidden") or not (hasattr(self.cell, "mix") or apart):
            raise ValueError(
                f"{type(self.cell).__name__} has one state for its products and memory; accepted "
                "by RecurrentDropout are cells with project / mix / update, or with hidden and "
                "memory"
            )

    def draw(self, key: Array, num_steps: int, batch_size: int) -> PyTree:
        """(which units are kept, bool [T, B, ..], the same for all T; what the cell draws)."""
        own, inner = jax.random.split(key)
        shape = jax.eval_shape(lambda: self.cell.init_carry(batch_size)).hidden.shape
        kept = jax.random.bernoulli(own, 1 - self.rate, shape)
        kept = jnp.broadcast_to(kept[None], (num_steps, *shape))
        return kept, draw(self.cell, inner, num_steps, batch_size)

    def step(
        self, params: Params, carry: Carry, x: Array, noise: PyTree = (None, None)
    ) -> tuple[Carry, Array]:
        """The cell's step, its products with the dropped state."""
        if hasattr(self.cell, "mix"):
            a = self.mix(params, carry, self.cell.project(params, x), noise)
            return self.update(params, carry, a, noise)
        kept, inner = noise
        return self.cell.step(params, self._drop(carry, kept), x, *given(inner))

    @property
    def mix(self) -> Callable[..., Array]:
        mix = self.cell.mix

        def dropped(params: Params, carry: Carry, z: Array, noise: PyTree = (None, None)) -> Array:
            kept, inner = noise
            return mix(params, self._drop(carry, kept), z, *given(inner))

        return dropped

    @property
    def update(self) -> Callable[..., tuple[Carry, Array]]:
        update = self.cell.update
        return lambda params, carry, a, noise=(None, None): update(
            params, carry, a, *given(noise[1])
        )

    def _drop(self, carry: Carry, kept: Array | None) -> Carry:
        if kept is None:
            return carry
        h = carry.hidden / (1 - self.rate)
        return carry._replace(hidden=jnp.where(kept, h, jnp.zeros_like(h)))
