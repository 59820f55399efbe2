"""The base of tasks that answer a question, in symbols drawn inside the compiled step."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Self

import jax
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.typing import Array, Batch

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
      marks: how many of the alphabet's last tokens are no symbols; the blank is one.
    """

    name: str
    sample: Callable[[Array, int, int, int], Batch]
    size: int
    alphabet: tuple[str, ...]
    batch_size: int
    eval_samples: int
    eval_batch_size: int
    marks: int = 1

    tokens = True
    metric = "accuracy"
    target = 0.99

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

    def of_length(self, length: int) -> Self | None:
        """The task whose sequences have this many steps; None: there is none."""
        for size in itertools.count(1):
            other = dataclasses.replace(self, size=size)
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


def letters(number: int) -> tuple[str, ...]:
    """How so many symbols are written: a, b, c .. if these do, else <0>, <1>, .."""
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
    return tuple(names[:number]) if number <= len(names) else tuple(f"<{n}>" for n in range(number))


def check_sizes(**sizes: int) -> None:
    """Raises ValueError for one that is less than 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; accepted are integers >= 1")
