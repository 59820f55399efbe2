"""The command-line programs: `tlstm-jax train` and its like; in a checkout, `python -m scripts.train`."""

import signal
import sys

from .requirements import check  # relative: the library is slow to import


def prepare() -> None:
    """Called before a program is imported; ends with one line where a package is missing."""
    # While Python imports it, Ctrl-C ends it without a traceback; `cli.run` has it back.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    check()


if sys.argv[:1] == ["-m"]:  # a program of ours is about to be run
    prepare()
