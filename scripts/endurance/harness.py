"""A run that is killed, and whose files are damaged, until it ends the same as one that was not."""

import collections
import pathlib
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tlstm_jax.scripts.endurance.compare import check_same
from tlstm_jax.scripts.endurance.damage import KINDS, damage
from tlstm_jax.scripts.endurance.starts import EnduranceError, Start, moment, saving, writing
from tlstm_jax.training import checkpointing

RUN = (
    "--task=memorization", "--num_symbols=2", "--alphabet_size=3", "--batch_size=4",
    "--eval_samples=40", "--eval_batch_size=40", "--model=lstm", "--features=6", "--dropout=0.2",
    "--recurrent_dropout=0.1", "--patience=1000", "--eval_every=20", "--checkpoint_every=10",
    "--steps_per_call=5",
)  # fmt: skip
LIMITS = (1500, 6000, 20000, 200, 3000)  # bytes, which different files of a run exceed


class Plan(NamedTuple):
    """How often each thing is done; see the flags."""

    kills: int
    saves: int
    full: int
    damages: int
    steps: int
    seed: int

    def events(self) -> list[str]:
        """What ends each start, in an order given by the seed; first, the claim of the folder."""
        rng = random.Random(self.seed)
        claims = min(3, self.kills // 8)
        rest = self.kills - self.saves - claims
        kills = ["save"] * self.saves + ["training"] * (rest - rest // 3) + ["any"] * (rest // 3)
        events = kills + ["full"] * self.full
        rng.shuffle(events)
        return ["claim"] * claims + events


class Harness:
    """Carries out a plan in a folder of its own.

    Attributes:
      counts: how often each thing was done.
    """

    def __init__(
        self, folder: pathlib.Path, plan: Plan, say: Callable[[str], None] = print
    ) -> None:
        self._folder, self._plan, self._say = folder, plan, say
        self._rng = random.Random(f"{plan.seed} moments")
        self._environment = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._args = (*RUN, f"--num_steps={plan.steps}")
        self._whole = folder / "undisturbed"
        self.counts = collections.Counter()

    def run(self) -> collections.Counter:
        """All of it.

        Raises:
          EnduranceError: something is not as promised.
        """
        begun = time.monotonic()
        for _ in range(2):  # the second compiles, and so caches, what only a resumption needs
            start = Start((*self._args, f"--workdir={self._whole}"), self._environment)
            if start.end():
                raise EnduranceError(f"the undisturbed run failed: {start.output!r}")
        self._say(f"undisturbed: {self._plan.steps} steps, {time.monotonic() - begun:.0f} s")
        events = self._plan.events()
        every = max(1, len(events) // max(1, self._plan.damages))
        self._new_round()
        while events or self.counts["damages"] < self._plan.damages:
            due = (self.counts["starts"] + 1) % every == 0 or not events
            if due and self.counts["damages"] < self._plan.damages:
                self._damage()
            event = events.pop(0) if events else "training"
            (self._fill if event == "full" else self._kill)(event)
            missing = self._plan.saves - self.counts["kills inside a save"]
            if not events and missing > 0:
                events = ["save"] * missing
        start = Start(self._command(), self._environment)
        start.end()
        self._finish(start)
        return self.counts

    def _new_round(self) -> None:
        self.counts["runs"] += 1
        self._workdir = self._folder / f"disturbed-{self.counts['runs']}"
        self._checkpoints = self._workdir / "checkpoints"
        self._damaged: dict[str, str] = {}  # what no start has found yet

    def _command(self) -> Sequence[str]:
        """The first command again, or the short one that resumes."""
        self.counts["starts"] += 1
        short = (self._workdir / "config.json").exists() and self._rng.random() < 0.5
        return (*(() if short else self._args), f"--workdir={self._workdir}")

    def _kill(self, kind: str) -> None:
        save, file = saving(self._checkpoints), writing(self._workdir)
        start = Start(self._command(), self._environment)
        if not start.until(moment(kind, self._workdir, start, self._rng)):
            self._finish(start)
            self._new_round()
            return
        start.kill()
        seconds = time.monotonic() - start.begun
        if start.process.returncode == 0:  # it ended as it was killed
            self._finish(start)
            self._new_round()
            return
        if "Traceback" in start.output or "error:" in start.output:
            raise EnduranceError(f"a start failed before it was killed: {start.output!r}")
        save, file = saving(self._checkpoints) - save, writing(self._workdir) - file
        self.counts["kills"] += 1
        self.counts["kills inside a save"] += bool(save)
        self.counts["kills inside another file's writing"] += bool(file)
        self.counts["kills before the run had a checkpoint"] += not self._steps()
        inside = "".join(f", inside {name}" for name, _ in sorted(save | file))
        self._look(start)
        self._tell(f"killed ({kind}) after {seconds:.1f} s{inside}")

    def _fill(self, kind: str) -> None:
        limit = LIMITS[self.counts["full disks"] % len(LIMITS)]
        start = Start(self._command(), self._environment, file_limit=limit)
        code, lines = start.end(), start.output.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if (
            code != 1
            or len(errors) != 1
            or not re.search("could not be (saved|written)", errors[0])
        ):
            raise EnduranceError(f"with files of {limit} bytes a start ended with {start.output!r}")
        self.counts["full disks"] += 1
        self._look(start)
        self._tell(f"{kind} disk, files of {limit} bytes: {errors[0]}")

    def _damage(self) -> None:
        """Damages the latest checkpoint, the oldest, which often is the best, or all."""
        there = self._steps()
        if not there:
            return
        kind = KINDS[self.counts["damages"] % len(KINDS)]
        which = self._rng.choice((there[-1:], there[-1:], there[:1], there))
        names = []
        for step in which:
            names.append(damage(self._checkpoints / str(step), kind, self._rng))
            self._damaged[f"checkpoint {self._checkpoints / str(step)} is damaged: "] = names[-1]
            self.counts["damaged checkpoints"] += 1
        self.counts["damages"] += 1
        self.counts[f"damages, {kind}"] += 1
        self._tell(f"of {there} damaged: {', '.join(map(str, which))}; {kind}: {', '.join(names)}")

    def _look(self, start: Start) -> None:
        """Checks that a start that read its checkpoints found all damage, and named it."""
        self.counts["starts that went on from a checkpoint"] += "resuming from step" in start.output
        for message, name in list(self._damaged.items()):
            named = message in start.output
            if named:
                self.counts["damaged checkpoints named"] += 1
                self.counts["of these, by the damaged file"] += message + name in start.output
            moved = not pathlib.Path(message.split()[1]).exists()
            if named or moved:  # only moved: it was killed before it could say so
                del self._damaged[message]
        if start.announced and self._damaged:
            raise EnduranceError(f"{next(iter(self._damaged))!r} was not found: {start.output!r}")

    def _finish(self, start: Start) -> None:
        """Compares a run that has ended with the undisturbed one."""
        if start.process.returncode != 0 or "Traceback" in start.output:
            raise EnduranceError(f"a start ended by itself with {start.output!r}")
        self._look(start)
        arrays = check_same(self._workdir, self._whole)
        self.counts["arrays compared"] += arrays
        self._tell(f"run {self.counts['runs']} has ended, and ended the same in {arrays} arrays")

    def _tell(self, what: str) -> None:
        self._say(f"{self.counts['starts']}: {what}; checkpoints {self._steps()}")

    def _steps(self) -> list[int]:
        return checkpointing.steps(self._checkpoints)
