"""Makes a trained model of the zoo: trains it, then writes weights and a card.

python -m scripts.release --name=digits
python -m scripts.release --name=digits --workdir=runs/mine   # resumes the run there

Those of RELEASED are presets, trained as a run, which flags of scripts.train override. Those of
ROWS are rows of scripts.reproduce, trained from several seeds, in its --workdir. What was stopped
is resumed by the same command; nothing is written before it is finished. The best checkpoint on
the validation split is released, of the seed that is best there; the card has all of them.
"""

import pathlib
import platform
import shlex
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import flags

import tlstm_jax
from tlstm_jax import zoo
from tlstm_jax.network import task_sizes
from tlstm_jax.runs.directory import RunDirectory, read_json, write_json
from tlstm_jax.runs.files import replacing
from tlstm_jax.runs.settings import PATHS
from tlstm_jax.scripts import cli, run_flags, train
from tlstm_jax.scripts.experiments.experiment import Run, runs_of
from tlstm_jax.scripts.experiments.reproduction import EXPERIMENTS
from tlstm_jax.scripts.experiments.running import train_all
from tlstm_jax.training import checkpointing
from tlstm_jax.zoo.weights import write_weights

RELEASED = {  # name -> preset
    "addition": "addition/3-digits",
    "char_lm": "char_lm/topics",
    "digits": "digits/2d",
}
ROWS = {  # name -> row of scripts.reproduce
    "memorization": "memorization/2d-tlstm-cn-l-10",
    "wiki_text": "text/2d-tlstm-cn-l-3",
}
MOST_BYTES = 2_000_000  # of weights in the repository

flags.adopt_module_key_flags(train)
NAME = flags.DEFINE_enum(
    "name", None, [*RELEASED, *ROWS], "The trained model to make.", required=True
)
FOLDER = cli.define_path_flag("folder", str(zoo.TRAINED), "Where the weights and the card go.")


def main() -> int:
    name = NAME.value
    if name in ROWS:
        with cli.one_line_errors():
            _train_row(name)
        return 0
    if train.PRESET.value is None:
        flags.FLAGS.preset = RELEASED[name]
    if train.WORKDIR.value is None:
        flags.FLAGS.workdir = f"runs/trained-{name}"
    if code := train.main():
        return code
    with cli.one_line_errors():
        directory = RunDirectory(train.WORKDIR.value)
        results = _results(directory)
        if results is None:
            print("not finished, so nothing is released; the same command resumes it")
        else:
            write_trained(directory, results, name, pathlib.Path(FOLDER.value), _command())
    return 0


def _train_row(name: str) -> None:
    given = run_flags.given_flags(train.RUN_FLAGS)
    data = {flag: value for flag, value in given.items() if flag in PATHS}
    if train.PRESET.value is not None or given.keys() != data.keys():
        raise ValueError(
            f"{name} is row {ROWS[name]} of scripts.reproduce; accepted with it are workdir, "
            f"folder, max_minutes, {', '.join(PATHS)}"
        )
    cli.check_minutes(train.MAX_MINUTES.value)
    workdir = pathlib.Path(train.WORKDIR.value or "runs/reproduction")
    (run,) = runs_of(workdir, EXPERIMENTS, [ROWS[name]])
    if failed := train_all([run], jobs=1, minutes=train.MAX_MINUTES.value, data=data):
        raise ValueError(failed[0])
    if not run.is_trained:
        print("not finished, so nothing is released; the same command resumes it")
        return
    release_row(run, name, pathlib.Path(FOLDER.value))


def release_row(run: Run, name: str, folder: pathlib.Path) -> None:
    """Writes weights and card of the best seed of a row that is trained."""
    results, members = run.results, run.members
    metrics = [result["best_metric"] for result in results]
    task, *_ = members[0].read_config().make()
    best = metrics.index(max(metrics) if task.maximize else min(metrics))
    more = {
        "seeds": list(run.experiment.seeds),
        "test_of_seeds": {k: [r["test"][k] for r in results] for k in results[0]["test"]},
        "minutes": round(run.minutes, 1),  # of all seeds
        "trained_on": run.trained_on,
    }
    command = shlex.join(["python", "-m", "scripts.release", f"--name={name}"])
    write_trained(members[best], results[best], name, folder, command, more)


def _results(directory: RunDirectory) -> dict[str, Any] | None:
    """The run's results, if it is finished: only then are there any for its last step."""
    if not directory.results.is_file():
        return None
    results = read_json(directory.results)
    last = checkpointing.steps(directory.checkpoints)[-1]
    return results if isinstance(results, dict) and results.get("step") == last else None


def write_trained(
    directory: RunDirectory,
    results: Mapping[str, Any],
    name: str,
    folder: pathlib.Path,
    command: str,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes NAME.npz and NAME.json of the best checkpoint of a run.

    Args:
      directory, results: of the run.
      command: that makes it.
      more: of the card, in place of what a run alone has or beside it.

    Raises:
      ValueError: the model has a state, or its weights are too large.
    """
    chosen = directory.read_config()
    task, network, _ = chosen.make()
    params, state, progress = checkpointing.restore_params(directory.checkpoints, network)
    if jax.tree.leaves(state):
        raise ValueError(f"{chosen.model} has a state; accepted are models that have none")
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.npz"
    with replacing(weights) as temporary:
        write_weights(temporary, params)
        if (size := temporary.stat().st_size) >= MOST_BYTES:
            temporary.unlink()
            raise ValueError(f"the weights have {size:,} bytes; accepted are under {MOST_BYTES:,}")
    plain = {k: v for k, v in chosen.task_settings.items() if k not in PATHS}
    card: dict[str, Any] = {
        "model": chosen.model,
        "model_settings": dict(chosen.model_settings),
        **task_sizes(task),
        "task": chosen.task,
        "task_settings": plain,
        "train_settings": dict(chosen.train_settings),
        "vocabulary": directory.read_vocabulary(),
        "parameters": results["parameters"],
        "metric": task.metric,
        "test": results["test"],
        "step": progress.step,
        task.unit: progress.step * task.units_per_step,
        "minutes": round(results["seconds"] / 60, 1),
        **(more or {}),
        "command": command,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "numpy": np.__version__,
            "tlstm_jax": tlstm_jax.__version__,
        },
    }
    write_json(folder / f"{name}.json", card)
    print(f"released {weights} ({size:,} bytes) and its card; its page is docs/models/{name}.md")


def _command() -> str:
    """The command as given, without flags that say where things are."""
    given = run_flags.given_flags(train.RUN_FLAGS) | {"name": NAME.value}
    if train.PRESET.value != RELEASED[NAME.value]:
        given["preset"] = train.PRESET.value
    typed = [
        flags.FLAGS[name].serialize()
        for name in ("name", "preset", *train.RUN_FLAGS)
        if name in given
    ]
    return shlex.join(["python", "-m", "scripts.release", *typed])


if __name__ == "__main__":
    cli.run(main)
