"""Trains a model on a task.

python -m scripts.train --preset=memorization/quickstart --workdir=runs/quickstart
python -m scripts.train --task=addition --num_digits=5 --tensor_shape=4,4 --normalization=channel
python -m scripts.train --workdir=runs/quickstart        # resumes the run there
python -m scripts.train --workdir=runs/quickstart --num_steps=2000      # makes it longer
python -m scripts.train --preset=char_lm/hour-tlstm --mesh=8     # on 8 devices
python -m scripts.train --model=my_cells:MGU --task=my_tasks:parity     # your own
python -m scripts.train --list_presets
python -m scripts.train --list_models
"""

import contextlib
import dataclasses
import functools
import gc
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from absl import flags

from tlstm_jax import runs, training, zoo
from tlstm_jax.devices import processes
from tlstm_jax.devices.layout import Layout
from tlstm_jax.network import Network
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.files import check_folder, folder_name, free_folder
from tlstm_jax.runs.journal import Journal
from tlstm_jax.runs.ownership import owning_run
from tlstm_jax.runs.results import write_results
from tlstm_jax.scripts import cli, devices, run_flags
from tlstm_jax.scripts.display import Display, describe
from tlstm_jax.training import checkpointing
from tlstm_jax.training.progress import finished
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task
from tlstm_jax.zoo.assembly import Wrapping
from tlstm_jax.zoo.descriptions import remarks
from tlstm_jax.zoo.makers import FEATURES
from tlstm_jax.zoo.presets import PRESETS, Preset

for module in (settings, devices):
    flags.adopt_module_key_flags(module)  # so that --help shows them
PRESET = flags.DEFINE_string("preset", None, "Named settings, which other flags override.")
LIST_PRESETS = flags.DEFINE_bool(
    "list_presets", False, "Prints the presets, those of --task and --model if given, and exits."
)
LIST_MODELS = flags.DEFINE_bool(
    "list_models", False, "Prints the models, that of --model if given, and exits."
)
WORKDIR = cli.define_path_flag("workdir", None, "Folder of the run; runs/.. by default.")
KEEP = flags.DEFINE_integer(
    "keep", 2, "Latest checkpoints to keep, besides the best.", lower_bound=1
)
MAX_MINUTES = flags.DEFINE_float("max_minutes", None, "Stop and save after this many minutes.")
RUN_FLAGS = run_flags.define_run_flags()


def main() -> int:
    with cli.one_line_errors():
        if LIST_PRESETS.value:
            print("\n\n".join(map(_describe_preset, *_listed_presets())))
            return 0
        if LIST_MODELS.value:
            around = " --".join(field.name for field in dataclasses.fields(Wrapping))
            print("\n\n".join(map(_describe_model, _listed_models())))
            print(f"\naround every model: --{around}")
            return 0
        run = processes.together(_prepare)
        with contextlib.ExitStack() as owned:
            processes.first(lambda: owned.enter_context(owning_run(run.directory)))
            processes.first(lambda: run.directory.claim(run.chosen, run.task))
            saved = None
            if (step := cli.recover(run.directory.checkpoints)) is not None:
                saved = checkpointing.restore(run.directory.checkpoints, run.like, step=step)
            _announce(run)
            return _train(run, saved)
    return 1


class Run(NamedTuple):
    """What is trained, and where."""

    directory: RunDirectory
    chosen: settings.RunSettings
    task: Task
    network: Network
    train: TrainSettings
    layout: Layout | None
    like: training.TrainState  # its shapes


def _prepare() -> Run:
    directory, chosen = _settings()
    if isinstance(chosen, settings.RunSettings):
        task, network, train = chosen.make()
    else:
        run = runs.open(directory, chosen)
        chosen, task, network, train = run.settings, run.task, run.network, run.train
    layout = devices.layout()
    if layout is not None:
        layout.check(task.batch_size)
    like = training.abstract_state(network, task, train, layout)
    batch = functools.partial(task.train_batch, delay=network.delay)
    jax.eval_shape(batch, task.data, like.key, like.step)  # a segment too short, say
    return Run(directory, chosen, task, network, train, layout, like)


def _settings() -> tuple[RunDirectory, settings.RunSettings | dict[str, Any]]:
    """The folder and the settings of the run; for an existing run, those that override its own."""
    given = run_flags.given_flags(RUN_FLAGS)
    cli.check_minutes(MAX_MINUTES.value)
    check_folder(WORKDIR.value)
    if WORKDIR.value and PRESET.value is None:
        directory = RunDirectory(WORKDIR.value)
        named = given.keys() & {"task", "model"}
        if not named and (not given or directory.config.is_file()):
            return directory, given
        if named and directory.own_code().items() & given.items():  # named so that it can resume
            return directory, given
    chosen = settings.resolve(given, PRESET.value)
    name = folder_name(PRESET.value or f"{chosen.task}/{chosen.model}")
    free = functools.partial(_is_taken, chosen=chosen)
    return RunDirectory(WORKDIR.value or free_folder(f"runs/{name}", free)), chosen


def _is_taken(path: pathlib.Path, chosen: settings.RunSettings) -> bool:
    return RunDirectory(path).is_taken(chosen)


def _announce(run: Run) -> None:
    task, network = run.task, run.network
    size = sum(p.size for p in jax.tree.leaves(run.like.params))
    print(
        f"{task.name} with {run.chosen.model}: {size:,} parameters, delay {network.delay}, in "
        f"{run.directory.path}"
    )
    for line in remarks(network, run.like.params):
        print(line)
    if run.layout is not None:
        sizes = run.layout.mesh.shape
        shards = f"batches sharded in {sizes['batch']}, kernels in {sizes['channels']}"
        processes_ = f"{jax.process_count()} process{'es' * (jax.process_count() > 1)}"
        print(f"{run.layout.mesh.size} devices in {processes_}: {shards}")
    if task.about:
        print(task.about)
    if not network.causal and task.autoregressive:
        print("the model is not causal: it sees its own targets; not comparable")


