"""A sweep over hyperparameters and seeds, in a notebook: arrays and a picture.

    results = sweep(task, "lstm", {"learning_rate": [1e-3, 3e-3, 1e-2], "seed": range(4)})
    results.best_metric  # [12]
    results.plot()

The same with files, resumption and a table: `python -m scripts.sweep`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tlstm_jax import zoo
from tlstm_jax.network import Network, task_sizes
from tlstm_jax.sweeps.groups import Curves, Point, Traced, plan, train_groups
from tlstm_jax.sweeps.search import (
    Halving,
    Setting,
    Space,
    by_setting,
    grid,
    over_seeds,
    random_search,
    ranked,
)
from tlstm_jax.training.loop import Report, TrainState
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Cell, Params, SequenceModel, State, Task


@dataclasses.dataclass(frozen=True)
class Results:
    """What a sweep of N members found.

    Attributes:
      points: each member's values of the swept settings.
      metric, maximize, unit: of the task.
      units: [E], samples or characters seen at the evaluations.
      curves: [N, E], the metric on the validation split; NaN once a member has stopped.
      best_metric: [N], the best of each curve; NaN if there is none.
      stop: why each member stopped.
      best: the index of the best member: the best of the setting with the best mean over seeds.
      network, params, model_state: of the best member at its best evaluation.
      metric_labels: of the task.
    """

    points: list[dict[str, Any]]
    metric: str
    maximize: bool
    unit: str
    units: np.ndarray
    curves: np.ndarray
    best_metric: np.ndarray
    stop: list[str]
    best: int
    network: Network
    params: Params
    model_state: State
    metric_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def values(self, name: str) -> np.ndarray:
        """One setting of all members, [N]."""
        return np.array([point[name] for point in self.points])

    def settings(self) -> list[Setting]:
        """Members that differ only in seeds; mean and standard deviation of their best metrics."""
        sign = 1 if self.maximize else -1
        found = over_seeds(self.points, sign * self.best_metric)
        return [setting._replace(mean=sign * setting.mean) for setting in found]

    def plot(self) -> Any:
        """A matplotlib Figure: the best metric over each setting, and mean curves over seeds."""
        from tlstm_jax.sweeps.pictures import plot_sweep

        return plot_sweep(
            self.points,
            self.units,
            self.curves,
            metric=self.metric,
            maximize=self.maximize,
            unit=self.unit,
            labels=self.metric_labels,
        )


def sweep(
    task: Task,
    model: str | SequenceModel | Cell,
    space: Space,
    *,
    settings: TrainSettings | None = None,
    model_settings: Mapping[str, Any] | None = None,
    samples: int | None = None,
    search_seed: int = 0,
    chunk: int | None = None,
    halving: Halving | None = None,
    on_reports: Callable[[Mapping[int, Report]], None] | None = None,
) -> Results:
    """Trains every point of `space`; see `search`, and `groups` for what is trained together.

    Args:
      task: of all members.
      model: a name of the zoo, or a Cell or SequenceModel, of which only floats of the
        initialization can be swept (`overrides.initial`).
      space: names of settings of training and of the model, and their values.
      settings: of training, other than the swept ones.
      model_settings: of a named model, other than the swept ones.
      samples: the number of points of a random search; None: the full grid.
      search_seed: of the random search.
      chunk: train at most this many members at a time; None: all of a group.
      halving: drop the worse settings early, by the mean over their seeds.
      on_reports: called with the reports of every compiled call, by the members' indices.

    Raises:
      ValueError: an unknown setting, a value that is not accepted, or all members diverged.

    Example:
      >>> from tlstm_jax import TrainSettings, sweep
      >>> from tlstm_jax.tasks.memorization import memorization
      >>> settings = TrainSettings(num_steps=10, eval_every=10, checkpoint_every=10)
      >>> space = {"learning_rate": [1e-3, 1e-2], "seed": range(2)}
      >>> results = sweep(memorization(2, 4, batch_size=8), "gru", space, settings=settings)
      >>> results.curves.shape
      (4, 1)
    """
    points = grid(space) if samples is None else random_search(space, samples, search_seed)
    maker = _Maker(task, model, settings or TrainSettings(), dict(model_settings or {}))
    for point in points:
        maker.make(point)
    groups = plan(points, lambda n: maker.make(points[n]), lambda n: maker.traced(points[n]))
    curves = Curves(range(len(points)), metric=task.metric, maximize=task.maximize)
    saved: dict[int, Any] = {}  # for halving, which resumes them
    setting_of = {n: members for members in by_setting(points) for n in members}
    best: dict[tuple[int, ...], tuple[float, Any]] = {}  # of each setting, its best member's state
    for _, reports in train_groups(
        groups,
        curves,
        chunk=chunk,
        halving=halving,
        load=lambda group: [saved.get(n) for n in group.members],
    ):
        for n, report in reports.items():
            if report.state is None:
                continue
            if halving is not None:
                saved[n] = report.state, report.progress
            if report.improved and curves.score(n) > best.get(setting_of[n], (-np.inf,))[0]:
                best[setting_of[n]] = curves.score(n), _model(report.state)
        if on_reports is not None:
            on_reports(reports)
    scores = np.array([curves.score(n) for n in range(len(points))])
    if not best:
        raise ValueError(
            f"{task.metric} is NaN for all members; accepted is a sweep with a finite member"
        )
    chosen = ranked(over_seeds(points, scores))[0]
    index = chosen.best
    steps = sorted(set().union(*curves.valid.values()))
    of_best = jax.tree.map(jax.numpy.asarray, best[chosen.members][1])
    return Results(
        points=points,
        metric=task.metric,
        maximize=task.maximize,
        unit=task.unit,
        units=np.array(steps) * task.units_per_step,
        curves=np.array(
            [[curves.valid[n].get(step, np.nan) for step in steps] for n in range(len(points))]
        ),
        best_metric=scores if task.maximize else -scores,
        stop=[curves.stop[n] for n in range(len(points))],
        best=index,
        network=maker.make(points[index])[1],
        params=of_best[0],
        model_state=of_best[1],
        metric_labels=getattr(task, "metric_labels", {}),
    )


def _model(state: TrainState) -> tuple[Params, State]:
    """Copies, since a member's arrays are views of all members'."""
    return jax.tree.map(np.array, (state.params, state.model_state))


@dataclasses.dataclass(frozen=True)
class _Maker:
    """From a point to its run."""

    task: Task
    model: str | SequenceModel | Cell
    settings: TrainSettings
    model_settings: dict[str, Any]

    def make(self, point: Point) -> tuple[Task, Network, TrainSettings]:
        names = [field.name for field in dataclasses.fields(TrainSettings)]
        settings = dataclasses.replace(
            self.settings, **{k: v for k, v in point.items() if k in names}
        )
        of_model = {k: v for k, v in point.items() if k not in names}
        sizes = task_sizes(self.task)
        if isinstance(self.model, str):
            chosen = {"model": self.model} | self.model_settings | of_model
            name = chosen.pop("model")
            return self.task, zoo.make_network(name, **sizes, **chosen), settings
        if unknown := [*self.model_settings, *sorted(of_model.keys() - self.traced(point))]:
            raise ValueError(
                f"{', '.join(unknown)} cannot be swept for a {type(self.model).__name__}; accepted "
                "are settings of training, floats of its initialization, and for a model's name "
                "all of its settings"
            )
        return self.task, Network(self.model, **sizes), settings

    def traced(self, point: Point) -> Traced:
        if isinstance(self.model, str):
            return zoo.traced_settings(point.get("model", self.model))
        network = Network(self.model, **task_sizes(self.task))
        return {name: ("init", name) for name in point if name in zoo.initial_settings(network)}
