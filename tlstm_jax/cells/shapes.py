"""Shapes of inputs and outputs: vectors, and maps with spatial axes between B and the features."""

from typing import Any

from tlstm_jax.cells.linear import as_tuple, check_size, is_sizes
from tlstm_jax.typing import Cell, InputShape, SequenceModel


def sizes_of(input_shape: InputShape) -> tuple[int, ...]:
    """The sizes (..spatial.., I) of one input.

    Raises:
      ValueError: it is neither an integer >= 1 nor a tuple of such.
    """
    sizes = as_tuple(input_shape)
    if isinstance(sizes, tuple):
        if not is_sizes(sizes):
            raise ValueError(
                f"input_shape is {input_shape}; accepted are integers >= 1, and tuples of them"
            )
        return sizes
    check_size("input_shape", sizes)
    return (sizes,)


def vector_size(model: Any, input_shape: InputShape) -> int:
    """I, for a model of vectors: of an integer, or of a tuple of one.

    Raises:
      ValueError: it has another number of sizes.
    """
    sizes = sizes_of(input_shape)
    if len(sizes) != 1:
        raise ValueError(
            f"input_shape is {input_shape}; accepted by {type(model).__name__}, which reads "
            "vectors, is one size"
        )
    return sizes[0]


def map_features(model: Any, input_shape: InputShape) -> int:
    """I, for a model of maps with the sizes `model.spatial_shape`.

    Raises:
      ValueError: its maps have other spatial sizes.
    """
    *spatial, features = sizes_of(input_shape)
    if tuple(spatial) != model.spatial_shape:
        accepted = ", ".join([*map(str, model.spatial_shape), "I"])
        raise ValueError(
            f"input_shape is {input_shape}; accepted by {type(model).__name__} with spatial_shape "
            f"{model.spatial_shape} is ({accepted})"
        )
    return features


def check_spatial_shape(value: Any) -> None:
    """Raises ValueError unless `value` is a tuple of none or more integers >= 1."""
    if value != () and not is_sizes(value):
        raise ValueError(f"spatial_shape is {value}; accepted are tuples of integers >= 1")


def spatial_shape(model: Cell | SequenceModel) -> tuple[int, ...]:
    """The sizes of the spatial axes of a model's inputs and outputs; () for vectors."""
    return getattr(model, "spatial_shape", ())


def row_mask(model: Cell | SequenceModel) -> str:
    """What of its own row an output of a model over rows depends on.

    "A": on what is before it alone; "B": on that and what is at its own place; "none": on all.
    """
    return getattr(model, "row_mask", "none")


def output_shape(model: Cell | SequenceModel) -> InputShape:
    """The shape of one output, as `init` takes it: M, or (..spatial.., M)."""
    spatial = spatial_shape(model)
    return (*spatial, model.features) if spatial else model.features
