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
    preservation_policy,
)

from tlstm_jax.network import Network
from tlstm_jax.progress import Progress
from tlstm_jax.training import TrainState
from tlstm_jax.typing import Params, PyTree, State


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
    """Restores a checkpoint, to the default device.

    Args:
      directory: what `save` was given.
      like: a TrainState of the same shapes, abstract ones suffice (`jax.eval_shape`).
      step: "latest", "best", or a step.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: it is damaged, or of another configuration.
    """
    args = ocp.args.StandardRestore(_on_default_device(like._asdict()))
    state, progress = _restore(pathlib.Path(directory), step, args)
    return Checkpoint(TrainState(**state), progress)


def restore_params(
    directory: str | pathlib.Path, network: Network, *, step: int | str = "best"
) -> tuple[Params, State, Progress]:
    """The parameters and the model's state of a checkpoint, for a network to use; see `restore`."""
    params, model_state = jax.eval_shape(network.init, jax.random.key(0))
    like = _on_default_device({"params": params, "model_state": model_state})
    args = ocp.args.PyTreeRestore(
        item=like,
        restore_args=ocp.checkpoint_utils.construct_restore_args(like),
        partial_restore=True,
    )
    found, progress = _restore(pathlib.Path(directory), step, args)
    missing = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found["params"])
        if not isinstance(leaf, jax.Array)
    ]
    if missing:
        raise ValueError(
            f"checkpoint {directory} is of another configuration: it has no {missing[0]}"
        )
    return found["params"], model_state and found["model_state"], progress


def _on_default_device(like: PyTree) -> PyTree:
    """Abstract arrays with a sharding, so that a checkpoint of another machine can be read."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)


def _restore(directory: pathlib.Path, step: int | str, args: Any) -> tuple[Any, Progress]:
    there = steps(directory)
    if not there:
        raise FileNotFoundError(f"no checkpoint in {directory}")
    with _manager(directory) as manager:
        if step == "best":
            best = _progress(manager, directory, there[-1]).best_step
            step = there[-1] if best is None else best
        elif step == "latest":
            step = there[-1]
        if step not in there:
            known = ", ".join(map(str, there))
            raise FileNotFoundError(f"no checkpoint {step} in {directory}; there are {known}")
        progress = _progress(manager, directory, step)
        composite = ocp.args.Composite(state=args)
        state = _read(directory / str(step), lambda: manager.restore(step, args=composite)["state"])
    return state, progress


def _progress(manager: Any, directory: pathlib.Path, step: int) -> Progress:
    args = ocp.args.Composite(progress=ocp.args.JsonRestore())
    return _read(
        directory / str(step),
        lambda: _to_progress(manager.restore(step, args=args)["progress"], step),
    )


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
    except Exception as e:  # a damaged file can make the reader raise anything
        message = str(e).splitlines()[0] if str(e) else type(e).__name__
        other = isinstance(e, ValueError) and message.startswith(
            ("Requested shape", "Structure mismatch")
        )
        what = "is of another configuration" if other else "is damaged"
        raise ValueError(f"checkpoint {path} {what}: {message}") from e
