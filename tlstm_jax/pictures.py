"""Pictures, as matplotlib Figures. matplotlib is imported when one is drawn."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LABELS = {"bpc": "bits per character"}
CROSS_ENTROPY = {"loss": "loss (nats per scored output)"}  # what all tasks of `tasks` have


def plot_curves(
    records: Sequence[Mapping[str, Any]],
    *,
    unit: str,
    metric: str,
    title: str = "",
    labels: Mapping[str, str] | None = None,
) -> Any:
    """Loss and metric over samples or characters seen.

    Args:
      records: {unit: number, "train": {name: value}, "valid": the same or missing} for each report, as
        in a run's metrics.jsonl.
      labels: of metrics, in place of their names: `CROSS_ENTROPY`, say.

    Returns:
      A matplotlib Figure.
    """
    figure = make_figure((10, 3.6))
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, ("loss", metric), strict=True):
        for part, style in (
            ("train", {"alpha": 0.5, "lw": 1}),
            ("valid", {"marker": ".", "lw": 1.5}),
        ):
            drawn = [(r[unit], r[part][name]) for r in records if name in r.get(part, {})]
            if drawn:
                axis.plot(
                    *zip(*drawn, strict=True), label=part, color=f"C{part == 'valid':d}", **style
                )
        axis.set_xlabel(f"{unit} seen")
        format_units(axis.xaxis)
        format_metric(axis.yaxis, name)
        axis.set_ylabel((labels or {}).get(name, label(name)))
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(frameon=False)
    _scale_loss(axes[0])
    if metric.endswith("accuracy"):
        axes[1].set_ylim(-0.02, 1.02)
    figure.suptitle(title, fontsize=10)
    return figure


def label(metric: str) -> str:
    """What an axis is called."""
    return LABELS.get(metric, metric)


def format_units(axis: Any) -> None:
    """Ticks like 50k, for numbers of samples or characters."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(sep=""))


def format_metric(axis: Any, metric: str) -> None:
    """Accuracies in per cent."""
    from matplotlib.ticker import PercentFormatter

    if metric.endswith("accuracy"):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _scale_loss(axis: Any) -> None:
    """Logarithmic where the positive values span magnitudes, with ticks that are plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.lines] or [[]])
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() <= 0 or values.max() < 10 * values.min():
        return
    decades = np.log10(values.max() / values.min())
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def plot_states(
    states: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    title: str = "",
) -> Any:
    """States over time: a row for each location, the mean over its channels.

    Args:
      states: [S, P, M] of one example; P = 1 for a cell that is no tensor.
      labels: what is read at each step, at most S of them.
      title: of the picture.

    Returns:
      A matplotlib Figure. Each row is scaled to its own range, whose ends stand on the right.
    """
    rows = np.asarray(states, float).mean(axis=-1).T  # [P, S]
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    scaled = (rows - low) / np.maximum(high - low, 1e-12)
    P, S = rows.shape
    figure = make_figure((min(12, max(5, 0.16 * S + 2)), 0.45 * P + 1.4))
    axis = figure.subplots()
    axis.imshow(scaled, aspect="auto", cmap="viridis", interpolation="nearest", vmin=0, vmax=1)
    axis.set_yticks(range(P), [f"location {p}" for p in range(P)] if P > 1 else ["state"])
    axis.set_xlabel("step")
    if labels is not None and len(labels) <= 80:
        axis.set_xticks(range(len(labels)), labels, fontsize="small")
        axis.set_xlabel("input")
    right = axis.twinx()
    right.set_ylim(axis.get_ylim())
    ends = [f"{a:.2g} to {b:.2g}" for a, b in zip(low[:, 0], high[:, 0], strict=True)]
    right.set_yticks(range(P), ends, fontsize="small")
    axis.set_title(title, fontsize=10)
    return figure


def plot_kernels(
    kernels: np.ndarray, *, title: str = "", labels: Sequence[str] | None = None
) -> Any:
    """The kernels of a memory-cell convolution over time: from where each location takes its memory.

    Args:
      kernels: [S, P, K] of one example and one tensor axis, sums over K are 1; tap K // 2 is the location
        itself, those before are nearer to the input.
      title: of the picture.
      labels: what is read at each step.

    Returns:
      A matplotlib Figure, with a band for each tap at every location.
    """
    kernels = np.asarray(kernels, float)
    S, P, K = kernels.shape
    figure = make_figure((min(12, max(5, 0.16 * S + 2.5)), 0.85 * P + 1.4))
    axes = figure.subplots(P, 1, sharex=True, squeeze=False)[:, 0]
    names = [_tap(k - K // 2) for k in range(K)]
    for p, axis in enumerate(axes):
        axis.stackplot(np.arange(S), kernels[:, p].T, labels=names, colors=_shades(K))
        axis.set_ylim(0, 1)
        axis.set_xlim(0, S - 1)
        axis.set_yticks([])
        axis.set_ylabel(f"location {p}", rotation=0, ha="right", va="center")
    if labels is not None and len(labels) <= 80:
        axes[-1].set_xticks(range(len(labels)), labels, fontsize="small")
    axes[-1].set_xlabel("step" if labels is None else "input")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        title="memory of",
        loc="outside right upper",
        frameon=False,
        fontsize="small",
    )
    axes[0].set_title(title, fontsize=10)
    return figure


def plot_wave(waves: np.ndarray, *, steps: int) -> Any:
    """The wave through a tensor: which input each location works on, step by step.

    Args:
      waves: [P_1] or [P_1, P_2], u(p): steps after which an input reaches a location
        (`convolution.wave_index`).
      steps: how many to draw.

    Returns:
      A matplotlib Figure: the tensor after each step; "x2" stands in the locations that work on input 2.
    """
    from matplotlib import colormaps

    waves = np.atleast_2d(np.asarray(waves))
    rows, columns = waves.shape
    cell = 0.55
    size = (steps * (columns * cell + 0.35) + 0.3, rows * cell + 0.8)
    figure = make_figure(size)
    axes = figure.subplots(1, steps, squeeze=False)[0]
    colours = colormaps["tab10"]
    for t, axis in enumerate(axes):
        image = np.ones((rows, columns, 3))
        for (i, j), u in np.ndenumerate(waves):
            if t >= u:
                image[i, j] = 0.45 + 0.55 * np.array(colours((t - u) % 10)[:3])
                last = (i, j) == (rows - 1, columns - 1)
                text, weight = f"x{t - u}", "bold" if last else "normal"
                axis.text(j, i, text, ha="center", va="center", fontsize=9, weight=weight)
        axis.imshow(image)
        axis.set_xticks(np.arange(-0.5, columns), [])
        axis.set_yticks(np.arange(-0.5, rows), [])
        axis.grid(color="0.6", lw=1)
        axis.tick_params(length=0)
        axis.set_title(f"step {t}", fontsize=9)
    return figure


def make_figure(size: tuple[float, float]) -> Any:
    """A Figure of inches, which a notebook shows without pyplot and its state."""
    return _picture()(figsize=size, layout="constrained")


@functools.cache
def _picture() -> type:
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png", dpi=100)
            return content.getvalue()

    return Picture


def _tap(offset: int) -> str:
    return {0: "itself", -1: "the location before", 1: "the one behind"}.get(offset, f"{offset:+d}")


def _shades(number: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0.15, 0.95, number))
