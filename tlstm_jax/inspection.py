"""Looking inside a trained network: its states at every step, and what its memory cells do."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import widened, zero_input
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.network import Network
from tlstm_jax.recurrence.unrolling import unroll
from tlstm_jax.typing import Array, Carry, Cell, Params


class Trace(NamedTuple):
    """What a cell went through; S = T + delay steps, since the last inputs are flushed."""

    ys: Array  # [T, B, M], ys[t] answers input t
    carry: Carry  # after each step, leaves [S, B, ..]


def cell_of(network: Network) -> Cell:
    """The cell of a network whose model is a single cell, or one with dropout around it.

    Raises:
      ValueError: the model is more than that.
    """
    model = network.model
    while not hasattr(model, "step"):
        inner = getattr(model, "cell", None) or getattr(model, "model", None)
        if inner is None or type(model).__name__ not in ("CellModel", "Dropout"):
            raise ValueError(
                f"the model is a {type(model).__name__}; accepted are networks of a single cell"
            )
        model = inner
    return model


def trace(cell: Cell, params: Params, inputs: Array) -> Trace:
    """Runs a cell from its initial carry, and keeps its states.

    Args:
      cell: a Cell.
      params: the cell's, `network_params["model"]` for a network of a single cell.
      inputs: [T, B, I] or tokens [T, B].
    """
    carry = cell.init_carry(inputs.shape[1])
    _, ys, carries = unroll(cell, params, carry, inputs, observe=lambda carry: carry)
    return Trace(ys, carries)


def state_gradients(cell: Cell, params: Params, inputs: Array, *, key: Array) -> Carry:
    """How far back the last output reaches: its gradient by the states after every step.

    What is differentiated is the sum over features of y_{T-1} * r, with r a random direction of
    each example, of length 1.

    Args:
      cell, params, inputs: as in `trace`.
      key: of r.

    Returns:
      A carry with leaves [S, B, ..], float0 where a leaf is of integers; 0 after the last step.
    """
    xs = _with_flush(cell, inputs)
    carry = cell.init_carry(inputs.shape[1])
    r = jax.random.normal(key, (inputs.shape[1], cell.features))
    r = r / jnp.linalg.norm(r, axis=-1, keepdims=True)
    still = jax.tree.map(lambda x: jnp.zeros((len(xs), *x.shape), x.dtype), carry)

    def output(nudges: Carry) -> Array:
        """r * y_{T-1}, where something is added to the state after every step."""

        def step(carry: Carry, at: tuple[Array, Carry]) -> tuple[Carry, Array]:
            x, nudge = at
            carry, y = cell.step(params, carry, x)
            return jax.tree.map(jnp.add, carry, nudge), y

        _, ys = jax.lax.scan(step, carry, (xs, nudges))
        return jnp.sum(ys[-1] * r)

    return jax.grad(output, allow_int=True)(still)


def memory_kernels(cell: TensorizedLSTM, params: Params, inputs: Array, carry: Carry) -> Array:
    """Q_t, the kernels that a tensorized LSTM convolves its memory with.

    He et al., 2017, equations 14 and 15: each location's mixture of its neighbours' memory.

    Args:
      cell: with memory_convolution.
      params, inputs: as in `trace`.
      carry: of the `Trace`.

    Returns:
      [S, B, P_1..P_D, K^D], sums over the last axis are 1; taps in row-major order.

    Raises:
      ValueError: the cell has no such kernels.
    """
    if not (isinstance(cell, TensorizedLSTM) and cell.memory_convolution):
        raise ValueError(
            f"{type(cell).__name__} has no memory-cell convolution; accepted is a TensorizedLSTM "
            "with memory_convolution=True"
        )
    xs = _with_flush(cell, inputs)
    first = jax.tree.map(lambda x: x[None], cell.init_carry(inputs.shape[1]))
    before = jax.tree.map(lambda a, b: jnp.concatenate([a, b[:-1]]), first, carry)

    def kernels(carry: Carry, x: Array) -> Array:
        a = cell.mix(params, carry, cell.project(params, x))
        return jax.nn.softmax(a[..., 4 * cell.features :])

    return jax.vmap(kernels)(before, xs)


def _with_flush(cell: Cell, inputs: Array) -> Array:
    """[S, B, ..]: the inputs, and the zero inputs after which the last one is answered."""
    inputs = widened(inputs)
    late = zero_input(jnp.broadcast_to(inputs[:1], (cell.delay, *inputs.shape[1:])))
    return jnp.concatenate([inputs, late])


def diagonal(states: Array, tensor_axes: int) -> Array:
    """The locations (p, .., p) of states [.., P_1..P_D, M]: [.., min(P), M]."""
    D = tensor_axes
    size = min(states.shape[-1 - D : -1])
    index: Any = (Ellipsis, *(jnp.arange(size),) * D, slice(None))
    return states[index]
