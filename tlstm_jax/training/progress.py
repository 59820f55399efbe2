"""The progress of a run, and when it ends."""

import dataclasses
import math

from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task


@dataclasses.dataclass(frozen=True)
class Progress:
    """What the loop remembers between evaluations; plain numbers, for JSON.

    Attributes:
      step: steps done.
      units: samples or characters seen.
      best_metric, best_step: the best evaluation so far.
      evals_since_best: evaluations since then.
      reached_at: units at the last evaluation, if it was at the target and the one before was not.
      units_to_target: units at the first of two evaluations in a row at the target.
    """

    step: int = 0
    units: int = 0
    best_metric: float | None = None
    best_step: int | None = None
    evals_since_best: int = 0
    reached_at: int | None = None
    units_to_target: int | None = None


def judge(task: Task, progress: Progress, metric: float) -> tuple[Progress, bool]:
    """Progress after an evaluation, and whether it is the best so far."""
    sign = 1.0 if task.maximize else -1.0
    best = progress.best_metric
    improved = not math.isnan(metric) and (best is None or sign * metric > sign * best)
    if improved:
        progress = dataclasses.replace(
            progress, best_metric=metric, best_step=progress.step, evals_since_best=0
        )
    else:
        progress = dataclasses.replace(progress, evals_since_best=progress.evals_since_best + 1)
    if task.target is None or progress.units_to_target is not None:
        return progress, improved
    if not sign * metric >= sign * task.target:  # NaN too
        return dataclasses.replace(progress, reached_at=None), improved
    if progress.reached_at is None:
        return dataclasses.replace(progress, reached_at=progress.units), improved
    return dataclasses.replace(progress, units_to_target=progress.reached_at), improved


def finished(settings: TrainSettings, progress: Progress) -> str | None:
    """Why a run ends here, or None."""
    if settings.stop_at_target and progress.units_to_target is not None:
        return "target reached"
    if settings.patience is not None and progress.evals_since_best >= settings.patience:
        return f"no improvement in {progress.evals_since_best} evaluations"
    if progress.step >= settings.num_steps:
        return "all steps done"
    return None
