"""The table of tasks that every test of tasks inherits, and what those tests share.

A new task is a new row in CASES, under its name in the catalogue.
"""

import functools
import pathlib
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import own_tasks

from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.tasks.data.cifar import FILES

KEY = jax.random.key(3)
SPLITS = ("valid", "test")
FEW = 12  # training steps that are looked at


class TaskCase(NamedTuple):
    """A task of small sizes, and what is known of it.

    Attributes:
      make: (folder of data files, eval_batch_size) -> task.
      eval_batch_size: one that leaves a rest.
      examples: of "valid" and "test", each scored once: sequences, or of a stream outputs.
      epoch: training steps in which no example comes twice; None: all are fresh.
    """

    name: str
    make: Callable[[pathlib.Path, int], Any]
    eval_batch_size: int
    examples: tuple[int, int]
    epoch: int | None


def _drawn(name: str, **settings: Any) -> TaskCase:
    def make(folder: pathlib.Path, size: int) -> Any:
        return TASKS[name](batch_size=3, eval_samples=10, eval_batch_size=size, **settings)

    return TaskCase(name, make, 4, (10, 10), None)


def _images(name: str, examples: tuple[int, int], epoch: int, **settings: Any) -> TaskCase:
    def make(folder: pathlib.Path, size: int) -> Any:
        given = {} if "digits" in name else {"data_dir": folder}
        return TASKS[name](eval_batch_size=size, **settings, **given)

    return TaskCase(name, make, 5, examples, epoch)


def _char_lm(folder: pathlib.Path, size: int) -> Any:
    return TASKS["char_lm"](folder / "text", batch_size=3, segment_length=7, eval_batch_size=size)


def _moving_digits(folder: pathlib.Path, size: int) -> Any:
    return TASKS["moving_digits"](
        canvas=11, num_frames=4, batch_size=3, eval_samples=10, eval_batch_size=size
    )


