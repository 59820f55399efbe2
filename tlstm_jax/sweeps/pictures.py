"""The picture of a sweep, as a matplotlib Figure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlstm_jax.pictures import format_metric, format_units, label, make_figure, scale_loss
from tlstm_jax.sweeps.search import Setting, over_seeds

MOST_ENTRIES = 8  # of a legend
_LINES = ("-", "--", ":", "-.")


def plot_sweep(
    points: Sequence[Mapping[str, Any]],
    units: np.ndarray,
    curves: np.ndarray,
    *,
    metric: str,
    maximize: bool,
    unit: str,
    labels: Mapping[str, str] | None = None,
) -> Any:
    """The best metric over each setting of a sweep, and the curves.

    Args:
      points: the settings of N members.
      units: [E], samples or characters at the evaluations; [N, E] if members differ in them.
      curves: [N, E], NaN where there is no evaluation.
      labels: of metrics, in place of their names.

    Returns:
      A matplotlib Figure. Members that differ only in seeds are one curve, their mean, with a band
      of their standard deviation; a setting is a dot, its members smaller dots. Colours show the
      first setting's values, line styles the second's if these are few.
    """
    names = [name for name in points[0] if len({repr(point[name]) for point in points}) > 1]
    panels = [name for name in names if name != "seed"] or names or list(points[0])
    curves = np.asarray(curves, float)
    units = np.broadcast_to(units, curves.shape)
    best = _best(curves, maximize)
    found = over_seeds(points, best if maximize else -best)
    if "seed" in panels:  # nothing else differs
        found = [Setting(dict(p), (n,), 0, math.nan, n, 0) for n, p in enumerate(points)]
    named = (labels or {}).get(metric, label(metric))
    figure = make_figure((3.4 * (len(panels) + 1.3) + 1, 3.4))
    ratios = [1.0] * len(panels) + [1.3]
    *of_settings, of_curves = figure.subplots(
        1, len(panels) + 1, squeeze=False, width_ratios=ratios
    )[0]
    colours = _Colours([point[panels[0]] for point in points])
    for axis, name in zip(of_settings, panels, strict=True):
        _scatter(axis, name, points, found, best, colours, panels[0])
        axis.set_ylabel(f"best {named}")
    styles = _styles([point[panels[1]] for point in points]) if len(panels) > 1 else {}
    for setting in found:
        members, colour = list(setting.members), colours.of(setting.point[panels[0]])
        style = styles[str(setting.point[panels[1]])] if styles else "-"
        _curve(of_curves, units[members[0]], curves[members], colour, style)
    colours.explain(figure, of_curves, panels[0])
    _explain_styles(figure, styles, panels)
    of_curves.set_xlabel(f"{unit} seen")
    of_curves.set_ylabel(named)
    format_units(of_curves.xaxis)
    for axis in (*of_settings, of_curves):
        axis.grid(alpha=0.3)
        if not maximize:
            logarithmic = scale_loss(axis, curves if axis is of_curves else best)
            most = (1e4 if logarithmic else 3) * np.nanmedian(best)
            if np.nanmax(best) > most:
                axis.set_ylim(None, most)  # or exploding members hide the others
        format_metric(axis.yaxis, metric)
    return figure


def _best(curves: np.ndarray, maximize: bool) -> np.ndarray:
    """The best of each curve; NaN if it has no number."""
    worst = -np.inf if maximize else np.inf
    filled = np.where(np.isnan(curves), worst, curves)
    best = filled.max(axis=1) if maximize else filled.min(axis=1)
    return np.where(np.isinf(best), np.nan, best)


def _styles(values: Sequence[Any]) -> dict[str, str]:
    """A line style for each value; {} if there are more than line styles."""
    distinct = sorted(set(values)) if _are_numbers(values) else dict.fromkeys(map(str, values))
    named = list(map(str, distinct))
    return dict(zip(named, _LINES, strict=False)) if 1 < len(named) <= len(_LINES) else {}


def _explain_styles(figure: Any, styles: Mapping[str, str], panels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    if styles:
        lines = [
            Line2D([], [], color="0.3", ls=style, label=name) for name, style in styles.items()
        ]
        look = {"frameon": False, "fontsize": "small"}
        figure.legend(handles=lines, title=panels[1], loc="outside right lower", **look)


def _curve(axis: Any, units: np.ndarray, curves: np.ndarray, colour: Any, style: str) -> None:
    """Mean and spread of curves [N, E] where all have a number, without those that have none."""
    curves = curves[~np.isnan(curves).all(axis=1)]
    there = ~np.isnan(curves).any(axis=0) & (len(curves) > 0)
    x, y = units[there], curves[:, there].mean(axis=0) if len(curves) else units[there]
    alone = "." if there.sum() == 1 else None  # no line
    axis.plot(x, y, marker=alone, ls=style, color=colour, lw=1.2, alpha=0.9)
    if len(curves) > 1:
        spread = curves[:, there].std(axis=0, ddof=1)
        axis.fill_between(x, y - spread, y + spread, color=colour, alpha=0.2, lw=0)


def _scatter(
    axis: Any,
    name: str,
    points: Sequence[Mapping[str, Any]],
    settings: Sequence[Setting],
    best: np.ndarray,
    colours: "_Colours",
    coloured: str,
) -> None:
    """A dot for each setting, small ones for its members; members without a number are crosses."""
    values = [point[name] for point in points]
    numbers = _are_numbers(values)
    labels = list(dict.fromkeys(map(str, values)))
    x = np.array(values if numbers else [labels.index(str(v)) for v in values], float)
    for setting in settings:
        there = [n for n in setting.members if not np.isnan(best[n])]
        colour = [colours.of(setting.point[coloured])]
        if len(there) > 1:
            axis.scatter(x[there], best[there], color=colour, s=10, alpha=0.5, lw=0, zorder=3)
            spread = best[there].std(ddof=1)
            axis.errorbar(x[there[0]], best[there].mean(), spread, color=colour[0], capsize=2)
        if there:
            axis.scatter(x[there[:1]], [best[there].mean()], color=colour, s=28, zorder=4)
    for at in x[np.isnan(best)]:
        axis.plot(at, 0.03, "x", color="0.4", transform=axis.get_xaxis_transform())
    if not numbers:
        axis.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 4 else 0)
    elif _spans_magnitudes(values):
        axis.set_xscale("log")
    if numbers and len(distinct := sorted(set(values))) <= 5:
        axis.set_xticks(distinct, map(_short, distinct), minor=False)
        axis.set_xticks([], minor=True)
    axis.set_xlabel(name)


class _Colours:
    """A colour for each value: along a scale where they are numbers."""

    def __init__(self, values: Sequence[Any]) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap, LogNorm, Normalize

        self._numbers = _are_numbers(values)
        self.values = (
            sorted(set(values)) if self._numbers else list(dict.fromkeys(map(str, values)))
        )
        self.map = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))
        self._bar = self._numbers and len(self.values) > MOST_ENTRIES
        kind = LogNorm if self._numbers and _spans_magnitudes(values) else Normalize
        # A few values are distinguished best by evenly spaced colours.
        self.scale = (
            kind(self.values[0], self.values[-1])
            if self._bar
            else Normalize(0, max(1, len(self.values) - 1))
        )

    def of(self, value: Any) -> Any:
        if self._bar:
            return self.map(float(self.scale(value)))
        at = self.values.index(value if self._numbers else str(value))
        return self.map(float(self.scale(at)))

    def explain(self, figure: Any, axis: Any, name: str) -> None:
        """A legend beside the axis, in the order of the values; a colour bar if they are many."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.lines import Line2D

        if self._bar:
            figure.colorbar(ScalarMappable(self.scale, self.map), ax=axis, label=name)
        elif len(self.values) > 1:
            shown = (
                self.values if len(self.values) <= MOST_ENTRIES else self.values[: MOST_ENTRIES - 1]
            )
            lines = [Line2D([], [], color=self.of(value), label=_short(value)) for value in shown]
            if left := len(self.values) - len(shown):
                lines.append(Line2D([], [], lw=0, label=f"and {left} more"))
            figure.legend(
                handles=lines,
                title=name,
                loc="outside right upper",
                frameon=False,
                fontsize="small",
            )


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _spans_magnitudes(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= 8 * min(values)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
