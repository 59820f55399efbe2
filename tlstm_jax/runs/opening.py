"""A run in a folder, rebuilt from its config.json, for programs and notebooks."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from tlstm_jax.network import Network
from tlstm_jax.runs.directory import RunDirectory, read_json
from tlstm_jax.runs.own_code import named_in
from tlstm_jax.runs.settings import RunSettings, changed
from tlstm_jax.training import Progress, TrainSettings
from tlstm_jax.training.checkpointing import restore_params
from tlstm_jax.typing import Params, State, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run, as `open` returns it.

    Attributes:
      directory: its folder, and where its files are.
      settings: the run's settings, as plain values.
      task, network, train: made from the settings.
    """

    directory: RunDirectory
    settings: RunSettings
    task: Task
    network: Network
    train: TrainSettings

    @property
    def records(self) -> list[dict[str, Any]]:
        """The reports so far, as metrics.jsonl has them."""
        return self.directory.read_metrics()

    @property
    def results(self) -> dict[str, Any] | None:
        """What results.json says; None: the run is not finished."""
        return read_json(self.directory.results) if self.directory.results.is_file() else None

    def restore(self, step: int | str = "best") -> tuple[Params, State, Progress]:
        """Parameters, the model's state, and the progress of a checkpoint.

        Args:
          step: "best", "latest", or a number.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it is damaged.
        """
        return restore_params(self.directory.checkpoints, self.network, step=step)

    @functools.cached_property
    def params(self) -> Params:
        """The parameters of the best checkpoint."""
        return self._best[0]

    @functools.cached_property
    def state(self) -> State:
        """The model's state in the best checkpoint; () of most models."""
        return self._best[1]

    @functools.cached_property
    def _best(self) -> tuple[Params, State, Progress]:
        return self.restore()


def open(path: str | pathlib.Path | RunDirectory, given: Mapping[str, Any] | None = None) -> Run:
    """The run in a folder; nothing is written.

    Args:
      path: the folder.
      given: settings that override its own: more steps, or where the data are now. A task or model
        in a user's own module, module:name, has to be given as well, as "task" or "model": what
        only a file names is not imported.

    Raises:
      FileNotFoundError: there is no run.
      ValueError, OSError: its settings cannot be read or used (the message names the file, unless
        others are given), or its data are no longer those that it began with.
    """
    directory = path if isinstance(path, RunDirectory) else RunDirectory(path)
    given = given or {}
    settings = changed(directory.read_config(named_in(given)), given)
    try:
        run = Run(directory, settings, *settings.make())
    except (ValueError, OSError) as e:
        if given.keys() - {"task", "model"}:
            raise
        kind = ValueError if isinstance(e, ValueError) else OSError
        raise kind(f"{directory.config}: {e}") from e
    directory.check_data(run.task)
    return run
