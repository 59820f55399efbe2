"""Draws what a trained network does: its states at every input, its memory-cell kernels, its wave;
rollouts and samples, where its task has them.

python -m scripts.visualize --workdir=runs/quickstart
python -m scripts.visualize --workdir=runs/quickstart --prompt=-abcca------
python -m scripts.visualize --workdir=runs/pdigits-tlstm --split=test --example=3 --output=pictures
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tlstm_jax import inspection, pictures, runs
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.network import Network
from tlstm_jax.runs.files import save_figure
from tlstm_jax.scripts import cli
from tlstm_jax.scripts.generated import Generated, generated
from tlstm_jax.scripts.run_flags import define_reading_flags, reading_flags
from tlstm_jax.typing import Array, Batch, Task

WORKDIR = cli.define_path_flag("workdir", None, "Folder of the run.", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ("valid", "test"), "Where the example is from.")
EXAMPLE = flags.DEFINE_integer("example", 0, "Which one of the split's first batch.", 0)
PROMPT = flags.DEFINE_string("prompt", None, "Read this in place of an example (token tasks).")
OUTPUT = cli.define_path_flag("output", None, "Folder of the pictures; the run's if unset.")
CHECKPOINT = cli.define_checkpoint_flag()
define_reading_flags()
_PLACES = 8  # of a map, whose states are drawn


class Example(NamedTuple):
    """What is read, and what is drawn beside it."""

    inputs: Array  # [T, 1, ..]
    targets: (
        np.ndarray | None
    )  # classes [T], or [1] if `last_only`; -1: not scored; None: no classes
    numbers: np.ndarray | None = None  # wanted of the last output [V], of a regression `last_only`


def main() -> int:
    with cli.one_line_errors():
        run = runs.open(WORKDIR.value, reading_flags())
        task, network = run.task, run.network
        params, state, progress = run.restore(CHECKPOINT.value)
        output = pathlib.Path(OUTPUT.value or run.directory.path / "pictures")
        title = f"{task.name}, {run.settings.model}, step {progress.step}"
        made: dict[str, Generated] = {}
        if PROMPT.value is None:
            batch = _batch(task, EXAMPLE.value)
            example = _of_split(batch, task.last_only)
            made = generated(task, network, params, state, batch, example=EXAMPLE.value, what=title)
        else:
            example = _of_prompt(task)
        for name, (figure, text) in made.items():
            _save(output, name, figure)
            print(text)
        try:
            cell = inspection.cell_of(network)
        except ValueError as error:
            if not made:
                raise
            print(f"no states are drawn: {error}")
            return 0
        outputs = _outputs(network, params, state, example.inputs)
        beside, title = _beside(task, example, outputs, title)
        inputs = _as_read(task, network, example.inputs)
        for name, figure in _figures(cell, params["model"], inputs, beside, title).items():
            _save(output, name, figure)
    return 0


def _save(output: pathlib.Path, name: str, figure: Any) -> None:
    output.mkdir(parents=True, exist_ok=True)
    save_figure(output / f"{name}.png", figure)
    print(output / f"{name}.png")


def _batch(task: Task, at: int = 0) -> Batch:
    """The first of the split, as for a model without delay: an example is read at once.

    Raises:
      ValueError: it has no example `at`.
    """
    batch = task.eval_batch(task.data, jax.random.key(0), SPLIT.value, jnp.int32(0), 0)
    size = batch.inputs.shape[1]
    if at >= size:
        raise ValueError(f"example is {at}; accepted are 0 to {size - 1}")
    return batch


def _of_split(batch: Batch, last_only: bool) -> Example:
    at = EXAMPLE.value
    inputs = batch.inputs[:, at : at + 1]
    if batch.lengths is not None:
        inputs = inputs[: int(batch.lengths[at])]
    if not (jnp.issubdtype(batch.targets.dtype, jnp.integer) and batch.targets.ndim == 2):
        last = last_only and _has_numbers(batch) and batch.targets.ndim == 3
        return Example(inputs, None, batch.targets[0, at] if last else None)
    targets = np.where(batch.mask[:, at], batch.targets[:, at], -1)
    return Example(inputs, targets[: len(inputs)])


def _of_prompt(task: Task) -> Example:
    tokens = task.encode(PROMPT.value)
    targets = np.append(tokens[1:], -1) if task.autoregressive else None
    return Example(jnp.asarray(tokens)[:, None], targets)


def _has_numbers(batch: Batch) -> bool:
    """Whether the outputs are to be numbers, not classes."""
    return jnp.issubdtype(batch.targets.dtype, jnp.floating)


def _outputs(network: Network, params: dict, state: Any, inputs: Array) -> np.ndarray:
    """The network's outputs after each input, [T, V]."""
    carry = network.init_carry(1, params=params)
    _, logits, _, _ = network.apply(params, state, carry, inputs)
    return np.asarray(logits)[:, 0]


