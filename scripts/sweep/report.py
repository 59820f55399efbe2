"""The results of a sweep: a line for each member, a table, a picture, and a link to the best."""

import csv
import io
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlstm_jax.runs.directory import RunDirectory, read_json
from tlstm_jax.runs.files import replacing, save_figure, write_text
from tlstm_jax.scripts.display import describe, number
from tlstm_jax.sweeps.groups import Curves
from tlstm_jax.sweeps.pictures import plot_sweep
from tlstm_jax.sweeps.search import Setting, over_seeds, ranked
from tlstm_jax.typing import Task


def write_report(
    workdir: pathlib.Path,
    points: Sequence[Mapping[str, Any]],
    curves: Curves,
    task: Task,
    directories: Sequence[RunDirectory],
    units_per_step: Sequence[int],
) -> str:
    """Writes results.jsonl, results.csv, sweep.png and the link `best`; describes the best.

    Members that differ only in their seeds are one setting: the best is that with the best mean,
    and `best` is its best member. If seeds are swept over, settings.csv has each setting's mean and
    spread.

    Args:
      units_per_step: what each member counts in a step.

    Raises:
      ValueError: no member has a metric that is a number.
    """
    scores = [curves.score(n) for n in range(len(points))]
    rows = [_row(n, point, curves, task, directories[n]) for n, point in enumerate(points)]
    write_text(
        workdir / "results.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    )
    write_text(workdir / "results.csv", _csv(rows))
    if np.isnan(scores).all():
        raise ValueError(
            f"{task.metric} is NaN for all members in {workdir / 'results.csv'}; accepted is a "
            "sweep with a finite member"
        )
    steps = sorted(set().union(*curves.valid.values()))
    figure = plot_sweep(
        points,
        np.outer(units_per_step, steps),
        np.array([[curve.get(step, np.nan) for step in steps] for curve in curves.valid.values()]),
        metric=task.metric,
        maximize=task.maximize,
        unit=task.unit,
        labels=task.metric_labels,
    )
    save_figure(workdir / "sweep.png", figure)
    settings = ranked(over_seeds(points, scores))
    best = settings[0].best
    with replacing(workdir / "best") as link:
        link.unlink(missing_ok=True)
        link.symlink_to(directories[best].path.relative_to(workdir), target_is_directory=True)
    found = describe(rows[best]["test"])
    chosen = f"{best} ({_named(points[best])}), in {workdir / 'best'}; on test: {found}"
    if len(settings) == len(points):
        return f"best member: {chosen}"
    write_text(workdir / "settings.csv", _csv([_summary(s, rows, task) for s in settings]))
    return f"best setting: {_describe(settings[0], rows, task)}\nbest member of it: {chosen}"


def _summary(setting: Setting, rows: Sequence[Mapping[str, Any]], task: Task) -> dict[str, Any]:
    """A setting's line of settings.csv."""
    sign = 1 if task.maximize else -1
    line = setting.point | {
        "seeds": len(setting.members),
        f"mean_best_{task.metric}": sign * setting.mean,
        f"std_best_{task.metric}": setting.spread,
        "best_member": setting.best,
    }
    tests = _over_tests(setting, rows)
    means = {f"mean_test_{name}": mean for name, (mean, _) in tests.items()}
    return line | means | {f"std_test_{name}": spread for name, (_, spread) in tests.items()}


def _describe(setting: Setting, rows: Sequence[Mapping[str, Any]], task: Task) -> str:
    mean = setting.mean if task.maximize else -setting.mean
    named = f"{_named(setting.point)}: " if setting.point else ""
    tests = _over_tests(setting, rows)
    on_test = ", ".join(f"{name} {number(name, *found)}" for name, found in tests.items())
    return (
        f"{named}{task.metric} {number(task.metric, mean, setting.spread)} over "
        f"{len(setting.members)} seeds; on test: {on_test}"
    )


def _over_tests(
    setting: Setting, rows: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[float, float]]:
    """Mean and spread of each metric on the test split, over the members that have it."""
    tests = [rows[n]["test"] for n in setting.members if rows[n]["test"]]
    names = list(dict.fromkeys(name for test in tests for name in test))
    values = {
        name: [math.nan if test[name] is None else test[name] for test in tests if name in test]
        for name in names
    }
    return {
        name: (float(np.mean(x)), float(np.std(x, ddof=1)) if len(x) > 1 else float("nan"))
        for name, x in values.items()
    }


def _named(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())


def _row(
    n: int, point: Mapping[str, Any], curves: Curves, task: Task, directory: RunDirectory
) -> dict[str, Any]:
    results = read_json(directory.results) if directory.results.is_file() else {}
    test = results.get("test", {}) if isinstance(results, dict) else None
    if not isinstance(test, dict) or not all(
        isinstance(v, int | float | None) for v in test.values()
    ):
        raise ValueError(
            f"{directory.results} is damaged; accepted as its test are names with numbers"
        )
    names = ("step", task.unit, f"best_{task.metric}", "best_step", "units_to_target", "seconds")
    values = ("step", "units", "best_metric", "best_step", "units_to_target", "seconds")
    return {
        "member": n,
        **point,
        "stop": curves.stop[n],
        **{name: results.get(value) for name, value in zip(names, values, strict=True)},
        "test": test,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    flat = [
        {k: v for k, v in row.items() if k != "test"}
        | {f"test_{k}": v for k, v in row.get("test", {}).items()}
        for row in rows
    ]
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()