CASES = [
    _drawn("addition", num_digits=2),
    _drawn("memorization", num_symbols=3, alphabet_size=11),
    _drawn("copy", num_symbols=3, alphabet_size=11, delay=4),
    _drawn("duplication", num_symbols=6, alphabet_size=5),
    _drawn("reversal", num_symbols=6, alphabet_size=5),
    _drawn("associative_recall", num_pairs=3),
    _drawn("multi_query_recall", num_pairs=3, num_keys=24, num_values=5),
    _drawn("induction_copy", num_symbols=6, alphabet_size=5),
    _drawn("state_tracking", group="a4", sequence_length=9),
    _drawn("parity", sequence_length=40),
    _drawn("modular_counter", modulus=3, sequence_length=30),
    _drawn("dyck", num_kinds=3, max_depth=3, sequence_length=30),
    _drawn("balanced_brackets", sequence_length=30),
    _drawn("adding", sequence_length=9),
    *(
        _images(name, (4, 8), 36 // 8, batch_size=8)
        for name in ("mnist", "pmnist", "fashion_mnist", "pfashion_mnist")
    ),
    *(_images(name, (144, 360), 1293 // 100, batch_size=100) for name in ("digits", "pdigits")),
    *(
        _images(name, (4, 8), 36 // 8, batch_size=8)
        for name in ("rows_mnist", "prows_mnist", "rows_fashion_mnist", "prows_fashion_mnist")
    ),
    _images("cifar10", (4, 8), 36 // 8, batch_size=8, colour=True),
    _images("pcifar10", (4, 8), 36 // 8, batch_size=8),
    _images("pixels_mnist", (4, 8), 36 // 8, batch_size=8),
    *(
        _images(name, (144, 360), 1293 // 100, batch_size=100)
        for name in ("rows_digits", "prows_digits", "pixels_digits")
    ),
    TaskCase("moving_digits", _moving_digits, 4, (10, 10), None),
    TaskCase("char_lm", _char_lm, 4, (49, 49), 899 // 21),
    # Of a user's own.
    TaskCase(
        "MovingAverage", lambda _, n: own_tasks.MovingAverage(batch_size=n), 4, (1000,) * 2, None
    ),
    TaskCase(
        "Transcription", lambda _, n: own_tasks.Transcription(batch_size=n), 4, (1000,) * 2, None
    ),
    TaskCase(
        "FirstSymbol",
        lambda _, n: own_tasks.first_symbol(batch_size=9, eval_batch_size=n),
        4,
        (23, 18),
        7,
    ),
]
# Those of the short run.
SHORT = ["memorization", "addition", "adding", "moving_digits", "digits", "rows_digits", "char_lm"]


def function_of(task: Any) -> Any:
    """What makes a task of the catalogue: a class, or a function, which several may share."""
    return getattr(task, "func", task)


def write_data(folder: pathlib.Path) -> None:
    """The files that tasks read: 40 training and 8 test images of each kind, 1000 letters of text."""
    rng = np.random.default_rng(0)
    for files in FILES.values():
        for n, file in enumerate(files):
            records = rng.integers(0, 256, (8, 3073), np.uint8)
            records[:, 0] = (n + np.arange(8)) % 10
            (folder / file).write_bytes(records.tobytes())
    for stem, n in (("train", 40), ("t10k", 8)):
        arrays = rng.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n, dtype=np.uint8) % 10
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays, strict=True):
            header = struct.pack(">HBB" + "I" * array.ndim, 0, 8, array.ndim, *array.shape)
            (folder / f"{stem}-{kind}-ubyte").write_bytes(header + array.tobytes())
    letters = rng.choice(np.frombuffer(b"abcdefghijklmnopqrstuvwxyz .", np.uint8), 1000)
    (folder / "text").write_bytes(letters.tobytes())


@functools.partial(jax.jit, static_argnames=("task", "delay"))
def _train(task: Any, data: Any, key: Any, step: Any, delay: int) -> Any:
    return task.train_batch(data, key, step, delay)


@functools.partial(jax.jit, static_argnames=("task", "split", "delay"))
def _evaluation(task: Any, data: Any, key: Any, split: str, index: Any, delay: int) -> Any:
    return task.eval_batch(data, key, split, index, delay)


def train(task: Any, step: int, key: Any = KEY, delay: int = 0) -> Any:
    """A training batch as arrays of NumPy, compiled as the loop does: for the outline."""
    return _on_host(_train(task.outline, task.data, key, jnp.int32(step), delay))


def evaluation(task: Any, split: str, key: Any = KEY, delay: int = 0) -> list[Any]:
    """All batches of an evaluation."""
    return [
        _on_host(_evaluation(task.outline, task.data, key, split, jnp.int32(i), delay))
        for i in range(task.num_eval_batches(split, delay))
    ]


def _on_host(batch: Any) -> Any:
    return jax.tree.map(np.asarray, batch)


def part(batches: Any, n: int) -> Any:
    """Batch n of batches with an axis more."""
    return jax.tree.map(lambda x: x[n], batches)


def joined(batches: list[Any], axes: tuple[int, ...] = (1, 1, 1, 0, 0)) -> Any:
    """Batches side by side, or one after the other; `axes` are of a Batch's fields."""
    fields = zip(*batches, strict=True)
    parts = [
        None if field[0] is None else np.concatenate(field, axis)
        for field, axis in zip(fields, axes, strict=True)
    ]
    return type(batches[0])(*parts)


def logits_of(task: Any, batch: Any) -> np.ndarray:
    """Logits that depend on each example's inputs alone, as a network's do: [T or 1, B, .., V]."""
    inputs = batch.inputs if task.tokens else batch.inputs.sum(-1)  # [T, B, ..spatial..]
    if not task.per_location:
        inputs = inputs.reshape(*inputs.shape[:2], -1).sum(-1)
    logits = np.sin(np.multiply.outer(inputs + 2.0, 1.0 + np.arange(task.output_size)))
    if task.last_only:
        logits = logits.sum(0, keepdims=True)
    return logits.astype(np.float32)


def totals(task: Any, batches: list[Any]) -> dict[str, np.ndarray]:
    """(sum, count) of each metric over batches."""
    sums = [task.metrics(logits_of(task, batch), batch) for batch in batches]
    return {
        name: np.sum([np.asarray(s[name], np.float64) for s in sums], axis=0) for name in sums[0]
    }
