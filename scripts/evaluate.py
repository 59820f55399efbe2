"""Evaluates a checkpoint of a run; prints its metrics as JSON.

python -m scripts.evaluate --workdir=runs/quickstart --split=test --checkpoint=best
"""

import json

import jax
from absl import flags

from scripts import cli
from scripts.changed import define_path_flags, with_moved_data
from scripts.results import or_none
from scripts.run_directory import RunDirectory
from tasks.char_lm import CharLM
from tlstm_jax import checkpointing, training

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ("valid", "test"), "What is evaluated on.")
CHECKPOINT = cli.define_checkpoint_flag()
EVAL_SEED = flags.DEFINE_integer(
    "eval_seed", 0, "Of the samples of tasks on fresh ones.", *cli.INT32
)
define_path_flags()


def main() -> int:
    with cli.one_line_errors():
        directory = RunDirectory(WORKDIR.value)
        chosen = with_moved_data(directory.read_config())
        task, network, _ = chosen.make()
        directory.check_data(task)
        params, state, progress = checkpointing.restore_params(
            directory.checkpoints, network, step=CHECKPOINT.value
        )
        data = jax.device_put(task.data)
        key = jax.random.fold_in(jax.random.key(EVAL_SEED.value), progress.step)
        metrics = training.evaluate(network, task, params, state, data, split=SPLIT.value, key=key)
        result = {
            "task": task.name,
            "split": SPLIT.value,
            "step": progress.step,
            **or_none(metrics),
        }
        if isinstance(task, CharLM):
            result["excluded_characters"] = task.excluded(SPLIT.value)
            result["unknown_characters"] = task.unknown_counts[SPLIT.value]
            if not network.causal:
                result["note"] = "not causal, not comparable"
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    cli.run(main)
