"""A run on the screen: a progress bar in a terminal, plain lines elsewhere."""

import collections
import math
import sys
import time
from collections.abc import Mapping

import tqdm

from tlstm_jax.training import Report
from tlstm_jax.typing import Task

LINE_SECONDS = 30.0  # at most this long without a plain line
_RECENT = 20  # calls that the speed is measured over


class Display:
    """Shows reports; `start` is the step from which a run resumes."""

    def __init__(self, task: Task, *, num_steps: int, start: int) -> None:
        self._task = task
        self._speed = _Speed(task)
        self._last = time.monotonic()
        self._valid: Mapping[str, float] = {}
        self._valid_step = 0
        self._bar = (
            tqdm.tqdm(total=num_steps, initial=start, unit="step", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def begin(self) -> None:
        """Says that the first report will take its time."""
        if self._bar is not None:
            self._bar.set_postfix_str("compiling")
        else:
            print("compiling, then training", flush=True)

    def show(self, report: Report) -> None:
        """One report."""
        now, step = time.monotonic(), report.progress.step
        if report.valid is not None:
            self._valid, self._valid_step = report.valid, step
        name = "valid" if step == self._valid_step else f"valid at step {self._valid_step}"
        speed = self._speed.after(report, now)
        if self._bar is not None:
            shown = {k: v for k, v in report.train.items() if k in ("loss", self._task.metric)}
            valid = {k: v for k, v in self._valid.items() if k == self._task.metric}
            text = [describe(shown), f"{name} {describe(valid)}" if valid else "", speed]
            self._bar.set_postfix_str(", ".join(filter(None, text)), refresh=False)
            self._bar.update(step - self._bar.n)
        elif report.valid is not None or now - self._last > LINE_SECONDS:
            self._last = now
            valid = f"{name}: {describe(self._valid)}; " if self._valid else ""
            text = f"train: {describe(report.train)}; {valid}{speed}"
            print(f"step {step}, {report.progress.units:,} {self._task.unit}; {text}", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class _Speed:
    """Samples or characters per second in the last calls, without compilation and evaluations."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._before: tuple[float, Report] | None = None
        self._evaluated = False  # which compiles, the first time
        # (steps, seconds) of calls, and of those with an evaluation or a checkpoint.
        self._calls = collections.deque[tuple[int, float]](maxlen=_RECENT)
        self._others = collections.deque[tuple[int, float]](maxlen=_RECENT)

    def after(self, report: Report, now: float) -> str:
        """The speed in words, after one more report, at time `now`."""
        if self._before is not None:
            then, before = self._before
            took = report.progress.step - before.progress.step, now - then
            if report.valid is None and before.state is None:
                self._calls.append(took)
            elif report.valid is None or self._evaluated:
                self._others.append(took)
        self._evaluated |= report.valid is not None
        self._before = now, report
        if not (taken := self._calls or self._others):
            return "compiled"
        steps, seconds = map(sum, zip(*taken, strict=True))
        rate = steps * self._task.units_per_step / max(seconds, 1e-9)
        return f"{rate:,.0f} {self._task.unit}/s" + " with evaluations" * (not self._calls)


def describe(metrics: Mapping[str, float | None]) -> str:
    """Metrics in one line."""
    shown = [k for k in metrics if k not in ("grad_norm",)]
    return ", ".join(f"{k} {number(k, metrics[k])}" for k in shown)


def number(name: str, value: float | None, spread: float = math.nan) -> str:
    """A metric's value, with its spread if that is a number; an accuracy as a percentage.

    Other values have four decimal places, or three digits if they are small.
    """
    if value is None:
        return "not finite"
    scale, form, unit = (100, ".2f", " %") if name.endswith("accuracy") else (1, ".4f", "")
    if scale == 1 and 0 < abs(value) < 0.01:
        form = ".3g"
    band = "" if math.isnan(spread) else f" ± {scale * spread:{form}}"
    return f"{scale * value:{form}}{band}{unit}"
