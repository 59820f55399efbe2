"""Linen modules over the functional cells and models; the same parameters, the same numbers.

`variables["params"]` of either module is the functional parameter tree itself, so that

    variables = {"params": params}      params = variables["params"]

load functional parameters into a module, and take them out again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tlstm_jax import typing
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.checks import (
    check_cell,
    check_inputs,
    check_model,
    check_step,
    input_shape_of,
)
from tlstm_jax.models.bidirectional import reverse as reversed_in_time
from tlstm_jax.models.sequence import as_sequence, carry_dtype, draws, last_output
from tlstm_jax.typing import Array, Carry, Params, SequenceModel


class Cell(nn.RNNCellBase):
    """A cell without delay, for `flax.linen.RNN`; `Recurrent` gives the same outputs faster.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> from tlstm_jax import linen
    >>> from tlstm_jax.cells.lstm import LSTM
    >>> rnn = nn.RNN(linen.Cell(LSTM(features=4)))
    >>> ys, variables = rnn.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))
    >>> ys.shape
    (2, 5, 4)
    >>> jax.tree.map(jnp.shape, variables["params"]["cell"])
    {'input': {'kernel': (3, 16)}, 'recurrent': {'bias': (16,), 'kernel': (4, 16)}}

    Attributes:
      cell: a functional Cell.

    Raises:
      ValueError: the cell has a delay, or draws masks in training.
    """

    cell: typing.Cell

    def __post_init__(self) -> None:
        check_cell("cell", self.cell)
        if self.cell.delay:
            raise ValueError(
                f"{type(self.cell).__name__} has a delay of {self.cell.delay}; accepted in flax's "
                "RNN are cells without delay (others in Recurrent)"
            )
        if draws(self.cell):
            raise ValueError(
                f"{type(self.cell).__name__} draws masks in training; accepted in flax's RNN are "
                "cells that draw nothing (others in Recurrent)"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: x [B, .., I] float; returns the carry and y [B, .., M].

        Raises:
          ValueError: x is of another shape, or integer (`Recurrent` takes tokens).
        """
        axes = self.num_feature_axes
        if x.ndim != 1 + axes or jnp.issubdtype(x.dtype, jnp.integer):
            accepted = "[B, I]" if axes == 1 else f"[B, .., I] of {axes + 1} axes"
            raise ValueError(
                f"x is {x.dtype} {x.shape}; accepted is float {accepted} (tokens in Recurrent)"
            )
        params = _declare(self, lambda key: self.cell.init(key, input_shape_of(x[None])))
        check_step(self.cell, params, carry, x)
        return self.cell.step(params, carry, x)

    @nn.nowrap
    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Carry:
        """`cell.init_carry(B)` for inputs (B, .., I), as wide as the parameters; no `rng` is used.

        Raises:
          ValueError: input_shape has other than one batch axis.
        """
        del rng
        if len(input_shape) != 1 + self.num_feature_axes:
            raise ValueError(
                f"input_shape is {input_shape}; accepted is (B, .., I), one batch axis"
            )
        params = {} if self.scope is None else self.variables.get("params", {})
        return self.cell.init_carry(input_shape[0], carry_dtype(params))

    @property
    def num_feature_axes(self) -> int:
        return 1 + len(spatial_shape(self.cell))


