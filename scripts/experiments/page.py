"""The page of a catalogue's experiments, and their pictures, from the runs alone."""

import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlstm_jax.pictures import format_metric, format_units, make_figure, scale_loss
from tlstm_jax.runs.directory import read_json
from tlstm_jax.runs.files import write_text
from tlstm_jax.scripts.bench.report import environment
from tlstm_jax.scripts.compare.page import wrapped
from tlstm_jax.scripts.compare.pictures import save_small
from tlstm_jax.scripts.experiments.experiment import Experiment, Flags, Run, last_record
from tlstm_jax.sweeps.members import DIVERGED

CONTENT = """# {title}

    {command}

{introduction}

{sections}

{measured}
"""


class Drawn(NamedTuple):
    """A section with a picture that needs no runs."""

    name: str  # of the picture's file
    title: str
    text: str
    draw: Callable[[], Any]  # a matplotlib Figure


class Page(NamedTuple):
    """What a page has beside its runs; paragraphs are apart by an empty line."""

    name: str  # of its file, and of the folder of its pictures
    program: str
    title: str
    introduction: str
    drawn: tuple[Drawn, ...] = ()


def write_page(output: pathlib.Path, page: Page, runs: Sequence[Run]) -> pathlib.Path:
    """Writes NAME.md, and its pictures into NAME/; returns the page's path."""
    pictures = output / page.name
    pictures.mkdir(parents=True, exist_ok=True)
    sections, minutes = [_drawn(pictures, drawn) for drawn in page.drawn], 0.0
    for name in dict.fromkeys(run.name for run in runs):
        own = [run for run in runs if run.name == name and run.members]
        if not own:
            continue
        save_small(pictures / f"{name}.png", plot(own))
        sections.append(_section(pictures, own))
        minutes += sum(run.minutes for run in own)
    sections += _not_begun(runs)
    measured_on = ", ".join(f"{k} {v}" for k, v in environment().items() if v)
    measured = f"All trainings took {minutes:.0f} minutes. This page was made on: {measured_on}."
    path = output / f"{page.name}.md"
    text = CONTENT.format(
        title=page.title,
        command=f"python -m scripts.{page.program}",
        introduction=_paragraphs(page.introduction),
        sections="\n\n".join(sections),
        measured=wrapped(measured),
    )
    write_text(path, text)
    return path


def plot(runs: Sequence[Run]) -> Any:
    """The metric on the validation split over samples, a line for each seed; a matplotlib Figure."""
    experiment = runs[0].experiment
    figure = make_figure((6.4, 3.4))
    axis = figure.subplots()
    shown = experiment.drawn or experiment.models
    colours = {model: f"C{n}" for n, model in enumerate(shown)}
    units, drawn = set(), []
    for run in runs:
        if experiment.drawn and run.model not in experiment.drawn:
            continue
        for n, member in enumerate(run.members):
            records = [r for r in member.read_metrics() if "valid" in r]
            if not records:
                continue
            unit = "samples" if "samples" in records[0] else "characters"
            units.add(unit)
            seen = [r[unit] for r in records]
            values = [r["valid"][experiment.metric] for r in records]
            drawn += values
            axis.plot(seen, values, color=colours[run.model], lw=1.4, label="" if n else run.model)
    axis.set_xlabel(f"{' or '.join(sorted(units)) or 'samples'} seen")
    axis.set_ylabel(f"{experiment.heading.split(',')[0].removeprefix('test ')}, validation")
    axis.set_xlim(0)
    format_units(axis.xaxis)
    if experiment.metric.endswith("accuracy") or not scale_loss(axis, np.array(drawn)):
        format_metric(axis.yaxis, experiment.metric)
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(frameon=False, fontsize="small")
    axis.set_title(experiment.title, fontsize="medium")
    return figure


def _paragraphs(text: str) -> str:
    return "\n\n".join(map(wrapped, text.strip().split("\n\n")))


def _drawn(pictures: pathlib.Path, drawn: Drawn) -> str:
    save_small(pictures / f"{drawn.name}.png", drawn.draw())
    picture = f"![{drawn.title}]({pictures.name}/{drawn.name}.png)"
    return "\n\n".join([f"## {drawn.title}", _paragraphs(drawn.text), picture])


