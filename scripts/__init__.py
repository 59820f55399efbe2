"""The programs, `python -m scripts.<name>`."""

import signal
import sys

# While Python imports a program to run it, Ctrl-C ends it without a traceback; `cli.run` has it back.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
