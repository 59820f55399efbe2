"""What the catalogue says of a model."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tlstm_jax.typing import Cell, SequenceModel
from tlstm_jax.zoo.kinds import kind_of


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
      make: its class, or a function, with plain settings as arguments.
      title: what it is called.
      citation: authors, title, where, year.
      checked: what the tests compare it with, besides a NumPy version of its equations.
      axes: how many spatial axes its inputs must have; 0: it reads vectors, and maps if
        `spatial_shape` is one of its settings.
      defaults: defaults that differ from those of `make` and `Wrapping`.
    """

    make: Callable[..., Cell | SequenceModel]
    title: str
    citation: str
    checked: str = "NumPy version"
    axes: int = 0
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def year(self) -> str:
        return self.citation[-4:]

    @property
    def kind(self) -> str:
        """The one of `kinds.KINDS` that its model is."""
        having = inspect.signature(self.make).parameters
        sizes = {"features": 4, "spatial_shape": (1,) * self.axes}
        return kind_of(self.make(**{k: v for k, v in sizes.items() if k in having}))
