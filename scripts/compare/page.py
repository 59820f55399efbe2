"""The rows of the comparison as a page of text."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tlstm_jax.pictures import label
from tlstm_jax.scripts.bench.report import environment
from tlstm_jax.scripts.compare.members import COLUMNS, OF_SYMBOLS, SETTINGS, STEPS_PER_CALL, WIDTHS

INTRODUCTION = """
Every model has the width M that brings it nearest to {parameters:,} parameters {where} and its defaults, but
for {special}. All get the same search: of {search}, every combination is trained with Adam from {seeds}
seeds, all of them in one vmapped training. {dropped} only the best fourth of the combinations goes on, by the
mean over seeds of the best metric so far on the validation split, until one is left. It has up to
{evaluations} evaluations, evenly spaced at multiples of {steps_per_call} steps, which are the learning curves
in `curves/` beside this page. The table has mean and standard deviation over the seeds, on the test split,
with the last parameters. Each has seen {seen}.

A training step is one of batch 16 on the digits ({num_steps} steps in time): forward, gradient and update,
compiled alone; in brackets the same over that of an LSTM of as many parameters, timed in turns with it.

These are short trainings of small models: they tell which learn quickly with these settings, not which are
best.
"""
COMMAND = "python -m scripts.compare"
ON_TEXT = "(on digits; the text has more symbols, and so all models more parameters there)"
PAGE = """# All models with one budget{on_tasks}

    {command}

makes this page.

{introduction}

{table}

{measured}
"""


def _cells(row: Mapping[str, Any]) -> list[str]:
    times = f"{row['milliseconds']:.1f} ({row['times_lstm']:.1f})"
    return [f"{row['parameters']:,}", times, *map(reached, row["columns"].values())]


def reached(column: Mapping[str, Any]) -> str:
    """Mean and standard deviation of the metric on the test split over the seeds, as text."""
    accuracy = column["metric"].endswith("accuracy")
    test = (100 if accuracy else 1) * np.array(column["test"], float)
    form = ".1f" if accuracy else ".3f" if test.mean() >= 0.1 else ".2g"
    return f"{test.mean():{form}} ± {test.std(ddof=1):{form}}"


def line(name: str, row: Mapping[str, Any]) -> str:
    return f"{name}: " + ", ".join(_cells(row)) + f" ({row['seconds'] / 60:.1f} minutes)"


def command(conditions: Mapping[str, Any]) -> str:
    """With which rows of these tasks are made."""
    chosen = conditions["tasks"]
    every = [column.task for column in COLUMNS if not column.maps]
    return COMMAND + (f" --tasks={','.join(chosen)}" if chosen != every else "")


def render(rows: Mapping[str, Mapping[str, Any]], conditions: Mapping[str, Any]) -> str:
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    first = next(iter(rows.values()))["columns"]
    heads = [
        f"{title}: {'%' if column['metric'].endswith('accuracy') else label(column['metric'])}"
        f"{' of symbols' if title in OF_SYMBOLS else ''}"
        for title, column in first.items()
    ]
    heads = ["model", "M", "parameters", "ms a step (times the LSTM's)", *heads]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [
        f"| `{name}` | {row['features']} | {' | '.join(_cells(row))} |"
        for name, row in rows.items()
    ]
    seen = _listed(
        f"{column['units'][-1]:,} {'characters' if column['metric'] == 'bpc' else 'samples'} of {title}"
        for title, column in first.items()
    )
    special = "; ".join(
        f"`{name}`: {', '.join(f'{k} = {v}' for k, v in _of(name).items())}"
        for name in rows
        if _of(name)
    )
    introduction = INTRODUCTION.format(
        parameters=conditions["parameters"],
        where=ON_TEXT if "char_lm" in conditions["tasks"] else "on digits",
        special=special or "none",
        seeds=len(conditions["seeds"]),
        search=_searched(conditions["search"]),
        dropped=_dropped(conditions["rungs"]),
        evaluations=conditions["evaluations"],
        steps_per_call=STEPS_PER_CALL,
        seen=seen,
        num_steps=8 if conditions["tasks"] == ["rows_digits"] else 64,
    )
    measured_on = ", ".join(f"{k} {v}" for k, v in environment().items() if v)
    measured = (
        f"The sum of all trainings' times is {minutes:.0f} minutes. Measured on: {measured_on}."
    )
    some = command(conditions) != COMMAND
    return PAGE.format(
        on_tasks=f": {_listed(first)}" if some else "",
        command=command(conditions),
        introduction="\n\n".join(map(wrapped, introduction.strip().split("\n\n"))),
        table="\n".join(lines),
        measured=wrapped(measured),
    )


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
