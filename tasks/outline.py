"""Tasks that hold arrays, without them: what programs are kept under that outlive the data."""

import dataclasses
import functools
from typing import Any, Self

import jax


@dataclasses.dataclass(frozen=True, eq=False)
class Outlined:
    """A task whose field `data` is a pytree of arrays; equal to nothing but itself.

    A compiled program is kept for as long as the process lives, and with it the task that it was compiled
    for. So it is compiled for the task's `outline`, with which a batch can be traced: it has the shapes
    of the data in their place, and equals that of any task of the same settings and shapes.
    """

    @functools.cached_property
    def outline(self) -> Self:
        """This task with `jax.ShapeDtypeStruct`s for arrays; of an outline, itself."""
        if self._is_outline():
            return self
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.data)
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        outline = object.__new__(type(self))  # without __post_init__, which may look at the data
        vars(outline).update(settings, data=shapes)
        return outline

    def _is_outline(self) -> bool:
        return all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(self.data))

    @functools.cached_property
    def _key(self) -> Any:
        if not self._is_outline():
            return id(self)
        names = (field.name for field in dataclasses.fields(self) if field.name != "data")
        leaves, structure = jax.tree.flatten(self.data)
        return type(self), tuple(getattr(self, name) for name in names), structure, tuple(leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outlined) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
