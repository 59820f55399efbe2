"""Dropout of a model's inputs and outputs.

Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout", JMLR 15, 2014; on what
enters and leaves recurrent layers: Zaremba, Sutskever and Vinyals, "Recurrent Neural Network
Regularization", 2014; with one mask per sequence: Gal and Ghahramani, NIPS 2016.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_rate, widened
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.base import ModelWrapper
from tlstm_jax.models.sequence import split_key
from tlstm_jax.overrides import UNLESS_ZERO, plain
from tlstm_jax.typing import Array, Aux, Carry, Cell, Params, SequenceModel, State


@dataclasses.dataclass(frozen=True)
class Dropout(ModelWrapper):
    """`model` with dropout, in training only; a SequenceModel with the same parameters and carry.

    A dropped unit is zero, the others are divided by 1 - rate. A dropped token is the zero input;
    kept tokens are unchanged.

    Attributes:
      model: a Cell or a SequenceModel, of any delay.
      input_rate, output_rate: in [0, 1), the probability that a unit is dropped.
      variational: whether a unit is dropped at all time steps or at none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, Dropout
      >>> model = Dropout(LSTM(4), output_rate=0.5)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> xs, key = jnp.ones((5, 2, 3)), jax.random.key(1)
      >>> _, ys, *_ = model.apply(params, state, model.init_carry(2), xs, key=key, train=True)
      >>> ys.shape
      (5, 2, 4)
    """

    model: Cell | SequenceModel
    _: dataclasses.KW_ONLY
    input_rate: float = dataclasses.field(default=0.0, metadata=UNLESS_ZERO)
    output_rate: float = dataclasses.field(default=0.0, metadata=UNLESS_ZERO)
    variational: bool = False

    def __post_init__(self) -> None:
        plain(self)
        check_model("model", self.model)
        check_rate("input_rate", self.input_rate)
        check_rate("output_rate", self.output_rate)

    @property
    def draws(self) -> bool:
        return _is_on(self.input_rate) or _is_on(self.output_rate)

    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M].

        Raises:
          ValueError: there is no key in training.
        """
        check_call(self, params, carry, xs, state=state)
        of_inputs, of_outputs, key = split_key(key, 3)
        xs = widened(xs)
        if train:
            xs = self._drop(of_inputs, xs, self.input_rate)
        carry, ys, state, aux = self._model.apply(
            params, state, carry, xs, key=key, train=train, **options
        )
        if train:
            ys = self._drop(of_outputs, ys, self.output_rate)
        return carry, ys, state, aux

    def _drop(self, key: Array | None, xs: Array, rate: Array | float) -> Array:
        """xs [T, B, ..]."""
        if not _is_on(rate):
            return xs
        if key is None:
            raise ValueError(
                "key is None; accepted by Dropout, which draws masks in training, is a PRNG key"
            )
        shape = (1, *xs.shape[1:]) if self.variational else xs.shape
        keep = 1 - jnp.asarray(rate)  # so that one that is traced rounds as one that is not
        kept = jnp.broadcast_to(jax.random.bernoulli(key, keep, shape), xs.shape)
        if jnp.issubdtype(xs.dtype, jnp.integer):
            return jnp.where(kept, xs, jnp.full_like(xs, -1))
        return jnp.where(kept, xs / keep.astype(xs.dtype), jnp.zeros_like(xs))


def _is_on(rate: Array | float) -> bool:
    """Whether anything is dropped; no traced rate is 0 (`overrides.UNLESS_ZERO`)."""
    return isinstance(rate, jax.Array) or rate > 0
