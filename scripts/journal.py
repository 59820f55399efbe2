"""What a training writes and shows while it runs; of several processes, the first does."""

import gc
import time

from scripts.display import Display
from scripts.metrics_log import MetricsLog
from scripts.plotting import save_figure
from scripts.run_directory import RunDirectory
from tlstm_jax import processes
from tlstm_jax.optimization import TrainSettings
from tlstm_jax.pictures import CROSS_ENTROPY, plot_curves
from tlstm_jax.training import Report
from tlstm_jax.typing import Task

_MOST_PLOTTED = 500  # of a curve's points, lest memory grow with the run


class Journal:
    """The metrics, the screen and the learning curves of a run that goes on from step `start`."""

    def __init__(
        self, directory: RunDirectory, task: Task, model: str, train: TrainSettings, *, start: int
    ) -> None:
        self._directory, self._task, self._model = directory, task, model
        self._writes = processes.is_first()
        self._begun = time.monotonic()
        if self._writes:
            self._log = MetricsLog(directory, start, every=train.steps_per_call)
            if self._log.lacking is not None:
                print(f"{self._log.lacking}; the learning curves have a gap there", flush=True)
            self._display = Display(task, num_steps=train.num_steps, start=start)

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
                labels=CROSS_ENTROPY,
            )
            save_figure(self._directory.curves, figure)
            del figure  # which holds itself
            gc.collect()

    def close(self) -> None:
        if self._writes:
            self._display.close()
            self._log.close()
