"""Pictures, as matplotlib Figures. matplotlib is imported when one is drawn."""

import functools
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

LABELS = {"bpc": "bits per character"}


def plot_curves(
    records: Sequence[Mapping[str, Any]],
    *,
    unit: str,
    metric: str,
    title: str = "",
    labels: Mapping[str, str] | None = None,
) -> Any:
    """Loss and metric, if it is another one, over samples or characters seen.

    Args:
      records: {unit: number, "train": {name: value}, "valid": the same or missing} for each report,
        as in a run's metrics.jsonl.
      labels: of metrics, in place of their names.

    Returns:
      A matplotlib Figure.
    """
    names = dict.fromkeys(("loss", metric))
    figure = make_figure((5 * len(names) + 1 * (len(names) < 2), 3.6))
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
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
    losses = [np.asarray(line.get_ydata(), float) for line in axes[0].lines]
    scale_loss(axes[0], np.concatenate(losses or [[]]))
    if metric.endswith("accuracy"):
        axes[1].set_ylim(-0.02, 1.02)
    figure.suptitle(title, fontsize=10)
    return figure


def label(metric: str) -> str:
    """The label of an axis."""
    return LABELS.get(metric, metric)


def format_units(axis: Any) -> None:
    """Ticks like 50k, for numbers of samples or characters."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(sep=""))


def format_metric(axis: Any, metric: str) -> None:
    """Accuracies as percentages."""
    from matplotlib.ticker import PercentFormatter

    if metric.endswith("accuracy"):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def scale_loss(axis: Any, values: np.ndarray) -> bool:
    """Logarithmic where the positive values span magnitudes, with ticks that are plain numbers.

    Returns:
      Whether it is logarithmic.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() <= 0 or values.max() < 10 * values.min():
        return False
    decades = np.log10(values.max() / values.min())
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    return True


class Pixels(NamedTuple):
    """An image that is read pixel by pixel, or row by row."""

    read: np.ndarray  # [T] or [T, W], in the order in which they are read
    image: np.ndarray  # [H, W]


Labels = Sequence[str] | Mapping[str, Sequence[str]]  # of inputs; or by "input", "target", "answer"


def plot_states(
    states: np.ndarray,
    *,
    delays: Sequence[int] | None = None,
    locations: Sequence[int] | None = None,
    labels: Labels | None = None,
    pixels: Pixels | None = None,
    channels: int = 6,
    title: str = "",
) -> Any:
    """States while inputs are read: a panel for each location, a row for each of some channels.

    Args:
      states: [S, P, M] of one example; P = 1 for a cell without a tensor.
      delays: [P], steps after which an input reaches a location (`convolution.wave_index`): its
        panel is shifted left by as many, so that a column is one input everywhere. None: a column
        is a step.
      locations: [P], how the locations are called; None: 0, 1, ..
      labels: what is read (and answered) in each column; not drawn if they are more than 80.
      pixels: of an image, drawn above and beside.
      channels: how many are drawn: those that vary most.
      title: of the picture.

    Returns:
      A matplotlib Figure. All values have the same scale.
    """
    states = _aligned(np.asarray(states, float), delays)
    T, P, _ = states.shape
    chosen = np.sort(np.argsort(states.std(axis=(0, 1)), kind="stable")[-channels:])
    most = float(np.abs(states[:, :, chosen]).max()) or 1.0
    figure, axes = _panels(T, P, 0.14 * len(chosen) + 0.12, pixels, title)
    for p, axis in enumerate(axes):
        image = axis.imshow(
            states[:, p, chosen].T,
            aspect="auto",
            cmap="RdBu_r",
            interpolation="nearest",
            vmin=-most,
            vmax=most,
        )
        axis.set_yticks(range(len(chosen)), [str(m) for m in chosen], fontsize=6)
        number = p if locations is None else locations[p]
        where = f"location {number},\nchannel" if P > 1 else "channel"
        axis.set_ylabel(where, rotation=0, ha="right", va="center")
    figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
    _label_columns(axes[-1], T, labels, "step" if delays is None else "input")
    return figure


