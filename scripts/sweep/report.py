"""What a sweep leaves behind: a line for each member, a table, a picture, and the way to the best."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scripts.files import replacing, write_text
from scripts.plotting import save_figure
from scripts.run_directory import RunDirectory, read_json
from tlstm_jax.groups import Curves
from tlstm_jax.pictures import plot_sweep
from tlstm_jax.typing import Task


def write_report(
    workdir: pathlib.Path,
    points: Sequence[Mapping[str, Any]],
    curves: Curves,
    task: Task,
    directories: Sequence[RunDirectory],
) -> str:
    """Writes results.jsonl, results.csv, sweep.png and the link `best`; describes the best member.

    Raises:
      ValueError: no member has a metric that is a number.
    """
    scores = np.array([curves.score(n) for n in range(len(points))])
    rows = [_row(n, point, curves, task, directories[n]) for n, point in enumerate(points)]
    write_text(workdir / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(workdir / "results.csv", _csv(rows))
    if np.isnan(scores).all():
        raise ValueError(
            f"no member has a {task.metric} that is a number; see {workdir / 'results.csv'}"
        )
    steps = sorted(set().union(*curves.valid.values()))
    figure = plot_sweep(
        points,
        np.array(steps) * task.units_per_step,
        np.array([[curve.get(step, np.nan) for step in steps] for curve in curves.valid.values()]),
        metric=task.metric,
        maximize=task.maximize,
        unit=task.unit,
    )
    save_figure(workdir / "sweep.png", figure)
    best = int(np.nanargmax(scores))
    with replacing(workdir / "best") as link:
        link.unlink(missing_ok=True)
        link.symlink_to(directories[best].path.relative_to(workdir), target_is_directory=True)
    found = ", ".join(f"{k} {v:.4g}" for k, v in rows[best]["test"].items())
    chosen = ", ".join(f"{k}={v}" for k, v in points[best].items())
    return f"{best} ({chosen}), in {workdir / 'best'}; on test: {found}"


def _row(
    n: int, point: Mapping[str, Any], curves: Curves, task: Task, directory: RunDirectory
) -> dict[str, Any]:
    results = read_json(directory.results) if directory.results.is_file() else {}
    test = results.get("test", {}) if isinstance(results, dict) else None
    if not isinstance(test, dict) or not all(isinstance(v, int | float) for v in test.values()):
        raise ValueError(f"{directory.results} is damaged: test should hold names with numbers")
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
        | {f"test_{k}": v for k, v in row["test"].items()}
        for row in rows
    ]
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()
