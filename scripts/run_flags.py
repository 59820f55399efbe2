"""The flags of a run's settings, also those of a user's own model and task.

absl needs flags defined before the command line is parsed, and those of `--model=my_cells:MGU` are
its fields. So `own_names` first looks for it there.
"""

import contextlib
import itertools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from tlstm_jax import names, zoo
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.own_code import check_named
from tlstm_jax.runs.settings import PATHS, task_settings, task_types, train_settings
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.defaults import describe_defaults
from tlstm_jax.tasks.catalogue import TASKS

OWN = "or module:name, of your own"
_OF_SYMBOLS = "memorization, copy, duplication, reversal, induction_copy"
_OF_SIZES = "addition, memorization, duplication, reversal, induction_copy"
_OF_LENGTHS = "state_tracking, parity, modular_counter, dyck, balanced_brackets"
_SIZES = {  # of evaluations on fresh samples
    "eval_samples": "Fresh samples of an evaluation.",
    "num_digits": "Digits of a summand (addition).",
    "num_symbols": f"Symbols to be repeated ({_OF_SYMBOLS}).",
    "delay": "Steps between the symbols and their repetition; the last is the marker (copy).",
    "num_pairs": "Keys with a value each (associative_recall, multi_query_recall).",
    "sequence_length": f"Numbers, or symbols, in a sequence (adding; {_OF_LENGTHS}).",
    "max_depth": "How deep brackets nest (dyck).",
}


def define_run_flags() -> tuple[str, ...]:
    """Defines the flags of a run's settings, all unset; returns their names.

    To be called after a program's other flags, whose names a user's own settings must not have.
    """
    with cli.one_line_errors():
        return _define_run_flags(own_names(sys.argv[1:]))


def _define_run_flags(own: Mapping[str, list[str]]) -> tuple[str, ...]:
    others = set(flags.FLAGS)
    models, tasks = [*zoo.MODELS, *own["model"]], [*TASKS, *own["task"]]
    of_models = dict.fromkeys(k for model in zoo.MODELS for k in zoo.model_settings(model))
    integer, number, boolean = flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_bool
    holders = [
        *(_define_model_flag(name, models) for name in of_models),
        flags.DEFINE_string("task", None, f"The task: {', '.join(TASKS)}; {OWN}."),
        flags.DEFINE_string("model", None, f"The model: {', '.join(zoo.MODELS)}; {OWN}."),
        # Task.
        integer("batch_size", None, "Samples, or streams of text, in a training batch."),
        integer("eval_batch_size", None, "Samples, or streams of text, in an evaluation batch."),
        *_define_size_flags(),
        integer("alphabet_size", None, f"Symbols to choose from ({_OF_SYMBOLS})."),
        integer("curriculum_start", None, f"Longest size at first ({_OF_SIZES})."),
        integer(
            "curriculum_steps",
            None,
            "Training steps in which the longest size grows to the task's; 0: all samples have it "
            f"({_OF_SIZES}).",
        ),
        integer("num_keys", None, "Keys to choose from (multi_query_recall)."),
        integer("num_values", None, "Values to choose from (multi_query_recall)."),
        flags.DEFINE_string("group", None, "Of permutations: s3, s4, s5, a4, a5 (state_tracking)."),
        integer("modulus", None, "States of the counter (modular_counter)."),
        integer("num_kinds", None, "Kinds of brackets, up to 4 (dyck, balanced_brackets)."),
        integer("objects", None, "Digits in a film (moving_digits)."),
        integer("canvas", None, "Pixels along a side (moving_digits): 64 of MNIST, else 16."),
        integer("num_frames", None, "Frames of a film (moving_digits)."),
        flags.DEFINE_string("by", None, "What is read in a step: pixels or rows (pixels_..)."),
        boolean("colour", None, "Whether pixels are colours, not their luma (cifar10, pcifar10)."),
        number("valid_fraction", None, "Part of the training images that is held out."),
        cli.define_path_flag(
            "data_dir",
            None,
            "Folder of the image files, and of prepared data.",
        ),
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
        integer("patience", None, "Stop after this many evaluations without improvement."),
        boolean("stop_at_target", None, "Stop when the task's target is reached twice in a row."),
        integer("seed", None, "Of parameters, batches and evaluation samples."),
    ]
    defined = [holder.name for holder in holders]
    for model in own["model"]:
        kinds = {k: zoo.setting_types(model)[k] for k in zoo.own_settings(model)}
        texts = {k: _help(k, [model], models) for k in kinds}
        defined += _define_own_flags(f"model {model}", kinds, texts, others)
    for task in own["task"]:
        defined += _define_own_flags(f"task {task}", task_types(task), {}, others)
    if "channels" not in flags.FLAGS:  # which a user's own model may have
        flags.DEFINE_alias("channels", "features")
    tables = {model: zoo.model_settings(model) for model in models}
    tables |= {task: task_settings(task) for task in tasks}
    tables |= {"training": train_settings(), "": {"model": "tlstm", "task": "none"}}
    for name, default in describe_defaults(tables).items():
        if name in flags.FLAGS:  # as every setting is, which a test holds
            flags.FLAGS[name].help += f" {default}"
    return tuple(defined)


