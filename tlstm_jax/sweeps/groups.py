"""Which runs of a sweep can be trained as one, and in which order.

Float settings (learning rate, clipping, weight decay, forget bias, scales of initialization,
dropout rates) and seeds are an axis of one compiled training, see `members`; runs that differ in
any other setting are different groups, trained one after the other. A group's members are trained
in chunks where memory is to be limited.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlstm_jax.network import Network
from tlstm_jax.overrides import overridable
from tlstm_jax.sweeps.members import fit_members
from tlstm_jax.sweeps.search import Halving, chunks
from tlstm_jax.training.loop import Overrides, Report, TrainState
from tlstm_jax.training.progress import Progress, finished
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task

Point = Mapping[str, Any]  # one member's values of the swept settings
Traced = Mapping[str, tuple[str, str]]  # setting -> (field of Overrides, name there)
Saved = tuple[TrainState, Progress] | None

OF_TRAINING: Traced = {name: ("train", name) for name in overridable(TrainSettings())}


class Group(NamedTuple):
    """Runs that differ only in seeds and traced floats, and thus share a compiled program."""

    task: Task
    network: Network
    settings: TrainSettings
    members: tuple[int, ...]  # indices into the list of all points
    seeds: tuple[int, ...]
    overrides: Overrides  # dicts of a float for each member


def plan(
    points: Sequence[Point],
    make: Callable[[int], tuple[Task, Network, TrainSettings]],
    traced: Callable[[int], Traced],
) -> list[Group]:
    """The groups of a sweep's points, in the order of their first members.

    Args:
      points: each member's values, all of the same settings.
      make: from a point's index to its run alone; called once for each group.
      traced: from a point's index to the settings that can be traced, beside those of training.
    """
    placed, groups = [], {}
    for n, point in enumerate(points):
        known = dict(traced(n)) | dict(OF_TRAINING)
        # A rate of 0 is no dropout, and a different program.
        at = {
            name: known[name]
            for name in point
            if name in known and not (known[name][0] == "apply" and not point[name])
        }
        placed.append(at)
        fixed = {k: v for k, v in point.items() if k not in at and k != "seed"}
        groups.setdefault((repr(sorted(fixed.items())), tuple(at)), []).append(n)

    def group(members: Sequence[int]) -> Group:
        task, network, settings = make(members[0])
        overrides = {"init": {}, "apply": {}, "train": {}}
        for name, (field, own) in placed[members[0]].items():
            overrides[field][own] = tuple(float(points[n][name]) for n in members)
        seeds = tuple(int(points[n].get("seed", settings.seed)) for n in members)
        return Group(task, network, settings, tuple(members), seeds, Overrides(**overrides))

    return [group(members) for members in groups.values()]


def select(group: Group, members: Sequence[int]) -> Group:
    """A group of some of a group's members."""
    at = [group.members.index(n) for n in members]
    overrides = Overrides(
        *({k: tuple(v[i] for i in at) for k, v in field.items()} for field in group.overrides)
    )
    seeds = tuple(group.seeds[i] for i in at)
    return group._replace(members=tuple(members), seeds=seeds, overrides=overrides)


def settings_of(groups: Sequence[Group]) -> list[tuple[int, ...]]:
    """The members of each setting: those that differ only in their seeds."""
    found: dict[Any, list[int]] = {}
    for at, group in enumerate(groups):
        floats = [values for field in group.overrides for values in (field or {}).values()]
        for i, n in enumerate(group.members):
            found.setdefault((at, *(values[i] for values in floats)), []).append(n)
    return [tuple(members) for members in found.values()]


class Curves:
    """The validation metric of every member at every evaluation, and which have finished."""

    def __init__(self, members: Iterable[int], *, metric: str, maximize: bool) -> None:
        self.metric, self.maximize = metric, maximize
        self.valid: dict[int, dict[int, float]] = {n: {} for n in members}
        self.stop: dict[int, str] = {}

    def add(self, reports: Mapping[int, Report]) -> None:
        for n, report in reports.items():
            if report.valid is not None:
                self.valid[n][report.progress.step] = report.valid[self.metric]
            if report.finished:
                self.stop[n] = report.stop

    def reached(self, n: int, step: int) -> bool:
        """Whether a member has finished, or was evaluated at this step or later."""
        return n in self.stop or max(self.valid[n], default=0) >= step

    def score(self, n: int, until: int | None = None) -> float:
        """The best so far, higher is better; NaN if there is none."""
        sign = 1 if self.maximize else -1
        scores = [sign * y for step, y in self.valid[n].items() if until is None or step <= until]
        return max((score for score in scores if not np.isnan(score)), default=np.nan)


def train_groups(
    groups: Sequence[Group],
    curves: Curves,
    *,
    chunk: int | None = None,
    halving: Halving | None = None,
    load: Callable[[Group], Sequence[Saved]] = lambda group: [None] * len(group.members),
    should_stop: Callable[[], str | None] = lambda: None,
) -> Iterator[tuple[Group, dict[int, Report]]]:
    """Trains all groups, yielding the reports of `fit_members` by the members' indices.

    Args:
      curves: is updated; that of an earlier sweep, to resume it.
      chunk: train at most this many members at a time; None: all of a group.
      halving: at its rungs drop the worse settings, by the mean over their seeds (the worse seeds
        if only seeds differ); their members' `curves.stop` says so.
      load: the states to resume from, all of the same step.
    """
    alive = sorted(n for group in groups for n in group.members)
    settings, of_setting = groups[0].settings, settings_of(groups)
    if len(of_setting) == 1:
        of_setting = None
    rungs = halving.rungs(settings.num_steps, settings.eval_every) if halving else [None]
    for rung in rungs:
        for group in groups:
            for members in chunks([n for n in group.members if n in alive], chunk):
                some = select(group, members)
                if all(curves.reached(n, rung or settings.num_steps) for n in members):
                    continue
                saved = load(some)
                for n, checkpoint in zip(members, saved, strict=True):
                    if checkpoint and (why := finished(settings, checkpoint[1])):
                        curves.stop.setdefault(n, why)
                for reports in fit_members(
                    some.network,
                    some.task,
                    some.settings,
                    seeds=some.seeds,
                    overrides=some.overrides,
                    saved=saved,
                    idle=[n in curves.stop for n in members],
                    until=rung,
                    should_stop=should_stop,
                ):
                    named = {members[i]: report for i, report in reports.items()}
                    curves.add(named)
                    yield some, named
                    if any(report.stop and not report.finished for report in named.values()):
                        return
        if rung is not None and rung < settings.num_steps:
            kept = halving.survivors({n: curves.score(n, rung) for n in alive}, of_setting)
            for n in set(alive) - set(kept):
                curves.stop.setdefault(n, f"dropped after {rung} steps")
            alive = kept
