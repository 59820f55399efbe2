"""What a model learned in the comparison of all models, docs/results/zoo: a picture and its caption."""

import pathlib
from typing import Any

from tlstm_jax.pictures import label
from tlstm_jax.scripts.compare.members import TITLES
from tlstm_jax.scripts.compare.page import reached
from tlstm_jax.scripts.compare.rows import Folder

COMPARISON = pathlib.Path("results", "zoo")  # below docs/


def shown(docs: pathlib.Path, name: str, title: str) -> list[str]:
    """The learning curves of a model with a caption, as lines of a page of the gallery."""
    folder = Folder(docs / COMPARISON)
    rows = folder.rows(name)
    if not rows:
        return []
    picture = pathlib.Path("..") / folder.curves(name).relative_to(docs)
    return ["", f"![Learning curves: {title}]({picture})", "", f"*{_caption(name, rows)}*"]


def _caption(name: str, rows: dict[str, dict[str, Any]]) -> str:
    of_tasks = ". ".join(_about(TITLES[task], row) for task, row in rows.items())
    first = next(iter(rows.values()))
    grey = "" if name == "lstm" else ", the grey one that of the LSTM"
    return (
        f"{of_tasks}. The thin lines are {len(first['valid'])} seeds, the thick one is their mean{grey}. "
        f"{first['parameters']:,} parameters on digits (M = {first['features']}). "
        f"`python -m scripts.compare --models={name}` makes it."
    )


def _about(title: str, row: dict[str, Any]) -> str:
    """What was trained on, how much, with which settings, and the metric on the test split."""
    metric, seen = label(row["metric"]), "characters" if row["metric"] == "bpc" else "samples"
    per_cent = " %" if row["metric"].endswith("accuracy") else ""
    settings = " and the ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in row["settings"].items()
    )
    test = "diverged" if None in row["test"] else reached(row) + per_cent
    return (
        f"{title[0].upper()}{title[1:]}: {metric} on the validation split over {row['units'][-1]:,} "
        f"{seen}, at the {settings}; at the end {test} on the test split"
    )
