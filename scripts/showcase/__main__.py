"""Trains the models made for a task beside the LSTM and the tensorized LSTM; writes one page.

    python -m scripts.showcase
    python -m scripts.showcase --only=copy,adding --minutes=30
    python -m scripts.showcase --list

Every training is an ordinary run in --workdir, from two seeds; what is finished is kept, and what is
not goes on when the command is given again. The page, showcase.md in --output, and its pictures are
made anew from these runs alone, also where some are still missing.
"""

import pathlib

from absl import flags

from tlstm_jax.names import accepted
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.showcase.experiments import EXPERIMENTS
from tlstm_jax.scripts.showcase.page import write_page
from tlstm_jax.scripts.showcase.running import runs_of, train_all

_WORKDIR = cli.define_path_flag("workdir", "runs/showcase", "Folder of the runs.")
_OUTPUT = cli.define_path_flag("output", "docs", "Folder of the page, and of its pictures.")
_ONLY = flags.DEFINE_list("only", list(EXPERIMENTS), "Which experiments; all if unset.")
_MINUTES = flags.DEFINE_float("minutes", None, "Stop and save after about so many.", 0.0)
_JOBS = flags.DEFINE_integer("jobs", 2, "Runs that are trained at the same time.", 1)
_LIST = flags.DEFINE_bool("list", False, "Prints the experiments and exits.")


def main() -> int:
    with cli.one_line_errors():
        for name in _ONLY.value or [""]:
            if name not in EXPERIMENTS:
                raise ValueError(f"experiment is {name!r}; {accepted(name, EXPERIMENTS)}")
        if _LIST.value:
            for name in _ONLY.value:
                experiment = EXPERIMENTS[name]
                print(f"{name}: {experiment.title}; {', '.join(experiment.models)}")
            return 0
        workdir = pathlib.Path(_WORKDIR.value)
        runs = list(runs_of(workdir, _ONLY.value))
        failed = train_all(runs, jobs=_JOBS.value, minutes=_MINUTES.value)
        page = write_page(pathlib.Path(_OUTPUT.value), list(runs_of(workdir, list(EXPERIMENTS))))
        print(f"page: {page}")
        if failed:
            raise ValueError("; ".join(failed))
    return 0


if __name__ == "__main__":
    cli.run(main)
