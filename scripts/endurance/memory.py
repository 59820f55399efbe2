"""The host's memory of a long run, read from outside, against its steps."""

import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlstm_jax.scripts.endurance.harness import RUN
from tlstm_jax.scripts.endurance.starts import EnduranceError, Start

WARM_UP = 0.25  # of the steps: allocators and caches fill
MOST_SLOPE = 400.0  # kB per 1,000 steps and checkpoint; docs/endurance.md says what they are
_SECONDS = 0.05  # between samples
LONG = ("--eval_every=100", "--checkpoint_every=1000", "--steps_per_call=10")


class Trend(NamedTuple):
    """The trend of the memory after the warm-up.

    Attributes:
      slope: kB per 1,000 steps, the median of the slopes between all pairs of tenths.
      first, second: kB, the median of the first half and of the second.
    """

    slope: float
    first: float
    second: float


def held_kilobytes(process: int) -> int | None:
    """The host memory of a process; None if the system does not say, or the process has ended.

    That is its anonymous memory, in RAM or swapped out. Pages of files, such as libraries, come and
    go with other work of the machine.
    """
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    parts = [values[name].split()[0] for name in ("RssAnon", "VmSwap") if name in values]
    return sum(map(int, parts)) if len(parts) == 2 else None


def trend(samples: Sequence[tuple[int, int]]) -> Trend:
    """Of samples (step, kB) in order.

    Raises:
      EnduranceError: there are too few of them after the warm-up.
    """
    steps, sizes = np.array(samples, np.float64).reshape(-1, 2).T
    late = steps >= WARM_UP * max(steps, default=0)
    steps, sizes = steps[late], sizes[late]
    if len(set(steps)) < 20:
        raise EnduranceError(
            f"{len(set(steps))} samples after the warm-up; accepted are 20 or more"
        )
    # Medians of tenths, so that memory for a picture or a checkpoint that is freed again does not
    # count.
    x, y = (np.array([np.median(t) for t in np.array_split(a, 10)]) for a in (steps, sizes))
    slopes = [(y[j] - y[i]) / (x[j] - x[i]) for i in range(10) for j in range(i) if x[j] != x[i]]
    halves = np.array_split(sizes, 2)
    return Trend(1000 * float(np.median(slopes)), *(float(np.median(half)) for half in halves))


def check_flat(found: Trend) -> None:
    """Raises EnduranceError if the memory grows."""
    if found.slope > MOST_SLOPE:
        raise EnduranceError(
            f"memory grows by {found.slope:.0f} kB per 1,000 steps; accepted are up to "
            f"{MOST_SLOPE:.0f}"
        )


def measure(folder: pathlib.Path, num_steps: int) -> list[tuple[int, int]]:
    """Trains for `num_steps`; returns samples (step, kB), [] if the system does not tell.

    Raises:
      EnduranceError: the run failed.
    """
    workdir = folder / "long"
    kept = [flag for flag in RUN if flag.split("=")[0] not in {f.split("=")[0] for f in LONG}]
    start = Start((*kept, *LONG, f"--num_steps={num_steps}", f"--workdir={workdir}"), {})
    samples, metrics, position, step = [], workdir / "metrics.jsonl", 0, 0
    while start.process.poll() is None:
        time.sleep(_SECONDS)
        if metrics.exists():
            with metrics.open("rb") as file:
                file.seek(position)
                new = file.read().rpartition(b"\n")[0]
                position += len(new) + bool(new)
            step += 10 * (new.count(b"\n") + bool(new))
        size = held_kilobytes(start.process.pid)
        if size is not None and 0 < step < num_steps:  # at the end the test split is evaluated
            samples.append((step, size))
    if start.end() != 0:
        raise EnduranceError(f"the long run ended with {start.output!r}")
    return samples
