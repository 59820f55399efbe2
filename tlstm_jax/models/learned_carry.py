"""A cell whose initial carry is learned."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import OfCell
from tlstm_jax.checks import check_call, check_cell
from tlstm_jax.models.sequence import draw_noise
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.recurrence.engine import check_engine
from tlstm_jax.recurrence.unrolling import check_remat, unroll
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class LearnedCarry(OfCell):
    """`cell` with a learned initial carry; a SequenceModel.

    Parameters: {"cell": .., "carry": the cell's carry without its axis B, the leaves under their
    paths' names}. `init_carry(B)` needs them: `init_carry(B, params=params)`.

    Attributes:
      cell: a Cell without delay, whose carry is of floats.
      scale: the carry is initialized uniformly in [-scale, scale]; None: the cell's own
        `carry_scale`, or 0 where it has none.
      remat_every, engine: see `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, LearnedCarry
      >>> model = LearnedCarry(LSTM(4), scale=0.1)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry = model.init_carry(2, params=params)
      >>> carry, ys, *_ = model.apply(params, state, carry, jnp.ones((5, 2, 3)))
      >>> ys.shape, jax.tree.map(jnp.shape, params["carry"])
      ((5, 2, 4), {'hidden': (4,), 'memory': (4,)})
    """

    cell: Cell
    _: dataclasses.KW_ONLY
    scale: float | None = dataclasses.field(default=None, metadata=STATIC)
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        plain(self)
        check_cell("cell", self.cell)
        check_remat(self.remat_every)
        check_engine(self.engine)
        carry, name = self._shapes(), type(self.cell).__name__
        if self.cell.delay:
            raise ValueError(
                f"{name} has a delay of {self.cell.delay}; accepted with a learned carry are cells "
                "without delay"
            )
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(carry)):
            raise ValueError(
                f"the carry of {name} has integers; accepted as a learned one are floats"
            )

    @property
    def carry_scale(self) -> float:
        """The scale that is used."""
        if self.scale is not None:
            return self.scale
        cell = self.cell
        while not hasattr(cell, "carry_scale") and hasattr(cell, "cell"):  # inside of a wrapper
            cell = cell.cell
        return getattr(cell, "carry_scale", 0.0)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        of_cell, of_carry = jax.random.split(key)
        leaves = jax.tree_util.tree_leaves_with_path(self._shapes())
        keys, scale = jax.random.split(of_carry, len(leaves)), self.carry_scale
        carry = {
            _name(path): jax.random.uniform(k, leaf.shape[1:], jnp.float32, -scale, scale)
            for k, (path, leaf) in zip(keys, leaves, strict=True)
        }
        return {"cell": self.cell.init(of_cell, input_shape), "carry": carry}, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        """The learned carry, for every example.

        Raises:
          ValueError: params is None.
        """
        if params is None:
            raise ValueError("params is None; accepted with a learned carry are the parameters")

        return _learned(params, self.cell.init_carry(batch_size, dtype))

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
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M]."""
        del flush
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        T, B = xs.shape[:2]
        carry, ys = unroll(
            self.cell,
            params["cell"],
            carry,
            xs,
            lengths=lengths,
            reset=reset,
            initial=None if reset is None else _learned(params, carry),
            noise=draw_noise(self.cell, key, T, B) if train else None,
            remat_every=self.remat_every,
            engine=self.engine,
        )
        return carry, ys, state, {}

    init_token_carry = init_carry

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        del state
        return self.cell.token_step(params["cell"], carry, x)

    def _shapes(self) -> Carry:
        return jax.eval_shape(lambda: self.cell.init_carry(1))


def _learned(params: Params, carry: Carry) -> Carry:
    """The learned carry in the shapes and dtypes of `carry`."""

    def learned(path: tuple, leaf: Array) -> Array:
        start = params["carry"][_name(path)][None].astype(leaf.dtype)
        return jnp.broadcast_to(start, leaf.shape)

    return jax.tree_util.tree_map_with_path(learned, carry)


def _name(path: tuple) -> str:
    return ".".join(str(getattr(step, "name", getattr(step, "idx", step))) for step in path)
