"""Sweeps over hyperparameters and seeds; members that differ only in seeds and floats train as one.

python -m scripts.sweep --task=memorization --over=learning_rate=1e-3,3e-3 --over=seed=0..3
python -m scripts.sweep --task=pdigits --model=lstm --over=learning_rate=log:1e-4:1e-1 --samples=16
python -m scripts.sweep --task=addition --over=features=20,40 --halving=2 --halving_steps=200
python -m scripts.sweep --workdir=runs/sweep        # resumes the sweep there

The folder holds a run directory for every member, like those of `scripts.train`, and the results of
all: results.jsonl, results.csv, settings.csv (mean and spread over seeds, if they are swept over),
sweep.png; `best` is the run directory of the best setting's best member, for `scripts.evaluate`,
`scripts.generate` and `scripts.train`.
"""

import dataclasses
import pathlib

from absl import flags

from tlstm_jax.runs import settings
from tlstm_jax.runs.files import check_folder, folder_name, free_folder
from tlstm_jax.runs.own_code import own_in
from tlstm_jax.runs.settings import changed
from tlstm_jax.scripts import cli, run_flags
from tlstm_jax.scripts.sweep import space
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.scripts.sweep.run import run
from tlstm_jax.zoo.presets import PRESETS

PRESET = flags.DEFINE_string("preset", None, f"Named settings: {', '.join(PRESETS)}.")
OVER = flags.DEFINE_multi_string(
    "over", [], "name=1e-3,3e-3 or seed=0..7; with --samples also log:1e-4:1e-1, uniform:0:0.5."
)
SAMPLES = flags.DEFINE_integer("samples", None, "Points of a random search; a grid if unset.", 1)
SEARCH_SEED = flags.DEFINE_integer("search_seed", 0, "Of the random search.", 0)
CHUNK = flags.DEFINE_integer("chunk", None, "Members trained at a time; all if unset.", 1)
HALVING = flags.DEFINE_integer("halving", None, "Successive halving: one in so many continues.", 2)
HALVING_STEPS = flags.DEFINE_integer("halving_steps", None, "Steps before the first halving.", 1)
MAX_MINUTES = flags.DEFINE_float("max_minutes", None, "Stop and save after this many minutes.")
flags.adopt_module_key_flags(settings)  # so that --help shows them
WORKDIR = cli.define_path_flag("workdir", None, "Folder of the sweep; runs/sweep-.. by default.")
RUN_FLAGS = run_flags.define_run_flags()


def main() -> int:
    with cli.one_line_errors():
        check_folder(WORKDIR.value)
        cli.check_minutes(MAX_MINUTES.value)
        given = run_flags.given_flags(RUN_FLAGS)
        code = own_in(given)
        moved = {k: v for k, v in given.items() if k not in code}
        moves = moved.keys() <= settings.PATHS and not OVER.value and PRESET.value is None
        if WORKDIR.value and moves:
            sweep = Sweep.read(pathlib.Path(WORKDIR.value), code.values())
            given = moved
            for part, name in code.items():
                if all(getattr(run_, part) != name for run_ in sweep.runs):
                    raise ValueError(f"{part} is {name}; accepted are those of the sweep")
            if swept := given.keys() & sweep.points[0].keys():
                raise ValueError(
                    f"--{min(swept)} is given and swept over; accepted is --workdir alone"
                )
            runs = [changed(run_, given) for run_ in sweep.runs]
            sweep = dataclasses.replace(sweep, runs=runs)
            return run(pathlib.Path(WORKDIR.value), sweep, CHUNK.value, MAX_MINUTES.value)
        sweep = Sweep.make(
            given,
            PRESET.value,
            space.parse(OVER.value),
            samples=SAMPLES.value,
            search_seed=SEARCH_SEED.value,
            halving=HALVING.value,
            halving_steps=HALVING_STEPS.value,
        )
        name = PRESET.value or f"{sweep.runs[0].task}/{sweep.runs[0].model}"
        workdir = WORKDIR.value or free_folder(f"runs/sweep-{folder_name(name)}", sweep.is_taken)
        return run(pathlib.Path(workdir), sweep, CHUNK.value, MAX_MINUTES.value)
    return 1


if __name__ == "__main__":
    cli.run(main)
