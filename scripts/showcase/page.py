"""The page of the experiments, and their pictures, from the runs alone."""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlstm_jax.pictures import format_metric, format_units, make_figure
from tlstm_jax.runs.directory import read_json
from tlstm_jax.runs.files import write_text
from tlstm_jax.scripts.bench.report import environment
from tlstm_jax.scripts.compare.page import wrapped
from tlstm_jax.scripts.compare.pictures import save_small
from tlstm_jax.scripts.showcase.experiments import EXPERIMENTS, Experiment, Flags
from tlstm_jax.scripts.showcase.running import Run

PAGE = """# The newer tasks: models made for a task beside the LSTM and the tensorized LSTM

    python -m scripts.showcase

{introduction}

{sections}

{measured}
"""
INTRODUCTION = """
makes this page and its pictures from its runs, two seeds of each model with settings in
`scripts/showcase/experiments.py`: short trainings, without a search over settings. A figure is that of
the checkpoint that is best on the validation split, on the test split: the mean of both seeds, and in
brackets each.
"""


def write_page(output: pathlib.Path, runs: Sequence[Run]) -> pathlib.Path:
    """Writes showcase.md, and its pictures into showcase/; returns the page's path."""
    pictures = output / "showcase"
    pictures.mkdir(parents=True, exist_ok=True)
    sections, minutes = [], 0.0
    for name, experiment in EXPERIMENTS.items():
        own = [run for run in runs if run.experiment == name and run.directory.metrics.is_file()]
        if not own:
            continue
        save_small(pictures / f"{name}.png", plot(experiment, own))
        drawn = _copy_pictures(pictures, name, own)
        sections.append(_section(name, experiment, own, drawn))
        minutes += sum(_minutes(run) for run in own)
    measured_on = ", ".join(f"{k} {v}" for k, v in environment().items() if v)
    page = output / "showcase.md"
    measured = (
        f"The sum of all trainings' times is {minutes:.0f} minutes. Measured on: {measured_on}."
    )
    text = PAGE.format(
        introduction=wrapped(INTRODUCTION),
        sections="\n\n".join(sections),
        measured=wrapped(measured),
    )
    write_text(page, text)
    return page


def plot(experiment: Experiment, runs: Sequence[Run]) -> Any:
    """The metric on the validation split over samples, a line for each seed; a matplotlib Figure."""
    figure = make_figure((6.4, 3.4))
    axis = figure.subplots()
    for n, model in enumerate(experiment.models):
        of_model = [run for run in runs if run.model == model]
        for m, run in enumerate(of_model):
            records = [r for r in run.directory.read_metrics() if "valid" in r]
            units = next((u for u in ("samples", "characters") if records and u in records[0]), "")
            points = [(r[units], r["valid"][experiment.metric]) for r in records]
            if points:
                axis.plot(
                    *zip(*points, strict=True), color=f"C{n}", lw=1.4, label="" if m else model
                )
    axis.set_xlabel("samples seen")
    axis.set_ylabel(experiment.heading.replace("test accuracy, %", "accuracy"))
    axis.set_xlim(0)
    format_units(axis.xaxis)
    format_metric(axis.yaxis, experiment.metric)
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(frameon=False, fontsize="small")
    axis.set_title(f"{experiment.title}, validation", fontsize="medium")
    return figure


def _section(
    name: str, experiment: Experiment, runs: Sequence[Run], drawn: Mapping[str, str]
) -> str:
    heads = [
        "model",
        "settings",
        "parameters",
        experiment.heading,
        *experiment.longer,
        "samples",
        "minutes a run",
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for model in experiment.models:
        if of_model := [run for run in runs if run.model == model]:
            cells = [model, _settings(experiment.models[model]), *_cells(experiment, of_model)]
            lines.append(f"| {' | '.join(cells)} |")
    settings = _settings(experiment.flags)
    parts = [f"## {experiment.title}", wrapped(f"`--only={name}`; {settings}.")]
    parts += ["\n".join(lines), f"![{experiment.title}](showcase/{name}.png)"]
    parts += [f"{model}:\n\n![{model}](showcase/{file})" for model, file in drawn.items()]
    return "\n\n".join(parts + ([wrapped(experiment.papers)] if experiment.papers else []))


def _settings(flags: Flags) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in flags.items())


def _cells(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    results = [read_json(run.directory.results) for run in runs if run.finished]
    number = f"{results[0]['parameters']:,}" if results else ""
    cells = [number, _figure([r["test"][experiment.metric] for r in results], experiment.scale)]
    for n in range(len(experiment.longer)):
        files = [run.evaluation(n) for run in runs if run.evaluation(n).is_file()]
        found = [read_json(file)[experiment.metric] for file in files]
        cells.append(_figure(found, experiment.scale))
    running = [run for run in runs if not run.finished]
    seen = [f"{r['units']:,}" for r in results]
    seen += [f"still running at step {_last(run).get('step', 0):,}" for run in running]
    return [*cells, "; ".join(dict.fromkeys(seen)), f"{np.mean([_minutes(r) for r in runs]):.1f}"]


def _figure(values: Sequence[float | None], scale: float) -> str:
    """The mean of the seeds, and in brackets each of them."""
    if not values or any(value is None for value in values):
        return "diverged" if values else ""
    scaled = scale * np.array(values, float)
    each = ", ".join(f"{value:.4g}" for value in scaled)
    return f"{scaled.mean():.4g} ({each})"


def _last(run: Run) -> dict[str, Any]:
    records = run.directory.read_metrics()
    return records[-1] if records else {}


def _minutes(run: Run) -> float:
    return _last(run).get("seconds", 0.0) / 60


def _copy_pictures(folder: pathlib.Path, name: str, runs: Sequence[Run]) -> dict[str, str]:
    """Copies the picture of each run that has one; model -> file name."""
    drawn = {}
    for run in runs:
        picture = run.pictures / EXPERIMENTS[name].picture
        if picture.is_file():
            file = f"{name}-{run.folder.name}.png"
            shutil.copyfile(picture, folder / file)
            drawn[run.model] = file
    return drawn
