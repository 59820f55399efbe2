"""Trains every model of the zoo with the same budget; writes a table, and learning curves.

    python -m scripts.compare
    python -m scripts.compare --models=lstm,gru --tasks=pdigits --workdir=runs/two

Trainings are written to --workdir as they end, and found there when the command is given again; the page is
--workdir's comparison.md, of all that is there, and a model's learning curves are curves/MODEL.png. --jobs
processes train at a time; models are timed one by one at the end, in turns with the LSTM. All models have
about --parameters parameters. Each is trained on every task of --tasks that it is for with the same samples
from three seeds with every learning rate and forget bias of the search, all in one vmapped training by
successive halving, with up to twelve evaluations on the validation split on the way; the figures are of the
test split.
"""

import pathlib

from absl import flags

from tlstm_jax.scripts import cli
from tlstm_jax.scripts.compare.members import COLUMNS
from tlstm_jax.scripts.compare.rows import compare

_MODELS = flags.DEFINE_list("models", None, "Which models; all if unset.")
_TASKS = flags.DEFINE_list(
    "tasks",
    [c.task for c in COLUMNS],
    f"Which tasks, of {', '.join(c.task for c in COLUMNS)}.",
)
_WORKDIR = cli.define_path_flag("workdir", "runs/comparison", "Folder of rows, page and curves.")
_PARAMETERS = flags.DEFINE_integer("parameters", 20_000, "Of every model, about.", 1)
_JOBS = flags.DEFINE_integer("jobs", 2, "Trainings at the same time.", 1)
_BUDGET = flags.DEFINE_float("budget", 1.0, "Times the usual number of training steps.", 0.0)


def main() -> None:
    with cli.one_line_errors():
        compare(
            _MODELS.value,
            pathlib.Path(_WORKDIR.value),
            tasks=_TASKS.value,
            parameters=_PARAMETERS.value,
            budget=_BUDGET.value,
            jobs=_JOBS.value,
        )


if __name__ == "__main__":
    cli.run(main)
