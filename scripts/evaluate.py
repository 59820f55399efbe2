"""Evaluates a checkpoint of a run; prints its metrics as JSON.

python -m scripts.evaluate --workdir=runs/quickstart --split=test --checkpoint=best
"""

import json

import jax
from absl import flags

from scripts import cli, stored
from scripts.run_directory import RunDirectory
from scripts.settings import PATHS
from tasks.char_lm import CharLM
from tlstm_jax import checkpointing, training

WORKDIR = cli.define_path_flag("workdir", None, "Folder of the run.", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ("valid", "test"), "What is evaluated on.")
CHECKPOINT = cli.define_checkpoint_flag()
EVAL_SEED = flags.DEFINE_integer(
    "eval_seed", 0, "Of the samples of tasks on fresh ones.", *cli.INT32
)
DATA_DIR = cli.define_path_flag("data_dir", None, "Where the data lie now, if not where they did.")
DATA_PATH = cli.define_path_flag("data_path", None, "Where the text lies now, if not where it did.")


def main() -> int:
    with cli.one_line_errors():
        directory = RunDirectory(WORKDIR.value)
        chosen = directory.read_config()
        moved = {name: flags.FLAGS[name].value for name in PATHS}
        moved = {name: value for name, value in moved.items() if value is not None}
        if unknown := moved.keys() - chosen.task_settings.keys():
            raise ValueError(f"--{min(unknown)} is not a setting of task {chosen.task}")
        _, task, network, _ = stored.make(directory, moved)
        directory.check_data(task)
        params, state, progress = checkpointing.restore_params(
            directory.checkpoints, network, step=CHECKPOINT.value
        )
        data = jax.device_put(task.data)
        key = jax.random.fold_in(jax.random.key(EVAL_SEED.value), progress.step)
        metrics = training.evaluate(network, task, params, state, data, split=SPLIT.value, key=key)
        result = {"task": task.name, "split": SPLIT.value, "step": progress.step, **metrics}
        if isinstance(task, CharLM):
            result["excluded_characters"] = task.excluded(SPLIT.value)
            result["unknown_characters"] = task.unknown_counts[SPLIT.value]
            if not network.causal:
                result["note"] = "not causal, not comparable"
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    cli.run(main)