def _as_read(task: Task, network: Network, inputs: Array) -> Array:
    """Maps as vectors, where the model reads these."""
    if task.tokens or spatial_shape(network.model):
        return inputs
    return inputs.reshape(*inputs.shape[:2], -1)


def _beside(
    task: Task, example: Example, outputs: np.ndarray, title: str
) -> tuple[dict[str, Any], str]:
    """What to draw beside the states, and the title, with the answer if the task has one."""
    classes, read = task.class_names, np.asarray(example.inputs[:, 0])
    answers = np.argmax(outputs, axis=-1)
    if example.numbers is not None:
        title += f": read as {_texts_of(outputs[-1])}, is {_texts_of(example.numbers)}"
    if task.last_only and example.targets is not None:
        title += f": read as {classes[answers[-1]]}, is {classes[example.targets[0]]}"
    if not task.tokens:
        picture = task.picture(read)
        pixels = read.reshape(len(read), -1)  # [T, 1], or [T, W] of rows
        return {} if picture is None else {"pixels": pictures.Pixels(pixels, picture)}, title
    labels = {"input": _texts(read, task.token_names)}
    if not task.last_only:
        if example.targets is not None:
            labels["target"] = _texts(example.targets, classes)
            answers = np.where(example.targets < 0, -1, answers)  # nothing is asked elsewhere
        if not _has_numbers(_batch(task)):
            labels["answer"] = _texts(answers, classes)
    return {"labels": labels}, title


def _texts_of(numbers: Array) -> str:
    """Up to a few numbers."""
    shown = [f"{float(x):.3g}" for x in numbers[:4]] + [".."] * (len(numbers) > 4)
    return ", ".join(shown)


def _texts(numbers: np.ndarray, names: Sequence[str]) -> list[str]:
    return ["" if number < 0 else names[number] for number in numbers]


def _figures(
    cell: inspection.Cell, params: dict, inputs: Array, beside: Mapping[str, Any], title: str
) -> dict:
    """Name -> Figure."""
    trace = inspection.trace(cell, params, inputs)
    D, delays = len(getattr(cell, "tensor_shape", ())), [cell.delay]
    locations = None
    if spatial := spatial_shape(cell):  # some places along the diagonal of a map
        D, locations = len(spatial), list(range(0, min(spatial), -(-min(spatial) // _PLACES)))
        delays = [0] * len(locations)
    elif D:
        waves = convolution.wave_index(cell.tensor_shape, cell.kernel_size)
        delays = inspection.diagonal(np.asarray(waves)[..., None], D)[:, 0].tolist()
    figures = {}
    for name in ("memory", "hidden"):
        if (states := getattr(trace.carry, name, None)) is None:
            continue
        states = inspection.diagonal(states, D) if D else states[:, :, None]
        states = states if locations is None else states[:, :, jnp.asarray(locations)]
        if states.ndim == 4:
            figures[name] = pictures.plot_states(
                np.asarray(states[: len(inputs) + max(delays), 0]),
                delays=delays,
                locations=locations,
                title=f"{name} of {title}",
                **beside,
            )
    if not figures:
        raise ValueError(
            f"the carry of {type(cell).__name__} has no memory or hidden state; accepted are "
            "cells with one"
        )
    if isinstance(cell, TensorizedLSTM) and cell.memory_convolution:
        kernels = inspection.memory_kernels(cell, params, inputs, trace.carry)
        kernels = inspection.diagonal(kernels, D)[:, 0]  # [S, P, K^D]
        kernels = kernels.reshape(*kernels.shape[:2], cell.kernel_size, -1).sum(-1)
        figures["kernels"] = pictures.plot_kernels(
            np.asarray(kernels[: len(inputs) + max(delays)]),
            delays=delays,
            title=f"memory-cell kernels of {title}",
            **beside,
        )
    if 1 <= D <= 2 and not spatial:
        figures["wave"] = pictures.plot_wave(waves, steps=min(cell.depth + 2, 10))
    return figures


if __name__ == "__main__":
    cli.run(main)
