"""A cell as a sequence model."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import OfCell
from tlstm_jax.checks import check_inputs, check_model
from tlstm_jax.recurrence import cudnn
from tlstm_jax.recurrence.engine import check_engine
from tlstm_jax.recurrence.unrolling import check_remat, unroll
from tlstm_jax.typing import (
    Array,
    Aux,
    Carry,
    Cell,
    InputShape,
    Params,
    PyTree,
    SequenceModel,
    State,
)


@dataclasses.dataclass(frozen=True)
class CellModel(OfCell):
    """One cell, unrolled over time; a stateless SequenceModel.

    Attributes:
      cell: the cell.
      remat_every, engine: see `unroll`.
    """

    cell: Cell
    _: dataclasses.KW_ONLY
    remat_every: int | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_remat(self.remat_every)
        check_engine(self.engine)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        return self.cell.init(key, input_shape), ()

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
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M].

        Raises:
          ValueError: the cell draws in training, and there is no key.
        """
        lengths, reset = check_inputs(xs, lengths, reset)
        T, B = xs.shape[:2]
        noise = draw_noise(self.cell, key, T + self.delay * flush, B) if train else None
        carry, ys = unroll(
            self.cell,
            params,
            carry,
            xs,
            flush=flush,
            lengths=lengths,
            reset=reset,
            noise=noise,
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


def cells_at_once(
    layers: Sequence[SequenceModel], *args: Any, reset: Array | None, **options: Any
) -> tuple[Cell, ...] | None:
    """The cells of layers, or of two directions, that cuDNN is to run in one call; else None.

    Args:
      args, options: params, carries, xs and directions, see `tlstm_jax.recurrence.cudnn.takes`.

    Raises:
      ValueError: their engine is "cudnn", and it cannot.
    """
    if not all(isinstance(layer, CellModel) for layer in layers):
        return None
    if len({(layer.features, layer.engine, layer.remat_every) for layer in layers}) > 1:
        return None
    cells, (engine, remat) = (
        tuple(layer.cell for layer in layers),
        (layers[0].engine, layers[0].remat_every),
    )
    can = cudnn.takes(engine, cells, *args, reset=reset, remat_every=remat, **options)
    return cells if can else None


def draw_noise(cell: Cell, key: Array | None, num_steps: int, batch_size: int) -> PyTree:
    """What the cell draws for these steps; None if it draws nothing."""
    if not hasattr(cell, "draw"):
        return None
    if key is None and jax.eval_shape(lambda: cell.draw(jax.random.key(0), 1, 1)) is not None:
        raise ValueError(
            f"key is None; accepted by {type(cell).__name__}, which draws masks in training, is a "
            "PRNG key"
        )
    return cell.draw(key, num_steps, batch_size)


def split_key(key: Array | None, number: int) -> tuple[Array | None, ...]:
    """`number` keys, all None if `key` is."""
    return (None,) * number if key is None else tuple(jax.random.split(key, number))


def memory_dtype(carry: Carry) -> Any:
    """The dtype that `init_carry` was given: that of the widest floats."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(carry)]
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return max(floats, key=lambda dtype: dtype.itemsize, default=jnp.float32)


def carry_dtype(params: Params) -> Any:
    """The dtype of a carry for these parameters: float32, or wider if they are."""
    dtypes = [jnp.dtype(jnp.float32), *(leaf.dtype for leaf in jax.tree.leaves(params))]
    return max(dtypes, key=lambda dtype: dtype.itemsize)


def draws(model: Cell | SequenceModel) -> bool:
    """Whether the model, or a part of it, needs a key in training."""
    if hasattr(model, "draw") or getattr(model, "draws", False):
        return True
    parts = []
    for field in dataclasses.fields(model) if dataclasses.is_dataclass(model) else ():
        value = getattr(model, field.name)
        parts += value if isinstance(value, tuple) else [value]
    return any(draws(part) for part in parts if hasattr(part, "delay"))


def finished_first(model: Cell | SequenceModel) -> tuple[bool, ...]:
    """Which features of y have seen the entire example at its first step, not at its last: [M]."""
    return getattr(model, "finished_first", (False,) * model.features)


def last_output(model: Cell | SequenceModel, ys: Array, lengths: Array | None = None) -> Array:
    """The output that has seen each example entirely: y of its last input.

    For features that run backwards in time (`Bidirectional`), it is y of the first input.

    Args:
      model: what made ys.
      ys: [T, B, .., M], in the order of their inputs (`flush`).
      lengths: [B] int or None, as `model.apply` was given them.

    Returns:
      [B, .., M].

    Example:
      >>> import jax.numpy as jnp
      >>> from tlstm_jax import LSTM, last_output
      >>> ys = jnp.arange(5.0)[:, None, None] * jnp.ones((5, 2, 1))
      >>> last_output(LSTM(1), ys, jnp.array([5, 3])).tolist()
      [[4.0], [2.0]]
    """
    if lengths is None:
        last = ys[-1]
    else:
        index = jnp.clip(lengths, 1, ys.shape[0]).astype(jnp.int32) - 1
        index = index.reshape(1, -1, *(1,) * (ys.ndim - 2))
        last = jnp.take_along_axis(ys, index, axis=0)[0]
    first = finished_first(model)
    if not any(first):
        return last
    first = jnp.asarray(first).reshape(*(1,) * (last.ndim - 1), -1)
    return jnp.where(jnp.broadcast_to(first, last.shape), ys[0], last)


def as_sequence(model: Cell | SequenceModel, **settings: Any) -> SequenceModel:
    """`model` itself if it is a SequenceModel, else the cell lifted into one.

    Args:
      settings: of `CellModel`: remat_every, engine.

    Raises:
      ValueError: it is neither, or settings are given for a SequenceModel, which has its own.

    Example:
      >>> from tlstm_jax import LSTM, as_sequence
      >>> model = as_sequence(LSTM(4), remat_every=10)
      >>> model.features, as_sequence(model) is model
      (4, True)
    """
    check_model("model", model)
    if not hasattr(model, "apply"):
        return CellModel(model, **settings)
    if settings:
        raise ValueError(
            f"{', '.join(settings)} is given; accepted is that for cells only: set it in the "
            "sequence model"
        )
    return model
