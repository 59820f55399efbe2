"""Checkpoints, with Orbax: all that an exact resume needs, and nothing that executes when read.

A directory holds the latest checkpoints and the best one, each in a folder named by its step: the
TrainState (its step is the position in the data; the carry of a stream is in it), the Progress, and
the checksums of both (`checksums`), which are written last and verified before anything is read.
Damaged checkpoints are reported, never used; `recover` moves them aside, so that a training resumes
from the last good one.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from tlstm_jax.devices import processes
from tlstm_jax.network import Network
from tlstm_jax.training import checksums, stored
from tlstm_jax.training.loop import TrainState
from tlstm_jax.training.progress import Progress
from tlstm_jax.typing import Params, PyTree, State

_TRIES = 20
_UNFINISHED = "unfinished"  # the folder of a checkpoint while it is being saved


class Checkpoint(NamedTuple):
    state: TrainState
    progress: Progress


class Recovery(NamedTuple):
    step: int | None  # of the checkpoint to resume from; None: there is none
    # A line for each checkpoint that was moved aside: why, and to where.
    found: list[str]


def save(
    directory: str | pathlib.Path,
    state: TrainState,
    progress: Progress,
    *,
    keep: int = 2,
) -> None:
    """Saves a checkpoint, unless there is a good one of this step; blocks until it is in place.

    Args:
      directory: created if it does not exist.
      state, progress: of a training report.
      keep: how many of the latest to keep, beside the best one that each of these refers to,
        without which none could be resumed from if a later one were damaged, and any of later
        steps.

    Raises:
      OSError: it could not be written; earlier checkpoints are still there.
    """
    directory = pathlib.Path(directory)
    path = directory / str(progress.step)
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(state._asdict()),
        progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
    )

    def is_there() -> bool:
        if not os.path.lexists(path):
            return False
        if checksums.problem(path) is None:
            return True
        if processes.is_first():
            _move_aside(path, "damaged")
        return False

    try:
        if processes.together(is_there):
            return
        # Elsewhere until it is complete, so that no reader takes an unfinished checkpoint for
        # damaged.
        unfinished = directory / _UNFINISHED
        processes.first(lambda: shutil.rmtree(unfinished, ignore_errors=True))
        with _manager(unfinished, writes=True) as manager:
            manager.save(progress.step, args=args, force=True)
        processes.first(lambda: _finish(unfinished / path.name, path))
        outdated = _outdated(directory, progress, keep)  # in all processes, as Orbax requires
        processes.first(lambda: _remove(directory, outdated))
    except Exception as e:  # a full disk can make the writer raise anything
        raise OSError(f"checkpoint {path} could not be saved: {_first_line(e)}") from e


def _finish(unfinished: pathlib.Path, path: pathlib.Path) -> None:
    checksums.write(unfinished)
    os.replace(unfinished, path)
    shutil.rmtree(unfinished.parent, ignore_errors=True)


def _manager(directory: pathlib.Path, *, writes: bool = False) -> Any:
    options = ocp.CheckpointManagerOptions(
        create=writes,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=writes,
        preservation_policy=preservation_policy.PreserveAll(),  # `save` prunes, after the checksums
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def _outdated(directory: pathlib.Path, progress: Progress, keep: int) -> set[int]:
    """The steps of neither the latest checkpoints nor the best that one of these refers to."""
    past = [step for step in steps(directory) if step <= progress.step]
    kept = {progress.best_step, *past[-keep:]}
    for step in past[-keep:-1]:
        with contextlib.suppress(ValueError):  # damaged: it refers to none
            kept.add(_progress(directory, step).best_step)
    return set(past) - kept


def _remove(directory: pathlib.Path, outdated: set[int]) -> None:
    """Removes checkpoints; renames each first, so that none is left half removed."""
    for step in outdated:
        os.replace(directory / str(step), _free(directory / f"{step}.removed"))
    for pattern in ("*.removed*", "*.orbax-checkpoint-tmp*"):  # the latter from earlier versions
        for left in directory.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)


def steps(directory: str | pathlib.Path) -> list[int]:
    """The steps of the checkpoints in `directory`, ascending; [] where there are none."""
    directory = pathlib.Path(directory)
    names = [p.name for p in directory.iterdir() if p.is_dir()] if directory.is_dir() else []
    return sorted(int(n) for n in names if n.isascii() and n.isdecimal() and n == str(int(n)))


def recover(directory: str | pathlib.Path) -> Recovery:
    """Finds the latest checkpoint from which a training can resume, and moves damaged ones aside.

    A training can resume from one if its files are those that were saved, and so are those of the
    best one that it refers to. Damaged ones get a name like 40.damaged; good ones of later steps,
    which the training computes again, one like 40.unused. Nothing is removed.

    Raises:
      OSError: a folder cannot be moved.
    """
    directory = pathlib.Path(directory)
    wrong, best = {}, {}
    for step in steps(directory):
        try:
            best[step] = _good_progress(directory, step).best_step
        except ValueError as e:
            wrong[step] = str(e)
    usable = [step for step, b in best.items() if b is None or b in best]
    last = max(usable, default=None)

    def move() -> list[str]:
        found = []
        for step in sorted(wrong.keys() | best.keys()):
            path = directory / str(step)
            if step in wrong:
                found.append(f"{wrong[step]}; it is now {_move_aside(path, 'damaged').name}")
            elif last is None or step > last:
                why = f"checkpoint {path} refers to that of step {best[step]}, which is not good"
                found.append(f"{why}; it is now {_move_aside(path, 'unused').name}")
        return found

    processes.wait()  # until all have read the same
    return Recovery(last, processes.first(move) or [])


def _move_aside(path: pathlib.Path, why: str) -> pathlib.Path:
    """Gives a checkpoint a name that is not a step; returns it."""
    new = _free(path.with_name(f"{path.name}.{why}"))
    os.replace(path, new)
    return new


def _free(path: pathlib.Path) -> pathlib.Path:
    """`path`, with a number appended if it exists."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def restore(
    directory: str | pathlib.Path, like: TrainState, *, step: int | str = "latest"
) -> Checkpoint:
    """Restores a checkpoint, whatever devices it was saved from.

    Args:
      directory: as in `save`.
      like: a TrainState of the same shapes; abstract arrays suffice (`training.abstract_state`).
        Arrays are placed by its shardings, or on the default device.
      step: "latest", "best", or a step.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: it is damaged, or of another configuration.
    """
    tree = like._asdict()
    args = ocp.args.StandardRestore(_placed(tree))
    state, progress = _restore(pathlib.Path(directory), step, args, tree)
    return Checkpoint(TrainState(**state), progress)


