"""Dropout of a model's inputs and outputs.

Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout", JMLR 15, 2014; on what enters
and leaves recurrent layers: Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization",
2014; with one mask for a whole sequence: Gal and Ghahramani, NIPS 2016.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_rate, widened
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.sequence import as_sequence, finished_first, split_key
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, Aux, Carry, Cell, Hyper, Params, SequenceModel, State


@dataclasses.dataclass(frozen=True)
class Dropout:
    """`model` with dropout, in training only; a SequenceModel with the same parameters and carry.

    A dropped unit is zero, the others are divided by 1 - rate. A dropped token is the zero input; tokens
    that are kept stay as they are.

    Attributes:
      model: a Cell or a SequenceModel, of any delay.
      input_rate, output_rate: in [0, 1), the probability that a unit is dropped.
      variational: whether a unit is dropped at all time steps or at none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, Dropout
      >>> model = Dropout(LSTM(4), output_rate=0.5)
      >>> params, state = model.init(jax.random.key(0), input_size=3)
      >>> xs, key = jnp.ones((5, 2, 3)), jax.random.key(1)
      >>> _, ys, *_ = model.apply(params, state, model.init_carry(2), xs, key=key, train=True)
      >>> ys.shape
      (5, 2, 4)
    """

    model: Cell | SequenceModel
    input_rate: float = 0.0
    output_rate: float = 0.0
    variational: bool = False

    def __post_init__(self) -> None:
        plain(self)
        check_model("model", self.model)
        check_rate("input_rate", self.input_rate)
        check_rate("output_rate", self.output_rate)

    @property
    def features(self) -> int:
        return self.model.features

    @property
    def delay(self) -> int:
        return self.model.delay

    @property
    def draws(self) -> bool:
        return bool(self.input_rate or self.output_rate)

    @property
    def causal(self) -> bool:
        return self.model.causal

    @property
    def finished_first(self) -> tuple[bool, ...]:
        return finished_first(self.model)

    @property
    def _model(self) -> SequenceModel:
        return as_sequence(self.model)

    def init(
        self, key: Array, input_size: int, *, hyper: Hyper | None = None
    ) -> tuple[Params, State]:
        return self._model.init(key, input_size, hyper=hyper)

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return self._model.init_carry(batch_size, dtype, params=params)

    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
        hyper: Hyper | None = None,
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M].

        Args:
          hyper: `input_rate` and `output_rate` replace those of all dropouts within, where they are not 0.

        Raises:
          ValueError: there is no key in training.
        """
        check_call(self, params, carry, xs, state=state)
        of_inputs, of_outputs, key = split_key(key, 3)
        xs = widened(xs)
        if train:
            xs = self._drop(of_inputs, xs, self._rate("input_rate", hyper))
        carry, ys, state, aux = self._model.apply(
            params, state, carry, xs, key=key, train=train, hyper=hyper, **options
        )
        if train:
            ys = self._drop(of_outputs, ys, self._rate("output_rate", hyper))
        return carry, ys, state, aux

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        return self._model.init_token_carry(batch_size, dtype, params=params)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        return self._model.token_step(params, state, carry, x)

    def _rate(self, name: str, hyper: Hyper | None) -> Array | None:
        """A rate as an array, so that one that is traced rounds as one that is not; None: no dropout."""
        rate = getattr(self, name)
        return jnp.asarray((hyper or {}).get(name, rate)) if rate else None

    def _drop(self, key: Array | None, xs: Array, rate: Array | None) -> Array:
        """xs [T, B, ..]."""
        if rate is None:
            return xs
        if key is None:
            raise ValueError("Dropout draws masks in training; accepted is a key, not None")
        shape = (1, *xs.shape[1:]) if self.variational else xs.shape
        keep = 1 - rate
        kept = jnp.broadcast_to(jax.random.bernoulli(key, keep, shape), xs.shape)
        if jnp.issubdtype(xs.dtype, jnp.integer):
            return jnp.where(kept, xs, jnp.full_like(xs, -1))
        return jnp.where(kept, xs / keep.astype(xs.dtype), jnp.zeros_like(xs))
