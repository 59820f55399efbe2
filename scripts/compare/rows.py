"""The rows of the comparison: trained, timed, kept as files, and written as a page."""

import multiprocessing
import pathlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import tqdm

from tlstm_jax import zoo
from tlstm_jax.names import accepted
from tlstm_jax.runs.directory import read_json, write_json
from tlstm_jax.runs.files import write_text
from tlstm_jax.scripts.compare import members
from tlstm_jax.scripts.compare.page import line, render


def compare(
    models: Sequence[str], workdir: pathlib.Path, *, parameters: int, budget: float, jobs: int
) -> None:
    """Makes the rows that are not there yet, and the page of all of these models.

    Args:
      models: names of the zoo.
      workdir: where the rows lie, and the page comparison.md.
      parameters: of every model, about.
      budget: times the usual number of training steps.
      jobs: models that are trained at the same time.

    Raises:
      ValueError: an unknown model, or a folder with rows of other conditions.
    """
    for name in models:
        if name not in zoo.MODELS:
            raise ValueError(f"model is {name!r}; {accepted(name, zoo.MODELS)}")
    workdir.mkdir(parents=True, exist_ok=True)
    conditions = _claim(workdir, parameters, budget)
    paths = {name: workdir / f"{name}.json" for name in zoo.MODELS if name in models}
    missing = [path for path in paths.values() if not path.exists()]
    _train(missing, parameters, budget, jobs)
    rows = {name: _read(path) for name, path in paths.items()}
    for name, row in rows.items():
        if "milliseconds" not in row:
            row |= members.time_row(name, row["channels"])
            write_json(paths[name], row)
        print(line(name, row), flush=True)
    page = workdir / "comparison.md"
    write_text(page, render(rows, conditions))
    print(f"page: {page}")


def _read(path: pathlib.Path) -> dict[str, Any]:
    """The row in a file.

    Raises:
      ValueError: in one line, that it is none.
    """
    row = read_json(path)
    try:
        zoo.make_model(path.stem, channels=row["channels"])
        line(path.stem, {"milliseconds": 0.0, "times_lstm": 0.0} | row)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ValueError(
            f"{path} is damaged; accepted is a row of the comparison, or no such file"
        ) from e
    return row


def _train(paths: Sequence[pathlib.Path], parameters: int, budget: float, jobs: int) -> None:
    """Trains and writes the rows of these files, each in a process of its own."""
    done = tqdm.tqdm(total=len(paths), unit="model", disable=None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        rows = [pool.submit(members.train_row, path, parameters, budget) for path in paths]
        for row in as_completed(rows):
            done.set_postfix_str(row.result())
            done.update()
    done.close()


def _claim(workdir: pathlib.Path, parameters: int, budget: float) -> dict[str, Any]:
    """Notes what the rows of this folder have in common; refuses to mix them with others."""
    conditions = {
        "parameters": parameters,
        "budget": budget,
        "seeds": list(members.SEEDS),
        "learning_rates": list(members.LEARNING_RATES),
        "steps": {column.title: column.num_steps for column in members.COLUMNS},
    }
    path = workdir / "conditions.json"
    if not path.exists():
        write_json(path, conditions)
    if (there := read_json(path)) != conditions:
        raise ValueError(
            f"{workdir} holds rows made under {there}; accepted are the same, or another folder"
        )
    return conditions