def restore_params(
    directory: str | pathlib.Path, network: Network, *, step: int | str = "best"
) -> tuple[Params, State, Progress]:
    """The parameters and the model's state of a checkpoint; see `restore`."""
    params, model_state = jax.eval_shape(network.init, jax.random.key(0))
    like = _placed({"params": params, "model_state": model_state})
    args = ocp.args.PyTreeRestore(
        item=like,
        restore_args=ocp.checkpoint_utils.construct_restore_args(like),
        partial_restore=True,
    )
    found, progress = _restore(pathlib.Path(directory), step, args, like, within=tuple(like))
    return found["params"], model_state and found["model_state"], progress


def _placed(like: PyTree) -> PyTree:
    """Abstract arrays with a sharding, so that a checkpoint from other devices can be read."""
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def place(x: Any) -> jax.ShapeDtypeStruct:
        sharding = getattr(x, "sharding", None) or default
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(place, like)


def _restore(
    directory: pathlib.Path, which: int | str, args: Any, like: PyTree, within: tuple[str, ...] = ()
) -> tuple[Any, Progress]:
    """The state and the progress; retries if a training has removed the checkpoint meanwhile."""
    for _ in range(_TRIES):
        step = _last(directory)
        try:
            if which == "best":
                best = _good_progress(directory, step).best_step
                step = step if best is None else best
            elif which != "latest":
                step = which
            if step not in (there := steps(directory)):
                known = ", ".join(map(str, there))
                raise FileNotFoundError(
                    f"{directory} holds no checkpoint {step}; accepted are {known}"
                )
            progress = _good_progress(directory, step)
            read = functools.partial(_state, directory, step, args, like, within)
            return _read(directory / str(step), read), progress
        except ValueError:
            if os.path.lexists(directory / str(step)):
                raise
    raise OSError(f"checkpoints in {directory} are removed faster than they can be read")


def _last(directory: pathlib.Path) -> int:
    if not (there := steps(directory)):
        raise FileNotFoundError(
            f"{directory} holds no checkpoint; accepted is the folder of a run that saved one"
        )
    return there[-1]


def _state(
    directory: pathlib.Path, step: int, args: Any, like: PyTree, within: tuple[str, ...]
) -> Any:
    found = stored.arrays(directory / str(step) / "state")
    if difference := stored.difference(found, like, within=within):
        raise _OtherError(difference)
    with _manager(directory) as manager:
        return manager.restore(step, args=ocp.args.Composite(state=args))["state"]


class _OtherError(ValueError):
    """A checkpoint of another model, or of another optimizer."""


def _good_progress(directory: pathlib.Path, step: int) -> Progress:
    """The progress of a checkpoint; raises ValueError if its files are not those saved."""
    path = directory / str(step)
    if (what := checksums.problem(path) or stored.problem(path)) is not None:
        raise ValueError(f"checkpoint {path} is damaged: {what}")
    return _progress(directory, step)


def _progress(directory: pathlib.Path, step: int) -> Progress:
    path = directory / str(step)
    args = ocp.args.Composite(progress=ocp.args.JsonRestore())

    def read() -> Progress:
        with _manager(directory) as manager:
            return _to_progress(manager.restore(step, args=args)["progress"], step)

    return _read(path, read)


def _to_progress(read: Any, step: int) -> Progress:
    progress = Progress(**read)
    for field in dataclasses.fields(Progress):
        value = getattr(progress, field.name)
        if not isinstance(value, field.type):
            raise TypeError(f"progress has {value!r} as its {field.name}; accepted is {field.type}")
        if field.name != "best_metric" and value is not None and value < 0:
            raise ValueError(f"progress has {value} as its {field.name}; accepted are counts")
    if progress.step != step:
        raise ValueError(f"progress is of step {progress.step}; accepted is {step}")
    return progress


def _read(path: pathlib.Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ImportError, MemoryError, PermissionError):  # not from damage
        raise
    except Exception as e:  # a damaged file can make the reader raise anything
        what = "is of another configuration" if isinstance(e, _OtherError) else "is damaged"
        raise ValueError(f"checkpoint {path} {what}: {_first_line(e)}") from e


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])
