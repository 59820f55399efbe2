"""Rows of a benchmark as a Markdown table, as JSON, and as a plot of run time against depth."""

import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from tlstm_jax.runs.files import replacing, save_figure

COLUMNS = {
    "training": {
        "GFLOP/s": lambda r: f"{r['gflops']:.1f}",
        "of the product": lambda r: f"{100 * r['share_of_product']:.0f} %",
        "ms (quartiles)": lambda r: _milliseconds(r),
        "ms at equal parameters": lambda r: _or_blank(r["equal_parameters_ms"], ".0f"),
        "peak MB": lambda r: _or_blank(r["peak_mb"], ".0f"),
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
    },
    "depth": {
        "sequential steps": lambda r: str(r["sequential_steps"]),
        "ms (quartiles)": lambda r: _milliseconds(r),
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
    },
    "LSTM": {
        "GFLOP/s": lambda r: f"{r['gflops']:.1f}",
        "ms (quartiles)": lambda r: _milliseconds(r),
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
    },
    "maps": {
        "inputs": lambda r: "x".join(map(str, r["shape"])),
        "GFLOP/s": lambda r: f"{r['gflops']:.1f}",
        "ms (quartiles)": lambda r: _milliseconds(r),
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
    },
    "memory": {
        "peak MB": lambda r: _or_blank(r["peak_mb"], ".0f"),
        "ms (quartiles)": lambda r: _milliseconds(r),
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
    },
    "generation": {
        "tokens/s": lambda r: f"{r['tokens_per_second']:.0f}",
        "tensor": lambda r: "x".join(map(str, r["shape"])),
    },
    "chunks": {
        "ms (quartiles)": lambda r: _milliseconds(r),
        "of the loop": lambda r: f"{r['of_first']:.2f}",
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
        "peak MB": lambda r: _or_blank(r["peak_mb"], ".0f"),
    },
    "parallel": {
        "ms (quartiles)": lambda r: _milliseconds(r),
        "of the loop": lambda r: f"{r['of_first']:.2f}",
        "iterations": lambda r: _iterations(r),
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
    },
    "sweep": {
        "ms (quartiles)": lambda r: _milliseconds(r),
        "of in turn": lambda r: f"{r['of_in_turn']:.2f}",
        "compile s": lambda r: _or_blank(r["compile_seconds"], ".1f"),
        "temporary MB": lambda r: _or_blank(r["peak_mb"], ".1f"),
    },
}


def _milliseconds(row: Mapping[str, Any]) -> str:
    low, high = row["ms_quartiles"]
    return f"{row['ms']:.1f} ({low:.1f}-{high:.1f})"


def _iterations(row: Mapping[str, Any]) -> str:
    """Of Newton's method, where the row is of it."""
    if row["iterations"] is None:
        return ""
    return f"{row['iterations']}{'' if row['converged'] else ', and then the loop'}"


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def header(section: str) -> str:
    """The first two lines of a section's table."""
    names = ["B, M, T, L", "model", *COLUMNS[section.split(",")[0]]]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def line(row: Mapping[str, Any]) -> str:
    """One row of a table."""
    size = ", ".join(str(row[k]) for k in "BMTL")
    cells = [show(row) for show in COLUMNS[row["section"].split(",")[0]].values()]
    return f"| {' | '.join([size, row['name'], *cells])} |"


def environment() -> dict[str, Any]:
    """The machine and versions of a measurement: processor, cores, versions."""
    versions = {}
    for package in ("jax", "flax", "torch", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    cpu = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [
            s.split(":")[1].strip() for s in info.read_text().splitlines() if "model name" in s
        ]
        cpu = names[0] if names else cpu
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def write(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows as JSON."""
    with replacing(path) as temporary:
        content = {"environment": environment(), "rows": list(rows)}
        temporary.write_text(json.dumps(content, indent=1))


def plot(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run time against depth, one panel for each batch size and direction."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    deep = [row for row in rows if row["section"].startswith("depth")]
    panels = sorted({(row["section"], row["B"]) for row in deep})
    if not panels:
        return
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 3.4), layout="constrained", squeeze=False
    )
    for axis, (section, B) in zip(axes[0], panels, strict=True):
        for i, name in enumerate(dict.fromkeys(row["name"] for row in deep)):
            chosen = [r for r in deep if (r["section"], r["B"], r["name"]) == (section, B, name)]
            depth = [row["L"] for row in chosen]
            low, high = zip(*(row["ms_quartiles"] for row in chosen), strict=True)
            axis.plot(depth, [row["ms"] for row in chosen], marker=".", color=f"C{i}", label=name)
            axis.fill_between(depth, low, high, color=f"C{i}", alpha=0.2, lw=0)
        axis.set(title=f"{section.split(', ')[1]}, batch {B}", xlabel="depth L", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("ms for a sequence")
    axes[0][0].legend(frameon=False)
    save_figure(path, figure)
    plt.close(figure)
