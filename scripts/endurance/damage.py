"""Damage to the files of checkpoints, as disks and interrupted copies do it."""

import pathlib
import random

KINDS = ("flipped bit", "truncated", "emptied", "removed")


def damage(checkpoint: pathlib.Path, kind: str, rng: random.Random) -> str:
    """Damages one file of a checkpoint; returns its name there."""
    files = sorted(p for p in checkpoint.rglob("*") if p.is_file())
    path = rng.choice([p for p in files if p.stat().st_size])
    content = bytearray(path.read_bytes())
    if kind == "removed":
        path.unlink()
    else:
        if kind == "flipped bit":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif kind == "truncated":
            del content[rng.randrange(len(content)) :]
        else:
            content.clear()
        path.write_bytes(content)
    return path.relative_to(checkpoint).as_posix()
