"""NNX modules over the functional cells and models; the same parameters, the same numbers.

Both keep the functional parameter tree, its leaves `nnx.Param`, in the attribute `params`, so that

    nnx.update(module.params, params)      params = arrays(module.params)

load functional parameters into a module, and take them out again.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tlstm_jax import typing
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.checks import check_cell, check_inputs, check_step
from tlstm_jax.models.bidirectional import reverse as reversed_in_time
from tlstm_jax.models.sequence import as_sequence, carry_dtype, draws, last_output
from tlstm_jax.typing import Array, Carry, InputShape, PyTree, SequenceModel


def arrays(tree: PyTree) -> PyTree:
    """A tree of `nnx.Variable`s as one of arrays: `nnx.as_pure`, which older versions of flax lack.

    Example:
      >>> import jax
      >>> from flax import nnx
      >>> from tlstm_jax.nnx import arrays
      >>> state = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> [leaf.shape for leaf in jax.tree.leaves(arrays(state))]
      [(3,), (2, 3)]
    """

    def value(x: Any) -> Any:
        if not isinstance(x, nnx.Variable):
            return x
        return x.get_raw_value() if hasattr(x, "get_raw_value") else x.raw_value

    return jax.tree.map(value, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


class Cell(nnx.RNNCellBase):
    """A cell without delay, for `flax.nnx.RNN`; `Recurrent` gives the same outputs faster.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from tlstm_jax.cells.lstm import LSTM
    >>> from tlstm_jax.nnx import Cell, arrays
    >>> cell = Cell(LSTM(features=4), in_features=3, rngs=nnx.Rngs(0))
    >>> nnx.RNN(cell)(jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    >>> jax.tree.map(jnp.shape, arrays(cell.params))
    {'input': {'kernel': (3, 16)}, 'recurrent': {'bias': (16,), 'kernel': (4, 16)}}

    Attributes:
      cell: the functional Cell; `in_features` is I, or (..spatial.., I) of one over maps.
      params: its parameters.

    Raises:
      ValueError: the cell has a delay, or draws masks in training.
    """

    def __init__(self, cell: typing.Cell, in_features: InputShape, *, rngs: nnx.Rngs) -> None:
        check_cell("cell", cell)
        if cell.delay:
            raise ValueError(
                f"{type(cell).__name__} has a delay of {cell.delay}; accepted in flax's RNN are "
                "cells without delay (others in Recurrent)"
            )
        if draws(cell):
            raise ValueError(
                f"{type(cell).__name__} draws masks in training; accepted in flax's RNN are cells "
                "that draw nothing (others in Recurrent)"
            )
        self.cell = cell
        self.params = nnx.data(jax.tree.map(nnx.Param, cell.init(rngs.params(), in_features)))

    def __call__(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: x [B, .., I] float, or tokens [B]; returns the carry and y [B, .., M]."""
        params = arrays(self.params)
        check_step(self.cell, params, carry, x)
        return self.cell.step(params, carry, x)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: nnx.Rngs | nnx.RngStream | None = None
    ) -> Carry:
        """`cell.init_carry(B)` for inputs (B, .., I), as wide as the parameters; no `rngs` is used.

        Raises:
          ValueError: input_shape has other than one batch axis.
        """
        del rngs
        if len(input_shape) != 1 + self.num_feature_axes:
            raise ValueError(
                f"input_shape is {input_shape}; accepted is (B, .., I), one batch axis"
            )
        return self.cell.init_carry(input_shape[0], carry_dtype(arrays(self.params)))

    @property
    def num_feature_axes(self) -> int:
        return 1 + len(spatial_shape(self.cell))