def _not_begun(runs: Sequence[Run]) -> list[str]:
    """The rows without runs; where an experiment has none at all, its name alone."""
    begun = {run.name for run in runs if run.members}
    names = [run.row if run.name in begun else run.name for run in runs if not run.members]
    listed = ", ".join(f"`{name}`" for name in dict.fromkeys(names))
    return [f"## Not begun\n\n{wrapped(listed)}."] if names else []


def _section(pictures: pathlib.Path, runs: Sequence[Run]) -> str:
    name, experiment = runs[0].name, runs[0].experiment
    heads = ["model", "settings", "parameters"]
    heads += ["the paper"] * bool(experiment.published)
    heads += [experiment.heading, *experiment.longer]
    heads += [experiment.target] * bool(experiment.target)
    heads += ["characters" if experiment.metric == "bpc" else "samples", "minutes", "device"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(_cells(run))} |" for run in runs]
    about = f"`--only={name}`; {_settings(experiment.flags)}.{_searched(experiment)}"
    parts = [f"## {experiment.title}", wrapped(about)]
    parts += ["\n".join(lines), f"![{experiment.title}]({pictures.name}/{name}.png)"]
    for run in runs:
        picture = run.pictures / experiment.picture
        if picture.is_file():
            file = f"{name}-{run.folder.name}.png"
            shutil.copyfile(picture, pictures / file)
            parts.append(f"{run.model}:\n\n![{run.model}]({pictures.name}/{file})")
    return "\n\n".join(parts + ([wrapped(experiment.papers)] if experiment.papers else []))


def _searched(experiment: Experiment) -> str:
    """What every model was searched over, as far as it has these settings."""
    if not experiment.search:
        return ""
    values = (f"`{k}` of {', '.join(map(str, v))}" for k, v in experiment.search.items())
    halved = _settings(experiment.halving)
    return f" Searched: {'; '.join(values)}{f', with {halved}' if halved else ''}."


def _settings(flags: Flags) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in flags.items())


def _cells(run: Run) -> list[str]:
    experiment, results = run.experiment, run.results
    number = f"{results[0]['parameters']:,}" if results else ""
    cells = [run.model, _settings({**experiment.models[run.model], **run.chosen}), number]
    if experiment.published:
        cells.append(experiment.published.get(run.model, ""))
    cells.append(_figure([_result(run, r) for r in results], experiment.scale))
    for n in range(len(experiment.longer)):
        found = [read_json(file) for file in run.evaluations(n) if file.is_file()]
        cells.append(_figure([f[experiment.metric] for f in found], experiment.scale))
    if experiment.target:
        cells.append(_reached(results))
    seen = [f"{r['units']:,}{_diverged(r)}" for r in results]
    last = [last_record(m).get("step", 0) for m in run.members if not m.results.is_file()]
    seen += [f"still running at step {step:,} of {run.flags['num_steps']:,}" for step in last]
    return [*cells, "; ".join(dict.fromkeys(seen)), f"{run.minutes:.1f}", "; ".join(run.trained_on)]


def _result(run: Run, result: Mapping[str, Any]) -> float | None:
    """The metric of the experiment's split; the best one on the validation split chose."""
    if run.experiment.split == "valid":
        return result["best_metric"]
    return result["test"][run.experiment.metric]


def _figure(values: Sequence[float | None], scale: float) -> str:
    """The mean of the seeds, and in brackets each of them."""
    if not values or any(value is None for value in values):
        return "diverged" if values else ""
    scaled = scale * np.array(values, float)
    each = ", ".join(f"{value:.4g}" for value in scaled)
    return f"{scaled.mean():.4g} ({each})"


def _diverged(result: Mapping[str, Any]) -> str:
    return ", then it diverged" * str(result["stop"]).startswith(DIVERGED)


def _reached(results: Sequence[dict[str, Any]]) -> str:
    """Of each seed, the samples to the target."""
    units = [r["units_to_target"] for r in results]
    return ", ".join("not reached" if n is None else f"{n:,}" for n in units)
