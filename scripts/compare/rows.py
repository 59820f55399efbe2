"""The rows of the comparison: trained, timed, kept as files, and written as a page with pictures."""

import dataclasses
import multiprocessing
import pathlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import numpy as np
import tqdm

from tlstm_jax import zoo
from tlstm_jax.names import accepted
from tlstm_jax.runs.directory import read_json, write_json
from tlstm_jax.runs.files import write_text
from tlstm_jax.scripts.compare import members
from tlstm_jax.scripts.compare.members import Column
from tlstm_jax.scripts.compare.page import line, render
from tlstm_jax.scripts.compare.pictures import plot_rows, save_small


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where the comparison lies.

    comparison.md           the page
    curves/MODEL.png        learning curves of a model on all tasks
    rows/TASK/MODEL.json    what `members.train_row` gives
    rows/TASK/conditions.json   what the rows of a task have in common
    times/MODEL.json        what `members.time_row` gives
    """

    path: pathlib.Path

    def row(self, task: str, name: str) -> pathlib.Path:
        return self.path / "rows" / task / f"{name}.json"

    def conditions(self, task: str) -> pathlib.Path:
        return self.path / "rows" / task / "conditions.json"

    def time(self, name: str) -> pathlib.Path:
        return self.path / "times" / f"{name}.json"

    def curves(self, name: str) -> pathlib.Path:
        return self.path / "curves" / f"{name}.png"

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        """A model's rows by task, in the order of the columns.

        Raises:
          ValueError: in one line, that a file is none.
        """
        tasks = [column.task for column in members.COLUMNS]
        return {t: _read(self.row(t, name)) for t in tasks if self.row(t, name).exists()}


def compare(
    models: Sequence[str] | None,
    workdir: pathlib.Path,
    *,
    tasks: Sequence[str],
    parameters: int,
    budget: float,
    jobs: int,
) -> None:
    """Trains what is not there yet; makes the page and the curves of all that is there.

    Args:
      models: names of the zoo that are to be trained; None: all that a task is for.
      workdir: see `Folder`.
      tasks: of `members.COLUMNS`, each with those of the models that it is for.
      parameters: of every model, about.
      budget: times the usual number of training steps.
      jobs: trainings at the same time.

    Raises:
      ValueError: an unknown model or task, models that none of the tasks is for, or a folder with
        rows of other conditions.
    """
    _check("task", tasks, [column.task for column in members.COLUMNS])
    folder = Folder(workdir)
    columns = [column for column in members.COLUMNS if column.task in tasks]
    suited = {name for column in columns for name in column.models}
    models = [name for name in zoo.MODELS if name in suited] if models is None else models
    _check("model", models, zoo.MODELS)
    for name in models:
        if name not in suited:
            raise ValueError(
                f"model is {name}; accepted on {', '.join(tasks)} are {', '.join(sorted(suited))}"
            )
    for column in columns:
        _claim(folder, column, parameters, budget)
    missing = [
        (path, column)
        for column in columns
        for name in column.models
        if name in models and not (path := folder.row(column.task, name)).exists()
    ]
    _train(missing, parameters, budget, jobs)
    rows = {name: found for name in zoo.MODELS if (found := folder.rows(name))}
    for name, found in rows.items():
        reference = rows.get("lstm") if name != "lstm" else None
        figure = plot_rows(found, title=zoo.MODELS[name].title, reference=reference)
        folder.curves(name).parent.mkdir(exist_ok=True)
        save_small(folder.curves(name), figure)
    times = {name: _time(folder, name, found) for name, found in rows.items()}
    for name in rows:
        print(line(name, rows[name], times[name]), flush=True)
    conditions = {
        column.task: read_json(folder.conditions(column.task))
        for column in members.COLUMNS
        if any(column.task in found for found in rows.values())
    }
    page = workdir / "comparison.md"
    write_text(page, render(rows, times, conditions))
    print(f"page: {page}\ncurves: {workdir / 'curves'}")


def _check(what: str, chosen: Sequence[str], known: Collection[str]) -> None:
    for name in chosen or [""]:
        if name not in known:
            raise ValueError(f"{what} is {name!r}; {accepted(name, known)}")


def _read(path: pathlib.Path) -> dict[str, Any]:
    row = read_json(path)
    try:
        zoo.make_model(path.stem, features=row["features"])
        line(path.stem, {path.parent.name: row})
        shape = len(row["test"]), len(row["units"])
        if np.array(row["valid"], float).shape != shape:
            raise ValueError("no curve of each seed")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ValueError(
            f"{path} is damaged; accepted is a row of the comparison, or no such file"
        ) from e
    return row


def _time(folder: Folder, name: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Times a model, if that was not done."""
    path = folder.time(name)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        first = next(iter(rows.values()))
        write_json(path, members.time_row(name, first["features"]))
    return read_json(path)


def _train(
    missing: Sequence[tuple[pathlib.Path, Column]], parameters: int, budget: float, jobs: int
) -> None:
    """Trains and writes the rows of these files, each in a process of its own."""
    done = tqdm.tqdm(total=len(missing), unit="training", disable=None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        rows = [
            pool.submit(members.train_row, path, column, parameters, budget)
            for path, column in missing
        ]
        for row in as_completed(rows):
            done.set_postfix_str(row.result())
            done.update()
    done.close()


def _claim(folder: Folder, column: Column, parameters: int, budget: float) -> None:
    """Notes what a task's rows in this folder have in common; refuses to mix them with others."""
    conditions = {
        "settings": dict(column.settings),
        "parameters": parameters,
        "budget": budget,
        "seeds": list(members.SEEDS),
        "search": {name: list(values) for name, values in members.SEARCH.items()},
        "steps": column.steps(budget),
        "rungs": members.rungs(column.steps(budget)),
        "evaluations": members.EVALUATIONS,
    }
    path = folder.conditions(column.task)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, conditions)
    if (there := read_json(path)) != conditions:
        raise ValueError(
            f"{path.parent} holds rows made under {there}; accepted are the same, or another folder"
        )
