"""A run that lies in a folder, made again from what its config.json says."""

from collections.abc import Mapping
from typing import Any

from scripts.changed import changed
from scripts.run_directory import RunDirectory
from scripts.settings import RunSettings
from tlstm_jax.network import Network
from tlstm_jax.optimization import TrainSettings
from tlstm_jax.typing import Task


def make(
    directory: RunDirectory, given: Mapping[str, Any] | None = None
) -> tuple[RunSettings, Task, Network, TrainSettings]:
    """Its settings, and what they make.

    Args:
      given: settings in place of its own: more steps, or where the data lie now.

    Raises:
      FileNotFoundError: no run lies there.
      ValueError, OSError: its settings cannot be read, or not be made; names the file, unless others are
        given.
    """
    settings = changed(directory.read_config(), given or {})
    try:
        return settings, *settings.make()
    except (ValueError, OSError) as e:
        if given:
            raise
        kind = ValueError if isinstance(e, ValueError) else OSError
        raise kind(f"{directory.config}: {e}") from e
