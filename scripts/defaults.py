"""The text of flags on the defaults of tasks, models and training."""

from collections.abc import Mapping
from typing import Any


def describe_defaults(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Setting -> its defaults in words, the most frequent one first.

    Args:
      tables: owner (a task, a model, training) -> its settings and their defaults.
    """
    owners: dict[str, dict[str, list[str]]] = {}
    for owner, settings in tables.items():
        for name, default in settings.items():
            owners.setdefault(name, {}).setdefault(_plain(default), []).append(owner)
    return {name: _describe(defaults) for name, defaults in owners.items()}


def _describe(defaults: Mapping[str, list[str]]) -> str:
    usual, *others = sorted(defaults, key=lambda default: -len(defaults[default]))
    others = [f"{default} ({', '.join(defaults[default])})" for default in others]
    return f"Default: {'; '.join([usual, *others])}."


def _plain(value: Any) -> str:
    """A value as written on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
