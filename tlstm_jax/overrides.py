"""Float settings as traced values, so that a sweep can vmap over them."""

import copy
import dataclasses
from typing import Any, TypeVar

import jax

from tlstm_jax.typing import Hyper

T = TypeVar("T")

STATIC = {"hyper": False}  # metadata of a float field that no traced value can replace


def hyper_names(settings: Any) -> tuple[str, ...]:
    """The fields of a dataclass that `with_hyper` can replace."""
    return tuple(
        field.name
        for field in dataclasses.fields(settings)
        if field.type in (float, float | None) and field.metadata != STATIC
    )


def plain(settings: Any) -> None:
    """Makes Python's floats of float fields that were given as arrays, NumPy's or JAX's: settings are hashed.

    Raises:
      ValueError: such a field is no number.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        is_plain = value is None or isinstance(value, int | float | jax.core.Tracer)
        if field.type not in (float, float | None) or is_plain:
            continue
        if getattr(value, "shape", None) != ():
            raise ValueError(f"{field.name} is {value!r}; accepted are numbers")
        object.__setattr__(settings, field.name, float(value))


def with_hyper(settings: T, hyper: Hyper | None) -> T:
    """A copy of `settings` (a dataclass) whose float fields are `hyper`'s traced floats where it names them.

    Raises:
      ValueError: `hyper` names what is not such a field.
    """
    hyper, names = hyper or {}, hyper_names(settings)
    if unknown := sorted(set(hyper) - set(names)):
        raise ValueError(
            f"hyper names {', '.join(unknown)}; accepted for {type(settings).__name__} are "
            f"{', '.join(names)}"
        )
    changed = copy.copy(settings)
    for name, value in hyper.items():
        object.__setattr__(changed, name, value)  # past __post_init__, which reads numbers
    return changed
