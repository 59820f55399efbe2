"""Pictures, as matplotlib Figures. matplotlib is imported when one is drawn."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LABELS = {"loss": "loss (nats per scored output)", "bpc": "bits per character"}


def plot_curves(
    records: Sequence[Mapping[str, Any]], *, unit: str, metric: str, title: str = ""
) -> Any:
    """Loss and metric over samples or characters seen.

    Args:
      records: {unit: number, "train": {name: value}, "valid": the same or missing} for each report, as
        in a run's metrics.jsonl.

    Returns:
      A matplotlib Figure.
    """
    from matplotlib.ticker import EngFormatter

    figure = _figure((10, 3.6))
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
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_ylabel(LABELS.get(name, name))
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(frameon=False)
    axes[0].set_yscale("log")
    if metric.endswith("accuracy"):
        axes[1].set_ylim(-0.02, 1.02)
    figure.suptitle(title, fontsize=10)
    return figure


def plot_sweep(
    points: Sequence[Mapping[str, Any]],
    units: np.ndarray,
    curves: np.ndarray,
    *,
    metric: str,
    maximize: bool,
    unit: str,
) -> Any:
    """The best metric against each setting of a sweep, and all curves.

    Args:
      points: the settings of N members.
      units: [E], samples or characters at the evaluations.
      curves: [N, E], NaN where there is none.

    Returns:
      A matplotlib Figure. Curves have the colours of the first setting's values.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    names = [name for name in points[0] if len({repr(point[name]) for point in points}) > 1]
    panels = [name for name in names if name != "seed"] or names or list(points[0])
    curves = np.asarray(curves, float)
    best = _best(curves, maximize)
    figure = _figure((3.4 * (len(panels) + 1.3), 3.4))
    ratios = [1.0] * len(panels) + [1.3]
    *of_settings, of_curves = figure.subplots(
        1, len(panels) + 1, squeeze=False, width_ratios=ratios
    )[0]
    colours = _colours([point[panels[0]] for point in points])
    for axis, name in zip(of_settings, panels, strict=True):
        _scatter(axis, name, [point[name] for point in points], best, colours)
        axis.set_ylabel(f"best {LABELS.get(metric, metric)}")
    for curve, colour in zip(curves, colours, strict=True):
        there = ~np.isnan(curve)
        alone = "." if there.sum() == 1 else ""  # no line
        of_curves.plot(units[there], curve[there], alone + "-", color=colour, lw=1.2, alpha=0.8)
    keys = dict(zip((_short(point[panels[0]]) for point in points), colours, strict=True))
    if 1 < len(keys) <= 8:
        lines = [Line2D([], [], color=colour, label=key) for key, colour in keys.items()]
        of_curves.legend(handles=lines, title=panels[0], frameon=False, fontsize="small")
    of_curves.set_xlabel(f"{unit} seen")
    of_curves.set_ylabel(LABELS.get(metric, metric))
    of_curves.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axis in (*of_settings, of_curves):
        axis.grid(alpha=0.3)
        if not maximize and np.nanmax(best) > 3 * np.nanmedian(best):
            axis.set_ylim(None, 3 * np.nanmedian(best))  # what explodes would hide the rest
    return figure


def _best(curves: np.ndarray, maximize: bool) -> np.ndarray:
    """The best of each curve, NaN where it has no number."""
    worst = -np.inf if maximize else np.inf
    filled = np.where(np.isnan(curves), worst, curves)
    best = filled.max(axis=1) if maximize else filled.min(axis=1)
    return np.where(np.isinf(best), np.nan, best)


def _scatter(axis: Any, name: str, values: list[Any], best: np.ndarray, colours: list[Any]) -> None:
    """One dot a member; members without a number at the bottom, as crosses."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    labels = list(dict.fromkeys(map(str, values)))
    x = np.array(values if numbers else [labels.index(str(v)) for v in values], float)
    there = ~np.isnan(best)
    shown = [colour for colour, n in zip(colours, there, strict=True) if n]
    axis.scatter(x[there], best[there], c=shown, s=28, zorder=3)
    for at in x[~there]:
        axis.plot(at, 0.03, "x", color="0.4", transform=axis.get_xaxis_transform())
    if not numbers:
        axis.set_xticks(range(len(labels)), labels)
    elif x.min() > 0 and x.max() >= 8 * x.min():
        axis.set_xscale("log")
    if numbers and len(distinct := sorted(set(values))) <= 5:
        axis.set_xticks(distinct, map(_short, distinct), minor=False)
        axis.set_xticks([], minor=True)
    axis.set_xlabel(name)


def _colours(values: list[Any]) -> list[Any]:
    """A colour for each value: along a scale where they are numbers."""
    from matplotlib import colormaps

    distinct = sorted(set(values)) if _comparable(values) else list(dict.fromkeys(map(str, values)))
    scale = colormaps["viridis"](np.linspace(0, 0.9, len(distinct)))
    return [scale[distinct.index(v if _comparable(values) else str(v))] for v in values]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _comparable(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) for v in values)


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
    figure = _figure((min(12, max(5, 0.16 * S + 2)), 0.45 * P + 1.4))
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
    figure = _figure((min(12, max(5, 0.16 * S + 2.5)), 0.85 * P + 1.4))
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
    figure = _figure(size)
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


def _figure(size: tuple[float, float]) -> Any:
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
