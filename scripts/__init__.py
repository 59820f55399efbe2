"""The command-line programs: `python -m scripts.train` and its like."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # a program of ours is about to be run
    # While Python imports it, Ctrl-C ends it without a traceback; `cli.run` has it back.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from scripts.requirements import check

    check()
