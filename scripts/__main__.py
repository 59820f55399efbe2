"""The console command: tlstm-jax train, and so on.

tlstm-jax train --preset=memorization/quickstart
tlstm-jax train --help
"""

import importlib.util
import pathlib
import runpy
import sys

from tlstm_jax import __version__
from tlstm_jax.names import accepted
from tlstm_jax.scripts import prepare

PROGRAMS = ("train", "evaluate", "generate", "visualize", "sweep", "footprint")


def main() -> None:
    """Runs the program that is named first, with the flags after it."""
    name, flags = sys.argv[1] if len(sys.argv) > 1 else "--help", sys.argv[2:]
    if name in ("-h", "--help", "help"):
        print(_usage())
        return
    if name == "--version":
        print(f"tlstm-jax {__version__}")
        return
    if name not in PROGRAMS:
        sys.exit(f"error: program is {name!r}; {accepted(name, PROGRAMS)}")
    prepare()
    sys.argv = [f"tlstm-jax {name}", *flags]
    runpy.run_module(f"tlstm_jax.scripts.{name}", run_name="__main__", alter_sys=True)


def _usage() -> str:
    width = max(map(len, PROGRAMS))
    lines = (f"  tlstm-jax {name:<{width}}  {_summary(name)}" for name in PROGRAMS)
    return "\n".join([*lines, "", "tlstm-jax PROGRAM --help tells its flags."])


def _summary(name: str) -> str:
    """The first line of a program's docstring, without importing it."""
    spec = importlib.util.find_spec(f"tlstm_jax.scripts.{name}")
    path = pathlib.Path(spec.origin)
    if path.name == "__init__.py":
        path = path.with_name("__main__.py")
    return path.read_text(encoding="utf-8").split("\n", 1)[0].strip('"')


if __name__ == "__main__":
    main()
