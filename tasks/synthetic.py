"""The base of tasks that answer a question, in symbols drawn inside the compiled step."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.words import letters
from tlstm_jax.typing import Array, Batch, PyTree

_SAMPLES = 64  # that show which places are scored always or sometimes; more than enough


@dataclasses.dataclass(frozen=True)
class Synthetic(BaseTask):
    """A Task on endless fresh samples: no sample is seen twice, in training or in evaluation.

    Attributes:
      sample: (key, batch_size, size, blank) -> Batch, pure and traceable; a function of a module,
        or an object with `==`, so that equal tasks compare equal and compile once.
      size: digits of a summand, or symbols.
      alphabet: how the tokens are written, the blank last.
      eval_samples: fresh samples of an evaluation.
      sample_of_sizes: (key, sizes [B], size, blank) -> Batch with lengths, of the shapes of `sample`:
        samples of their own sizes, up to `size`. None: the task has no curriculum.
      curriculum_start, curriculum_steps: training samples have sizes drawn from 1 to a longest one,
        which grows with the training step from `curriculum_start` to `size`, in `curriculum_steps`
        steps, and stays there; 0 steps: all have `size`, as those of evaluations always do.
      marks: how many of the alphabet's last tokens are no symbols; the blank is one.
    """

    name: str
    sample: Callable[[Array, int, int, int], Batch]
    size: int
    alphabet: tuple[str, ...]
    batch_size: int
    eval_samples: int
    eval_batch_size: int
    sample_of_sizes: Callable[[Array, Array, int, int], Batch] | None = None
    curriculum_start: int = 1
    curriculum_steps: int = 0
    marks: int = 1

    tokens = True
    metric = "accuracy"
    target = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_curriculum()

    @property
    def input_size(self) -> int:
        return len(self.alphabet)

    @property
    def output_size(self) -> int:
        return len(self.alphabet)

    @property
    def token_names(self) -> tuple[str, ...]:
        return self.alphabet

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples."""
        return self.sample(key, batch_size, self.size, len(self.alphabet) - 1)

    def train_batch(self, data: PyTree, key: Array, step: Array, delay: int) -> Batch:
        """Fresh samples for every step, of the sizes of the curriculum."""
        if not self.curriculum_steps:
            return super().train_batch(data, key, step, delay)
        of_samples, of_sizes = jax.random.split(jax.random.fold_in(key, step))
        longest = self._longest(jnp.asarray(step))
        sizes = jax.random.randint(of_sizes, (self.batch_size,), 1, longest + 1, jnp.int32)
        return self.sample_of_sizes(of_samples, sizes, self.size, len(self.alphabet) - 1)

    def _longest(self, step: Array) -> Array:
        """The largest size of training step `step`, int32."""
        done = jnp.minimum(step.astype(jnp.float32) / self.curriculum_steps, 1.0)
        grown = jnp.floor((self.size - self.curriculum_start) * done)
        return self.curriculum_start + grown.astype(jnp.int32)

    def _check_curriculum(self) -> None:
        if self.curriculum_steps < 0:
            raise ValueError(
                f"curriculum_steps is {self.curriculum_steps}; accepted are integers >= 0"
            )
        if not 1 <= self.curriculum_start <= self.size:
            raise ValueError(
                f"curriculum_start is {self.curriculum_start}; accepted for {self.name} of size "
                f"{self.size} are 1 to {self.size}"
            )
        if self.curriculum_start > 1 and not self.curriculum_steps:
            raise ValueError(
                f"curriculum_start is {self.curriculum_start}; accepted without curriculum_steps is 1"
            )
        if self.curriculum_steps and self.sample_of_sizes is None:
            raise ValueError(
                f"curriculum_steps is {self.curriculum_steps}; accepted for {self.name}, whose samples "
                "are of one size, is 0"
            )

    def of_length(self, length: int) -> Self | None:
        """The task whose sequences have this many steps; None: there is none."""
        for size in itertools.count(1):
            other = dataclasses.replace(self, size=size, curriculum_start=1, curriculum_steps=0)
            steps = jax.eval_shape(other._some).inputs.shape[0]
            if steps >= length:
                return other if steps == length else None
        return None

    def encode(self, prompt: str) -> np.ndarray:
        """The tokens of a question, int32 [T], in this task's form, of any size.

        Raises:
          ValueError: letters that the task does not have, or another form than its own.
        """
        tokens = super().encode(prompt)
        form, symbol = self.of_length(len(tokens)), len(self.alphabet) - self.marks - 1  # any
        if form is None or not np.array_equal(
            *(np.maximum(read, symbol) for read in (tokens, form._drawn.inputs[:, 0]))
        ):
            raise ValueError(
                f"prompt {prompt!r} has not the form of {self.name}; accepted is the like of "
                f"{self.text(self._drawn.inputs[:, 0])}"
            )
        return tokens

    def answer(self, inputs: np.ndarray, outputs: np.ndarray) -> str:
        """The answer [T] of a network, with spaces where nothing is asked of it.

        Places that are scored only in some questions, like the last digit of a sum, count until a
        blank is answered.
        """
        form, blank = self.of_length(len(inputs)) or self, len(self.alphabet) - 1
        mask = form._drawn.mask  # [T, B]
        always, ever = mask.all(axis=1), mask.any(axis=1)
        shown = []
        for t, token in enumerate(outputs):
            asked = always[t] or (ever[t] and outputs[t - 1] != blank)
            shown.append(self.alphabet[token] if asked else " " * len(self.alphabet[blank]))
        return "".join(shown).rstrip(" ")

    def _some(self) -> Batch:
        return self.draw(jax.random.key(0), _SAMPLES)

    @functools.cached_property
    def _drawn(self) -> Batch:
        return jax.tree.map(np.asarray, self._some())


_Kind = TypeVar("_Kind", bound=Synthetic)


def of_symbols(
    name: str,
    sample: Callable[[Array, int, int, int], Batch],
    num_symbols: int,
    alphabet_size: int,
    *sizes_and_curriculum: Any,
    kind: type[_Kind] = Synthetic,
) -> _Kind:
    """The task on `num_symbols` symbols out of `alphabet_size`, and a blank; see `Synthetic`."""
    check_sizes(num_symbols=num_symbols, alphabet_size=alphabet_size)
    alphabet = (*letters(alphabet_size), "-")
    return kind(name, sample, num_symbols, alphabet, *sizes_and_curriculum)


def check_sizes(**sizes: int) -> None:
    """Raises ValueError for one that is less than 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; accepted are integers >= 1")


def write(onto: Array, symbols: Array, start: Array | int, sizes: Array) -> Array:
    """`onto` with the first symbols of each example in place of what it has from a step on.

    Args:
      onto: [T, B].
      symbols: [n, B].
      start: the step [B] where each example's first symbol is written.
      sizes: [B], how many of the symbols are written.
    """
    (T, B), n = onto.shape, symbols.shape[0]
    steps = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32)[:, None], (T, B))
    index = steps - jnp.broadcast_to(jnp.asarray(start, jnp.int32), (T, B))
    read = jnp.take_along_axis(symbols, jnp.clip(index, 0, n - 1), axis=0)
    within = (index >= 0) & (index < jnp.broadcast_to(sizes, (T, B)))
    return jnp.where(within, read, onto)
