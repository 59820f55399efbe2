"""Duplication and reversal: a sequence to another one, after all of it was read.

Kaiser and Sutskever, "Neural GPUs Learn Algorithms", ICLR 2016: w to w w, and w to w backwards,
over bits; trained on short sequences and tested on longer ones. The answer comes behind the
question, as in memorization, where in the paper it is written over it. For n = 3 symbols, 3n + 2
and 2n + 2 steps, `-` being the blank:

    input   - a b b - - - - - - -        input   - a b b - - - -
    target  - - - - a b b a b b -        target  - - - - b b a -
"""

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.synthetic import Synthetic, check_sizes, letters
from tlstm_jax.typing import Array, Batch


def duplication(
    num_symbols: int = 20,
    alphabet_size: int = 2,
    batch_size: int = 15,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
) -> Synthetic:
    """`num_symbols` symbols out of `alphabet_size`, and then twice the same.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.transduction import duplication
      >>> task = duplication(num_symbols=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((11, 15), '-bba-------', '----bbabba-')
    """
    check_sizes(num_symbols=num_symbols, alphabet_size=alphabet_size)
    alphabet = (*letters(alphabet_size), "-")
    sizes = (batch_size, eval_samples, eval_batch_size)
    return Synthetic("duplication", _duplicated, num_symbols, alphabet, *sizes)


def reversal(
    num_symbols: int = 20,
    alphabet_size: int = 2,
    batch_size: int = 15,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
) -> Synthetic:
    """`num_symbols` symbols out of `alphabet_size`, and then the same backwards.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.transduction import reversal
      >>> task = reversal(num_symbols=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((8, 15), '-bba----', '----abb-')
    """
    check_sizes(num_symbols=num_symbols, alphabet_size=alphabet_size)
    alphabet = (*letters(alphabet_size), "-")
    sizes = (batch_size, eval_samples, eval_batch_size)
    return Synthetic("reversal", _reversed, num_symbols, alphabet, *sizes)


def _duplicated(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, batch_size), 0, blank, jnp.int32)
    return _answered(symbols, jnp.concatenate([symbols, symbols]), blank)


def _reversed(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, batch_size), 0, blank, jnp.int32)
    return _answered(symbols, symbols[::-1], blank)


def _answered(question: Array, answer: Array, blank: int) -> Batch:
    """[N, B] and [A, B], the question between blanks and then the answer: N + A + 2 steps."""
    N, A = len(question), len(answer)
    gap = jnp.full((max(N, A) + 1, question.shape[1]), blank, jnp.int32)
    inputs = jnp.concatenate([gap[:1], question, gap[: A + 1]])
    targets = jnp.concatenate([gap[: N + 1], answer, gap[:1]])
    step = jnp.broadcast_to(jnp.arange(N + A + 2)[:, None], targets.shape)
    return Batch(inputs, targets, mask=(step > N) & (step <= N + A))
