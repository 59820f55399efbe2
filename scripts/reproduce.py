"""Trains the paper's experiments at the paper's sizes, as far as the time allows; writes one page.

    python -m scripts.reproduce --list
    python -m scripts.reproduce --only=pmnist --data_dir=data --minutes=60
    python -m scripts.reproduce --jobs=1 --minutes=8        # with one accelerator

Every training is an ordinary run in --workdir, in a sweep over its seeds, which are trained as one;
what is finished is kept, and what is not goes on from its checkpoints when the command is given
again, on whatever device is there. The page, reproduction.md in --output, and its pictures are made
anew from these runs alone, also where some are still missing.
"""

from tlstm_jax.scripts import cli
from tlstm_jax.scripts.experiments.program import Program
from tlstm_jax.scripts.experiments.reproduction import EXPERIMENTS, PAGE

PROGRAM = Program(PAGE, EXPERIMENTS)

if __name__ == "__main__":
    cli.run(PROGRAM.main)
