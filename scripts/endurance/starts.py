"""One start of the training program, and how it is ended: killed at a moment, or by a full disk."""

import contextlib
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

ROOT = pathlib.Path(__file__).parent.parent.parent
TIMEOUT = 300  # seconds; longer than any start takes
_POLL = 0.001


class EnduranceError(Exception):
    """Something is not as promised; one line."""


class Start:
    """A running `python -m scripts.train`, with its output in memory."""

    def __init__(
        self,
        args: Sequence[str],
        environment: Mapping[str, str],
        *,
        program: str = "train",
        file_limit: int | None = None,
    ) -> None:
        """Starts it; no file that it writes can have more than `file_limit` bytes."""

        def limit() -> None:
            if file_limit is not None:
                import resource  # there is none on Windows

                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"scripts.{program}", *args],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=limit,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(self.process.stdout))
        self._reader.start()

    @property
    def output(self) -> str:
        """What it wrote so far, and all of it once it has ended."""
        return "".join(self._lines)

    @property
    def announced(self) -> bool:
        """Whether it has read its checkpoints, and announced what it trains."""
        return " parameters, delay " in self.output

    def until(self, reached: Callable[[], bool]) -> bool:
        """Waits until something is reached; False if the program ended before."""
        while not reached():
            if self.process.poll() is not None:
                self._reader.join()
                return False
            if time.monotonic() - self.begun > TIMEOUT:
                self.kill()
                raise EnduranceError(f"a start hung for {TIMEOUT} s; its output: {self.output!r}")
            time.sleep(_POLL)
        return True

    def kill(self) -> None:
        """Sends SIGKILL; waits until the process has ended."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def end(self) -> int:
        """Waits for its end; the exit code."""
        self.until(lambda: False)
        if "Traceback" in self.output:
            raise EnduranceError(f"a start ended with a traceback: {self.output!r}")
        return self.process.returncode


def saving(checkpoints: pathlib.Path) -> set[tuple[str, int]]:
    """Files of a checkpoint that is being written or removed, or was when the program died."""
    found = set()
    with contextlib.suppress(FileNotFoundError), os.scandir(checkpoints) as entries:
        for entry in entries:
            if ".removed" in entry.name:
                found.add((entry.name, entry.inode()))
    with contextlib.suppress(FileNotFoundError), os.scandir(checkpoints / "unfinished") as entries:
        found |= {(f"unfinished/{entry.name}", entry.inode()) for entry in entries}
    return found


def writing(workdir: pathlib.Path) -> set[tuple[str, int]]:
    """The same of a run's other files."""
    found = set()
    with contextlib.suppress(FileNotFoundError), os.scandir(workdir) as entries:
        for entry in entries:
            if entry.name.endswith(".tmp"):
                found.add((entry.name, entry.stat().st_mtime_ns))
    return found


def moment(
    kind: str, workdir: pathlib.Path, start: Start, rng: random.Random
) -> Callable[[], bool]:
    """When a start is to be killed.

    Args:
      kind: "claim": as it makes its folder, or one of its small files; "training": within two
        seconds of its first report; "save": as a checkpoint is written or removed; "any": whenever.
      workdir: where the run is, or will be.
    """
    if kind == "claim":
        existed, before = workdir.exists(), writing(workdir)
        pause = rng.choice((0, 0, 0.0005, 0.001, 0.002))
        return _after(
            lambda: (workdir.exists() > existed) or bool(writing(workdir) - before), pause
        )
    if kind == "training":
        return _after(_grows(workdir, start), rng.uniform(0, 2))
    if kind == "save":
        pause = rng.choice((0, rng.uniform(0, 0.1)))
        return _after(_nth_save(workdir / "checkpoints", rng.randrange(4)), pause)
    return _after(lambda: True, rng.uniform(0.05, 10))


def _grows(workdir: pathlib.Path, start: Start) -> Callable[[], bool]:
    """Whether there is a new report; the log is first truncated to the step of the resume."""
    metrics, fewest = workdir / "metrics.jsonl", 10**9

    def reached() -> bool:
        nonlocal fewest
        if not start.announced or not metrics.exists():
            return False
        size = metrics.stat().st_size
        fewest = min(size, fewest)
        return size > fewest

    return reached


def _nth_save(checkpoints: pathlib.Path, skipped: int) -> Callable[[], bool]:
    """Whether a save is in progress, after `skipped` others of the same start."""
    before, seen = saving(checkpoints), set()

    def reached() -> bool:
        now = saving(checkpoints) - before
        seen.update(now)
        return bool(now) and len(seen) > skipped

    return reached


def _after(reached: Callable[[], bool], pause: float) -> Callable[[], bool]:
    """`reached`, and `pause` seconds later."""
    since: float | None = None

    def late() -> bool:
        nonlocal since
        if since is None and reached():
            since = time.monotonic()
        return since is not None and time.monotonic() - since >= pause

    return late
