"""A carry as one vector for each example, and the Jacobian of a step between such vectors."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.typing import Array, Carry, Cell

WIDEST = 64  # of a state, for cells that are not elementwise


class FlatStates(NamedTuple):
    """A carry as one vector for each example, and its integers apart.

    Attributes:
      shapes, dtypes: of the leaves, without B.
      structure: of the carry.
      groups, width: the Jacobian of a step is `groups` blocks of `width` rows.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    structure: Any
    groups: int
    width: int

    @classmethod
    def of(cls, cell: Cell, carry: Carry) -> "FlatStates":
        leaves, structure = jax.tree.flatten(carry)
        shapes = tuple(leaf.shape[1:] for leaf in leaves)
        dtypes = tuple(leaf.dtype for leaf in leaves)
        sizes = [leaf[0].size if leaf.shape[0] else 0 for leaf in leaves if _floating(leaf.dtype)]
        if getattr(cell, "elementwise", False):
            return cls(shapes, dtypes, structure, sizes[0], len(sizes))
        if sum(sizes) > WIDEST:
            raise ValueError(
                f"{type(cell).__name__} has a state of {sum(sizes)} numbers; accepted by the parallel "
                f"engine are up to {WIDEST}, or elementwise cells"
            )
        return cls(shapes, dtypes, structure, 1, sum(sizes))

    @property
    def widest(self) -> Any:
        return jnp.float64 if jnp.float64 in self.dtypes else jnp.float32

    def pack(self, carry: Carry) -> tuple[Array, list[Array]]:
        """([B, n] floats, in the widest of their dtypes; the other leaves)."""
        leaves = jax.tree.leaves(carry)
        floats = [x.astype(self.widest) for x in leaves if _floating(x.dtype)]
        others = [x for x in leaves if not _floating(x.dtype)]
        B = leaves[0].shape[0]
        return jnp.concatenate([x.reshape(B, -1) for x in floats], axis=1), others

    def unpack(self, vector: Array, others: list[Array]) -> Carry:
        leaves, at, others = [], 0, list(others)
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            if not _floating(dtype):
                leaves.append(others.pop(0))
                continue
            size = functools.reduce(lambda a, b: a * b, shape, 1)
            part = lax.slice_in_dim(vector, at, at + size, axis=1)
            leaves.append(part.reshape(-1, *shape).astype(dtype))
            at += size
        return jax.tree.unflatten(self.structure, leaves)

    def grouped(self, vector: Array) -> Array:
        """[.., n] as [.., groups, width]: the leaves' numbers of one feature side by side."""
        parts = vector.reshape(*vector.shape[:-1], self.width, self.groups)
        return jnp.swapaxes(parts, -1, -2)

    def joined(self, parts: Array) -> Array:
        """The inverse of `grouped`."""
        return jnp.swapaxes(parts, -1, -2).reshape(*parts.shape[:-2], -1)

    def jacobian(
        self, function: Callable[[Array], tuple[Array, Any]], before: Array
    ) -> tuple[Array, Array]:
        """(function(before)[0] [T, B, n], its Jacobians [T, B, groups, width, width])."""

        def along(n: Array) -> tuple[Array, Array]:
            of_row = jnp.arange(self.width)[:, None] == n
            tangent = jnp.broadcast_to(of_row, (self.width, self.groups)).reshape(-1)
            tangent = jnp.broadcast_to(tangent.astype(before.dtype)[None, None], before.shape)
            return jax.jvp(lambda s: function(s)[0], (before,), (tangent,))

        after, columns = jax.vmap(along, out_axes=(None, -1))(jnp.arange(self.width))
        J = jax.vmap(self.grouped, in_axes=-1, out_axes=-1)(columns)
        return after, J


def _floating(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)
