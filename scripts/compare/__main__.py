"""Trains every model of the zoo with the same budget, and writes a table.

    python -m scripts.compare
    python -m scripts.compare --models=lstm,gru --workdir=runs/two

A row is written to --workdir as soon as it is measured, and found there when the command is given again;
the table is --workdir's comparison.md. Rows are trained by --jobs processes at a time, and timed one by one
at the end, in turns with the LSTM. All models have about --parameters parameters. Each is trained on
every task with the same samples from three seeds and two learning rates, all in one vmapped training; the
learning rate is that with the best mean on the validation split, the figures are of the test split.
"""

import pathlib

from absl import flags

from tlstm_jax import zoo
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.compare.rows import compare

_MODELS = flags.DEFINE_list("models", list(zoo.MODELS), "Which models; all if unset.")
_WORKDIR = cli.define_path_flag("workdir", "runs/comparison", "Folder of the rows and the table.")
_PARAMETERS = flags.DEFINE_integer("parameters", 20_000, "Of every model, about.", 1)
_JOBS = flags.DEFINE_integer("jobs", 2, "Models that are trained at the same time.", 1)
_BUDGET = flags.DEFINE_float("budget", 1.0, "Times the usual number of training steps.", 0.0)


def main() -> None:
    with cli.one_line_errors():
        compare(
            _MODELS.value,
            pathlib.Path(_WORKDIR.value),
            parameters=_PARAMETERS.value,
            budget=_BUDGET.value,
            jobs=_JOBS.value,
        )


if __name__ == "__main__":
    cli.run(main)
