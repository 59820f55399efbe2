"""A run that lies in a folder, made again from what its config.json says."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from scripts.run_directory import RunDirectory
from scripts.settings import RunSettings
from tlstm_jax.network import Network
from tlstm_jax.optimization import TrainSettings
from tlstm_jax.typing import Task


def make(
    directory: RunDirectory, moved: Mapping[str, Any] | None = None
) -> tuple[RunSettings, Task, Network, TrainSettings]:
    """Its settings, and what they make.

    Args:
      moved: settings of the task in place of its own: where the data lie now.

    Raises:
      FileNotFoundError: no run lies there.
      ValueError, OSError: its settings cannot be read, or not be made; names the file.
    """
    settings = directory.read_config()
    settings = dataclasses.replace(
        settings, task_settings={**settings.task_settings, **(moved or {})}
    )
    try:
        return settings, *settings.make()
    except ValueError as e:
        raise ValueError(f"{directory.config}: {e}") from e
    except OSError as e:
        raise OSError(f"{directory.config}: {e}") from e
