"""Names of models and tasks: what to say of unknown ones, and those of a user's own modules.

`my_package.my_cells:MGU` is the class or function MGU of a module that Python can import. Its
settings are its fields, or its parameters, each with an annotation and a default. Finding it
imports the module, which runs it: call `find` and `parameters` with names that the user gave, never
with ones that only a file has.
"""

import difflib
import functools
import importlib
import inspect
import operator
import traceback
import types
import typing
from collections.abc import Callable, Collection, Iterable
from typing import Any

KINDS = {  # of settings, and what they are called
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    tuple[int, ...]: "tuple[int, ...]",
}


def accepted(value: Any, names: Iterable[str]) -> str:
    """The accepted names in place of `value`, first the one that was perhaps meant."""
    names = list(names)
    close = difflib.get_close_matches(value, names, n=1) if isinstance(value, str) else []
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}accepted are {', '.join(names)}"


def is_own(name: Any) -> bool:
    """Whether a name is one in a user's own module; nothing is imported."""
    return isinstance(name, str) and ":" in name


def split(what: str, name: str) -> tuple[str, str]:
    """The module and the name in it; nothing is imported.

    Raises:
      ValueError: it is not of this form.
    """
    module, _, within = name.partition(":")
    parts = [*module.split("."), within]
    if not all(part.isidentifier() for part in parts) or module.endswith(".py"):
        raise ValueError(
            f"{what} is {name!r}; accepted is module:name, as in my_package.my_cells:MGU"
        )
    return module, within


def find(what: str, name: str) -> Callable[..., Any]:
    """The class or function of this name; imports its module.

    Args:
      what: "model" or "task", for messages.
      name: as in my_package.my_cells:MGU.

    Raises:
      ValueError: the module cannot be imported, lacks it, or has something else of this name.
    """
    module, within = split(what, name)
    found = getattr(_import(what, name, module), within, None)
    if found is None:
        there = _defined_in(module)
        raise ValueError(
            f"{what} is {name!r}, but module {module} has no {within}; {accepted(within, there)}"
        )
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        raise ValueError(
            f"{what} is {name!r}, which is of type {type(found).__name__}; accepted are classes "
            "and functions"
        )
    if inspect.isclass(found) and not (
        hasattr(found, "__dataclass_fields__") and found.__hash__ is not None
    ):
        raise ValueError(
            f"{what} is {name!r}; accepted are frozen dataclasses, "
            "@dataclasses.dataclass(frozen=True), and functions"
        )
    return found


def _import(what: str, name: str, module: str) -> types.ModuleType:
    importlib.invalidate_caches()  # of a module that was written a moment ago
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not f"{module}.".startswith(f"{e.name}."):
            raise ValueError(
                f"{what} is {name!r}, but module {module} needs {e.name}, which cannot be imported"
            ) from e
        raise ValueError(
            f"{what} is {name!r}, but there is no module {e.name}; accepted are modules of this "
            "folder, of folders in PYTHONPATH, and installed ones"
        ) from None
    except Exception as e:
        at = traceback.extract_tb(e.__traceback__)[-1]
        raise ValueError(
            f"{what} is {name!r}, but importing {module} fails with {type(e).__name__}: {e} "
            f"({at.filename}, line {at.lineno})"
        ) from e


def _defined_in(module: str) -> list[str]:
    """The public classes and functions that a module defines."""
    found = vars(importlib.import_module(module)).items()
    return [
        name
        for name, value in found
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module
    ]


def parameters(
    what: str, name: str, *, untyped: Collection[str] = (), required: Collection[str] = ()
) -> dict[str, inspect.Parameter]:
    """The settings of a user's own class or function, with types of KINDS, or these or None.

    Args:
      untyped: settings whose type is not checked.
      required: settings that need no default.

    Raises:
      ValueError: as `find`, or a parameter cannot be a setting.
    """
    try:
        own = inspect.signature(find(what, name), eval_str=True).parameters
    except (NameError, TypeError, AttributeError, SyntaxError) as e:
        raise ValueError(f"{what} is {name!r}, but its annotations cannot be read: {e}") from e
    checked = {}
    for key, parameter in own.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"{what} {name} takes {parameter}; accepted are named settings")
        kind = _normalized(parameter.annotation)
        if key not in untyped and plain(kind) is None:
            given = (
                "without annotation" if kind is parameter.empty else inspect.formatannotation(kind)
            )
            raise ValueError(
                f"{key} of {what} {name} is {given}; accepted are annotations "
                f"{', '.join(KINDS.values())}, also with | None"
            )
        if parameter.default is parameter.empty:
            if key not in required:
                raise ValueError(
                    f"{key} of {what} {name} has no default; accepted are settings with one"
                )
        elif key not in untyped and not _fits(parameter.default, kind):
            raise ValueError(
                f"{key} of {what} {name} has the default {parameter.default!r}; accepted are "
                f"values of {inspect.formatannotation(kind)}"
            )
        checked[key] = parameter.replace(annotation=kind)
    return checked


def plain(kind: Any) -> Any:
    """The one of KINDS that an annotation is, perhaps with None; None if it is another."""
    return next((known for known in KINDS if kind in (known, known | None)), None)


def _normalized(kind: Any) -> Any:
    """typing.Optional[int] as int | None."""
    if typing.get_origin(kind) is not typing.Union:
        return kind
    return functools.reduce(operator.or_, typing.get_args(kind))


def _fits(value: Any, kind: Any) -> bool:
    if value is None:
        return kind not in KINDS
    if plain(kind) == tuple[int, ...]:
        return isinstance(value, tuple) and all(_fits(size, int) for size in value)
    if isinstance(value, bool) or plain(kind) is bool:
        return isinstance(value, bool) and plain(kind) is bool
    return isinstance(value, (int, float) if plain(kind) is float else plain(kind))
