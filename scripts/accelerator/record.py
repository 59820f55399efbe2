"""Where results are written as they come, and how much time is left."""

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any


class Record:
    """Rows of a run, one JSON object per line; each is on disk before the next begins."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def add(self, part: str, name: str, **row: Any) -> None:
        row = {"part": part, "name": name, **row}
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        told = ", ".join(f"{k} {_short(v)}" for k, v in row.items() if k not in ("part", "name"))
        print(f"{part}: {name}: {told}", flush=True)

    def attempt(self, part: str, name: str, function: Callable[[], dict[str, Any]]) -> None:
        """Adds what `function` returns, or why it failed: what follows is still worth having."""
        try:
            row = function()
        except Exception as e:
            lines = str(e).strip().splitlines() or [""]
            row = {"failed": f"{type(e).__name__}: {lines[0][:300]}"}
        self.add(part, name, **row)


class Clock:
    """A budget of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
