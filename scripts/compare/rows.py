"""The rows of the comparison: trained, timed, kept as files, and written as a page with pictures."""

import multiprocessing
import pathlib
from collections.abc import Collection, Sequence
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
from tlstm_jax.scripts.compare.pictures import plot_row, save_small


def compare(
    models: Sequence[str] | None,
    workdir: pathlib.Path,
    *,
    tasks: Sequence[str],
    parameters: int,
    budget: float,
    jobs: int,
) -> None:
    """Makes the rows that are not there yet, the page of all of these models, and their curves.

    Args:
      models: names of the zoo; None: all that the tasks are for.
      workdir: where the rows lie, the page comparison.md, and the pictures in curves/.
      tasks: of `members.COLUMNS`.
      parameters: of every model, about.
      budget: times the usual number of training steps.
      jobs: models that are trained at the same time.

    Raises:
      ValueError: an unknown model or task, one that the tasks are not for, or a folder with rows of other
        conditions.
    """
    _check("task", tasks, [column.task for column in members.COLUMNS])
    columns = [column for column in members.COLUMNS if column.task in tasks]
    if len({column.maps for column in columns}) > 1:
        raise ValueError(f"tasks are {', '.join(tasks)}; accepted are those over maps, or others")
    suited = [name for name in columns[0].models if all(name in c.models for c in columns)]
    models = suited if models is None else models
    _check("model", models, zoo.MODELS)
    for name in models:
        if name not in suited:
            raise ValueError(
                f"model is {name}; accepted on {columns[0].task} are {', '.join(suited)}"
            )
    workdir.mkdir(parents=True, exist_ok=True)
    conditions = _claim(workdir, columns, parameters, budget)
    paths = {name: workdir / f"{name}.json" for name in zoo.MODELS if name in models}
    missing = [path for path in paths.values() if not path.exists()]
    _train(missing, columns, parameters, budget, jobs)
    rows = {name: _read(path, columns) for name, path in paths.items()}
    curves = workdir / "curves"
    curves.mkdir(exist_ok=True)
    for name, row in rows.items():
        reference = rows.get("lstm") if name != "lstm" else None
        figure = plot_row(row, title=zoo.MODELS[name].title, reference=reference)
        save_small(curves / f"{name}.png", figure)
    for name, row in rows.items():
        if "milliseconds" not in row:
            row |= members.time_row(name, row["features"], columns[0])
            write_json(paths[name], row)
        print(line(name, row), flush=True)
    page = workdir / "comparison.md"
    write_text(page, render(rows, conditions))
    print(f"page: {page}\ncurves: {curves}")


def _check(what: str, chosen: Sequence[str], known: Collection[str]) -> None:
    for name in chosen or [""]:
        if name not in known:
            raise ValueError(f"{what} is {name!r}; {accepted(name, known)}")


def _read(path: pathlib.Path, columns: Sequence[Column]) -> dict[str, Any]:
    """The row in a file.

    Raises:
      ValueError: in one line, that it is none.
    """
    row = read_json(path)
    try:
        zoo.make_model(path.stem, features=row["features"])
        line(path.stem, {"milliseconds": 0.0, "times_lstm": 0.0} | row)
        if list(row["columns"]) != [column.title for column in columns]:
            raise ValueError("other columns")
        for column in row["columns"].values():
            shape = len(column["test"]), len(column["units"])
            if np.array(column["valid"], float).shape != shape:
                raise ValueError("no curve of each seed")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ValueError(
            f"{path} is damaged; accepted is a row of the comparison, or no such file"
        ) from e
    return row


def _train(
    paths: Sequence[pathlib.Path],
    columns: Sequence[Column],
    parameters: int,
    budget: float,
    jobs: int,
) -> None:
    """Trains and writes the rows of these files, each in a process of its own."""
    done = tqdm.tqdm(total=len(paths), unit="model", disable=None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        rows = [pool.submit(members.train_row, path, columns, parameters, budget) for path in paths]
        for row in as_completed(rows):
            done.set_postfix_str(row.result())
            done.update()
    done.close()


def _claim(
    workdir: pathlib.Path, columns: Sequence[Column], parameters: int, budget: float
) -> dict[str, Any]:
    """Notes what the rows of this folder have in common; refuses to mix them with others."""
    conditions = {
        "tasks": [column.task for column in columns],
        "parameters": parameters,
        "budget": budget,
        "seeds": list(members.SEEDS),
        "search": {name: list(values) for name, values in members.SEARCH.items()},
        "steps": {column.title: column.num_steps for column in columns},
        "rungs": {c.title: members.rungs(c.steps(budget)) for c in columns},
        "evaluations": members.EVALUATIONS,
    }
    path = workdir / "conditions.json"
    if not path.exists():
        write_json(path, conditions)
    if (there := read_json(path)) != conditions:
        raise ValueError(
            f"{workdir} holds rows made under {there}; accepted are the same, or another folder"
        )
    return conditions
