"""Checkpoints, through Orbax: all that an exact resume needs, and nothing that executes when read.

A directory holds the latest checkpoints and the best one, each in a folder named by its step: the
TrainState (the position in the data is its step, the carry of a stream is in it) and the Progress.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    CustomSteps,
    LatestN,
    PreservationPolicy,
)
from orbax.checkpoint.checkpoint_managers import preservation_policy

from tlstm_jax.training import Progress, TrainState


class Checkpoint(NamedTuple):
    state: TrainState
    progress: Progress


def _manager(directory: pathlib.Path, keep: Sequence[PreservationPolicy] | None = None) -> Any:
    """A manager for saving, which keeps what `keep` says, or one for reading alone."""
    options = ocp.CheckpointManagerOptions(
        create=keep is not None,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=keep is not None,
        preservation_policy=AnyPreservationPolicy(keep or [preservation_policy.PreserveAll()]),
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def save(
    directory: str | pathlib.Path,
    state: TrainState,
    progress: Progress,
    *,
    keep: int = 2,
) -> None:
    """Saves a checkpoint, unless there is one of this step; blocks until it is in place.

    Args:
      directory: is made where it does not exist.
      state, progress: of a training report.
      keep: how many of the latest to keep, beside the one at progress.best_step.
    """
    best = [] if progress.best_step is None else [progress.best_step]
    with _manager(pathlib.Path(directory), [LatestN(keep), CustomSteps(best)]) as manager:
        manager.save(
            progress.step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state._asdict()),
                progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
            ),
        )


def steps(directory: str | pathlib.Path) -> list[int]:
    """The steps of the checkpoints in `directory`, ascending; [] where there are none."""
    if not pathlib.Path(directory).is_dir():
        return []
    with _manager(pathlib.Path(directory)) as manager:
        return sorted(manager.all_steps())


def restore(
    directory: str | pathlib.Path, like: TrainState, *, step: int | str = "latest"
) -> Checkpoint:
    """Restores a checkpoint.

    Args:
      directory: what `save` was given.
      like: a TrainState of the same shapes, abstract ones suffice (`jax.eval_shape`).
      step: "latest", "best", or a step.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: it is damaged, or of another configuration.
    """
    directory = pathlib.Path(directory)
    there = steps(directory)
    if not there:
        raise FileNotFoundError(f"no checkpoint in {directory}")
    with _manager(directory) as manager:
        if step == "best":
            latest = _progress(manager, directory, there[-1])
            step = there[-1] if latest.best_step is None else latest.best_step
        elif step == "latest":
            step = there[-1]
        if step not in there:
            known = ", ".join(map(str, there))
            raise FileNotFoundError(f"no checkpoint {step} in {directory}; there are {known}")
        progress = _progress(manager, directory, step)
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        state = _read(directory / str(step), lambda: manager.restore(step, args=args)["state"])
    return Checkpoint(TrainState(**state), progress)


def _progress(manager: Any, directory: pathlib.Path, step: int) -> Progress:
    args = ocp.args.Composite(progress=ocp.args.JsonRestore())
    read = _read(directory / str(step), lambda: manager.restore(step, args=args)["progress"])
    return Progress(**read)


def _read(path: pathlib.Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as e:  # a damaged file can make the reader raise anything
        message = str(e).splitlines()[0] if str(e) else type(e).__name__
        other = isinstance(e, ValueError) and message.startswith(
            ("Requested shape", "Structure mismatch")
        )
        what = "is of another configuration" if other else "is damaged"
        raise ValueError(f"checkpoint {path} {what}: {message}") from e
