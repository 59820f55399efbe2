"""Pictures of what a network generates, as matplotlib Figures: rollouts, sheets of samples."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlstm_jax.pictures import make_figure


def plot_rollout(truth: np.ndarray, predicted: np.ndarray, *, title: str = "") -> Any:
    """The frames of a film above, and below those that a network predicted for its last ones.

    Args:
      truth: [T, H, W] in [0, 1].
      predicted: [N, H, W], of the last N frames; the first T - N were given.
      title: of the picture.

    Returns:
      A matplotlib Figure.
    """
    from matplotlib.patches import Rectangle

    (T, H, W), given = truth.shape, len(truth) - len(predicted)
    nothing = np.full((given, H, W), np.nan)
    rows = {"truth": truth, "prediction": np.concatenate([nothing, predicted])}
    size = min(0.62, 16 / T)
    figure = make_figure((size * T + 1.0, 2 * (size * H / W + 0.12) + 0.8))
    axes = figure.subplots(2, 1, sharex=True)
    for axis, (name, frames) in zip(axes, rows.items(), strict=True):
        _show(axis, frames, columns=T)
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    corner, width = (-0.5, -0.5), given * (W + 1) - 1
    axes[0].add_patch(Rectangle(corner, width, H, fill=False, ec="C1", lw=3, clip_on=False))
    axes[0].set_title("given", loc="left", fontsize=9, color="C1")
    axes[1].set_xticks([(t + 0.5) * (W + 1) - 1 for t in range(T)], [str(t + 1) for t in range(T)])
    for axis in axes:  # whose ticks are shared
        axis.tick_params(length=0, labelsize=8)
    axes[1].set_xlabel("frame")
    figure.suptitle(title, fontsize=10)
    return figure


def plot_sheets(
    sheets: Mapping[str, np.ndarray], *, columns: int = 8, title: str = "", size: float = 0.5
) -> Any:
    """Sheets of images side by side, each with its name.

    Args:
      sheets: name -> images [N, H, W] in [0, 1].
      columns: images in a row.
      title: of the picture.
      size: inches of an image.

    Returns:
      A matplotlib Figure.
    """
    rows = max(math.ceil(len(images) / columns) for images in sheets.values())
    figure = make_figure(((size * columns + 0.3) * len(sheets), size * rows + 0.8))
    axes = figure.subplots(1, len(sheets), squeeze=False)[0]
    for axis, (name, images) in zip(axes, sheets.items(), strict=True):
        _show(axis, images, columns)
        axis.set_facecolor("0.5")  # white pixels end there
        axis.set_xticks([]), axis.set_yticks([])
        axis.set_title(name, fontsize=9)
    figure.get_layout_engine().set(wspace=0.06)
    figure.suptitle(title, fontsize=10)
    return figure


def _show(axis: Any, images: np.ndarray, columns: int) -> None:
    """Images [N, H, W] in rows of `columns`, a pixel apart; NaN is not drawn."""
    N, H, W = images.shape
    rows = math.ceil(N / columns)
    apart = np.full((rows * columns, H + 1, W + 1), np.nan)
    apart[:N, :H, :W] = images
    sheet = apart.reshape(rows, columns, H + 1, W + 1).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (H + 1), columns * (W + 1))[:-1, :-1]
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for side in axis.spines.values():
        side.set_visible(False)
