"""Timing of functions in turns, so that all meet the same noise."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np


@dataclasses.dataclass
class Contender:
    """Something to be timed.

    Attributes:
      name: its row in the table.
      call: runs it once and waits for its result.
      flops: its work, as `work` counts it.
      compile_seconds, peak_bytes: None where they are not known.
      seconds: what was measured.
    """

    name: str
    call: Callable[[], object]
    flops: float
    compile_seconds: float | None = None
    peak_bytes: int | None = None
    seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)

    @property
    def gflops(self) -> float:
        """GFLOP/s at the median."""
        return self.flops / self.median / 1e9


def in_turns(contenders: Sequence[Contender], *, seconds: float, least: int = 3) -> None:
    """Times all contenders one after the other, again and again, after one call each to warm up.

    Each round is in another order: on a CPU what follows a library with its own threads takes up to
    a fifth longer. Stops after about `seconds` in all, but not before `least` rounds.
    """
    for contender in contenders:
        contender.call()
    orders = np.random.default_rng(0)
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < least or time.perf_counter() < end:
        for i in orders.permutation(len(contenders)):
            contender = contenders[i]
            begin = time.perf_counter()
            contender.call()
            contender.seconds.append(time.perf_counter() - begin)
        rounds += 1
