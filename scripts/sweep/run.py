"""Trains a sweep's members in their own run directories, so that it can resume at any time."""

import pathlib
import time
from collections.abc import Mapping, Sequence

import numpy as np

from tlstm_jax import training
from tlstm_jax.runs.directory import RunDirectory, read_json, write_json
from tlstm_jax.runs.metrics_log import MetricsLog
from tlstm_jax.runs.ownership import owning
from tlstm_jax.runs.results import write_results
from tlstm_jax.runs.starts import note_start
from tlstm_jax.scripts import cli, run_flags
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.scripts.sweep.report import write_report
from tlstm_jax.scripts.sweep.table import Table
from tlstm_jax.sweeps.groups import Curves, Group, Saved, train_groups
from tlstm_jax.training import Report, checkpointing


def run(
    workdir: pathlib.Path, sweep: Sweep, chunk: int | None, max_minutes: float | None = None
) -> int:
    """Trains what is not trained yet, and writes the results; returns the exit code.

    Args:
      workdir: of the sweep.
      chunk: members trained at a time; all of a group if None.
      max_minutes: after which training stops and is saved.

    Raises:
      ValueError, OSError: a setting or its data are not accepted, or a file cannot be written.
    """
    groups = sweep.groups()
    with owning(workdir, workdir / "sweep.json"):
        sweep.claim(workdir)
        return _run(workdir, sweep, groups, chunk, max_minutes)


def _run(
    workdir: pathlib.Path,
    sweep: Sweep,
    groups: Sequence[Group],
    chunk: int | None,
    max_minutes: float | None,
) -> int:
    members = Members(workdir, sweep, groups)
    task = groups[0].task
    print(
        f"{len(sweep.points)} members in {len(groups)} group{'s' * (len(groups) > 1)}, in "
        f"{workdir}",
        flush=True,
    )
    table = Table(sweep.points, task, members.curves)
    stopped = None
    with cli.StopSignals(max_minutes) as signals, table:
        for group, reports in train_groups(
            groups,
            members.curves,
            chunk=chunk,
            halving=sweep.halving,
            load=members.load,
            should_stop=lambda: signals.reason,
        ):
            members.write(group, reports)
            table.show(reports, members.group_of(group))
            stopped = next((r.stop for r in reports.values() if not r.finished and r.stop), None)
    members.close()
    if stopped:
        print(f"{stopped}: saved in {workdir}")
        print(f"resume with: {resuming(workdir, members.directories)}")
        return cli.exit_code(stopped)
    members.finish()
    units = sweep.units_per_step(groups)
    print(write_report(workdir, sweep.points, members.curves, task, members.directories, units))
    print(f"all members: {workdir / 'results.csv'}, {workdir / 'sweep.png'}")
    return 0


def resuming(workdir: pathlib.Path, directories: Sequence[RunDirectory]) -> str:
    """The command that resumes a sweep; a flag can name one model of the user's own, not several."""
    first, *others = [directory.own_code() for directory in directories]
    if any(other.items() - first.items() for other in others):
        return "the same command, which names the code of its models"
    return f"{cli.command('sweep')} --workdir={workdir}{run_flags.as_flags(first)}"