def _define_size_flags() -> list[flags.FlagHolder]:
    return [flags.DEFINE_integer(name, None, text) for name, text in _SIZES.items()]


def define_evaluation_flags() -> tuple[str, ...]:
    """The flags of what an evaluation on fresh samples may have otherwise than the run.

    They are the sizes of the catalogue's tasks, and all settings of a user's own whose names the
    program does not have. Returns their names.
    """
    with cli.one_line_errors():
        defined = [holder.name for holder in _define_size_flags()]
        for task in own_names(sys.argv[1:])["task"]:
            kinds = {k: kind for k, kind in task_types(task).items() if k not in flags.FLAGS}
            defined += _define_own_flags(f"task {task}", kinds, {}, set())
        return tuple(defined)


def _define_own_flags(
    what: str, kinds: Mapping[str, Any], texts: Mapping[str, str], others: set[str]
) -> list[str]:
    """Defines the flags of a user's own settings that are not defined yet; returns their names.

    Args:
      what: "model my_cells:MGU", say.
      kinds: settings and their types.
      texts: help texts of settings; the others say whose they are.
      others: names of flags that are not settings.

    Raises:
      ValueError: a setting has the name of another flag, or of a setting of another type.
    """
    new = []
    for name, kind in kinds.items():
        plain = names.plain(kind)
        if name in others or name in ("task", "model"):
            raise ValueError(f"{name} of {what} is a flag of the program; accepted are other names")
        if name not in flags.FLAGS:
            _define(name, plain, texts.get(name, f"Of {what}."))
            new.append(name)
        elif plain != (there := _type_of(flags.FLAGS[name].parser)):
            raise ValueError(
                f"{name} of {what} is of type {names.KINDS[plain]}, and --{name} is there "
                f"already, of type {names.KINDS[there]}; accepted are that type or another name"
            )
    return new


def own_names(argv: Sequence[str]) -> dict[str, list[str]]:
    """The user's own models and tasks on an unparsed command line, under "model" and "task".

    Their modules are also looked for in the current folder, as `python -m` does, and imported on
    the platform that --platform names: they may make arrays.

    Raises:
      ValueError: the run in --workdir has such ones, and they are not named.
    """
    looked_for = ("model", "task", "workdir", "platform", "coordinator")
    given: dict[str, list[str]] = {name: [] for name in looked_for}
    with contextlib.suppress(flags.Error, UnicodeDecodeError):  # which parsing will tell
        argv = flags.FLAGS.read_flags_from_files(list(argv))
    for word, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        if word == "--":
            break
        if found := re.fullmatch(rf"--?({'|'.join(looked_for)}|over)(?:=(.*))?", word, re.DOTALL):
            name, value = found[1], following if found[2] is None else found[2]
            if name == "over":  # of a sweep: over=model=lstm,my_cells:MGU
                name, _, swept = value.partition("=")
                given.get(name, []).extend(swept.split(","))
            else:
                given[name].append(value)
    if given["workdir"] and not given["model"] + given["task"]:
        directory = RunDirectory(os.path.expanduser(given["workdir"][-1]))
        code: dict[str, str] = {}
        with contextlib.suppress(ValueError, OSError):  # which reading it will tell
            code = directory.own_code()
        check_named(directory.config, code, ())  # or else flags of its fields are unknown
    own = {
        part: [name for name in dict.fromkeys(given[part]) if names.is_own(name)]
        for part in ("model", "task")
    }
    if any(own.values()):
        look_here()
        platform = given["platform"][-1] if given["platform"] else None
        if platform in cli.PLATFORMS and not given["coordinator"]:  # without which JAX may start
            cli.choose_platform(platform)
    return own


