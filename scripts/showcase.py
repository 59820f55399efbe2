"""Trains the models made for a task beside the LSTM and the tensorized LSTM; writes one page.

    python -m scripts.showcase
    python -m scripts.showcase --only=copy,adding --minutes=30
    python -m scripts.showcase --list

Every training is an ordinary run in --workdir, in a sweep over two seeds; what is finished is kept,
and what is not goes on when the command is given again. The page, showcase.md in --output, and its
pictures are made anew from these runs alone, also where some are still missing.
"""

from tlstm_jax.scripts import cli
from tlstm_jax.scripts.experiments.program import Program
from tlstm_jax.scripts.experiments.showcase import EXPERIMENTS, PAGE

PROGRAM = Program(PAGE, EXPERIMENTS)

if __name__ == "__main__":
    cli.run(PROGRAM.main)