class Recurrent(nn.Module):
    """A sequence model, or a cell over time, delay included: ys[:, t] answers inputs[:, t].

    A model's running statistics, where it has any, are kept in the collection "state", which must
    be mutable in training. Costs that it adds to the training loss are sown as "aux" in
    "intermediates". A model that draws in training takes its key from the stream "dropout".

    >>> import jax, jax.numpy as jnp
    >>> from tlstm_jax import linen
    >>> from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
    >>> model = linen.Recurrent(TensorizedLSTM(features=4, tensor_shape=(3,)), input_size=10)
    >>> tokens = jnp.zeros((2, 5), jnp.int32)
    >>> ys, variables = model.init_with_output(jax.random.key(0), tokens)
    >>> ys.shape
    (2, 5, 4)
    >>> carry, ys = model.apply(variables, tokens, seq_lengths=jnp.array([5, 3]), return_carry=True)
    >>> carry.memory.shape
    (2, 3, 4)

    Attributes:
      model: a SequenceModel or a Cell.
      input_size: I, or (..spatial.., I) of maps, needed for tokens (their number); inferred from
        float inputs if None.
      time_major: whether inputs and outputs are [T, B, ..] rather than [B, T, ..].
      reverse: whether to go from each example's last input to its first.
      keep_order: whether the outputs are then in the order of the inputs, not as computed.
    """

    model: SequenceModel | typing.Cell
    input_size: typing.InputShape | None = None
    time_major: bool = False
    reverse: bool = False
    keep_order: bool = False

    def __post_init__(self) -> None:
        check_model("model", self.model)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool = False,
        return_last: bool = False,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        flush: bool = True,
        train: bool = False,
    ) -> Array | tuple[Carry, Array]:
        """Applies the model to a batch of sequences, or of segments of streams.

        Args:
          inputs: [B, T, .., I] float, or tokens [B, T] int, where -1 is the zero input.
          initial_carry: what an earlier call returned; None is `model.init_carry(B)`, as wide as
            the parameters.
          seq_lengths: [B] int, how many of the T inputs belong to each example. Outputs beyond are
            zero, unlike those of flax's RNN.
          return_carry: whether to return the state after each example's last real input as well.
            With a delay, that is not yet the state of the last output, which `return_last` gives.
          return_last: whether to return only each example's last output (`last_output`).
          reverse, keep_order: override the attributes.
          flush: whether the sequences end here. If not, these are segments of streams, and outputs
            lag inputs by `model.delay`; see `tlstm_jax.unroll`.
          train: as in `SequenceModel.apply`.

        Returns:
          ys [B, T, .., M], or [B, .., M] with `return_last`; or (carry, ys).

        Raises:
          ValueError: inputs or seq_lengths have shapes that do not fit, reverse or return_last is
            asked for a stream (flush=False), or inputs are integer and input_size is None.
        """
        tokens = jnp.issubdtype(inputs.dtype, jnp.integer)
        if inputs.ndim < 2 or (inputs.ndim == 2) != tokens:
            raise ValueError(
                f"inputs are {inputs.dtype} {inputs.shape}; accepted are float [B, T, .., I] and "
                "integer [B, T]"
            )
        if tokens and self.input_size is None:
            raise ValueError(
                "input_size is None; accepted with integer inputs is the number of tokens"
            )
        model = as_sequence(self.model)
        size = self.input_size or input_shape_of(inputs)
        params = _declare(self, lambda key: model.init(key, size)[0])
        stored = self._stored_state(lambda key: model.init(key, size)[1])
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        if not flush and (reverse or return_last):
            raise ValueError("flush is False; accepted with reverse or return_last is True")
        xs = inputs if self.time_major else jnp.swapaxes(inputs, 0, 1)
        seq_lengths, _ = check_inputs(xs, seq_lengths, None)
        xs = reversed_in_time(xs, seq_lengths) if reverse else xs
        if initial_carry is None:
            initial_carry = model.init_carry(xs.shape[1], carry_dtype(params), params=params)
        # As flax's Dropout, which takes the stream "params" if init was given no other.
        has_key = self.has_rng("dropout") or self.is_initializing()
        key = self.make_rng("dropout") if train and has_key else None
        carry, ys, state, aux = model.apply(
            params,
            stored.value if stored else (),
            initial_carry,
            xs,
            flush=flush,
            lengths=seq_lengths,
            key=key,
            train=train,
        )
        if stored and train and not self.is_initializing():
            stored.value = state
        if train and aux:
            self.sow("intermediates", "aux", aux)
        if return_last:
            ys = last_output(model, ys, seq_lengths)
            return (carry, ys) if return_carry else ys
        ys = reversed_in_time(ys, seq_lengths) if reverse and keep_order else ys
        ys = ys if self.time_major else jnp.swapaxes(ys, 0, 1)
        return (carry, ys) if return_carry else ys

    def _stored_state(self, init: Callable[[Array], Any]) -> nn.Variable | None:
        """The model's state as a variable; None if it has none."""
        if not jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))):
            return None
        return self.variable("state", "model", lambda: init(self.make_rng("params")))


def _declare(module: nn.Module, init: Callable[[Array], Params]) -> Params:
    """Each entry of init(key) as a parameter of its name."""
    # Without an rng, in `apply`, only the shapes are looked at.
    key = module.make_rng("params") if module.has_rng("params") else jax.random.key(0)
    names = jax.eval_shape(init, key)
    return {name: module.param(name, lambda _, name=name: init(key)[name]) for name in names}
