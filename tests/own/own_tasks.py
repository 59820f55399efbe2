"""A task as a user of the library has it, in a module of their own."""

import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax.tasks import BaseTask
from tlstm_jax.typing import Batch


@dataclasses.dataclass(frozen=True)
class Parity(BaseTask):
    length: int
    batch_size: int

    name, input_size, output_size = "parity", 2, 2
    tokens, last_only = True, True
    metric, target = "accuracy", 0.99

    def draw(self, key, batch_size):
        bits = jax.random.bernoulli(key, 0.5, (self.length, batch_size)).astype(jnp.int32)
        odd = bits.sum(0, keepdims=True) % 2
        return Batch(bits, odd, jnp.ones_like(odd, bool))


def parity(bits: int = 3, batch_size: int = 8) -> Parity:
    """Whether the number of ones among `bits` bits is odd."""
    return Parity(bits, batch_size)
