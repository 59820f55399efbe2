"""A sweep on the screen: a live table in a terminal, a line for each evaluation elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from tlstm_jax.scripts.display import number
from tlstm_jax.sweeps.groups import Curves
from tlstm_jax.sweeps.search import Setting, over_seeds, ranked
from tlstm_jax.training import Report
from tlstm_jax.typing import Task

ROWS = 20  # of the live table; the best settings


class Table:
    """Shows reports, as a context manager; with mean and spread over seeds, if these are swept."""

    def __init__(self, points: Sequence[Mapping[str, Any]], task: Task, curves: Curves) -> None:
        self._points, self._task, self._curves = points, task, curves
        self._last: dict[int, Report] = {}
        self._seeds = len(over_seeds(points, [0.0] * len(points))) < len(points)
        self._console = Console(file=sys.stderr)
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> "Table":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, reports: Mapping[int, Report], members: Sequence[int]) -> None:
        """The reports of one call; `members` are all of their group."""
        self._last |= reports
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)
            return
        for n, report in reports.items():
            if report.finished and not report.train:
                print(f"member {n} ({self._settings(self._points[n])}) {report.stop}", flush=True)
        evaluated = [n for n, report in reports.items() if report.valid is not None]
        if evaluated:
            step, group = reports[evaluated[0]].progress.step, self._group(members)
            head = f"step {step}{group}: {len(evaluated)} members"
            print(f"{head}; best so far: {self._best()}", flush=True)

    def _group(self, members: Sequence[int]) -> str:
        """What a group's members have in common that others do not have."""
        first = self._points[members[0]]
        common = {
            name: value
            for name, value in first.items()
            if all(self._points[n][name] == value for n in members)
            and any(point[name] != value for point in self._points)
        }
        return f", {self._settings(common)}" if common else ""

    def _ranked(self) -> list[Setting]:
        return ranked(
            over_seeds(self._points, [self._curves.score(n) for n in range(len(self._points))])
        )

    def _best(self) -> str:
        best = self._ranked()[0]
        if best.best is None:
            return "none has a number"
        if not self._seeds:
            settings = self._settings(self._points[best.best])
            return f"{self._number(best)}, member {best.best} ({settings})"
        of = f" of {self._settings(best.point)}" if best.point else ""
        return f"{self._number(best)}, {len(best.members)} seeds{of}"

    def _settings(self, point: Mapping[str, Any]) -> str:
        return ", ".join(f"{k}={_short(v)}" for k, v in point.items())

    def _number(self, setting: Setting) -> str:
        name = self._task.metric
        mean = setting.mean if self._task.maximize else -setting.mean
        return f"{name} {number(name, mean, setting.spread)}"

    def _table(self) -> RichTable:
        rows = self._ranked()
        what = "settings" if self._seeds else "members"
        table = RichTable(title=f"{len(rows)} {what}, best first")
        names = [name for name in self._points[0] if name != "seed" or not self._seeds]
        for name in (
            "seeds" if self._seeds else "member",
            *names,
            "step",
            "train loss",
            "best",
            "state",
        ):
            table.add_column(name, justify="right", no_wrap=True)
        for setting in rows[:ROWS]:
            reports = [self._last[n] for n in setting.members if n in self._last]
            losses = [report.train["loss"] for report in reports if "loss" in report.train]
            states = {
                self._curves.stop.get(n) or ("training" if n in self._last else "waiting")
                for n in setting.members
            }
            table.add_row(
                str(len(setting.members) if self._seeds else setting.members[0]),
                *(_short(self._points[setting.members[0]][name]) for name in names),
                str(max(report.progress.step for report in reports)) if reports else "",
                f"{np.mean(losses):.4f}" if losses else "",
                "" if setting.best is None else self._number(setting),
                ", ".join(sorted(states))[:28],
            )
        if len(rows) > ROWS:
            table.caption = f"and {len(rows) - ROWS} more"
        return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
