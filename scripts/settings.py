"""The flags of all scripts, and how they, a preset and the defaults become the settings of a run."""

import dataclasses
import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from scripts import cli
from scripts.defaults import describe_defaults
from scripts.limits import check_settings
from tasks.addition import addition
from tasks.char_lm import char_lm
from tasks.images import digits, fashion_mnist, mnist, pdigits, pfashion_mnist, pmnist
from tasks.memorization import memorization
from tlstm_jax import zoo
from tlstm_jax.convolution import FORWARDS, GRADIENTS
from tlstm_jax.engine import ENGINES
from tlstm_jax.names import accepted
from tlstm_jax.network import Network
from tlstm_jax.optimization import TrainSettings
from tlstm_jax.presets import PRESETS
from tlstm_jax.training import check_target
from tlstm_jax.typing import Task

MODEL_HELP = {
    "channels": "M, the width of one location, or of a layer.",
    "tensor_shape": "Tensor shape P_1,..,P_D: 4 or 3,3 or 4x4.",
    "kernel_size": "K, the kernel size along every tensor axis.",
    "memory_convolution": "Whether memory is convolved with gated kernels.",
    "normalization": "none, channel, layer (tlstm); products, gates (fs_lstm).",
    "forget_bias": "Initial bias of the forget gate.",
    "input_scale": "Standard deviation of the (first layer's) input weights at the start.",
    "dtype": f"What is computed in: {', '.join(zoo.DTYPES)}.",
    "convolution": f"The cross-layer convolution: {', '.join(FORWARDS)}.",
    "convolution_gradient": f"Of the cross-layer convolution: {', '.join(GRADIENTS)}.",
    "shared": "Whether the layers share their weights.",
    "reset": "before or after the recurrent product.",
    "cell": "elman, gru, lstm.",
    "recurrent_scale": "U starts as this times the identity.",
    "peephole_scale": "Standard deviation of the peepholes at the start.",
    "epsilon": "Added to variances.",
    "bias_scale": "Standard deviation of biases beside normalizations at the start.",
    "alpha": "The second-order term's vector at the start.",
    "beta": "The first-order terms' vectors at the start.",
    "hyper_features": "Width of the small LSTM.",
    "embedding_features": "Width of what the small LSTM says to each gate.",
    "anneal_steps": "Training steps until the boundaries' slope is at its limit.",
    "depth": "Highway layers within a step.",
    "transform_bias": "Initial bias of the transform gate.",
    "slow_features": "Width of the slow cell.",
    "num_fast": "Fast cells.",
    "tied": "Whether the layers share their weights.",
    "permutation_seed": "Fixes the permutation: of the pixels, of a uRNN's state.",
    "skip": "Steps that the skips reach back.",
    "max_steps": "Time steps with statistics of their own.",
    "initial_noise": "Standard deviation of the noise on the first state, in training.",
    "momentum": "Weight of a batch in the running statistics.",
    "identity": "Whether U starts as the identity, for the gate g.",
    "scale": "Of batch normalization at the start; of x where it passes (sru).",
    "skip_features": "Width of the skip connections.",
    "dilations": "Dilation of every layer: 1,2,4,8.",
    "pooling": "f, fo, ifo.",
    "width": "Of the convolution over time.",
    "version": "2017 or 2018.",
    "highway_bias": "Initial bias of the highway gate.",
    "variant": "1, 2, 3.",
    "num_layers": "Layers on top of each other; of a model with layers, its own.",
    "bidirectional": "Both directions of time in every layer; not causal.",
    "residual": "Residual connections around all layers but the first.",
    "input_dropout": "Rate of dropout on inputs.",
    "dropout": "Rate of dropout on the outputs of every layer.",
    "variational_dropout": "Whether these masks are the same for all time steps.",
    "recurrent_dropout": "Rate of variational dropout on a cell's state.",
    "zoneout_hidden": "Rate of zoneout on a cell's hidden state.",
    "zoneout_memory": "Rate of zoneout on a cell's memory.",
    "learned_carry": "Whether a cell's first carry is learned.",
    "carry_scale": "A learned carry starts uniformly in plus, minus this; else as the cell has it.",
    "remat_every": "Save the carry every so many steps, recompute the rest.",
    "engine": f"What runs over time, with which gradient: {', '.join(ENGINES)}.",
}
MOST_PARAMETERS = 2**33  # with Adam's two moments 100 GB, more than a device has
PATHS = {"data_dir", "data_path"}  # kept absolute, so that a run can go on from another folder

