"""Trains every model of the zoo with the same budget, and writes a table.

    python -m scripts.compare
    python -m scripts.compare --models=lstm,gru --workdir=runs/two

A row is written to --workdir as soon as it is measured, and found there when the command is given again;
the table is --workdir's comparison.md. Rows are trained by --jobs processes at a time, and timed one by one
at the end, in turns with the LSTM. All models have about --parameters parameters. Each is trained on
every task with the same samples from three seeds and two learning rates, all in one vmapped training; the
learning rate is that with the best mean on the validation split, the figures are of the test split.
"""

import multiprocessing
import pathlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import tqdm
from absl import flags

from scripts import cli
from scripts.compare import members
from scripts.compare.page import line, render
from scripts.run_directory import read_json, write_json
from tlstm_jax import zoo

_MODELS = flags.DEFINE_list("models", list(zoo.MODELS), "Which models; all if unset.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/comparison", "Folder of the rows and the table.")
_PARAMETERS = flags.DEFINE_integer("parameters", 20_000, "Of every model, about.", 1)
_JOBS = flags.DEFINE_integer("jobs", 2, "Models that are trained at the same time.", 1)
_BUDGET = flags.DEFINE_float("budget", 1.0, "Times the usual number of training steps.", 0.0)


def main() -> None:
    with cli.one_line_errors():
        for name in _MODELS.value:
            zoo.model_settings(name)
        workdir = pathlib.Path(_WORKDIR.value)
        workdir.mkdir(parents=True, exist_ok=True)
        conditions = _claim(workdir)
        names = [name for name in zoo.MODELS if name in _MODELS.value]
        paths = {name: workdir / f"{name}.json" for name in names}
        _train([paths[name] for name in names if not paths[name].exists()])
        rows = {name: read_json(path) for name, path in paths.items()}
        for name, row in rows.items():
            if "milliseconds" not in row:
                row |= members.time_row(name, row["channels"])
                write_json(paths[name], row)
            print(line(name, row), flush=True)
    table = workdir / "comparison.md"
    temporary = table.with_name("comparison.md.tmp")
    temporary.write_text(render(rows, conditions))
    temporary.replace(table)
    print(f"table: {table}")


def _train(paths: Sequence[pathlib.Path]) -> None:
    """Trains and writes the rows of these files, each in a process of its own."""
    done = tqdm.tqdm(total=len(paths), unit="model", disable=None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_JOBS.value, mp_context=spawn, max_tasks_per_child=1) as pool:
        given = _PARAMETERS.value, _BUDGET.value
        for row in as_completed([pool.submit(members.train_row, path, *given) for path in paths]):
            done.set_postfix_str(row.result())
            done.update()
    done.close()


def _claim(workdir: pathlib.Path) -> dict[str, Any]:
    """Notes what the rows of this folder have in common; refuses to mix them with others."""
    conditions = {
        "parameters": _PARAMETERS.value,
        "budget": _BUDGET.value,
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


if __name__ == "__main__":
    cli.run(main)
