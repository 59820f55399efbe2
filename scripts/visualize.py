"""Draws what a trained network does: its states at every step, its memory-cell kernels, its wave.

python -m scripts.visualize --workdir=runs/quickstart
python -m scripts.visualize --workdir=runs/pdigits-tlstm --split=test --example=3 --output=pictures
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from scripts import cli
from scripts.changed import define_path_flags, with_moved_data
from scripts.plotting import save_figure
from scripts.run_directory import RunDirectory
from tlstm_jax import checkpointing, convolution, inspection, pictures
from tlstm_jax.cells.tensorized import TensorizedLSTM
from tlstm_jax.typing import Array, Task

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ("valid", "test"), "Where the example is from.")
EXAMPLE = flags.DEFINE_integer("example", 0, "Which one of the split's first batch.", 0)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the pictures; the run's if unset.")
CHECKPOINT = cli.define_checkpoint_flag()
define_path_flags()


def main() -> int:
    with cli.one_line_errors():
        directory = RunDirectory(WORKDIR.value)
        chosen = with_moved_data(directory.read_config())
        task, network, _ = chosen.make()
        directory.check_data(task)
        cell = inspection.cell_of(network)
        params, _, progress = checkpointing.restore_params(
            directory.checkpoints, network, step=CHECKPOINT.value
        )
        output = pathlib.Path(OUTPUT.value or directory.path / "pictures")
        output.mkdir(parents=True, exist_ok=True)
        inputs, labels = _example(task, network.delay)
        title = f"{task.name}, {chosen.model}, step {progress.step}"
        for name, figure in _figures(cell, params["model"], inputs, labels, title).items():
            save_figure(output / f"{name}.png", figure)
            print(output / f"{name}.png")
    return 0


def _example(task: Task, delay: int) -> tuple[Array, list[str] | None]:
    """One example of the task, [T, 1, ..], and its tokens as text."""
    batch = task.eval_batch(task.data, jax.random.key(0), SPLIT.value, jnp.int32(0), delay)
    size = batch.inputs.shape[1]
    if EXAMPLE.value >= size:
        raise ValueError(f"example is {EXAMPLE.value}; accepted are 0 to {size - 1}")
    inputs = batch.inputs[:, EXAMPLE.value : EXAMPLE.value + 1]
    if not task.tokens:
        return inputs, None
    alphabet = getattr(task, "alphabet", None) or [
        chr(byte) if 32 < byte < 127 else " " for byte in (*task.vocabulary, 0)
    ]
    return inputs, [alphabet[int(token)] for token in inputs[:, 0]]


def _figures(
    cell: inspection.Cell, params: dict, inputs: Array, labels: list[str] | None, title: str
) -> dict:
    """Name -> Figure."""
    trace = inspection.trace(cell, params, inputs)
    D = len(getattr(cell, "tensor_shape", ()))
    figures = {}
    for name in ("memory", "hidden"):
        if (states := getattr(trace.carry, name, None)) is None:
            continue
        states = inspection.diagonal(states, D) if D else states[:, :, None]
        if states.ndim == 4:
            figures[name] = pictures.plot_states(
                np.asarray(states[:, 0]), labels=labels, title=f"{name} of {title}"
            )
    if not figures:
        raise ValueError(
            f"the carry of {type(cell).__name__} has no memory or hidden state to be drawn; accepted are "
            "cells with one"
        )
    if isinstance(cell, TensorizedLSTM) and cell.memory_convolution:
        kernels = inspection.memory_kernels(cell, params, inputs, trace.carry)
        kernels = inspection.diagonal(kernels, D)[:, 0]  # [S, P, K^D]
        kernels = kernels.reshape(*kernels.shape[:2], cell.kernel_size, -1).sum(-1)
        figures["kernels"] = pictures.plot_kernels(
            np.asarray(kernels), labels=labels, title=f"memory-cell kernels of {title}"
        )
    if 1 <= D <= 2:
        waves = convolution.wave_index(cell.tensor_shape, cell.kernel_size)
        figures["wave"] = pictures.plot_wave(waves, steps=min(cell.depth + 2, 10))
    return figures


if __name__ == "__main__":
    cli.run(main)
