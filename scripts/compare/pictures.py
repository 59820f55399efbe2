"""The learning curves of a row of the comparison, as a matplotlib Figure and as a small file."""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlstm_jax.pictures import format_metric, format_units, make_figure
from tlstm_jax.runs.files import replacing
from tlstm_jax.scripts.compare.members import metric_label

COLOURS = 64  # of a file


def plot_row(
    row: Mapping[str, Any], *, title: str, reference: Mapping[str, Any] | None = None
) -> Any:
    """The metric on the validation split over samples or characters seen, at the chosen learning rate.

    Args:
      row: of `members.train_row`; each of its columns is a panel.
      title: of the picture.
      reference: the row of the LSTM, with the same columns, whose mean is drawn in grey.

    Returns:
      A matplotlib Figure: a thin line for each seed, and their mean where no seed has diverged.
    """
    columns = row["columns"]
    across = min(2, len(columns))
    down = -(-len(columns) // across)
    figure = make_figure((1 + 3.2 * across, 0.5 + 2.3 * down))
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (name, column) in zip(axes, columns.items(), strict=False):
        if reference is not None:
            other = reference["columns"][name]
            _mean(axis, other, color="0.6", lw=3, alpha=0.8, label="LSTM, mean")
        for n, seed in enumerate(np.array(column["valid"], float)):
            axis.plot(
                column["units"], seed, color="C0", lw=0.8, alpha=0.6, label=_first(n, "a seed")
            )
        _mean(axis, column, color="C0", lw=1.8, marker=".", label="mean")
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel(f"{'characters' if column['metric'] == 'bpc' else 'samples'} seen")
        axis.set_ylabel(f"{metric_label(name, column['metric'])}, validation")
        axis.set_xlim(0)
        if column["metric"].endswith("accuracy"):
            axis.set_ylim(-0.02, 1.02)
        format_units(axis.xaxis)
        format_metric(axis.yaxis, column["metric"])
        axis.grid(alpha=0.3)
    for axis in axes[len(columns) :]:
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


def _mean(axis: Any, column: Mapping[str, Any], **look: Any) -> None:
    axis.plot(column["units"], np.array(column["valid"], float).mean(axis=0), **look)


def _first(n: int, name: str) -> str | None:
    """A name for the legend, once."""
    return None if n else name
