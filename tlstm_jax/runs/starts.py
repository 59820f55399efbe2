"""Where a run was trained: a line for each of its starts."""

import functools
import importlib.metadata
import json
import subprocess
from typing import Any

import jax

from tlstm_jax.checkout import ROOT
from tlstm_jax.runs.directory import RunDirectory


def note_start(directory: RunDirectory, step: int) -> None:
    """Appends to starts.jsonl that the run goes on from `step`, on which device, by which code.

    Raises:
      OSError: it cannot be written.
    """
    with directory.starts.open("a") as file:
        file.write(json.dumps({"step": step, **place()}) + "\n")


def place() -> dict[str, str | None]:
    """On which device, with which JAX and by which code this process computes."""
    devices = jax.devices()
    several = f"{len(devices)} x " if len(devices) > 1 else ""
    return {
        "device": several + devices[0].device_kind,
        "jax": importlib.metadata.version("jax"),
        "commit": _commit(),
    }


def read_starts(directory: RunDirectory) -> list[dict[str, Any]]:
    """What `note_start` wrote, in its order.

    Raises:
      ValueError: the file is damaged.
    """
    if not directory.starts.is_file():
        return []
    try:
        starts = [json.loads(line) for line in directory.starts.read_text().splitlines()]
        return [
            {**start, "device": str(start["device"]), "commit": str(start["commit"] or "")}
            for start in starts
        ]
    except (ValueError, TypeError, KeyError) as e:
        raise ValueError(
            f"{directory.starts} is damaged: {e}; accepted is a JSON object in each line"
        ) from e


@functools.cache  # the members of a sweep start together
def _commit() -> str | None:
    """Of the checkout that this code is in, with a "+" if it has changes; None: it is in none."""
    if not (ROOT / ".git").exists():  # installed, perhaps within somebody else's
        return None
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        ran = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return ran.stdout.strip()
