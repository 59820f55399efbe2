"""Kills a training, fills its disk and damages its checkpoints: it must end the same.

python -m scripts.endurance                       # 50 kills, some minutes
python -m scripts.endurance --kills=5 --saves=2 --full=1 --damages=2 --steps=200
python -m scripts.endurance --memory              # instead: 20,000 steps, memory must not grow
"""

import pathlib
import shutil
import sys
import tempfile
import time

from absl import flags

from tlstm_jax.scripts import cli
from tlstm_jax.scripts.endurance import memory
from tlstm_jax.scripts.endurance.harness import Harness, Plan
from tlstm_jax.scripts.endurance.starts import EnduranceError

KILLS = flags.DEFINE_integer("kills", 50, "Times to kill it with SIGKILL.", lower_bound=0)
SAVES = flags.DEFINE_integer(
    "saves", 15, "Of these, the least number inside the saving of a checkpoint.", lower_bound=0
)
FULL = flags.DEFINE_integer("full", 5, "Times to let it run into a full disk.", lower_bound=0)
DAMAGES = flags.DEFINE_integer("damages", 12, "Times to damage checkpoints.", lower_bound=0)
STEPS = flags.DEFINE_integer(
    "steps", None, "Steps of the run; 1,500, or 20,000 with --memory.", lower_bound=20
)
MEMORY = flags.DEFINE_bool("memory", False, "Only watches the memory of a long run.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the moments and the damage.", *cli.INT32)
WORKDIR = cli.define_path_flag("workdir", None, "A new folder to keep; a temporary one if unset.")


def main() -> int:
    with cli.one_line_errors():
        if SAVES.value > KILLS.value:
            raise ValueError(f"saves is {SAVES.value}; accepted are up to the kills, {KILLS.value}")
        folder = pathlib.Path(WORKDIR.value or tempfile.mkdtemp(prefix="endurance-")).absolute()
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty; accepted is a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _watch(folder) if MEMORY.value else _endure(folder)
        except EnduranceError as e:
            cli.fail(f"{e}; see {folder}")
        if WORKDIR.value is None:
            shutil.rmtree(folder)
    return 0


def _endure(folder: pathlib.Path) -> None:
    begun, steps = time.monotonic(), STEPS.value or 1500
    plan = Plan(KILLS.value, SAVES.value, FULL.value, DAMAGES.value, steps, SEED.value)
    counts = Harness(folder, plan, say=lambda line: print(line, flush=True)).run()
    width = max(map(len, counts))
    print("\n".join(f"{name:{width}}  {count}" for name, count in counts.items()))
    print(f"all runs ended the same, bit for bit; {(time.monotonic() - begun) / 60:.1f} minutes")


def _watch(folder: pathlib.Path) -> None:
    samples = memory.measure(folder, STEPS.value or 20_000)
    if not samples:
        print("memory: not available on this system")
        return
    for step, size in samples[:: max(1, len(samples) // 20)]:
        print(f"step {step:6d}: {size / 1024:.1f} MB")
    found = memory.trend(samples)
    print(
        f"after {memory.WARM_UP:.0%} of the steps: {found.slope:.0f} kB per 1,000 steps; medians "
        f"of the halves {found.first / 1024:.1f} and {found.second / 1024:.1f} MB"
    )
    memory.check_flat(found)
    print("memory is flat")


if __name__ == "__main__":
    if sys.platform == "win32":
        cli.fail("endurance needs SIGKILL and limits of file sizes; accepted are Linux and macOS")
    cli.run(main)