class Recurrent(nnx.Module):
    """A sequence model, or a cell over time, delay included: ys[:, t] answers inputs[:, t].

    Costs that a model adds to the training loss are sown as "aux", an `nnx.Intermediate`: train
    such a model inside `nnx.capture`.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
    >>> from tlstm_jax.nnx import Recurrent
    >>> cell = TensorizedLSTM(features=4, tensor_shape=(3,))
    >>> model = Recurrent(cell, in_features=10, rngs=nnx.Rngs(0))
    >>> tokens = jnp.zeros((2, 5), jnp.int32)
    >>> carry, ys = model(tokens, seq_lengths=jnp.array([5, 3]), return_carry=True)
    >>> carry.memory.shape, ys.shape
    ((2, 3, 4), (2, 5, 4))

    Attributes:
      model: the SequenceModel (a Cell is lifted into one); `in_features` as in `Cell`.
      time_major: whether inputs and outputs are [T, B, ..] rather than [B, T, ..].
      reverse: whether to go from each example's last input to its first.
      keep_order: whether the outputs are then in the order of the inputs, not as computed.
      deterministic: whether calls are not training calls by default; set by `train()` and `eval()`.
      params: the model's parameters.
      state: its running statistics, `nnx.BatchStat`; () where it has none.
      rngs: the stream of its masks, from the stream "dropout" of `rngs`; None if it draws nothing.
    """

    def __init__(
        self,
        model: SequenceModel | typing.Cell,
        in_features: InputShape,
        *,
        time_major: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        deterministic: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        self.model = as_sequence(model)
        self.time_major = time_major
        self.reverse, self.keep_order = reverse, keep_order
        self.deterministic = deterministic
        params, state = self.model.init(rngs.params(), in_features)
        self.params = nnx.data(jax.tree.map(nnx.Param, params))
        self.state = nnx.data(jax.tree.map(nnx.BatchStat, state))
        self.rngs = rngs.dropout.fork() if draws(self.model) else nnx.data(None)

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
        train: bool | None = None,
        rngs: nnx.Rngs | None = None,
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
          train: as in `SequenceModel.apply`; running statistics are updated. None: as `train()` or
            `eval()` set it, by `deterministic`.
          rngs: its stream "dropout" gives the key of models that draw, in training; None: the
            module's own.

        Returns:
          ys [B, T, .., M], or [B, .., M] with `return_last`; or (carry, ys).

        Raises:
          ValueError: inputs or seq_lengths have shapes that do not fit, or reverse or return_last
            is asked for a stream (flush=False).
        """
        if inputs.ndim < 2 or (inputs.ndim == 2) != jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(
                f"inputs are {inputs.dtype} {inputs.shape}; accepted are float [B, T, .., I] and "
                "integer [B, T]"
            )
        train = not self.deterministic if train is None else train
        stream = self.rngs if rngs is None else rngs.dropout
        params = arrays(self.params)
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        if not flush and (reverse or return_last):
            raise ValueError("flush is False; accepted with reverse or return_last is True")
        xs = inputs if self.time_major else jnp.swapaxes(inputs, 0, 1)
        seq_lengths, _ = check_inputs(xs, seq_lengths, None)
        xs = reversed_in_time(xs, seq_lengths) if reverse else xs
        if initial_carry is None:
            initial_carry = self.model.init_carry(xs.shape[1], carry_dtype(params), params=params)
        carry, ys, state, aux = self.model.apply(
            params,
            arrays(self.state),
            initial_carry,
            xs,
            flush=flush,
            lengths=seq_lengths,
            key=stream() if train and stream is not None else None,
            train=train,
        )
        if train:
            variables = jax.tree.leaves(self.state, is_leaf=lambda x: isinstance(x, nnx.Variable))
            for variable, value in zip(variables, jax.tree.leaves(state), strict=True):
                variable[...] = value
        if train and aux:
            self.sow(nnx.Intermediate, "aux", aux)
        if return_last:
            ys = last_output(self.model, ys, seq_lengths)
            return (carry, ys) if return_carry else ys
        ys = reversed_in_time(ys, seq_lengths) if reverse and keep_order else ys
        ys = ys if self.time_major else jnp.swapaxes(ys, 0, 1)
        return (carry, ys) if return_carry else ys
