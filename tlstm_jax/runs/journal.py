"""What a training writes and shows while it runs; of several processes, the first does."""

import gc
import time
from collections.abc import Callable
from typing import Protocol

from tlstm_jax.devices import processes
from tlstm_jax.pictures import plot_curves
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.files import save_figure
from tlstm_jax.runs.metrics_log import MetricsLog
from tlstm_jax.runs.starts import note_start
from tlstm_jax.training.loop import Report
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task

_MOST_PLOTTED = 500  # points of a curve, so that memory does not grow with the run


class Display(Protocol):
    """A screen on which reports are shown."""

    def begin(self) -> None: ...
    def show(self, report: Report) -> None: ...
    def close(self) -> None: ...


class Journal:
    """The metrics, the screen and the learning curves of a run from step `start` on.

    Attributes:
      minutes: since this start of the run.
      lacking: what metrics.jsonl lacks of the reports before `start`, in one line; None: nothing.
    """

    def __init__(
        self,
        directory: RunDirectory,
        task: Task,
        model: str,
        train: TrainSettings,
        display: Callable[[], Display],
        *,
        start: int,
    ) -> None:
        self._directory, self._task, self._model = directory, task, model
        self.lacking = None
        self._writes = processes.is_first()
        self._begun = time.monotonic()
        if self._writes:
            self._log = MetricsLog(directory, start, every=train.steps_per_call)
            self.lacking = self._log.lacking
            note_start(directory, start)
            self._display = display()

    @property
    def minutes(self) -> float:
        """Since this start of the run."""
        return (time.monotonic() - self._begun) / 60

    def begin(self) -> None:
        """Says that the first report will take its time."""
        if self._writes:
            self._display.begin()

    def write(self, report: Report) -> None:
        """One report.

        Raises:
          OSError: it cannot be written.
        """
        if self._writes:
            self._log.write(report, self._task.unit, self._log.seconds + 60 * self.minutes)
            self._display.show(report)

    def plot(self) -> None:
        """Draws the learning curves up to here."""
        if self._writes:
            figure = plot_curves(
                self._directory.read_metrics(_MOST_PLOTTED),
                unit=self._task.unit,
                metric=self._task.metric,
                title=f"{self._task.name}, {self._model}",
                labels=self._task.metric_labels,
            )
            save_figure(self._directory.curves, figure)
            del figure  # which holds itself
            gc.collect()

    def close(self) -> None:
        if self._writes:
            self._display.close()
            self._log.close()
