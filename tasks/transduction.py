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

from tlstm_jax.tasks.synthetic import Synthetic, of_symbols, write
from tlstm_jax.typing import Array, Batch


def duplication(
    num_symbols: int = 20,
    alphabet_size: int = 2,
    batch_size: int = 15,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
    curriculum_start: int = 1,
    curriculum_steps: int = 0,
) -> Synthetic:
    """`num_symbols` symbols out of `alphabet_size`, and then twice the same.

    With `curriculum_steps`, training samples have sizes drawn from 1 to a longest one that grows
    from `curriculum_start` to `num_symbols` in so many steps; see `Synthetic`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.transduction import duplication
      >>> task = duplication(num_symbols=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((11, 15), '-bba-------', '----bbabba-')
    """
    sizes = (batch_size, eval_samples, eval_batch_size)
    curriculum = (_duplicated_of_sizes, curriculum_start, curriculum_steps)
    return of_symbols("duplication", _duplicated, num_symbols, alphabet_size, *sizes, *curriculum)


def reversal(
    num_symbols: int = 20,
    alphabet_size: int = 2,
    batch_size: int = 15,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
    curriculum_start: int = 1,
    curriculum_steps: int = 0,
) -> Synthetic:
    """`num_symbols` symbols out of `alphabet_size`, and then the same backwards.

    The curriculum is as in `duplication`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.transduction import reversal
      >>> task = reversal(num_symbols=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((8, 15), '-bba----', '----abb-')
    """
    sizes = (batch_size, eval_samples, eval_batch_size)
    curriculum = (_reversed_of_sizes, curriculum_start, curriculum_steps)
    return of_symbols("reversal", _reversed, num_symbols, alphabet_size, *sizes, *curriculum)


def _duplicated(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, batch_size), 0, blank, jnp.int32)
    return _answered(symbols, jnp.concatenate([symbols, symbols]), blank)


def _reversed(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, batch_size), 0, blank, jnp.int32)
    return _answered(symbols, symbols[::-1], blank)


def _duplicated_of_sizes(key: Array, sizes: Array, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, sizes.shape[0]), 0, blank, jnp.int32)
    targets = write(_blanks(3 * n + 2, sizes, blank), symbols, sizes + 1, sizes)
    targets = write(targets, symbols, 2 * sizes + 1, sizes)
    return _of_sizes(symbols, targets, sizes, 2 * sizes, blank)


def _reversed_of_sizes(key: Array, sizes: Array, n: int, blank: int) -> Batch:
    symbols = jax.random.randint(key, (n, sizes.shape[0]), 0, blank, jnp.int32)
    place = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[:, None], symbols.shape)
    index = jnp.broadcast_to(sizes[None], symbols.shape) - 1 - place
    backwards = jnp.take_along_axis(symbols, jnp.clip(index, 0, n - 1), axis=0)
    targets = write(_blanks(2 * n + 2, sizes, blank), backwards, sizes + 1, sizes)
    return _of_sizes(symbols, targets, sizes, sizes, blank)


def _blanks(num_steps: int, sizes: Array, blank: int) -> Array:
    return jnp.full((num_steps, sizes.shape[0]), blank, jnp.int32)


def _of_sizes(question: Array, targets: Array, sizes: Array, answers: Array, blank: int) -> Batch:
    """Samples of their own sizes [B], whose answers have `answers` [B] symbols."""
    inputs = write(_blanks(len(targets), sizes, blank), question, 1, sizes)
    step = jnp.broadcast_to(jnp.arange(len(targets), dtype=jnp.int32)[:, None], targets.shape)
    before, last = (jnp.broadcast_to(n[None], targets.shape) for n in (sizes, sizes + answers))
    return Batch(inputs, targets, (step > before) & (step <= last), lengths=sizes + answers + 2)


def _answered(question: Array, answer: Array, blank: int) -> Batch:
    """[N, B] and [A, B], the question between blanks and then the answer: N + A + 2 steps."""
    N, A = len(question), len(answer)
    gap = jnp.full((max(N, A) + 1, question.shape[1]), blank, jnp.int32)
    inputs = jnp.concatenate([gap[:1], question, gap[: A + 1]])
    targets = jnp.concatenate([gap[: N + 1], answer, gap[:1]])
    step = jnp.broadcast_to(jnp.arange(N + A + 2)[:, None], targets.shape)
    return Batch(inputs, targets, mask=(step > N) & (step <= N + A))
