"""Several arrays as one, so that a loop stores them in one operation.

On a GPU each array that a loop over time stores is a kernel of its own at every step, and takes a
few microseconds whatever its size. Leaves of one dtype are therefore concatenated, [B, W], and
32-bit integers are bitcast to 32-bit floats.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.typing import Array, PyTree


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["arrays"],
    meta_fields=["structure", "shapes", "dtypes"],
)
@dataclasses.dataclass(frozen=True)
class Packed:
    """A tree of arrays [.., B, ..] as arrays [.., B, W], one for each dtype; see `unpack`.

    `arrays` may get more leading axes, as `lax.scan` adds them, before it is unpacked.

    Attributes:
      arrays: one for each dtype, 32-bit integers with 32-bit floats.
      structure: of the tree.
      shapes, dtypes: of its leaves, shapes without the axes up to B.
    """

    arrays: dict[str, Array]
    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]


def pack(tree: PyTree) -> Packed:
    """A tree of arrays [B, ..], as few arrays."""
    leaves, structure = jax.tree.flatten(tree)
    dtypes = tuple(str(leaf.dtype) for leaf in leaves)
    rows: dict[str, list[Array]] = {}
    for leaf in leaves:
        row = leaf.reshape(leaf.shape[0], -1)
        if leaf.dtype == jnp.int32 and "float32" in dtypes:
            row = lax.bitcast_convert_type(row, jnp.float32)
        rows.setdefault(str(row.dtype), []).append(row)
    arrays = {dtype: jnp.concatenate(some, axis=1) for dtype, some in rows.items()}
    return Packed(arrays, structure, tuple(leaf.shape[1:] for leaf in leaves), dtypes)


def unpack(packed: Packed) -> PyTree:
    """The tree that was packed, its leaves with the axes that now precede B."""
    begin = dict.fromkeys(packed.arrays, 0)
    leaves = []
    for shape, dtype in zip(packed.shapes, packed.dtypes, strict=True):
        among = dtype if dtype in packed.arrays else "float32"
        array, first = packed.arrays[among], begin[among]
        begin[among] = end = first + math.prod(shape)
        leaf = lax.slice_in_dim(array, first, end, axis=array.ndim - 1)
        leaf = leaf if among == dtype else lax.bitcast_convert_type(leaf, dtype)
        leaves.append(leaf.reshape(*array.shape[:-1], *shape))
    return packed.structure.unflatten(leaves)
