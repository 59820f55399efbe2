"""Trains the tensorized LSTM from other starts, on six tasks; writes one page.

    python -m scripts.starts
    python -m scripts.starts --only=pdigits --minutes=30
    python -m scripts.starts --list

Every training is an ordinary run in --workdir, in a sweep over seeds and learning rates; what is
finished is kept, and what is not goes on when the command is given again. The page, starts.md in
--output, and its pictures are made anew from these runs alone.
"""

from tlstm_jax.scripts import cli
from tlstm_jax.scripts.experiments.program import Program
from tlstm_jax.scripts.experiments.starting import EXPERIMENTS, PAGE

PROGRAM = Program(PAGE, EXPERIMENTS)

if __name__ == "__main__":
    cli.run(PROGRAM.main)
