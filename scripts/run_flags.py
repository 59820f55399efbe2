"""The flags of a run's settings."""

from typing import Any

from absl import flags

from tlstm_jax import zoo
from tlstm_jax.cells.tensorized.convolution import FORWARDS, GRADIENTS
from tlstm_jax.recurrence.engine import ENGINES
from tlstm_jax.runs.settings import PATHS, task_settings, train_settings
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.defaults import describe_defaults
from tlstm_jax.tasks.catalogue import TASKS

MODEL_HELP = {
    "features": "M, the width of one location, or of a layer.",
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
    "residual_features": "Width of the residual path.",
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
    flags.DEFINE_alias("channels", "features")
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


def define_path_flags() -> None:
    """--data_dir and --data_path, of programs that read a run."""
    cli.define_path_flag("data_dir", None, "Where the data lie now, if not where they did.")
    cli.define_path_flag("data_path", None, "Where the text lies now, if not where it did.")


def moved_data() -> dict[str, Any]:
    """What is given of `define_path_flags`."""
    given = {name: flags.FLAGS[name].value for name in sorted(PATHS)}
    return {name: value for name, value in given.items() if value is not None}


flags.disclaim_key_flags()  # they are of the program that defines them