def plot_kernels(
    kernels: np.ndarray,
    *,
    delays: Sequence[int] | None = None,
    labels: Labels | None = None,
    pixels: Pixels | None = None,
    title: str = "",
) -> Any:
    """The kernels of a memory-cell convolution over time: where locations take their memory from.

    Args:
      kernels: [S, P, K] of one example and one tensor axis, sums over K are 1; tap K // 2 is the
        location itself, those before are nearer to the input.
      delays, labels, pixels, title: as in `plot_states`.

    Returns:
      A matplotlib Figure, with a band for each tap at every location.
    """
    kernels = _aligned(np.asarray(kernels, float), delays)
    T, P, K = kernels.shape
    figure, axes = _panels(T, P, 0.85, pixels, title)
    names, edges = [_tap(k - K // 2) for k in range(K)], np.arange(T + 1) - 0.5
    for p, axis in enumerate(axes):
        sums = np.concatenate([np.zeros((T, 1)), np.cumsum(kernels[:, p], axis=1)], axis=1)
        for k, (name, colour) in enumerate(zip(names, _shades(K), strict=True)):
            axis.stairs(
                sums[:, k + 1], edges, baseline=sums[:, k], fill=True, color=colour, label=name
            )
        axis.set_ylim(0, 1)
        axis.set_xlim(-0.5, T - 0.5)
        axis.set_yticks([])
        axis.set_ylabel(f"location {p}", rotation=0, ha="right", va="center")
    _label_columns(axes[-1], T, labels, "step" if delays is None else "input")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        title="memory of",
        loc="outside right center",
        frameon=False,
        fontsize="small",
    )
    return figure


def _aligned(values: np.ndarray, delays: Sequence[int] | None) -> np.ndarray:
    """[S, P, ..] to [T, P, ..]: at each location what belongs to input t."""
    if delays is None:
        return values
    T = len(values) - max(delays)
    return np.stack([values[d : d + T, p] for p, d in enumerate(delays)], axis=1)


def _panels(
    T: int, P: int, height: float, pixels: Pixels | None, title: str
) -> tuple[Any, list[Any]]:
    """A Figure with P panels of this size in inches, and an image beside and above them."""
    width = min(12, max(6, 0.17 * T + 2))
    strips = 0 if pixels is None else 1
    figure = make_figure((width + 1.8 * strips, height * P + 1.2 + 0.3 * strips))
    grid = figure.add_gridspec(
        P + strips,
        1 + strips,
        width_ratios=[1.6, width - 0.6] if strips else [1],
        height_ratios=[0.25] * strips + [height] * P,
    )
    axes = [figure.add_subplot(grid[strips, strips])]
    axes += [figure.add_subplot(grid[strips + p, strips], sharex=axes[0]) for p in range(1, P)]
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    if pixels is not None:
        strip = figure.add_subplot(grid[0, 1], sharex=axes[0])
        strip.imshow(np.atleast_2d(np.asarray(pixels.read, float).T), aspect="auto", cmap="gray")
        strip.set_yticks([])
        strip.tick_params(labelbottom=False)
        strip.set_ylabel("input", rotation=0, ha="right", va="center")
        image = figure.add_subplot(grid[:, 0])
        image.imshow(pixels.image, cmap="gray")
        image.set_xticks([]), image.set_yticks([])
    figure.suptitle(textwrap.fill(title, int(11 * width)), fontsize=10)
    return figure, axes


def _label_columns(axis: Any, T: int, labels: Labels | None, name: str) -> None:
    """Texts under the columns, a line for each kind, with the kinds' names on the left."""
    if labels is not None and not isinstance(labels, Mapping):
        labels = {name: labels}
    columns = list(zip(*labels.values(), strict=True)) if labels else []
    if not 0 < len(columns) <= 80:
        axis.set_xlabel(name)
        return
    axis.set_xticks(
        range(len(columns)), ["\n".join(column) for column in columns], fontsize="small"
    )
    axis.annotate(
        "\n".join(labels),
        (0, 0),
        (-8, -7),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize="small",
        annotation_clip=False,
    )


def plot_wave(waves: np.ndarray, *, steps: int) -> Any:
    """The wave through a tensor: which input each location works on, step by step.

    Args:
      waves: [P_1] or [P_1, P_2], u(p): steps after which an input reaches a location
        (`convolution.wave_index`).
      steps: how many to draw.

    Returns:
      A matplotlib Figure: the tensor after each step; "x2" marks the locations that work on input
        2.
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
    """A Figure of this size in inches, which a notebook shows without pyplot and its state."""
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
    return {0: "itself", -1: "the location before", 1: "the one after"}.get(offset, f"{offset:+d}")


def _shades(number: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0.15, 0.95, number))
