"""tlstm_jax.tasks and tlstm_jax.scripts in a checkout, where their folders are beside this one."""

import importlib.abc
import importlib.machinery
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType

ROOT = pathlib.Path(__file__).parent.parent
NAMES = ("tlstm_jax.tasks", "tlstm_jax.scripts")


class BesideFinder(importlib.abc.MetaPathFinder):
    """Finds these two packages, and nothing else, in the folder that holds this package."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The package's spec, or None."""
        if name not in NAMES:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [str(ROOT)], target)


def find_beside() -> None:
    """Makes the two importable, unless they are installed."""
    installed = (pathlib.Path(__file__).parent / "tasks").is_dir()
    if not installed and not any(isinstance(finder, BesideFinder) for finder in sys.meta_path):
        # First, so that an editable installation of another checkout does not give its own.
        sys.meta_path.insert(0, BesideFinder())
