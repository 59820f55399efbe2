"""Evaluates a checkpoint of a run; prints its metrics as JSON.

python -m scripts.evaluate --workdir=runs/quickstart --split=test --checkpoint=best
python -m scripts.evaluate --workdir=runs/quickstart --num_symbols=10     # longer than trained on
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from tlstm_jax import runs, training
from tlstm_jax.runs.results import of_longer, or_none
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.run_flags import (
    define_evaluation_flags,
    define_reading_flags,
    given_flags,
    reading_flags,
)
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Array, Task

WORKDIR = cli.define_path_flag("workdir", None, "Folder of the run.", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ("valid", "test"), "Which split to evaluate on.")
CHECKPOINT = cli.define_checkpoint_flag()
EVAL_SEED = flags.DEFINE_integer(
    "eval_seed",
    None,
    "Of other samples, for tasks on fresh ones; if unset, those of the run's own evaluation.",
    *cli.INT32,
)
define_reading_flags()
SIZES = define_evaluation_flags()


def main() -> int:
    with cli.one_line_errors():
        run = runs.open(WORKDIR.value, reading_flags())
        sizes = given_flags(SIZES)
        task, network = run.task, run.network
        if sizes:
            task = _of_other_sizes(run, sizes)
        seed = EVAL_SEED.value
        if seed is not None and not task.fresh:
            raise ValueError(
                f"eval_seed is {seed}; accepted for task {task.name}, with fixed samples, is none"
            )
        params, state, progress = run.restore(CHECKPOINT.value)
        data = jax.device_put(task.data)
        if seed is None:
            key = _own_key(run.train, progress.step)
        else:
            key = jax.random.fold_in(jax.random.key(seed), progress.step)

        def evaluate(task: Task) -> dict[str, float]:
            return training.evaluate(network, task, params, state, data, split=SPLIT.value, key=key)

        result = {
            "task": task.name,
            "split": SPLIT.value,
            "step": progress.step,
            **or_none(evaluate(task)),
            **of_longer(task, evaluate),
        }
        if task.fresh:
            other = f"of --eval_seed={seed}, others than the run's own"
            result["samples"] = "the run's own after this step" if seed is None else other
        if sizes:
            result["sizes"] = sizes
            seeded = "" if seed is None else f", of --eval_seed={seed}"
            result["samples"] = f"of other sizes than the run's own{seeded}"
        result |= task.notes(SPLIT.value)
        if task.autoregressive and not network.causal:
            result["note"] = "not causal, not comparable"
        print(json.dumps(result))
    return 0


def _of_other_sizes(run: runs.Run, sizes: Mapping[str, Any]) -> Task:
    """The run's task with other sizes, for the same network."""
    given = ", ".join(f"{name} is {value}" for name, value in sizes.items())
    if not run.task.fresh:
        raise ValueError(f"{given}; accepted for task {run.task.name}, on fixed samples, are none")
    other = runs.open(run.directory, reading_flags() | sizes)
    if other.network != run.network:
        raise ValueError(f"{given}; accepted are sizes for which the run's network is the same")
    return other.task


def _own_key(train: TrainSettings, step: int) -> Array:
    """The key of the run's own evaluation after `step` steps, whose figures results.json has."""
    key = training.run_key(train.seed)
    return training.eval_key(training.TrainState(jnp.int32(step), key, (), (), (), ()))


if __name__ == "__main__":
    cli.run(main)
