"""The learning curves of all models: each folder docs/results/zoo/TASK is one of `scripts.compare`."""

import json
import pathlib
from typing import Any

from tlstm_jax.scripts.compare.members import metric_label
from tlstm_jax.scripts.compare.page import reached


def shown(docs: pathlib.Path, name: str, title: str) -> list[str]:
    """The pictures of a model with captions, as lines of a page of the gallery."""
    lines = []
    for folder in sorted((docs / "results" / "zoo").iterdir()):
        if (folder / f"{name}.json").is_file():
            row, conditions = _read(folder / f"{name}.json"), _read(folder / "conditions.json")
            tasks = " and ".join(row["columns"])
            picture = f"../results/zoo/{folder.name}/curves/{name}.png"
            lines += ["", f"![{title} on {tasks}]({picture})", ""]
            lines += [f"*{_caption(name, row, conditions)}*"]
    return lines


def _caption(name: str, row: dict[str, Any], conditions: dict[str, Any]) -> str:
    of_tasks = ". ".join(_about(title, column) for title, column in row["columns"].items())
    seeds, search = conditions["seeds"], conditions["search"]
    grey = "" if name == "lstm" else ", the grey one that of the LSTM"
    return (
        f"{of_tasks}. The thin lines are {len(seeds)} seeds, the thick one is their mean{grey}. "
        f"{row['parameters']:,} parameters (M = {row['features']}); {_searched(search)}. "
        f"`python -m scripts.compare --tasks={','.join(conditions['tasks'])}` makes it."
    )


def _searched(search: dict[str, list[float]]) -> str:
    """Of settings their values: learning rates searched: 0.001, 0.003."""
    each = (
        f"{name.replace('_', ' ')}{'es' if name.endswith('s') else 's'} searched: "
        + ", ".join(f"{value:g}" for value in values)
        for name, values in search.items()
    )
    return "; ".join(each)


def _about(title: str, column: dict[str, Any]) -> str:
    """What was trained on, how much, with which settings, and the metric on the test split."""
    of_text = column["metric"] == "bpc"
    metric, seen = metric_label(title, column["metric"]), "characters" if of_text else "samples"
    per_cent = " %" if column["metric"].endswith("accuracy") else ""
    settings = " and the ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in column["settings"].items()
    )
    test = "diverged" if None in column["test"] else reached(column) + per_cent
    return (
        f"{title[0].upper()}{title[1:]}: {metric} on the validation split over {column['units'][-1]:,} "
        f"{seen}, at the {settings}; at the end {test} on the test split"
    )


def _read(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))
