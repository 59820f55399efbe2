"""The rows of the comparison as a page of text."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tlstm_jax.pictures import label
from tlstm_jax.scripts.bench.report import environment
from tlstm_jax.scripts.compare import members
from tlstm_jax.scripts.compare.members import (
    LONGER,
    SETTINGS,
    STEPS_PER_CALL,
    TITLES,
    WIDTHS,
    WRITTEN,
)

INTRODUCTION = """
Every model has the width M that brings it nearest to {parameters:,} parameters (on digits; the text has
more symbols, and so all models more parameters there) and its defaults, but for {special}. All get the
same search: of {search}, every combination is trained with Adam from {seeds} seeds, all of them in one
vmapped training. {dropped} only the best fourth of the combinations goes on, by the mean over seeds of
the best metric so far on the validation split, until one is left. It has up to {evaluations} evaluations,
evenly spaced at multiples of {steps_per_call} steps, which are the learning curves in `curves/` beside
this page. The table has mean and standard deviation over the seeds, on the test split, with the last
parameters{longer}. Each has seen {seen}.

A training step is one of batch 16 on the digits (64 steps in time; of models over maps, 8 rows): forward,
gradient and update, compiled alone; in brackets the same over that of an LSTM of as many parameters, timed in
turns with it. Tokens a second are those of one sequence of {written} characters, written one by one from a
carry, with untrained parameters.

These are short trainings of small models: they tell which learn quickly with these settings, not which are
best.
"""
OF_LONGER = f"; where a second figure follows it, that is of sequences {LONGER} times as long"
COMMAND = "python -m scripts.compare"
PAGE = """# All models with one budget

    {command}

makes this page, with the tasks and settings of `scripts/compare/members.py`; called again it goes on.

{introduction}

{table}

{measured}
"""
Row = Mapping[str, Any]


def reached(row: Row) -> str:
    """Mean and standard deviation of the metric on the test split over the seeds, as text."""
    return _spread(row["metric"], row["test"])


def _spread(metric: str, tests: Iterable[float | None]) -> str:
    accuracy = metric.endswith("accuracy")
    test = (100 if accuracy else 1) * np.array(tests, float)
    if np.isnan(test).any():
        return f"diverged ({np.isnan(test).sum()} of {len(test)})"
    form = ".1f" if accuracy else ".3f" if test.mean() >= 0.1 else ".2g"
    return f"{test.mean():{form}} ± {test.std(ddof=1):{form}}"


def _cell(row: Row) -> str:
    longer = row["longer"].get(LONGER)
    return reached(row) + (f"; {_spread(row['metric'], longer)}" if longer else "")


def line(name: str, rows: Mapping[str, Row], times: Row | None = None) -> str:
    """A model's rows on the screen."""
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    cells = [f"{TITLES.get(task, task)} {_cell(row)}" for task, row in rows.items()]
    return (
        f"{name}: "
        + ", ".join([*cells, *(_timed(times) if times else [])])
        + (f" ({minutes:.1f} minutes)")
    )


def _timed(times: Row) -> list[str]:
    tokens = times["tokens_per_second"]
    written = "" if tokens is None else f"{_rounded(tokens):,}"
    return [f"{times['milliseconds']:.1f} ({times['times_lstm']:.1f})", written]


def _rounded(value: float) -> int:
    """To two digits."""
    return int(float(f"{value:.2g}"))


def render(
    rows: Mapping[str, Mapping[str, Row]],
    times: Mapping[str, Row],
    conditions: Mapping[str, Row],
) -> str:
    """The page.

    Args:
      rows: by model and task.
      times: by model.
      conditions: by task, of those that have rows.
    """
    columns = [column for column in members.COLUMNS if column.task in conditions]
    some = {task: row for found in rows.values() for task, row in found.items()}
    heads = ["model", "M", "parameters", "ms a step (times the LSTM's)", "tokens a second"]
    heads += [f"{column.title}: {_unit(some[column.task]['metric'])}" for column in columns]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, found in rows.items():
        first = next(iter(found.values()))
        cells = [f"`{name}`", str(first["features"]), f"{first['parameters']:,}"]
        cells += _timed(times[name])
        cells += [
            _cell(found[c.task]) if c.task in found else "not yet" * (name in c.models)
            for c in columns
        ]
        lines.append(f"| {' | '.join(cells)} |")
    seen = _listed(
        f"{some[column.task]['units'][-1]:,} "
        f"{'characters' if some[column.task]['metric'] == 'bpc' else 'samples'} of {column.title}"
        for column in columns
    )
    special = "; ".join(
        f"`{name}`: {', '.join(f'{k} = {v}' for k, v in _of(name).items())}"
        for name in rows
        if _of(name)
    )
    common = next(iter(conditions.values()))
    introduction = INTRODUCTION.format(
        parameters=common["parameters"],
        special=special or "none",
        seeds=len(common["seeds"]),
        search=_searched(common["search"]),
        dropped=_dropped({c.title: conditions[c.task]["rungs"] for c in columns}),
        evaluations=common["evaluations"],
        steps_per_call=STEPS_PER_CALL,
        longer=OF_LONGER if any(row["longer"] for row in some.values()) else "",
        seen=seen,
        written=WRITTEN,
    )
    every = [row for found in rows.values() for row in found.values()]
    commits = sorted({row["commit"] for row in every if row["commit"]})
    measured_on = ", ".join(f"{k} {v}" for k, v in environment().items() if v)
    measured = (
        f"The sum of all trainings' times is {sum(row['seconds'] for row in every) / 60:.0f} minutes, on "
        f"{' and '.join(sorted({row['device'] for row in every}))}"
        f"{f' at {_listed(commits)}' if commits else ''}. Timed on: {measured_on}."
    )
    suited = {name: None for c in members.COLUMNS for name in c.models}
    absent = [f"`{name}`" for name in suited if name not in rows]
    absent += [c.title for c in members.COLUMNS if c.task not in conditions]
    return PAGE.format(
        command=COMMAND,
        introduction="\n\n".join(map(wrapped, introduction.strip().split("\n\n"))),
        table="\n".join(lines),
        measured=wrapped(measured + (f" Not begun: {', '.join(absent)}." if absent else "")),
    )


def _unit(metric: str) -> str:
    return "%" if metric.endswith("accuracy") else label(metric)


def _searched(search: Mapping[str, Iterable[float]]) -> str:
    each = (f"`{name}` {', '.join(f'{v:g}' for v in values)}" for name, values in search.items())
    return " and (where a model has one) of ".join(each)


def _dropped(rungs: Mapping[str, Iterable[int]]) -> str:
    """When settings are dropped, if all tasks agree, or else of each."""
    each = {title: " and ".join(map(str, steps)) for title, steps in rungs.items()}
    if len(set(each.values())) == 1:
        return f"After {next(iter(each.values()))} steps"
    return "After " + "; ".join(f"{steps} steps of {title}" for title, steps in each.items()) + ","


def _of(name: str) -> dict[str, Any]:
    """The settings of a model that are not its defaults, and its width, where it was not searched."""
    return {**SETTINGS.get(name, {}), **({"M": WIDTHS[name]} if name in WIDTHS else {})}


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{'; '.join(most)}; and {last}" if most else last


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of 120 characters."""
    return textwrap.fill(" ".join(paragraph.split()), 120, break_on_hyphens=False)
