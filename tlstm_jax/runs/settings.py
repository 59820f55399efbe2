"""The settings of a run: plain values, from what is given, a preset and the defaults."""

import dataclasses
import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from tlstm_jax import zoo
from tlstm_jax.names import accepted, find, is_own, parameters
from tlstm_jax.network import Network, task_sizes
from tlstm_jax.runs.limits import check_settings
from tlstm_jax.tasks.base import check_task
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.training import TrainSettings, check_target
from tlstm_jax.typing import InputShape, Task
from tlstm_jax.zoo.presets import PRESETS

MOST_PARAMETERS = 2**33  # with Adam's two moments 100 GB, more than a device has
_OF_A_TASK = ("input_size", "output_size", "train_batch", "eval_batch", "metrics")
PATHS = {"data_dir", "data_path"}  # kept absolute, so that a run can resume from another folder


def task_settings(name: str) -> dict[str, Any]:
    """The settings of a task and their defaults.

    Args:
      name: one of TASKS, or module:name of a user's own, whose module is imported.

    Raises:
      ValueError: there is no such task.
    """
    return {k: p.default for k, p in _task_parameters(name).items()}


def task_types(name: str) -> dict[str, Any]:
    """The settings of a task and their types, as they are annotated; see `task_settings`."""
    return {k: p.annotation for k, p in _task_parameters(name).items()}


def _task_parameters(name: str) -> Mapping[str, inspect.Parameter]:
    if is_own(name):
        return parameters("task", name)
    return inspect.signature(_task_maker(name)).parameters


def _task_maker(name: str) -> Callable[..., Task]:
    if is_own(name):
        return find("task", name)
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"task is {name!r}; {accepted(name, TASKS)}, and module:name of your own")
    return TASKS[name]


def make_task(name: str, settings: Mapping[str, Any]) -> Task:
    """A named task.

    Raises:
      ValueError, OSError: a setting or its data are not accepted.
    """
    made = _task_maker(name)(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    )
    if lacking := [part for part in _OF_A_TASK if not hasattr(made, part)]:
        raise ValueError(
            f"task {name} makes an object of type {type(made).__name__} without "
            f"{', '.join(lacking)}; "
            "accepted are tasks, as tlstm_jax.typing has them"
        )
    return made


def train_settings() -> dict[str, Any]:
    """The settings of training and their defaults."""
    return {field.name: field.default for field in dataclasses.fields(TrainSettings)}


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """All settings that determine a run; plain values, for JSON.

    Raises:
      ValueError: an unknown task, model or setting, or a value of another type than the setting's.
    """

    task: str
    model: str
    task_settings: Mapping[str, Any]
    model_settings: Mapping[str, Any]
    train_settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        kinds = task_types(self.task)
        own = kinds if is_own(self.task) else ()
        check_settings(f"task {self.task}", self.task_settings, kinds, own)
        zoo.model_settings(self.model)
        kinds = zoo.setting_types(self.model)
        own = zoo.own_settings(self.model) if is_own(self.model) else ()
        if isinstance(self.model_settings, Mapping):
            current = zoo.current_names(self.model, self.model_settings)
            object.__setattr__(self, "model_settings", current)
        check_settings(f"model {self.model}", self.model_settings, kinds, own)
        kinds = {field.name: field.type for field in dataclasses.fields(TrainSettings)}
        check_settings("training", self.train_settings, kinds)

    def check(self) -> TrainSettings:
        """The settings of the training; checks those of the model as well, but reads no data.

        Raises:
          ValueError: a setting is not accepted.
        """
        size = zoo.example_input_size(self.model)
        self.make_network(input_size=size, output_size=1, tokens=False)
        return TrainSettings(**self.train_settings)

    def make(self, task: Task | None = None) -> tuple[Task, Network, TrainSettings]:
        """The task (unless it is given), the network for it, and the settings of its training.

        Raises:
          ValueError, OSError: a setting or its data are not accepted.
        """
        training = self.check()
        task = task or make_task(self.task, self.task_settings)
        check_task(task)
        check_target(task, training)
        network = self.make_network(**task_sizes(task))
        if (count := zoo.count_parameters(network)) > MOST_PARAMETERS:
            raise ValueError(
                f"the model has {count:,} parameters; accepted are up to {MOST_PARAMETERS:,}"
            )
        return task, network, training

    def make_network(
        self,
        *,
        input_size: InputShape,
        output_size: int,
        tokens: bool,
        per_location: bool = False,
    ) -> Network:
        """The network, for a task of these sizes."""
        return zoo.make_network(
            self.model,
            input_size=input_size,
            output_size=output_size,
            tokens=tokens,
            per_location=per_location,
            **self.model_settings,
        )


def resolve(given: Mapping[str, Any], preset: str | None) -> RunSettings:
    """The settings of a run: those given override the preset's, which override the defaults.

    Args:
      given: settings by name, "task" and "model" among them.
      preset: a preset's name.

    Raises:
      ValueError: an unknown preset, task, model or setting, or a value of another type.
    """
    given, base = dict(given), {}
    if preset is not None:
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}; {accepted(preset, PRESETS)}")
        chosen = PRESETS[preset]
        base = {"task": chosen.task, "model": chosen.model, **chosen.settings}
    task = given.pop("task", base.pop("task", None))
    model = given.pop("model", base.pop("model", "tlstm"))
    if task is None:
        raise ValueError(
            f"neither --task nor --preset is given; accepted tasks are {', '.join(TASKS)}, and "
            "module:name of your own"
        )
    kinds = (task_settings(task), zoo.model_settings(model), train_settings())
    for name in given:
        if not any(name in kind for kind in kinds):
            raise ValueError(
                f"--{name} is not a setting of task {task}, model {model} or training; accepted "
                "are " + ", ".join(sorted(set().union(*kinds)))
            )
    chosen = [
        {k: given.get(k, base.get(k, default)) for k, default in kind.items()} for kind in kinds
    ]
    RunSettings(task, model, *chosen)  # checks them
    for name in PATHS & chosen[0].keys():
        if given.get(name) is not None:
            chosen[0][name] = os.path.abspath(os.path.expanduser(given[name]))
    training = chosen[2]
    if "steps_per_call" not in given:
        multiples = ("steps_per_call", "num_steps", "eval_every", "checkpoint_every")
        numbers = (10 if training[name] is None else max(training[name], 0) for name in multiples)
        training["steps_per_call"] = math.gcd(*numbers) or 1
    return RunSettings(task, model, *chosen)


def changed(run: RunSettings, given: Mapping[str, Any]) -> RunSettings:
    """The run's settings, overridden by those `given`; paths are made absolute.

    Args:
      given: settings by name; "task" and "model" may be among them, unchanged.

    Raises:
      ValueError: a name is not a setting of its task, model or training, or a value is of another
        type.
    """
    parts = {
        name: dict(getattr(run, name))
        for name in ("task_settings", "model_settings", "train_settings")
    }
    for name, value in given.items():
        if name in ("task", "model"):
            if value != getattr(run, name):
                raise ValueError(
                    f"{name} is {value}; accepted for this run is {getattr(run, name)}"
                )
            continue
        having = [part for part in parts.values() if name in part]
        if not having:
            known = ", ".join(sorted(set().union(*parts.values())))
            raise ValueError(
                f"--{name} is not a setting of task {run.task}, model {run.model} or training; "
                f"accepted are {known}"
            )
        for part in having:
            part[name] = os.path.abspath(value) if name in PATHS and value is not None else value
    return dataclasses.replace(run, **parts)
