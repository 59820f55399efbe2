"""The runs of the experiments, each a run of scripts.train in a folder of its own."""

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import tqdm

from tlstm_jax.runs.directory import RunDirectory, write_json
from tlstm_jax.scripts.showcase.experiments import EXPERIMENTS, SEEDS, Experiment, Flags


class Run(NamedTuple):
    """One training: a model of an experiment, from one seed."""

    experiment: str
    model: str
    seed: int
    folder: pathlib.Path

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.folder)

    @property
    def finished(self) -> bool:
        return self.directory.results.is_file()

    def evaluation(self, n: int) -> pathlib.Path:
        """Where its n-th evaluation at other sizes is kept."""
        return self.folder.with_name(f"{self.folder.name}-evaluation-{n}.json")

    @property
    def pictures(self) -> pathlib.Path:
        return self.folder.with_name(f"{self.folder.name}-pictures")


def runs_of(workdir: pathlib.Path, names: Sequence[str]) -> Iterator[Run]:
    """All runs of these experiments, the first seeds first."""
    for seed in SEEDS:
        for name in names:
            for model in EXPERIMENTS[name].models:
                folder = "".join(c if c.isalnum() else "-" for c in model.lower())
                yield Run(name, model, seed, workdir / name / f"{folder}-{seed}")


def train_all(runs: Sequence[Run], *, jobs: int, minutes: float | None) -> list[str]:
    """Works off what is left of the runs, until the minutes are over; returns what failed.

    A run that is not finished goes on from its checkpoint when this is called again.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    left = [run for run in runs if not _is_complete(run)]
    bar = tqdm.tqdm(total=len(left), unit="run", disable=None)
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_work_off, run, end): run for run in left}
        for done in as_completed(waiting):
            run = waiting[done]
            bar.set_postfix_str(f"{run.experiment}, {run.model}")
            bar.update()
            if message := done.result():
                failed.append(f"{run.folder}: {message}")
    bar.close()
    return failed


def _is_complete(run: Run) -> bool:
    experiment = EXPERIMENTS[run.experiment]
    evaluated = all(run.evaluation(n).is_file() for n in range(len(experiment.longer)))
    return run.finished and evaluated and (run.pictures.is_dir() or not _is_drawn(run))


def _is_drawn(run: Run) -> bool:
    return bool(EXPERIMENTS[run.experiment].picture) and run.seed == SEEDS[0]


def _work_off(run: Run, end: float | None) -> str:
    """Trains, evaluates and draws what is missing of a run; returns the last line of an error."""
    experiment = EXPERIMENTS[run.experiment]
    left = None if end is None else (end - time.monotonic()) / 60
    if left is not None and left < 0.5:
        return ""
    if not run.finished:
        more = [] if left is None else [f"--max_minutes={left:.2f}"]
        if error := _program("train", *_training_flags(run, experiment), *more):
            return error
    if not run.finished:  # the minutes are over
        return ""
    for n, sizes in enumerate(experiment.longer.values()):
        if not run.evaluation(n).is_file():
            flags = (f"--workdir={run.folder}", *_flags(sizes))
            if error := _program("evaluate", *flags, keep=_keep(run.evaluation(n))):
                return error
    if _is_drawn(run) and not run.pictures.is_dir():
        return _program("visualize", f"--workdir={run.folder}", f"--output={run.pictures}")
    return ""


def _training_flags(run: Run, experiment: Experiment) -> list[str]:
    """Of a run that begins, or that goes on."""
    if run.directory.config.is_file():
        return [f"--workdir={run.folder}"]
    given = {**experiment.flags, **experiment.models[run.model], "seed": run.seed}
    every = given["eval_every"]
    return [f"--workdir={run.folder}", *_flags({"checkpoint_every": every, **given})]


def _flags(settings: Flags) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def _program(name: str, *flags: str, keep: Callable[[str], Any] | None = None) -> str:
    """Runs a program; its output goes to `keep`. Returns the last line of its error, or ""."""
    ran = subprocess.run(
        [sys.executable, "-m", f"tlstm_jax.scripts.{name}", *flags], capture_output=True, text=True
    )
    if ran.returncode:
        return (ran.stderr.strip() or "it was stopped").splitlines()[-1]
    if keep is not None:
        keep(ran.stdout)
    return ""


def _keep(path: pathlib.Path) -> Callable[[str], None]:
    return lambda output: write_json(path, json.loads(output.splitlines()[-1]))