TASKS: Mapping[str, Callable[..., Task]] = {
    "addition": addition,
    "memorization": memorization,
    "mnist": mnist,
    "pmnist": pmnist,
    "fashion_mnist": fashion_mnist,
    "pfashion_mnist": pfashion_mnist,
    "digits": digits,
    "pdigits": pdigits,
    "char_lm": char_lm,
}


def task_settings(name: str) -> dict[str, Any]:
    """The settings of a task and their defaults."""
    return {k: p.default for k, p in _task_parameters(name).items()}


def _task_parameters(name: str) -> Mapping[str, inspect.Parameter]:
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"task is {name!r}; {accepted(name, TASKS)}")
    return inspect.signature(TASKS[name]).parameters


def train_settings() -> dict[str, Any]:
    """The settings of training and their defaults."""
    return {field.name: field.default for field in dataclasses.fields(TrainSettings)}


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """All that a run is a function of; plain values, for JSON.

    Raises:
      ValueError: an unknown task, model or setting, or a value of another type than the setting's.
    """

    task: str
    model: str
    task_settings: Mapping[str, Any]
    model_settings: Mapping[str, Any]
    train_settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        kinds = {k: p.annotation for k, p in _task_parameters(self.task).items()}
        check_settings(f"task {self.task}", self.task_settings, kinds)
        zoo.model_settings(self.model)
        kinds = zoo.setting_types(self.model)
        check_settings(f"model {self.model}", self.model_settings, kinds)
        kinds = {field.name: field.type for field in dataclasses.fields(TrainSettings)}
        check_settings("training", self.train_settings, kinds)

    def check(self) -> TrainSettings:
        """The settings of the training; looks at those of the model, too, but reads no data.

        Raises:
          ValueError: in one line, what was given and what is accepted.
        """
        self.make_network(input_size=1, output_size=1, tokens=False)
        return TrainSettings(**self.train_settings)

    def make(self, task: Task | None = None) -> tuple[Task, Network, TrainSettings]:
        """The task (unless it is given), the network for it, and the settings of its training.

        Raises:
          ValueError, OSError: in one line, what was given and what is accepted.
        """
        training = self.check()
        task = task or TASKS[self.task](**self.task_settings)
        check_target(task, training)
        network = self.make_network(
            input_size=task.input_size, output_size=task.output_size, tokens=task.tokens
        )
        if (count := zoo.count_parameters(network)) > MOST_PARAMETERS:
            raise ValueError(
                f"the model has {count:,} parameters; accepted are up to {MOST_PARAMETERS:,}"
            )
        return task, network, training

    def make_network(self, *, input_size: int, output_size: int, tokens: bool) -> Network:
        """The network, for a task of these sizes."""
        sizes = {"input_size": input_size, "output_size": output_size, "tokens": tokens}
        return zoo.make_network(self.model, **sizes, **self.model_settings)


