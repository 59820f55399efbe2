"""The command-line programs: `python -m scripts.train` and its like."""

import sys

if sys.argv[:1] == ["-m"]:  # a program of ours is about to be run
    from scripts.requirements import check

    check()
