"""Induction: a sequence is repeated, and each next symbol of the repetition is to be told.

Olsson et al., "In-context Learning and Induction Heads", 2022; Jelassi, Brandfonbrener, Kakade and
Malach, "Repeat After Me: Transformers are Better than State Space Models at Copying", ICML 2024.
Unlike in memorization the repetition is read as well, so that a model may find its place by what it
has just read. For n = 5 symbols, 2n steps, `-` standing between:

    input   a b c c b - a b c c
    target            a b c c b
"""

import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.synthetic import Synthetic, of_symbols, write
from tlstm_jax.typing import Array, Batch


@dataclasses.dataclass(frozen=True)
class InductionCopy(Synthetic):
    """A sequence and its repetition; made by `induction_copy`."""

    length_setting = "size"


def induction_copy(
    num_symbols: int = 16,
    alphabet_size: int = 32,
    batch_size: int = 64,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
    curriculum_start: int = 1,
    curriculum_steps: int = 0,
) -> InductionCopy:
    """Repetition of `num_symbols` symbols out of `alphabet_size`, each step given the last symbol.

    Args:
      curriculum_start, curriculum_steps: see `Synthetic`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.induction_copy import induction_copy
      >>> task = induction_copy(num_symbols=5, alphabet_size=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[5:, 0])
      ((10, 64), 'bacaa-baca', 'bacaa')
    """
    sizes = (batch_size, eval_samples, eval_batch_size)
    curriculum = (_sample_of_sizes, curriculum_start, curriculum_steps)
    return of_symbols(
        "induction_copy",
        _sample,
        num_symbols,
        alphabet_size,
        *sizes,
        *curriculum,
        kind=InductionCopy,
    )


def _sample(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, batch_size), 0, blank, jnp.int32)
    gap = jnp.full((n, batch_size), blank, jnp.int32)
    inputs = jnp.concatenate([symbols, gap[:1], symbols[:-1]])
    targets = jnp.concatenate([gap, symbols])
    step = jnp.broadcast_to(jnp.arange(2 * n)[:, None], targets.shape)
    return Batch(inputs, targets, mask=step >= n)


def _sample_of_sizes(key: Array, sizes: Array, n: int, blank: int) -> Batch:
    """As `_sample`, of sizes [B] up to n."""
    symbols = jax.random.randint(key, (n, sizes.shape[0]), 0, blank, jnp.int32)
    gap = jnp.full((2 * n, sizes.shape[0]), blank, jnp.int32)
    step = jnp.broadcast_to(jnp.arange(2 * n, dtype=jnp.int32)[:, None], gap.shape)
    before = jnp.broadcast_to(sizes, gap.shape)
    inputs = write(write(gap, symbols, 0, sizes), symbols, sizes + 1, sizes - 1)
    targets = write(gap, symbols, sizes, sizes)
    return Batch(inputs, targets, (step >= before) & (step < 2 * before), lengths=2 * sizes)
