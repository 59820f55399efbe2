"""Memorization: repeat a sequence of symbols after all of it was read.

Kalchbrenner, Danihelka and Graves, "Grid Long Short-Term Memory", ICLR 2016, in the form of He et
al., NIPS 2017. For n = 5 symbols, 2n + 2 steps, `-` being the blank:

    input   - a b c c b - - - - - -
    target  - - - - - - a b c c b -
"""

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.synthetic import Synthetic, of_symbols, write
from tlstm_jax.typing import Array, Batch


def memorization(
    num_symbols: int = 20,
    alphabet_size: int = 64,
    batch_size: int = 15,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
    curriculum_start: int = 1,
    curriculum_steps: int = 0,
) -> Synthetic:
    """Repetition of `num_symbols` symbols out of `alphabet_size`, one step after the last one.

    Args:
      curriculum_start, curriculum_steps: see `Synthetic`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.memorization import memorization
      >>> task = memorization(num_symbols=5, alphabet_size=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((12, 15), '-bacac------', '------bacac-')
    """
    sizes = (batch_size, eval_samples, eval_batch_size)
    curriculum = (_sample_of_sizes, curriculum_start, curriculum_steps)
    return of_symbols("memorization", _sample, num_symbols, alphabet_size, *sizes, *curriculum)


def _sample(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, batch_size), 0, blank, jnp.int32)
    gap = jnp.full((n + 1, batch_size), blank, jnp.int32)
    inputs = jnp.concatenate([gap[:1], symbols, gap])
    targets = jnp.concatenate([gap, symbols, gap[:1]])
    step = jnp.broadcast_to(jnp.arange(2 * n + 2)[:, None], targets.shape)
    return Batch(inputs, targets, mask=(step > n) & (step <= 2 * n))


def _sample_of_sizes(key: Array, sizes: Array, n: int, blank: int) -> Batch:
    """As `_sample`, of sizes [B] up to n."""
    B = sizes.shape[0]
    symbols = jax.random.randint(key, (n, B), 0, blank, jnp.int32)
    gap = jnp.full((2 * n + 2, B), blank, jnp.int32)
    step = jnp.broadcast_to(jnp.arange(2 * n + 2, dtype=jnp.int32)[:, None], gap.shape)
    before = jnp.broadcast_to(sizes, gap.shape)
    return Batch(
        inputs=write(gap, symbols, 1, sizes),
        targets=write(gap, symbols, sizes + 1, sizes),
        mask=(step > before) & (step <= 2 * before),
        lengths=2 * sizes + 2,
    )
