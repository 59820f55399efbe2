"""What the converters share: trees as names with a path, and what is said of wrong ones."""

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.typing import Array, Params

AnyArray = np.ndarray | Array
Arrays = Mapping[str, AnyArray]
Shapes = dict[str, tuple[int, ...]]


def flattened(tree: Params, path: str = "") -> dict[str, AnyArray]:
    """Its arrays by names with their path, "input/kernel"."""
    flat = {}
    for name, node in tree.items():
        flat |= (
            flattened(node, f"{path}{name}/") if isinstance(node, Mapping) else {path + name: node}
        )
    return flat


def nested(flat: Arrays) -> dict[str, Any]:
    """Nested again; NumPy's arrays are copied, as they may be views of what was given."""
    tree = {}
    for name, array in flat.items():
        *path, last = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = array if isinstance(array, jax.Array) else np.array(array, order="C")
    return tree


def numpy_of(arrays: Arrays) -> ModuleType:
    """jax.numpy where one of them is a jax array."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays.values()) else np


def check_setting(name: str, given: str, accepted: Collection[str]) -> None:
    if given not in accepted:
        raise ValueError(f"{name} is {given!r}; accepted are {', '.join(map(repr, accepted))}")


def check_names(owner: str, arrays: Arrays, axes: Mapping[str, int], accepted: str) -> None:
    """Raises ValueError unless these are the names, of arrays with so many axes."""
    missing = [f"lacks {name}" for name in axes if name not in arrays]
    unexpected = [f"has an unexpected {name}" for name in arrays if name not in axes]
    if missing or unexpected:
        found = " and ".join(missing[:1] + unexpected[:1])
        raise ValueError(f"{owner} {found}; accepted is {accepted}")
    for name, number in axes.items():
        array = arrays[name]
        if not isinstance(array, AnyArray):
            given = type(array).__name__
            raise ValueError(f"{name} is a {given}; accepted are NumPy and jax arrays")
        if array.ndim != number:
            raise ValueError(f"{name} has shape {array.shape}; accepted is one of {number} axes")
        if not array.size:
            raise ValueError(f"{name} has shape {array.shape}; accepted are sizes of at least 1")


def check_shapes(arrays: Arrays, shapes: Shapes, owner: str) -> None:
    """Raises ValueError unless the arrays of these names have these shapes."""
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{name} has shape {arrays[name].shape}; accepted for {owner} is {shape}"
            )
