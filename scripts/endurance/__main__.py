"""Trains while it is killed, its disk is full and its checkpoints are damaged: it must end the same.

python -m scripts.endurance                       # 50 kills, some minutes
python -m scripts.endurance --kills=5 --saves=2 --full=1 --damages=2 --steps=200
"""

import pathlib
import shutil
import sys
import tempfile
import time

from absl import flags

from scripts import cli
from scripts.endurance.harness import Harness, Plan
from scripts.endurance.starts import EnduranceError

KILLS = flags.DEFINE_integer("kills", 50, "Times to kill it with SIGKILL.", lower_bound=0)
SAVES = flags.DEFINE_integer(
    "saves", 15, "Of these, at least so many inside the saving of a checkpoint.", lower_bound=0
)
FULL = flags.DEFINE_integer("full", 5, "Times to let it run into a full disk.", lower_bound=0)
DAMAGES = flags.DEFINE_integer("damages", 12, "Times to damage checkpoints.", lower_bound=0)
STEPS = flags.DEFINE_integer("steps", 1500, "Of the run.", lower_bound=20)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments and the damage.", *cli.INT32)
WORKDIR = flags.DEFINE_string("workdir", None, "A new folder to keep; a temporary one if unset.")


def main() -> int:
    with cli.one_line_errors():
        if SAVES.value > KILLS.value:
            raise ValueError(f"saves is {SAVES.value}; accepted are up to the kills, {KILLS.value}")
        folder = pathlib.Path(WORKDIR.value or tempfile.mkdtemp(prefix="endurance-")).absolute()
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty; accepted is a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        plan = Plan(KILLS.value, SAVES.value, FULL.value, DAMAGES.value, STEPS.value, SEED.value)
        begun = time.monotonic()
        harness = Harness(folder, plan, say=lambda line: print(line, flush=True))
        try:
            counts = harness.run()
        except EnduranceError as e:
            cli.fail(f"{e}; see {folder}")
        width = max(map(len, counts))
        print("\n".join(f"{name:{width}}  {count}" for name, count in counts.items()))
        print(
            f"all runs ended the same, bit for bit; {(time.monotonic() - begun) / 60:.1f} minutes"
        )
        if WORKDIR.value is None:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    if sys.platform == "win32":
        cli.fail("endurance needs SIGKILL and limits of file sizes; accepted are Linux and macOS")
    cli.run(main)
