"""Trains a model on a task.

python -m scripts.train --preset=memorization/quickstart --workdir=runs/quickstart
python -m scripts.train --task=addition --num_digits=5 --tensor_shape=4,4 --normalization=channel
python -m scripts.train --workdir=runs/quickstart        # goes on with the run that lies there
python -m scripts.train --list_presets
python -m scripts.train --list_models
"""

import dataclasses
import functools
import gc
import time

import jax
from absl import flags

from scripts import cli, settings
from scripts.display import Display, describe
from scripts.plotting import save_figure
from scripts.results import recover, write_results
from scripts.run_directory import MetricsLog, RunDirectory
from tasks.char_lm import CharLM
from tlstm_jax import checkpointing, training, zoo
from tlstm_jax.assembly import Wrapping
from tlstm_jax.makers import CHANNELS
from tlstm_jax.network import Network
from tlstm_jax.optimization import TrainSettings
from tlstm_jax.pictures import plot_curves
from tlstm_jax.presets import PRESETS, Preset
from tlstm_jax.typing import Task

RUN_FLAGS = settings.define_run_flags()
PRESET = flags.DEFINE_string("preset", None, "Named settings, which other flags override.")
LIST_PRESETS = flags.DEFINE_bool("list_presets", False, "Prints the presets and exits.")
LIST_MODELS = flags.DEFINE_bool("list_models", False, "Prints the models and exits.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; runs/.. by default.")
KEEP = flags.DEFINE_integer(
    "keep", 2, "Latest checkpoints to keep, beside the best.", lower_bound=1
)
MOST_PLOTTED = 500  # of a curve's points, lest memory grow with the run
MAX_MINUTES = flags.DEFINE_float("max_minutes", None, "Stop and save after so many minutes.")


def main() -> int:
    if LIST_PRESETS.value:
        print("\n\n".join(_describe_preset(name, preset) for name, preset in PRESETS.items()))
        return 0
    if LIST_MODELS.value:
        around = " --".join(field.name for field in dataclasses.fields(Wrapping))
        print("\n\n".join(map(_describe_model, zoo.MODELS)))
        print(f"\naround every model: --{around}")
        return 0
    with cli.one_line_errors():
        directory, chosen = _settings()
        task, network, train = chosen.make()
        state = training.abstract_state(network, task, train)
        batch = functools.partial(task.train_batch, delay=network.delay)
        jax.eval_shape(batch, task.data, state.key, state.step)  # a segment too short, say
        directory.claim(chosen, task)
        saved = None
        if (step := recover(directory.checkpoints)) is not None:
            saved = checkpointing.restore(directory.checkpoints, state, step=step)
        _announce(directory, task, network, state, chosen.model)
        return _train(directory, task, network, train, saved, chosen.model)
    return 1


def _settings() -> tuple[RunDirectory, settings.RunSettings]:
    """The folder and the settings of the run: of the one that lies there, if nothing else is given."""
    given = settings.given_flags(RUN_FLAGS)
    if MAX_MINUTES.value is not None and not MAX_MINUTES.value > 0:  # NaN too
        raise ValueError(f"max_minutes is {MAX_MINUTES.value}; accepted are numbers > 0")
    if WORKDIR.value and not given and PRESET.value is None:
        directory = RunDirectory(WORKDIR.value)
        return directory, directory.read_config()
    chosen = settings.resolve(given, PRESET.value)
    name = (PRESET.value or f"{chosen.task}/{chosen.model}").replace("/", "-")
    return RunDirectory(WORKDIR.value or f"runs/{name}"), chosen


def _announce(
    directory: RunDirectory, task: Task, network: Network, state: training.TrainState, model: str
) -> None:
    size = sum(p.size for p in jax.tree.leaves(state.params))
    print(
        f"{task.name} with {model}: {size:,} parameters, delay {network.delay}, in {directory.path}"
    )
    if isinstance(task, CharLM):
        unknown = ", ".join(f"{n} in {split}" for split, n in task.unknown_counts.items() if n)
        print(f"{task.source}; bytes unseen in its training part: {unknown or 'none'}")
    if not network.causal and task.stream:
        print("the model is not causal: it sees its own targets; not comparable")


