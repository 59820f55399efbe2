"""What the tasks share whose batches are drawn on the device, inside the compiled step."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.scoring import score
from tlstm_jax.typing import Array, Batch, Sums


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """A Task on endless fresh samples: no sample is seen twice, in training or in evaluation.

    Attributes:
      sample: (key, batch_size, size, blank) -> Batch, pure and traceable; a function of a module, so
        that equal tasks compare equal and compile once.
      size: digits of a summand, or symbols.
      alphabet: what the tokens stand for, the blank last.
      eval_samples: fresh samples of an evaluation.
    """

    name: str
    sample: Callable[[Array, int, int, int], Batch]
    size: int
    alphabet: tuple[str, ...]
    batch_size: int
    eval_samples: int
    eval_batch_size: int

    tokens = True
    stream = False
    last_only = False
    unit = "samples"
    metric = "accuracy"
    maximize = True
    target = 0.99
    data = ()

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_samples", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; accepted are integers >= 1")

    @property
    def input_size(self) -> int:
        return len(self.alphabet)

    @property
    def output_size(self) -> int:
        return len(self.alphabet)

    @property
    def units_per_step(self) -> int:
        return self.batch_size

    def train_batch(self, data: tuple, key: Array, step: Array, delay: int) -> Batch:
        """A fresh batch for every step."""
        del data, delay
        return self._draw(jax.random.fold_in(key, step), self.batch_size)

    def num_eval_batches(self, split: str, delay: int) -> int:
        del split, delay
        return -(-self.eval_samples // self.eval_batch_size)

    def eval_batch(self, data: tuple, key: Array, split: str, index: Array, delay: int) -> Batch:
        """Fresh samples, others for "valid" than for "test"; the last batch may be masked in part."""
        del data, delay
        key = jax.random.fold_in(jax.random.fold_in(key, 0 if split == "valid" else 1), index)
        batch = self._draw(key, self.eval_batch_size)
        left = self.eval_samples - index * self.eval_batch_size
        wanted = jnp.arange(self.eval_batch_size, dtype=jnp.int32) < left  # [B]
        return batch._replace(mask=batch.mask & wanted[None])

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """Loss, "accuracy" per symbol and "sequence_accuracy" per whole sequence."""
        return score(logits, batch)

    def _draw(self, key: Array, batch_size: int) -> Batch:
        return self.sample(key, batch_size, self.size, len(self.alphabet) - 1)

    def text(self, tokens: Array) -> str:
        """One sequence of tokens [T] as text."""
        return "".join(self.alphabet[int(i)] for i in tokens)