def look_here() -> None:
    """Makes Python find modules in the current folder, which a console command does not."""
    if os.getcwd() not in map(os.path.abspath, sys.path):
        sys.path.insert(0, os.getcwd())


def _define_model_flag(name: str, models: Sequence[str]) -> flags.FlagHolder:
    """A flag of the models' type; its help says what it means and for which models."""
    having = [model for model in models if name in zoo.setting_types(model)]
    return _define(
        name, names.plain(zoo.setting_types(having[0])[name]), _help(name, having, models)
    )


def _help(name: str, having: Sequence[str], models: Sequence[str]) -> str:
    """The text of most models, the first one in case of a tie; all texts if no two models agree."""
    said: dict[str, list[str]] = {}
    for model in having:
        text = zoo.setting_descriptions(model).get(name, "")
        said.setdefault(re.split(r"(?<=\.) (?=[A-Z])", text)[0], []).append(model)
    most = max(said, key=lambda text: len(said[text]))
    if len(having) == len(models):
        return _sentence(most)
    if len(said[most]) > 1 or len(said) == 1:
        return f"{_sentence(most)} ({', '.join(having)})".strip()
    of_each = (f"{text.rstrip('.')} ({', '.join(of)})" for text, of in said.items())
    return f"{_sentence('; '.join(of_each))}."


def _sentence(text: str) -> str:
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if len(first) > 1 and first.isalpha() else text


def _define(name: str, kind: Any, text: str) -> flags.FlagHolder:
    """A flag of one of `names.KINDS`."""
    if kind == tuple[int, ...]:
        return flags.DEFINE(ShapeParser(), name, None, text, serializer=ShapeSerializer())
    define = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        str: flags.DEFINE_string,
    }
    return define[kind](name, None, text)


def _type_of(parser: flags.ArgumentParser) -> Any:
    """The one of `names.KINDS` that a flag's parser reads."""
    parsers = {
        flags.BooleanParser: bool,
        flags.IntegerParser: int,
        flags.FloatParser: float,
        ShapeParser: tuple[int, ...],
    }
    return next((kind for of, kind in parsers.items() if isinstance(parser, of)), str)


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


def given_flags(among: tuple[str, ...]) -> dict[str, Any]:
    """The settings given on the command line."""
    return {name: flags.FLAGS[name].value for name in among if flags.FLAGS[name].present}


def define_code_flags() -> None:
    """--model and --task of programs that read a run, for those in a user's own module."""
    for part in ("model", "task"):
        text = f"The run's {part} once more, if it is of your own: module:name, which is imported."
        flags.DEFINE_string(part, None, text)


def code_flags() -> dict[str, Any]:
    """The given flags of `define_code_flags`."""
    given = {part: flags.FLAGS[part].value for part in ("model", "task")}
    if any(map(names.is_own, given.values())):
        look_here()
    return {part: value for part, value in given.items() if value is not None}


def as_flags(code: Mapping[str, str]) -> str:
    """`RunDirectory.own_code` as flags on a command line, after other flags."""
    return "".join(f" --{part}={name}" for part, name in code.items())


def define_reading_flags() -> None:
    """--data_dir, --data_path and `define_code_flags`, of programs that read a run's data."""
    cli.define_path_flag("data_dir", None, "Where the data are now, if they were moved.")
    cli.define_path_flag("data_path", None, "Where the text is now, if it was moved.")
    define_code_flags()


def reading_flags() -> dict[str, Any]:
    """The given flags of `define_reading_flags`, for `runs.open`."""
    given = {name: flags.FLAGS[name].value for name in sorted(PATHS)}
    return {name: value for name, value in given.items() if value is not None} | code_flags()


flags.disclaim_key_flags()  # they are of the program that defines them
