"""What the programs need besides the library, and which extra installs it."""

import importlib.util
import sys

NEEDED = ("absl", "tqdm", "tensorboardX", "orbax.checkpoint", "matplotlib")  # by the programs
_EXTRAS = {  # of the others' packages
    "jupytext": "notebooks",
    "nbclient": "notebooks",
    "nbformat": "notebooks",
    "ipykernel": "notebooks",
    "torch": "bench",
}


def missing(name: str) -> str:
    """What installs a package, in one line."""
    extra = _EXTRAS.get(name.partition(".")[0], "train")
    return f'{name} is not installed; pip install "tlstm-jax[{extra}]" brings it'


def check() -> None:
    """Ends a program with one line where a package that all of them need is not installed."""
    for name in NEEDED:
        try:
            found = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:  # of what holds it
            found = False
        if not found:
            sys.exit(f"error: {missing(name)}")
