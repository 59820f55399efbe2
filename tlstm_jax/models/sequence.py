"""A cell as a sequence model."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from tlstm_jax.engine import check_engine
from tlstm_jax.typing import Array, Aux, Carry, Cell, Hyper, Params, SequenceModel, State
from tlstm_jax.unroll import check_remat, unroll


@dataclasses.dataclass(frozen=True)
class CellModel:
    """One cell, unrolled over time; a stateless SequenceModel.

    Attributes:
      cell: the cell.
      remat_every, engine: see `unroll`.
    """

    cell: Cell
    remat_every: int | None = None
    engine: str = "deferred"

    def __post_init__(self) -> None:
        check_remat(self.remat_every)
        check_engine(self.engine)

    @property
    def features(self) -> int:
        return self.cell.features

    @property
    def delay(self) -> int:
        return self.cell.delay

    @property
    def causal(self) -> bool:
        return self.cell.causal

    def init(
        self, key: Array, input_size: int, *, hyper: Hyper | None = None
    ) -> tuple[Params, State]:
        return self.cell.init(key, input_size, hyper=hyper), ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        return self.cell.init_carry(batch_size, dtype)

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
        hyper: Hyper | None = None,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M]."""
        del key, train, hyper
        carry, ys = unroll(
            self.cell,
            params,
            carry,
            xs,
            flush=flush,
            lengths=lengths,
            reset=reset,
            remat_every=self.remat_every,
            engine=self.engine,
        )
        return carry, ys, state, {}

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        return self.cell.init_token_carry(batch_size, dtype)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        del state
        return self.cell.token_step(params, carry, x)


def as_sequence(model: Cell | SequenceModel, **settings: Any) -> SequenceModel:
    """`model` itself if it is a SequenceModel, else the cell lifted into one.

    Args:
      settings: of `CellModel`: remat_every, engine.

    Raises:
      ValueError: settings are given for a SequenceModel, which has its own.
    """
    if not hasattr(model, "apply"):
        return CellModel(model, **settings)
    if settings:
        raise ValueError(
            f"{', '.join(settings)}: accepted for cells only; set it in the sequence model"
        )
    return model
