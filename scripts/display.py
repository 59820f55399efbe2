"""A run on the screen: a progress bar in a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Mapping

import tqdm

from tlstm_jax.training import Report
from tlstm_jax.typing import Task

LINE_SECONDS = 30.0  # at most so many seconds without a plain line


class Display:
    """Shows reports; `start` is the step that a resumed run goes on from."""

    def __init__(self, task: Task, *, num_steps: int, start: int) -> None:
        self._task = task
        self._begun: tuple[float, int] | None = None  # after the first call, which compiles
        self._last = time.monotonic()
        self._valid: Mapping[str, float] = {}
        self._bar = (
            tqdm.tqdm(total=num_steps, initial=start, unit="step", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def show(self, report: Report) -> None:
        """One report."""
        self._valid = report.valid or self._valid
        now, step = time.monotonic(), report.progress.step
        if self._begun is None:
            self._begun = now, step
        seconds = max(now - self._begun[0], 1e-9)
        rate = (step - self._begun[1]) * self._task.units_per_step / seconds
        speed = f"{rate:,.0f} {self._task.unit}/s" if step > self._begun[1] else "compiled"
        if self._bar is not None:
            shown = {k: v for k, v in report.train.items() if k in ("loss", self._task.metric)}
            valid = {k: v for k, v in self._valid.items() if k == self._task.metric}
            text = [describe(shown), "valid " + describe(valid) if valid else "", speed]
            self._bar.set_postfix_str(", ".join(filter(None, text)), refresh=False)
            self._bar.update(step - self._bar.n)
        elif report.valid is not None or now - self._last > LINE_SECONDS:
            self._last = now
            valid = f"valid: {describe(self._valid)}; " if self._valid else ""
            text = f"train: {describe(report.train)}; {valid}{speed}"
            print(f"step {step}, {report.progress.units:,} {self._task.unit}; {text}", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def describe(metrics: Mapping[str, float]) -> str:
    """Metrics in one line."""
    shown = [k for k in metrics if k not in ("grad_norm",)]
    return ", ".join(f"{k} {number(k, metrics[k])}" for k in shown)


def number(name: str, value: float, spread: float = math.nan) -> str:
    """A metric's value, with its spread where that is a number; an accuracy in per cent."""
    scale, digits, unit = (100, 2, " %") if name.endswith("accuracy") else (1, 4, "")
    band = "" if math.isnan(spread) else f" ± {scale * spread:.{digits}f}"
    return f"{scale * value:.{digits}f}{band}{unit}"