def _train(
    directory: RunDirectory,
    task: Task,
    network: Network,
    train: TrainSettings,
    saved: checkpointing.Checkpoint | None,
    model: str,
) -> int:
    start = saved.progress.step if saved else 0
    if saved:
        print(f"resuming from step {start}")
    log = MetricsLog(directory, start)
    begun = time.monotonic()
    display = Display(task, num_steps=train.num_steps, start=start)

    def out_of_time() -> bool:
        limit = MAX_MINUTES.value
        return limit is not None and time.monotonic() - begun > 60 * limit

    def save(report: training.Report) -> None:
        checkpointing.save(directory.checkpoints, report.state, report.progress, keep=KEEP.value)

    def plot() -> None:
        records, title = directory.read_metrics(MOST_PLOTTED), f"{task.name}, {model}"
        figure = plot_curves(records, unit=task.unit, metric=task.metric, title=title)
        save_figure(directory.curves, figure)
        del figure  # which holds itself
        gc.collect()

    gc.freeze()  # what was imported stays, so that a collection has little to look at
    report = None
    with cli.StopSignals() as signals:
        try:
            for report in training.fit(
                network,
                task,
                train,
                state=saved.state if saved else None,
                progress=saved.progress if saved else None,
                should_stop=lambda: signals.reason or ("out of time" if out_of_time() else None),
            ):
                log.write(report, task.unit, log.seconds + time.monotonic() - begun)
                display.show(report)
                due = report.progress.step % train.checkpoint_every == 0
                if report.improved or report.stop or due:
                    save(report)
                if due:
                    plot()
        except training.NonFiniteError as e:
            there = checkpointing.steps(directory.checkpoints)
            last = f"{directory.checkpoints / str(there[-1])}" if there else "none was written yet"
            cli.fail(f"{e}; the last good checkpoint: {last}")
        finally:
            display.close()
            log.close()
    plot()
    finished = report is None or report.finished
    if not finished:
        print(f"{report.stop}: saved step {report.progress.step} in {directory.checkpoints}")
        print(f"resume with: python -m scripts.train --workdir={directory.path}")
        return 0 if report.stop == "out of time" else 130
    _finish(directory, task, network, train, "nothing left to do" if report is None else None)
    return 0


def _finish(
    directory: RunDirectory, task: Task, network: Network, train: TrainSettings, why: str | None
) -> None:
    """Reports the best checkpoint on the test split; `why` is said in place of why the run ended."""
    results = write_results(directory, task, network, train)
    steps, units = results["step"], results["units"]
    after = f"{steps} steps, {units:,} {task.unit}, {results['seconds'] / 60:.1f} minutes"
    print(f"{why or results['stop']} after {after}")
    if task.target is not None:
        reached = results["units_to_target"]
        what = f"{task.unit} to {100 * task.target:g} % {task.metric}"
        print(f"{what}: {'not reached' if reached is None else f'{reached:,}'}")
    print(f"best checkpoint, step {results['best_step']}, on test: {describe(results['test'])}")
    if isinstance(task, CharLM):
        print(f"characters of the test part without a prediction: {task.excluded('test')}")
    print(f"learning curves: {directory.curves}")


def _describe_model(name: str) -> str:
    """Name, citation, parameters and settings, as it is by default."""
    entry = zoo.MODELS[name]
    sizes = {"input_size": 65, "output_size": 65, "tokens": True}
    size = zoo.count_parameters(zoo.make_network(name, **sizes))
    own = dict.fromkeys([*zoo.own_settings(name), *entry.defaults])
    return (
        f"{name}: {entry.title} ({entry.kind})\n"
        f"  {entry.citation}\n"
        f"  {size:,} parameters with {CHANNELS} channels and 65 symbols\n"
        f"  --{' --'.join(own)}"
    )


def _describe_preset(name: str, preset: Preset) -> str:
    return (
        f"{name}\n"
        f"  python -m scripts.train --preset={name}\n"
        f"  published: {preset.published}\n"
        f"  measured: {preset.measured}"
    )


if __name__ == "__main__":
    cli.run(main)
