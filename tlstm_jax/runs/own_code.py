"""Code that a run's file names: imported only if the user names it as well.

A run's config.json may come from a stranger, and importing a module runs it, as does calling a
function of an imported one. What counts is therefore not where a module is, nor whether it is
there, but that the user named it, on the command line or to `runs.open`.
"""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from tlstm_jax.names import is_own, split


def own_in(settings: Mapping[str, Any]) -> dict[str, str]:
    """The "task" and "model" among settings that are module:name; nothing is imported."""
    return {part: settings[part] for part in ("task", "model") if is_own(settings.get(part))}


def named_in(given: Mapping[str, Any]) -> set[str]:
    """The user's own tasks and models among settings that the user gives."""
    return set(own_in(given).values())


def check_named(path: pathlib.Path, settings: Mapping[str, Any], named: Collection[str]) -> None:
    """Raises ValueError if a file's settings have a task or model that is code and not `named`."""
    own = own_in(settings)
    unnamed = {part: name for part, name in own.items() if name not in named}
    for part, name in own.items():
        try:
            split(part, name)
        except ValueError as e:
            raise ValueError(f"{path} is damaged: {e}") from None
    if unnamed:
        code = " and ".join(f"{part} {name}" for part, name in unnamed.items())
        given = " ".join(f"--{part}={name}" for part, name in own.items())
        raise ValueError(
            f"{path} names code, {code}, which runs only if you name it, too; accepted is "
            f"{given}, if you trust it"
        )
