"""What a step of the loops over time may take at most, in the main cells' training steps.

`python -m tests.accelerators.figures` prints what the compilers that are installed make of the programs now:
after a change that makes them smaller, the smaller figures go here.
"""

from typing import NamedTuple

import jax

from scripts import targets
from scripts.loops import main_loops
from tests.accelerators.programs import training_step
from tlstm_jax import GRU, LSTM, TensorizedLSTM, as_sequence

GPU, TPU = "h100", "v5e:2x2"
B, M, T = 15, 100, 52


class Most(NamedTuple):
    """Of one time step, of which several may be one of the compiled loop's; launches are None on a TPU."""

    kernels: float
    launches: float | None = None


CELLS = {
    "lstm": LSTM(M),
    "gru": GRU(M),
    "tlstm-2d": TensorizedLSTM(M, (7,), normalization="channel"),
    "tlstm-3d": TensorizedLSTM(M, (4, 4), normalization="channel"),
}
# By the version of JAX: (cell, target) -> forward, backward.
MOST = {
    "0.10": {
        ("lstm", GPU): (Most(11, 1), Most(7, 1)),
        ("gru", GPU): (Most(9, 1), Most(7, 1)),
        ("tlstm-2d", GPU): (Most(23, 3), Most(19, 3)),
        ("tlstm-3d", GPU): (Most(23, 3), Most(19, 3)),
        ("lstm", TPU): (Most(6), Most(5)),
        ("gru", TPU): (Most(7), Most(8)),
        ("tlstm-2d", TPU): (Most(25), Most(33)),
        ("tlstm-3d", TPU): (Most(28), Most(32)),
    },
    "0.11": {
        ("lstm", GPU): (Most(11, 1), Most(7, 1)),
        ("gru", GPU): (Most(9, 1), Most(7, 1)),
        ("tlstm-2d", GPU): (Most(23, 23), Most(19, 3)),
        ("tlstm-3d", GPU): (Most(23, 23), Most(19, 3)),
        ("lstm", TPU): (Most(7), Most(7)),
        ("gru", TPU): (Most(8), Most(10)),
        ("tlstm-2d", TPU): (Most(22), Most(35)),
        ("tlstm-3d", TPU): (Most(29), Most(32)),
    },
    "0.12": {
        ("lstm", GPU): (Most(12, 1), Most(7, 1)),
        ("gru", GPU): (Most(9, 1), Most(7, 1)),
        ("tlstm-2d", GPU): (Most(23, 23), Most(19, 6)),
        ("tlstm-3d", GPU): (Most(23, 23), Most(19, 3)),
        ("lstm", TPU): (Most(6), Most(5)),
        ("gru", TPU): (Most(7), Most(8)),
        ("tlstm-2d", TPU): (Most(24), Most(33)),
        ("tlstm-3d", TPU): (Most(28), Most(33)),
    },
}


def most(cell, target):
    """The table's (forward, backward) for this version of JAX, or for the latest that it has."""
    version = ".".join(jax.__version__.split(".")[:2])
    return MOST.get(version, MOST[max(MOST)])[cell, target]


def main_figures(cell, target):
    """(forward, backward): what a step of the two main loops over time takes."""
    device = targets.devices(target)[0]
    lowered = training_step(as_sequence(CELLS[cell]), M, device, steps=T, batch=B)
    main = main_loops(targets.compile_for(target, lowered)[1])
    return tuple(_of_a_step(main[way]) for way in ("forward", "backward"))


def _of_a_step(loop):
    steps = T / loop.times  # of one iteration
    launches = None if loop.launches is None else loop.launches / steps
    return Most(loop.kernels / steps, launches)


if __name__ == "__main__":
    for target in (GPU, TPU):
        for cell in CELLS:
            print(f'    ("{cell}", "{target}"): {main_figures(cell, target)},', flush=True)