def resolve(given: Mapping[str, Any], preset: str | None) -> RunSettings:
    """The settings of a run: what was given, over the preset, over the defaults.

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
        raise ValueError(f"neither --task nor --preset is given; tasks are {', '.join(TASKS)}")
    kinds = (task_settings(task), zoo.model_settings(model), train_settings())
    for name in given:
        if not any(name in kind for kind in kinds):
            raise ValueError(
                f"--{name} is not a setting of task {task}, model {model} or training; accepted are "
                + ", ".join(sorted(set().union(*kinds)))
            )
    chosen = [
        {k: given.get(k, base.get(k, default)) for k, default in kind.items()} for kind in kinds
    ]
    RunSettings(task, model, *chosen)  # looks at them
    for name in PATHS & chosen[0].keys():
        if given.get(name) is not None:
            chosen[0][name] = os.path.abspath(os.path.expanduser(given[name]))
    training = chosen[2]
    if "steps_per_call" not in given:
        multiples = ("steps_per_call", "num_steps", "eval_every", "checkpoint_every")
        numbers = (10 if training[name] is None else max(training[name], 0) for name in multiples)
        training["steps_per_call"] = math.gcd(*numbers) or 1
    return RunSettings(task, model, *chosen)


def define_run_flags() -> tuple[str, ...]:
    """Defines the flags of a run's settings, all unset; returns their names."""
    integer, number, boolean = flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_bool
    holders = [
        *(_define_model_flag(name, text) for name, text in MODEL_HELP.items()),
        flags.DEFINE_string("task", None, f"What is learned: {', '.join(TASKS)}."),
        flags.DEFINE_string("model", None, f"What learns it: {', '.join(zoo.MODELS)}."),
        # Task.
        integer("batch_size", None, "Samples, or streams of text, in a training batch."),
        integer("eval_batch_size", None, "Samples, or streams of text, in an evaluation batch."),
        integer("eval_samples", None, "Fresh samples of an evaluation."),
        integer("num_digits", None, "Digits of a summand (addition)."),
        integer("num_symbols", None, "Symbols to be repeated (memorization)."),
        integer("alphabet_size", None, "Symbols to choose from (memorization)."),
        number("valid_fraction", None, "Part of the training images that is held out."),
        cli.define_path_flag("data_dir", None, "Folder of the IDX files, and of prepared data."),
        cli.define_path_flag("data_path", None, "A text file, plain or zipped (char_lm)."),
        integer("segment_length", None, "Characters of a segment (char_lm)."),
        # Training.
        integer("num_steps", None, "Optimizer steps."),
        number("learning_rate", None, "Peak learning rate."),
        flags.DEFINE_string("schedule", None, "Of the learning rate: constant or cosine."),
        integer("warmup_steps", None, "Steps of linear warm-up."),
        flags.DEFINE_string("optimizer", None, "adam or adamw."),
        number("weight_decay", None, "Decoupled weight decay of AdamW."),
        number("clip_norm", None, "Global norm at which gradients are clipped."),
        integer("eval_every", None, "Steps between evaluations."),
        integer("checkpoint_every", None, "Steps between checkpoints."),
        integer("steps_per_call", None, "Steps in one compiled call."),
        integer("patience", None, "Stop after so many evaluations without improvement."),
        boolean("stop_at_target", None, "Stop when the task's target is reached twice in a row."),
        integer("seed", None, "Of parameters, batches and evaluation samples."),
    ]
    names = tuple(holder.name for holder in holders)
    tables = {model: zoo.model_settings(model) for model in zoo.MODELS}
    tables |= {task: task_settings(task) for task in TASKS}
    tables |= {"training": train_settings(), "": {"model": "tlstm", "task": "none"}}
    for name, default in describe_defaults(tables).items():
        flags.FLAGS[name].help += f" {default}"
    return names


def _define_model_flag(name: str, text: str) -> flags.FlagHolder:
    """A flag of the type that the models give it, with the models that have it in its help."""
    having = [model for model in zoo.MODELS if name in zoo.setting_types(model)]
    if len(having) < len(zoo.MODELS):
        text = f"{text} ({', '.join(having)})"
    kind = zoo.setting_types(having[0])[name]
    if kind == tuple[int, ...]:
        return flags.DEFINE(ShapeParser(), name, None, text, serializer=ShapeSerializer())
    define = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        str: flags.DEFINE_string,
    }
    plain = next(t for t in define if kind in (t, t | None))
    return define[plain](name, None, text)


class ShapeParser(flags.ArgumentParser):
    syntactic_help = "integers joined by , or x"

    def parse(self, argument: Any) -> tuple[int, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        try:
            return tuple(
                int(size) for size in argument.strip("()").rstrip(",").replace("x", ",").split(",")
            )
        except ValueError:
            raise ValueError(f"{argument!r}; accepted are integers joined by , or x") from None


class ShapeSerializer(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return ",".join(map(str, value))


def given_flags(names: tuple[str, ...]) -> dict[str, Any]:
    """The settings that stand on the command line."""
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}
