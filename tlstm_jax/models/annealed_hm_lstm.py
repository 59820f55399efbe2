"""The HM-LSTM with the annealing of its boundaries' slope.

Chung, Ahn and Bengio, "Hierarchical Multiscale Recurrent Neural Networks", ICLR 2017: the hard
sigmoid's slope grows from 1 to 5 over the training, so that the straight-through gradient becomes
less biased.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import OfCell
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.checks import check_call
from tlstm_jax.models.base import DelayFreeModel
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, Aux, Carry, InputShape, Params, State


@dataclasses.dataclass(frozen=True)
class AnnealedHMLSTM(OfCell, DelayFreeModel):
    """An `HMLSTM` that counts its training steps in its state, {"steps": float32}; a SequenceModel.

    slope = min(limit, 1 + steps * (limit - 1) / anneal_steps)

    Attributes:
      cell: the HM-LSTM, with its parameters and carry.
      anneal_steps: training steps until the slope is at its limit.
      limit: 5 in the paper.
      remat_every, engine: see `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import HMLSTM, AnnealedHMLSTM
      >>> model = AnnealedHMLSTM(HMLSTM(4, num_layers=2), anneal_steps=1000)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry = model.init_carry(2)
      >>> _, ys, state, _ = model.apply(params, state, carry, jnp.ones((5, 2, 3)), train=True)
      >>> ys.shape, float(state["steps"])
      ((5, 2, 4), 1.0)
    """

    cell: HMLSTM
    _: dataclasses.KW_ONLY
    anneal_steps: int = 10_000
    limit: float = dataclasses.field(default=5.0, metadata=STATIC)
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        plain(self)
        if self.anneal_steps < 1:
            raise ValueError(f"anneal_steps is {self.anneal_steps}; accepted are integers >= 1")
        self._model  # noqa: B018 (its own settings)

    @property
    def _model(self) -> Any:
        return as_sequence(self.cell, remat_every=self.remat_every, engine=self.engine)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        params = self.cell.init(key, input_shape)
        return params, {"steps": jnp.zeros((), jnp.float32)}

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
        train: bool = False,
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M]; with `train`, a training step is counted."""
        check_call(self, params, carry, xs, state=state)
        params = {**params, "slope": self.slope(state)}
        carry, ys, _, aux = self._model.apply(params, (), carry, xs, train=train, **options)
        return carry, ys, {"steps": state["steps"] + 1} if train else state, aux

    def slope(self, state: State) -> Array:
        """The slope after the training steps that `state` counts: float32 scalar."""
        grown = 1 + state["steps"] * (self.limit - 1) / self.anneal_steps
        return jax.lax.stop_gradient(jnp.minimum(grown, jnp.full_like(grown, self.limit)))

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        return self.cell.token_step({**params, "slope": self.slope(state)}, carry, x)
