"""The settings of a run that lies there, with what is given anew: more steps, or where its data lie now."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from absl import flags

from scripts import cli
from scripts.settings import PATHS, RunSettings


def changed(run: RunSettings, given: Mapping[str, Any]) -> RunSettings:
    """The run's settings, with those `given` in their places; paths are made absolute.

    Raises:
      ValueError: in one line, a name that is no setting of its task, model or training, or a value of
        another type.
    """
    parts = {
        name: dict(getattr(run, name))
        for name in ("task_settings", "model_settings", "train_settings")
    }
    for name, value in given.items():
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


def define_path_flags() -> None:
    """--data_dir and --data_path, of programs that read a run."""
    cli.define_path_flag("data_dir", None, "Where the data lie now, if not where they did.")
    cli.define_path_flag("data_path", None, "Where the text lies now, if not where it did.")


def moved_data() -> dict[str, Any]:
    """What is given of `define_path_flags`."""
    given = {name: flags.FLAGS[name].value for name in sorted(PATHS)}
    return {name: value for name, value in given.items() if value is not None}


flags.disclaim_key_flags()  # they are of the program that defines them
