"""Trains, evaluates and draws what is missing of runs, each by the programs that a user has."""

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import tqdm

from tlstm_jax.runs.directory import write_json
from tlstm_jax.runs.settings import task_settings
from tlstm_jax.scripts.experiments.experiment import Flags, Run

LEAST_MINUTES = 0.5  # with which a training is begun, or goes on


def train_all(
    runs: Sequence[Run], *, jobs: int, minutes: float | None, data: Flags | None = None
) -> list[str]:
    """Works off what is left of the runs, until the minutes are over; returns what failed.

    A run that is not finished goes on from its checkpoints when this is called again.

    Args:
      jobs: trained at the same time.
      minutes: None: until all is done.
      data: flags of files, for the tasks that have them.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    left = [run for run in runs if not run.is_complete]
    bar = tqdm.tqdm(total=len(left), unit="run", disable=None)
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_work_off, run, end, data or {}): run for run in left}
        for done in as_completed(waiting):
            run = waiting[done]
            bar.set_postfix_str(f"{run.name}, {run.model}")
            bar.update()
            if message := done.result():
                failed.append(f"{run.folder}: {message}")
    bar.close()
    return failed


def _work_off(run: Run, end: float | None, data: Flags) -> str:
    """Trains, evaluates and draws what is missing of a run; returns the last line of an error."""
    left = None if end is None else (end - time.monotonic()) / 60
    if left is not None and left < LEAST_MINUTES:
        return ""
    if not run.is_trained:
        more = [] if left is None else [f"--max_minutes={left:.2f}"]
        if error := _program("sweep", *_training_flags(run, data), *more):
            return error
    if not run.is_trained:  # the minutes are over
        return ""
    for n, sizes in enumerate(run.experiment.longer.values()):
        for member, file in zip(run.members, run.evaluations(n), strict=True):
            flags = (f"--workdir={member.path}", *_flags(sizes))
            if not file.is_file() and (error := _program("evaluate", *flags, keep=_keep(file))):
                return error
    if run.experiment.picture and not run.pictures.is_dir():
        first = run.members[0].path
        return _program("visualize", f"--workdir={first}", f"--output={run.pictures}")
    return ""


def _training_flags(run: Run, data: Flags) -> list[str]:
    """Of a run that begins, or that goes on."""
    own = task_settings(run.flags["task"])
    flags = {"workdir": run.folder} | {k: v for k, v in data.items() if k in own}
    if (run.folder / "sweep.json").is_file():
        return _flags(flags)
    flags |= {"checkpoint_every": run.flags["eval_every"], **run.flags}
    if len(run.over) > 1:
        flags |= run.experiment.halving
    over = [f"--over={name}={','.join(map(str, values))}" for name, values in run.over.items()]
    return [*_flags(flags), *over]


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
