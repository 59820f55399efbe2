"""Whether two runs ended the same, bit for bit."""

import json
import pathlib
from typing import Any

import jax
import numpy as np

from tlstm_jax import training
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.scripts.endurance.starts import EnduranceError
from tlstm_jax.training import checkpointing


def check_same(workdir: pathlib.Path, expected: pathlib.Path) -> int:
    """Compares the last and best TrainState, metrics.jsonl, results.json; the number of arrays.

    Raises:
      EnduranceError: the first difference.
    """
    runs = [RunDirectory(path) for path in (workdir, expected)]
    for name in ("metrics", "results"):
        ours, theirs = (_untimed(getattr(run, name)) for run in runs)
        if ours != theirs:
            raise EnduranceError(f"{getattr(runs[0], name)} differs from that of {expected}")
    count = 0
    for which in ("latest", "best"):
        (ours, progress), (theirs, expected_progress) = (_restored(run, which) for run in runs)
        if progress != expected_progress:
            raise EnduranceError(
                f"{workdir} ended with {progress}, {expected} with {expected_progress}"
            )
        for path, leaf in ours.items():
            count += 1
            if leaf.dtype != theirs[path].dtype or leaf.tobytes() != theirs[path].tobytes():
                raise EnduranceError(f"{path} of {workdir} differs from that of {expected}")
    return count


def _restored(run: RunDirectory, which: str) -> tuple[dict[str, np.ndarray], Any]:
    task, network, train = run.read_config().make()
    like = training.abstract_state(network, task, train)
    state, progress = checkpointing.restore(run.checkpoints, like, step=which)
    state = state._replace(key=jax.random.key_data(state.key))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}, progress


def _untimed(path: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON, or of one on each line, without the time they took."""
    text = path.read_text()
    objects = map(json.loads, text.splitlines()) if path.suffix == ".jsonl" else [json.loads(text)]
    return [{k: v for k, v in o.items() if k != "seconds"} for o in objects]
