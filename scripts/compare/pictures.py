"""The learning curves of a model in the comparison, as a matplotlib Figure and as a small file."""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlstm_jax.pictures import format_metric, format_units, label, make_figure
from tlstm_jax.runs.files import replacing
from tlstm_jax.scripts.compare.members import TITLES

COLOURS = 64  # of a file


def plot_rows(
    rows: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    reference: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """The metric on the validation split over samples or characters seen, with the chosen settings.

    Args:
      rows: of `members.train_row`, by task; each is a panel.
      title: of the picture.
      reference: the rows of the LSTM, whose mean is drawn in grey.

    Returns:
      A matplotlib Figure: a thin line for each seed, and their mean where no seed has diverged.
    """
    across = min(2, len(rows))
    down = -(-len(rows) // across)
    figure = make_figure((1 + 3.2 * across, 0.5 + 2.3 * down))
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (task, row) in zip(axes, rows.items(), strict=False):
        if reference is not None and task in reference:
            _mean(axis, reference[task], color="0.6", lw=3, alpha=0.8, label="LSTM, mean")
        for n, seed in enumerate(np.array(row["valid"], float)):
            axis.plot(row["units"], seed, color="C0", lw=0.8, alpha=0.6, label=_first(n, "a seed"))
        _mean(axis, row, color="C0", lw=1.8, marker=".", label="mean")
        axis.set_title(TITLES.get(task, task), fontsize="medium")
        axis.set_xlabel(f"{'characters' if row['metric'] == 'bpc' else 'samples'} seen")
        axis.set_ylabel(f"{label(row['metric'])}, validation")
        axis.set_xlim(0)
        if row["metric"].endswith("accuracy"):
            axis.set_ylim(-0.02, 1.02)
        format_units(axis.xaxis)
        format_metric(axis.yaxis, row["metric"])
        axis.grid(alpha=0.3)
    for axis in axes[len(rows) :]:
        axis.remove()
    axes[0].legend(frameon=False, fontsize="small")
    figure.suptitle(title, fontsize=10)
    return figure


def save_small(path: pathlib.Path, figure: Any) -> None:
    """Writes a Figure as PNG with a palette, in a third of the bytes.

    Raises:
      OSError: it cannot be written; what was there before is still there.
    """
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130, format="png")
    with replacing(path) as temporary, Image.open(drawn) as image:
        small = image.convert("RGB").quantize(COLOURS)
        small.save(temporary, format="png", optimize=True)


def _mean(axis: Any, row: Mapping[str, Any], **look: Any) -> None:
    axis.plot(row["units"], np.array(row["valid"], float).mean(axis=0), **look)


def _first(n: int, name: str) -> str | None:
    """A name for the legend, once."""
    return None if n else name
