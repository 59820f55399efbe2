"""Learning curves as a PNG."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


def plot_curves(
    path: pathlib.Path, records: Sequence[Mapping[str, Any]], *, unit: str, metric: str, title: str
) -> None:
    """Loss and metric over samples or characters seen, from the lines of metrics.jsonl."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import EngFormatter

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for axis, name in zip(axes, ("loss", metric), strict=True):
        for part, style in (
            ("train", {"alpha": 0.5, "lw": 1}),
            ("valid", {"marker": ".", "lw": 1.5}),
        ):
            points = [(r[unit], r[part][name]) for r in records if name in r.get(part, {})]
            if points:
                axis.plot(
                    *zip(*points, strict=True), label=part, color=f"C{part == 'valid':d}", **style
                )
        axis.set_xlabel(f"{unit} seen")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_ylabel(_LABELS.get(name, name))
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    axes[0].set_yscale("log")
    if metric.endswith("accuracy"):
        axes[1].set_ylim(-0.02, 1.02)
    figure.suptitle(title, fontsize=10)
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
    os.replace(temporary, path)


_LABELS = {"loss": "loss (nats per scored output)", "bpc": "bits per character"}
