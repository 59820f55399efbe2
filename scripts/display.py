"""A run on the screen: a progress bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping

import tqdm

from tlstm_jax.training import Report

LINE_SECONDS = 30.0  # at most so many seconds without a plain line


class Display:
    """Shows reports; `start` is the step that a resumed run goes on from."""

    def __init__(self, *, num_steps: int, start: int, unit: str, units_per_step: int) -> None:
        self._unit, self._per_step = unit, units_per_step
        self._begun: tuple[float, int] | None = None  # after the first call, which compiles
        self._last = time.monotonic()
        self._bar = (
            tqdm.tqdm(total=num_steps, initial=start, unit="step", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )
        self._valid = ""

    def show(self, report: Report) -> None:
        """One report."""
        if report.valid is not None:
            self._valid = "valid: " + describe(report.valid)
        now, step = time.monotonic(), report.progress.step
        text = f"{describe(report.train)}, {self._valid}"
        if self._begun is None:
            self._begun = now, step
        else:
            rate = (step - self._begun[1]) * self._per_step / max(now - self._begun[0], 1e-9)
            text += f", {rate:,.0f} {self._unit}/s"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        elif report.valid is not None or now - self._last > LINE_SECONDS:
            self._last = now
            print(f"step {step}, {report.progress.units:,} {self._unit}: {text}", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def describe(metrics: Mapping[str, float]) -> str:
    """Metrics in one line."""
    shown = [k for k in metrics if k not in ("grad_norm",)]
    return ", ".join(f"{k} {_number(k, metrics[k])}" for k in shown)


def _number(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.4f}"
