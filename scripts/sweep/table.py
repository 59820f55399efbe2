"""A sweep on the screen: a live table in a terminal, a line for each evaluation elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from tlstm_jax.groups import Curves
from tlstm_jax.training import Report
from tlstm_jax.typing import Task

ROWS = 20  # of the live table; the best members


class Table:
    """Shows reports between `with` and its end."""

    def __init__(self, points: Sequence[Mapping[str, Any]], task: Task, curves: Curves) -> None:
        self._points, self._task, self._curves = points, task, curves
        self._last: dict[int, Report] = {}
        self._console = Console(file=sys.stderr)
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> "Table":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, reports: Mapping[int, Report]) -> None:
        """The reports of one call."""
        self._last |= reports
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)
            return
        for n, report in reports.items():
            if report.finished and not report.train:
                print(f"member {n} ({self._settings(n)}) {report.stop}", flush=True)
        evaluated = [n for n, report in reports.items() if report.valid is not None]
        if evaluated:
            step = reports[evaluated[0]].progress.step
            print(f"step {step}: {len(evaluated)} members; best so far: {self._best()}", flush=True)

    def _order(self) -> list[int]:
        scores = {n: self._curves.score(n) for n in range(len(self._points))}
        return sorted(scores, key=lambda n: (np.isnan(scores[n]), -scores[n]))

    def _best(self) -> str:
        best = self._order()[0]
        return f"{self._number(self._curves.score(best))}, member {best} ({self._settings(best)})"

    def _settings(self, n: int) -> str:
        return ", ".join(f"{k}={_short(v)}" for k, v in self._points[n].items())

    def _number(self, score: float) -> str:
        value = score if self._task.maximize else -score
        name = self._task.metric
        return f"{name} {100 * value:.2f} %" if name.endswith("accuracy") else f"{name} {value:.4f}"

    def _table(self) -> RichTable:
        table = RichTable(title=f"{len(self._points)} members, best first")
        for name in ("member", *self._points[0], "step", "train loss", "best", "state"):
            table.add_column(name, justify="right", no_wrap=True)
        order = self._order()
        for n in order[:ROWS]:
            report, score = self._last.get(n), self._curves.score(n)
            trained = report is not None and "loss" in report.train
            table.add_row(
                str(n),
                *(_short(value) for value in self._points[n].values()),
                str(report.progress.step) if report else "",
                f"{report.train['loss']:.4f}" if trained else "",
                "" if np.isnan(score) else self._number(score),
                (self._curves.stop.get(n) or ("training" if report else "waiting"))[:28],
            )
        if len(order) > ROWS:
            table.caption = f"and {len(order) - ROWS} more"
        return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
