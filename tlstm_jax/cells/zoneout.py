"""Zoneout: in training, some units keep their value of the step before.

Krueger, Maharaj, Kramar, Pezeshki, Ballas, Ke, Goyal, Bengio, Courville and Pal, "Zoneout:
Regularizing RNNs by Randomly Preserving Hidden Activations", ICLR 2017.

    s_t = d * s_{t-1} + (1 - d) * step(s_{t-1}, x_t)    d ~ Bernoulli(rate) per unit, in training
                                                        d = rate, its mean, otherwise
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import CellWrapper
from tlstm_jax.cells.linear import check_rate
from tlstm_jax.cells.noise import draw, given
from tlstm_jax.checks import check_cell
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


def zone(old: Array, new: Array, rate: float, kept: Array | None) -> Array:
    """`old` where `kept`, else `new`; the mean over masks if `kept` is None."""
    if not rate:
        return new
    if kept is None:
        return old * rate + new * (1 - rate)
    return jnp.where(kept, old, new)


@dataclasses.dataclass(frozen=True)
class Zoneout(CellWrapper):
    """`cell` with zoneout on its `hidden` and `memory`; a Cell with the same parameters and carry.

    The output is the hidden state after zoneout, while the cell's is the one before it.

    Attributes:
      cell: a Cell without delay, with a carry of `hidden` or `memory`.
      hidden, memory: rates in [0, 1), the probability that a unit keeps its value.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, Zoneout, unroll
      >>> cell = Zoneout(LSTM(4), hidden=0.05, memory=0.3)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> noise = cell.draw(jax.random.key(1), 5, 2)
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), jnp.ones((5, 2, 3)), noise=noise)
      >>> ys.shape
      (5, 2, 4)
    """

    cell: Cell
    _: dataclasses.KW_ONLY
    hidden: float = dataclasses.field(default=0.0, metadata=STATIC)
    memory: float = dataclasses.field(default=0.0, metadata=STATIC)

    def __post_init__(self) -> None:
        plain(self)
        check_cell("cell", self.cell)
        check_rate("hidden", self.hidden)
        check_rate("memory", self.memory)
        name = type(self.cell).__name__
        if self.cell.delay:
            raise ValueError(
                f"{name} has a delay of {self.cell.delay}; accepted by Zoneout are cells without "
                "delay"
            )
        carry = jax.eval_shape(lambda: self.cell.init_carry(1))
        if hasattr(carry, "age"):  # its locations start one after the other
            raise ValueError(f"{name} carries a tensor; accepted by Zoneout are cells without one")
        kinds = [_kind(path) for path, _ in _leaves(carry)]
        for kind in ("hidden", "memory"):
            if getattr(self, kind) and kind not in kinds:
                raise ValueError(f"{name} has no {kind} in its carry; accepted is {kind}=0")

    @property
    def copies_hidden(self) -> bool:
        return self.hidden > 0 or getattr(self.cell, "copies_hidden", False)

    def draw(self, key: Array, num_steps: int, batch_size: int) -> PyTree:
        """(kept units, bool [T, B, ..] for each leaf of the carry; the cell's own noise)."""

        def mask(path: tuple, leaf: Array) -> Array:
            rate = self._rate(path)
            if not rate:  # one for all, as it is not read
                return jnp.zeros((num_steps, batch_size), bool)
            leaf_key = jax.random.fold_in(own, paths.index(path))
            return jax.random.bernoulli(leaf_key, rate, (num_steps, *leaf.shape))

        own, inner = jax.random.split(key)
        carry = jax.eval_shape(lambda: self.cell.init_carry(batch_size))
        paths = [path for path, _ in _leaves(carry)]
        masks = jax.tree_util.tree_map_with_path(mask, carry)
        return masks, draw(self.cell, inner, num_steps, batch_size)

    def step(
        self, params: Params, carry: Carry, x: Array, noise: PyTree = (None, None)
    ) -> tuple[Carry, Array]:
        """The cell's step, and zoneout."""
        masks, inner = noise
        return self._zone(carry, *self.cell.step(params, carry, x, *given(inner)), masks)

    @property
    def mix(self) -> Callable[..., Array]:
        mix = self.cell.mix
        return lambda params, carry, z, noise=(None, None): mix(params, carry, z, *given(noise[1]))

    @property
    def update(self) -> Callable[..., tuple[Carry, Array]]:
        update = self.cell.update

        def zoned(
            params: Params, carry: Carry, a: Array, noise: PyTree = (None, None)
        ) -> tuple[Carry, Array]:
            masks, inner = noise
            return self._zone(carry, *update(params, carry, a, *given(inner)), masks)

        return zoned

    init_token_carry = CellWrapper.init_carry  # its token is one step, as zoneout is in every step
    token_step = step

    def _rate(self, path: tuple) -> float:
        return {"hidden": self.hidden, "memory": self.memory}.get(_kind(path), 0.0)

    def _zone(self, old: Carry, new: Carry, y: Array, masks: PyTree) -> tuple[Carry, Array]:
        masks = [None] * len(_leaves(old)) if masks is None else jax.tree.leaves(masks)
        (leaves, structure), before = jax.tree.flatten(new), _leaves(old)
        zoned = [
            zone(old_leaf, leaf, self._rate(path), kept)
            for (path, old_leaf), leaf, kept in zip(before, leaves, masks, strict=True)
        ]
        for (path, _), leaf in zip(before, zoned, strict=True):
            if _kind(path) == "hidden" and leaf.shape == y.shape:
                return structure.unflatten(zoned), leaf.astype(y.dtype)
        return structure.unflatten(zoned), y


def _leaves(carry: Carry) -> list[tuple[tuple, Any]]:
    return jax.tree_util.tree_leaves_with_path(carry)


def _kind(path: tuple) -> str:
    return getattr(path[-1], "name", "")
