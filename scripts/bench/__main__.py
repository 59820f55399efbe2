"""Measures this library beside torch.nn.LSTM and Flax's RNN, where they are installed.

    python -m scripts.bench
    python -m scripts.bench --sections=training --sizes=1,4 --seconds=20

Prints a table; writes bench.json and, of section depth, bench.png into --output. It takes about
twenty-five minutes on two cores, and means little on a machine that does other work at the same
time.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from absl import flags

from tlstm_jax.scripts import cli

SECTIONS = (
    "training",
    "depth",
    "lstm",
    "maps",
    "memory",
    "generation",
    "sweep",
    "chunks",
    "parallel",
)

_SECTIONS = flags.DEFINE_list("sections", list(SECTIONS), f"Which of {', '.join(SECTIONS)}.")
_SIZES = flags.DEFINE_list("sizes", None, "Which sizes of section training: 1,2,..; all if unset.")
_PEERS = flags.DEFINE_list("peers", None, "torch, flax; those installed if unset; '' for none.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "About how long each group of rows is timed.", 0.0)
_OUTPUT = cli.define_path_flag("output", "runs/bench", "Folder of bench.json and bench.png.")


def main() -> None:
    from tlstm_jax.scripts.bench import report

    rows: list[dict[str, Any]] = []
    with cli.one_line_errors():
        output = pathlib.Path(_OUTPUT.value)
        groups = _groups()
        output.mkdir(parents=True, exist_ok=True)
    print(", ".join(f"{k} {v}" for k, v in report.environment().items() if v), flush=True)
    title = None
    for section, group in groups:
        if section != title:
            print(f"\n{section}\n\n{report.header(section)}", flush=True)
            title = section
        for row in group:
            rows.append(row)
            print(report.line(row), flush=True)
        report.write(output / "bench.json", rows)
    report.plot(output / "bench.png", rows)
    print(f"\nwritten to {output}")


def _groups() -> list[tuple[str, Iterator[dict[str, Any]]]]:
    """The chosen groups of rows in order, not yet measured, each under the name of its section."""
    from tlstm_jax.scripts.bench import modern
    from tlstm_jax.scripts.bench import sections as s
    from tlstm_jax.scripts.bench.sweeps import MODELS, sweeps

    chosen = _accepted("sections", _SECTIONS.value, SECTIONS)
    peers, seconds = _peers(), _SECONDS.value
    numbers = [str(i + 1) for i in range(len(s.SIZES))]
    sizes = _accepted("sizes", numbers if _SIZES.value is None else _SIZES.value, numbers)
    groups = {
        "training": [
            ("training", s.training_steps(s.SIZES[int(i) - 1], peers, seconds)) for i in sizes
        ],
        "depth": [
            (f"depth, {'training' if training else 'forward'}", s.depths(B, training, seconds))
            for training in (False, True)
            for B in (1, 15)
        ],
        "lstm": [("LSTM", s.lstm_cell(size, peers, seconds)) for size in s.CELL_SIZES],
        "maps": [("maps", s.maps(shape, 16, peers, seconds)) for shape in s.MAPS],
        "memory": [("memory", s.memory(B, T, seconds)) for B, T in ((50, 784), (8, 8000))],
        "generation": [
            ("generation", s.generation(shape, seconds)) for shape in ((4,), (10,), (4, 4))
        ],
        "chunks": [("chunks", modern.chunks(name, seconds)) for name in modern.CHUNKED],
        "parallel": [
            ("parallel", modern.parallel(cell, size, seconds))
            for cell in modern.CELLS
            for size in modern.OF_CELLS
        ],
        "sweep": [("sweep", sweeps(name, settings, seconds)) for name, settings in MODELS],
    }
    return [group for name in SECTIONS if name in chosen for group in groups[name]]


def _peers() -> tuple[str, ...]:
    from tlstm_jax.scripts.bench.contenders import PEERS, installed

    if _PEERS.value is None:
        return tuple(peer for peer in PEERS if installed(peer))
    chosen = _accepted("peers", [p for p in _PEERS.value if p], PEERS)
    for peer in chosen:
        if not installed(peer):
            raise ValueError(f"peer {peer} is not installed; accepted after pip install .[bench]")
    return tuple(chosen)


def _accepted(name: str, values: list[str], accepted: tuple[str, ...] | list[str]) -> list[str]:
    for value in values:
        if value not in accepted:
            raise ValueError(f"--{name} names {value!r}; accepted are {', '.join(accepted)}")
    return values


if __name__ == "__main__":
    cli.run(main)
