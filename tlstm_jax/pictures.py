"""Pictures, as matplotlib Figures. matplotlib is imported when one is drawn."""

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
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(10, 3.6), layout="constrained")
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
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    names = [name for name in points[0] if len({repr(point[name]) for point in points}) > 1]
    panels = [name for name in names if name != "seed"] or names or list(points[0])
    curves = np.asarray(curves, float)
    best = _best(curves, maximize)
    figure = Figure(figsize=(3.4 * (len(panels) + 1.3), 3.4), layout="constrained")
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
        of_curves.plot(units[there], curve[there], color=colour, lw=1.2, alpha=0.8)
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
