"""What a step of the loops over time may take at most, in the main cells' training steps.

`python -m tests.accelerators.figures` prints what the compilers that are installed make of the
programs now: after a change that makes them smaller, the smaller figures go here.
"""

import time
from typing import NamedTuple

import jax

from tests.accelerators.programs import training_step
from tlstm_jax import GRU, LSTM, TensorizedLSTM, as_sequence
from tlstm_jax.devices import targets
from tlstm_jax.devices.loops import main_loops

GPU, TPU = "h100", "v5e:2x2"
B, M, T = 15, 100, 52


class Most(NamedTuple):
    """Of one time step; the compiled loop may do several at once; launches are None on a TPU."""

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
        ("lstm", GPU): (Most(2.75, 0.25), Most(3.25, 0.25)),
        ("gru", GPU): (Most(2.5, 0.25), Most(3.25, 0.25)),
        ("tlstm-2d", GPU): (Most(5.25, 0.25), Most(8.25, 0.25)),
        ("tlstm-3d", GPU): (Most(7.25, 0.25), Most(10.25, 0.25)),
        ("lstm", TPU): (Most(6), Most(5)),
        ("gru", TPU): (Most(7), Most(8)),
        ("tlstm-2d", TPU): (Most(29), Most(29)),
        ("tlstm-3d", TPU): (Most(29), Most(28)),
    },
    "0.11": {
        ("lstm", GPU): (Most(2.75, 0.25), Most(3.25, 0.25)),
        ("gru", GPU): (Most(2.5, 0.25), Most(3.25, 0.25)),
        ("tlstm-2d", GPU): (Most(5.25, 0.25), Most(7.0, 0.25)),
        ("tlstm-3d", GPU): (Most(7.25, 0.25), Most(10.25, 0.25)),
        ("lstm", TPU): (Most(7), Most(7)),
        ("gru", TPU): (Most(8), Most(10)),
        ("tlstm-2d", TPU): (Most(26), Most(34)),
        ("tlstm-3d", TPU): (Most(30), Most(28)),
    },
    "0.12": {
        ("lstm", GPU): (Most(2.75, 0.25), Most(3.25, 0.25)),
        ("gru", GPU): (Most(2.5, 0.25), Most(3.25, 0.25)),
        ("tlstm-2d", GPU): (Most(7.5, 0.25), Most(11.0, 0.25)),
        ("tlstm-3d", GPU): (Most(11.25, 0.25), Most(15.5, 0.25)),
        ("lstm", TPU): (Most(6), Most(5)),
        ("gru", TPU): (Most(7), Most(8)),
        ("tlstm-2d", TPU): (Most(28), Most(29)),
        ("tlstm-3d", TPU): (Most(29), Most(28)),
    },
}


def most(cell, target):
    """The table's (forward, backward) for this version of JAX, or for the latest that it has."""
    version = ".".join(jax.__version__.split(".")[:2])
    return MOST.get(version, MOST[max(MOST)])[cell, target]


def main_figures(cell, target):
    """(forward, backward): what a step of the two main loops over time takes."""
    return _of_loops(_compiled(cell, target)[1])


def _compiled(cell, target):
    device = targets.devices(target)[0]
    lowered = training_step(
        as_sequence(CELLS[cell], engine="deferred"), M, device, steps=T, batch=B
    )
    return targets.compile_for(target, lowered)


def _of_loops(loops):
    main = main_loops(loops)
    return tuple(_of_a_step(main[way]) for way in ("forward", "backward"))


def _of_a_step(loop):
    steps = T / loop.times  # of one iteration
    launches = None if loop.launches is None else loop.launches / steps
    return Most(loop.kernels / steps, launches)


if __name__ == "__main__":
    for target in (GPU, TPU):
        for cell in CELLS:
            begin = time.perf_counter()
            program, loops = _compiled(cell, target)
            seconds = time.perf_counter() - begin
            megabytes = program.memory_analysis().temp_size_in_bytes / 1e6
            print(f'    ("{cell}", "{target}"): {_of_loops(loops)},', end="")
            print(f"  # {megabytes:.1f} MB temporaries, {seconds:.1f} s to compile", flush=True)
