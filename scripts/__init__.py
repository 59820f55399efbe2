"""The command-line programs: `tlstm-jax train` etc.; in a checkout, `python -m scripts.train`."""

import signal
import sys

from .requirements import check  # relative: the library is slow to import


def prepare() -> None:
    """Called before a program is imported; ends with one line where a package is missing."""
    # While Python imports it, Ctrl-C ends it without a traceback; `cli.run` restores the handler.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    check()


if sys.argv[:1] == ["-m"]:  # one of these programs is about to run
    prepare()
