"""The reports of a run in its files: metrics.jsonl, and the same for TensorBoard."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.events import EventLog
from tlstm_jax.runs.files import naming, replacing
from tlstm_jax.training.loop import Report


class MetricsLog:
    """Appends reports to metrics.jsonl and to TensorBoard's events, from step `start` on.

    Attributes:
      seconds: of training up to there.
      lacking: what the file lacks of the reports before `start`, in one line; None: nothing.
    """

    def __init__(self, directory: RunDirectory, start: int, *, every: int) -> None:
        """Brings both to the reports up to `start`, one `every` so many steps."""
        there = {r["step"]: r for r in directory.read_metrics() if r["step"] <= start}
        kept = [there[step] for step in sorted(there)]
        self.lacking = _lacking(directory.metrics, there, range(every, start + 1, every))
        with replacing(directory.metrics) as temporary:
            temporary.write_text("".join(_line(record) for record in kept))
        self.seconds = kept[-1]["seconds"] if kept else 0.0
        self._directory = directory
        self._file = directory.metrics.open("a")
        with naming(directory.events):
            self._events = EventLog(directory.path, kept, keep=self.lacking is not None)

    def write(self, report: Report, unit: str, seconds: float) -> None:
        """One report; `seconds` of training since the run began.

        Raises:
          OSError: it cannot be written, or the file is no longer in its place.
          ValueError: a number in it is not finite.
        """
        record = report.record(unit) | {"seconds": round(seconds, 3)}
        with naming(self._directory.metrics):
            self._file.write(_line(record))
            self._file.flush()
            if not _is_at(self._file.fileno(), self._directory.metrics):
                raise OSError("it was removed or replaced while the run went on")
        with naming(self._directory.events):
            self._events.write(record)

    def close(self) -> None:
        with naming(self._directory.metrics):
            self._file.close()
        with naming(self._directory.events):
            self._events.close()


def _is_at(file: int, path: pathlib.Path) -> bool:
    """Whether an open file is the one that a path leads to."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lacking(path: pathlib.Path, there: Mapping[int, Any], expected: Sequence[int]) -> str | None:
    missing = [step for step in expected if step not in there]
    if not missing:
        return None
    return (
        f"{path} lacks {len(missing)} of the {len(expected)} reports up to step {expected[-1]}, "
        f"the first that of step {missing[0]}"
    )


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
