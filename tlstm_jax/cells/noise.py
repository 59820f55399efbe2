"""What a cell draws in training, as its wrappers pass it on (see `typing.Cell`)."""

from tlstm_jax.typing import Array, Cell, PyTree


def draw(cell: Cell, key: Array, num_steps: int, batch_size: int) -> PyTree:
    """What `cell` draws; None if it draws nothing."""
    return cell.draw(key, num_steps, batch_size) if hasattr(cell, "draw") else None


def given(noise: PyTree) -> tuple:
    """The noise as the last argument of a part of a cell; () if the cell draws nothing."""
    return () if noise is None else (noise,)