def _train(run: Run, saved: checkpointing.Checkpoint | None) -> int:
    start = saved.progress.step if saved else 0
    if saved:
        print(f"resuming from step {start}")
    checkpoints = run.directory.checkpoints
    display = functools.partial(Display, run.task, num_steps=run.train.num_steps, start=start)
    journal = Journal(run.directory, run.task, run.chosen.model, run.train, display, start=start)
    if journal.lacking is not None:
        print(f"{journal.lacking}; the learning curves have a gap there", flush=True)
    if not (saved and finished(run.train, saved.progress)):
        journal.begin()
    gc.freeze()  # imported objects stay, so that a collection has little to scan
    report = None
    with cli.StopSignals(MAX_MINUTES.value) as signals:

        def should_stop() -> str | None:
            return processes.agree(signals.reason)

        try:
            for report in training.fit(
                run.network,
                run.task,
                run.train,
                state=saved.state if saved else None,
                progress=saved.progress if saved else None,
                should_stop=should_stop,
                layout=run.layout,
            ):
                processes.together(functools.partial(journal.write, report))
                due = report.progress.step % run.train.checkpoint_every == 0
                if report.improved or report.stop or due:
                    checkpointing.save(checkpoints, report.state, report.progress, keep=KEEP.value)
                if due:
                    journal.plot()
        except training.NonFiniteError as e:
            there = checkpointing.steps(checkpoints)
            last = f"{checkpoints / str(there[-1])}" if there else "none was written yet"
            cli.fail(f"{e}; the last good checkpoint: {last}")
        finally:
            journal.close()
    journal.plot()
    if report is not None and not report.finished:
        print(f"{report.stop}: saved step {report.progress.step} in {checkpoints}")
        code = run_flags.as_flags(run.directory.own_code())
        print(f"resume with: {cli.command('train')} --workdir={run.directory.path}{code}")
        return cli.exit_code(report.stop)
    _finish(run, "nothing left to do" if report is None else None)
    return 0


def _finish(run: Run, why: str | None) -> None:
    """Reports the best checkpoint on the test split; `why` overrides why the run ended."""
    task = run.task
    print("evaluating the best checkpoint on the test split", flush=True)
    results = write_results(run.directory, task, run.network, run.train, layout=run.layout)
    print(
        f"{why or results['stop']} after {results['step']} steps, {results['units']:,} "
        f"{task.unit}, {results['seconds'] / 60:.1f} minutes"
    )
    if task.target is not None:
        print(describe_target(task, results))
    print(f"best checkpoint, step {results['best_step']}, on test: {describe(results['test'])}")
    for times, metrics in results.get("longer", {}).items():
        print(f"on sequences {times} times as long: {describe(metrics)}")
    if notes := task.notes("test"):
        print("of the test part: " + ", ".join(f"{n} {v}" for n, v in notes.items()))
    print(f"learning curves: {run.directory.curves}")


def describe_target(task: Task, results: Mapping[str, Any]) -> str:
    """How long it took to reach the task's target, if it did, from results.json."""
    reached, best = results["units_to_target"], results["best_metric"]
    of = " of symbols" if "sequence_accuracy" in results["test"] else ""
    goal = f"{100 * task.target:g} % {task.metric}{of}"
    if not task.metric.endswith("accuracy"):
        goal = f"{task.metric} {task.target:g}"
    what = f"{task.unit} to {goal} in two evaluations in a row"
    if reached is not None:
        return f"{what}: {reached:,}"
    if best is None:
        return f"{what}: not reached"
    return f"{what}: not reached; the best evaluation had {describe({task.metric: best})}"


def _listed_presets() -> tuple[list[str], list[Preset]]:
    """The presets of --task and --model, or all."""
    given = run_flags.given_flags(("task", "model"))
    if "task" in given:
        settings.task_settings(given["task"])
    if "model" in given:
        zoo.model_settings(given["model"])
    listed = {
        name: preset
        for name, preset in PRESETS.items()
        if all(getattr(preset, part) == value for part, value in given.items())
    }
    if not listed:
        of = ", ".join(f"{part} {value}" for part, value in given.items())
        raise ValueError(f"{of} has no preset; accepted is --list_presets without these")
    return list(listed), list(listed.values())


def _listed_models() -> list[str]:
    """The model of --model, or all."""
    given = run_flags.given_flags(("model",))
    if "model" in given:
        zoo.model_settings(given["model"])
    return list(given.values()) or list(zoo.MODELS)


def _describe_model(name: str) -> str:
    """Name, citation, parameters and settings, by default."""
    entry = zoo.entry(name)
    sizes = {"input_size": 65, "output_size": 65, "tokens": True}
    size = zoo.count_parameters(zoo.make_network(name, **sizes))
    own = dict.fromkeys([*zoo.own_settings(name), *entry.defaults])
    return (
        f"{name}: {entry.title} ({entry.kind})\n"
        f"  {entry.citation}\n"
        f"  {size:,} parameters with {FEATURES} features and 65 symbols\n"
        f"  --{' --'.join(own)}"
    )


def _describe_preset(name: str, preset: Preset) -> str:
    return (
        f"{name}\n"
        f"  {cli.command('train')} --preset={name}\n"
        f"  published: {preset.published}\n"
        f"  measured: {preset.measured}"
    )


if __name__ == "__main__":
    cli.run(main, connect=devices.connect)
