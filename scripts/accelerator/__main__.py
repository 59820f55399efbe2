"""Uses some minutes with an accelerator: for equality checks, timings, and trainings that wait.

    python -m scripts.accelerator --out=runs/accelerator
    python -m scripts.accelerator --seconds=120 --small             # on the CPU, to try it

In order, each part within its share of --seconds: every model's outputs, gradients, streams and
generation against the CPU's, and the resume of a run begun there; training steps in every form
beside torch's and Flax's, then run time against depth; then the trainings in --runs resume from
their latest checkpoints. Every row is written to results.jsonl of --out at once; one that fails
says why, and the next begins.
"""

import importlib.metadata
import pathlib
import subprocess
import sys

import jax
from absl import flags

from tlstm_jax.scripts import cli

_OUT = cli.define_path_flag("out", "runs/accelerator", "Folder of results.jsonl.")
_SECONDS = flags.DEFINE_float("seconds", 480.0, "Budget for everything.", 1.0)
_SMALL = flags.DEFINE_bool("small", False, "Small sizes, as on a CPU.")
_PARTS = flags.DEFINE_list(
    "parts", ["equality", "speed", "trainings"], "Which parts to run, in this order."
)
_RUNS = flags.DEFINE_list("runs", [], "Folders of runs to resume.")
SHARES = {"equality": 0.35, "speed": 0.5, "trainings": 0.15}


def main() -> None:
    from tlstm_jax.scripts.accelerator import equality, speed
    from tlstm_jax.scripts.accelerator.record import Clock, Record

    with cli.one_line_errors():
        for part in _PARTS.value:
            if part not in SHARES:
                raise ValueError(f"--parts names {part!r}; accepted are {', '.join(SHARES)}")
        out = pathlib.Path(_OUT.value)
        out.mkdir(parents=True, exist_ok=True)
        record = Record(out / "results.jsonl")
    everything = Clock(_SECONDS.value)
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
    record.add("device", jax.devices()[0].device_kind, **versions)

    def share(part: str) -> Clock:
        return Clock(min(everything.left, SHARES[part] * _SECONDS.value))

    if "equality" in _PARTS.value:
        clock = share("equality")
        equality.resume(record)
        equality.models(record, clock)
    if "speed" in _PARTS.value:
        speed.sizes(record, share("speed"), _SMALL.value)
        speed.depths(record, Clock(min(everything.left, 0.15 * _SECONDS.value)), _SMALL.value)
    if "trainings" in _PARTS.value:
        for run in _RUNS.value:
            minutes = everything.left / 60 / len(_RUNS.value)
            command = [sys.executable, "-m", "scripts.train", f"--workdir={run}"]
            code = subprocess.run([*command, f"--max_minutes={minutes:.2f}"], check=False)
            record.add("trainings", run, code=code.returncode, minutes=minutes)


if __name__ == "__main__":
    cli.run(main)