class Members:
    """The run directories of a sweep's members, which are all saved at the same steps."""

    def __init__(self, workdir: pathlib.Path, sweep: Sweep, groups: Sequence[Group]) -> None:
        number, task = len(sweep.points), groups[0].task
        self.directories = [
            RunDirectory(workdir / "members" / f"{n:0{len(str(number - 1))}d}")
            for n in range(number)
        ]
        self.curves = Curves(range(number), metric=task.metric, maximize=task.maximize)
        self._stops = workdir / "stops.json"
        if self._stops.is_file():
            self.curves.stop |= _read_stops(self._stops)
        self._group = {n: group for group in groups for n in group.members}
        self._rungs = sweep.rungs()
        self._logs: dict[int, MetricsLog] = {}
        self._best: dict[int, Saved] = {}  # since the last checkpoint
        self._begun = time.monotonic()
        for n, directory in enumerate(self.directories):
            directory.claim(sweep.runs[n], self._group[n].task)
            before = checkpointing.steps(directory.checkpoints)
            last = cli.recover(directory.checkpoints) or 0
            if before != checkpointing.steps(directory.checkpoints):
                self.curves.stop.pop(n, None)  # to be trained again, from what is good
            self._read_curve(n, last)
            if last >= self._group[n].settings.num_steps:
                self.curves.stop.setdefault(n, "all steps done")

    def _read_curve(self, n: int, until: int) -> None:
        records = self.directories[n].read_metrics()
        self.curves.valid[n] = {
            record["step"]: record["valid"][self.curves.metric]
            for record in records
            if self.curves.metric in record.get("valid", {}) and record["step"] <= until
        }

    def group_of(self, part: Group) -> tuple[int, ...]:
        """All members of the group of which some are trained."""
        return self._group[part.members[0]].members

    def load(self, group: Group) -> list[Saved]:
        """The checkpoints of the last step that all members have; logs continue from there."""
        training_ = [n for n in group.members if n not in self.curves.stop]
        steps = {n: checkpointing.steps(self.directories[n].checkpoints) for n in training_}
        step = min((max(there, default=0) for there in steps.values()), default=0)
        if any(step not in there for there in steps.values()):
            step = 0
        print(f"{len(training_)} members together: compiling, then training", flush=True)
        like = training.abstract_state(group.network, group.task, group.settings)
        self.close()
        self._best.clear()
        self._begun = time.monotonic()
        for n in training_:
            self._read_curve(n, step)
            every = group.settings.steps_per_call
            self._logs[n] = MetricsLog(self.directories[n], step, every=every)
            note_start(self.directories[n], step)
            if (lacking := self._logs[n].lacking) is not None:
                print(f"{lacking}; the curves have a gap there", flush=True)
        return [
            checkpointing.restore(self.directories[n].checkpoints, like, step=step)
            if step and n in training_
            else None
            for n in group.members
        ]

    def write(self, group: Group, reports: Mapping[int, Report]) -> None:
        """Logs and saves; a member's time is its share of the group's."""
        seconds = (time.monotonic() - self._begun) / len(group.members)
        for n, report in reports.items():
            if report.train:
                log = self._logs[n]
                log.write(report, group.task.unit, log.seconds + seconds)
            if report.improved:
                self._best[n] = report.state, report.progress
            step = report.progress.step
            due = step % group.settings.checkpoint_every == 0 or step in self._rungs
            if report.state is not None and (report.stop or due):
                self._save(n, (report.state, report.progress))
        if any(report.finished for report in reports.values()):
            write_json(self._stops, self.curves.stop)

    def _save(self, n: int, latest: Saved) -> None:
        """Saves the best state since the last time, and the latest."""
        for state, progress in filter(None, (self._best.pop(n, None), latest)):
            # Keeps the one before, too: other members may not have got further.
            checkpointing.save(self.directories[n].checkpoints, state, progress, keep=3)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def finish(self) -> None:
        """Writes every member's results.json, from the test split; none if it has no checkpoint."""
        print("evaluating the members on the test split", flush=True)
        for n, directory in enumerate(self.directories):
            group = self._group[n]
            if directory.results.is_file() or np.isnan(self.curves.score(n)):
                continue
            write_results(directory, group.task, group.network, group.settings, self.curves.stop[n])


def _read_stops(path: pathlib.Path) -> dict[int, str]:
    stops = read_json(path)
    if not isinstance(stops, dict) or not all(
        n.isdecimal() and isinstance(why, str) for n, why in stops.items()
    ):
        raise ValueError(f"{path} is damaged; accepted are members' numbers, and why each stopped")
    return {int(n): why for n, why in stops.items()}
