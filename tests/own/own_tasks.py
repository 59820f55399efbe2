"""A task as a user of the library has it, in a module of their own."""

import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.scoring import score
from tlstm_jax.typing import Batch


@dataclasses.dataclass(frozen=True)
class Parity:
    length: int
    batch_size: int

    name, input_size, output_size = "parity", 2, 2
    tokens, stream, last_only = True, False, True
    unit, metric, maximize, target, data = "samples", "accuracy", True, 0.99, ()

    @property
    def units_per_step(self):
        return self.batch_size

    def train_batch(self, data, key, step, delay):
        shape = (self.length, self.batch_size)
        bits = jax.random.bernoulli(jax.random.fold_in(key, step), 0.5, shape).astype(jnp.int32)
        odd = bits.sum(0, keepdims=True) % 2
        return Batch(bits, odd, jnp.ones_like(odd, bool))

    def num_eval_batches(self, split, delay):
        return 1

    def eval_batch(self, data, key, split, index, delay):
        return self.train_batch(data, jax.random.fold_in(key, split == "test"), index, delay)

    def metrics(self, logits, batch):
        sums = score(logits, batch)
        return {name: sums[name] for name in ("loss", "accuracy")}


def parity(bits: int = 3, batch_size: int = 8) -> Parity:
    """Whether the number of ones among `bits` bits is odd."""
    return Parity(bits, batch_size)
