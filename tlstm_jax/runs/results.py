"""The outcome of a run: the checkpoint to resume from, and the results at its end."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from tlstm_jax import training
from tlstm_jax.devices import processes
from tlstm_jax.devices.layout import Layout
from tlstm_jax.network import Network
from tlstm_jax.runs.directory import RunDirectory, write_json
from tlstm_jax.training import checkpointing
from tlstm_jax.training.progress import finished
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task

TIMES = (2, 4, 8)  # the trained length, on which tasks with a `length_setting` are tested as well


def of_longer(task: Task, evaluate: Callable[[Task], Mapping[str, float]]) -> dict[str, Any]:
    """{"longer": {"2": metrics, ..}} of sequences of 2, 4, 8 times the length; else {}.

    What the task does not have, more pairs than there are keys say, is left out.
    """
    if task.length_setting is None:
        return {}
    found = {}
    for times in TIMES:
        with contextlib.suppress(ValueError):
            found[str(times)] = task.longer(times)
    return {"longer": {times: or_none(evaluate(longer)) for times, longer in found.items()}}


def or_none(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics for JSON, which has only finite numbers."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def write_results(
    directory: RunDirectory,
    task: Task,
    network: Network,
    train: TrainSettings,
    why: str | None = None,
    layout: Layout | None = None,
) -> dict[str, Any]:
    """Evaluates the best checkpoint on the test split; writes results.json and returns it.

    Args:
      why: why the run ended; None: as its last checkpoint says.
      layout: over which devices; None: the default device.
    """
    like = training.abstract_state(network, task, train, layout)
    best = checkpointing.restore(directory.checkpoints, like, step="best")
    last = checkpointing.restore(directory.checkpoints, like).progress
    data = jax.device_put(task.data) if layout is None else layout.put(task.data)

    def evaluate(task: Task) -> dict[str, float]:
        return training.evaluate(
            network,
            task,
            best.state.params,
            best.state.model_state,
            data,
            split="test",
            key=training.eval_key(best.state),
            layout=layout,
        )

    records = directory.read_metrics()
    results = {
        **task.notes("test"),
        "stop": why or finished(train, last),
        "seconds": records[-1]["seconds"] if records else 0.0,
        "parameters": sum(p.size for p in jax.tree.leaves(best.state.params)),
        **dataclasses.asdict(last),
        "test": or_none(evaluate(task)),
        **of_longer(task, evaluate),
    }
    if task.autoregressive:
        results["comparable"] = network.causal
    if processes.is_first():
        write_json(directory.results, results)
    return results
