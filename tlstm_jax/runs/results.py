"""The outcome of a run: the checkpoint to resume from, and the results at its end."""

import dataclasses
import math
from collections.abc import Mapping
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
    test = training.evaluate(
        network,
        task,
        best.state.params,
        best.state.model_state,
        jax.device_put(task.data) if layout is None else layout.put(task.data),
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
        "test": or_none(test),
    }
    if task.autoregressive:
        results["comparable"] = network.causal
    if processes.is_first():
        write_json(directory.results, results)
    return results
