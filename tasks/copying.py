"""The copying memory problem: symbols are repeated long after they were read.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; in the form of
Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", ICML 2016. For n = 3
symbols and a delay of D = 5, D + 2n steps, `-` being the blank and `:` the marker, which is the
delay's last step:

    input   a b c - - - - : - - -
    target  - - - - - - - - a b c

Only the last n outputs are scored, so that the accuracy is of symbols. A model without memory has
at best log(alphabet_size) nats for each of them. The paper's loss is a mean over all D + 2n
outputs, of which all but n are blanks: log(alphabet_size) n / (D + 2n) for a model without memory.
"""

import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.synthetic import Synthetic, check_sizes
from tlstm_jax.tasks.words import letters
from tlstm_jax.typing import Array, Batch


def copy(
    num_symbols: int = 10,
    alphabet_size: int = 8,
    delay: int = 100,
    batch_size: int = 20,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
) -> Synthetic:
    """Repetition of `num_symbols` symbols out of `alphabet_size`, `delay` steps after the last one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.copying import copy
      >>> task = copy(num_symbols=3, alphabet_size=4, delay=5)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((11, 20), 'daa----:---', '--------daa')
    """
    check_sizes(num_symbols=num_symbols, alphabet_size=alphabet_size, delay=delay)
    alphabet = (*letters(alphabet_size), ":", "-")
    sizes = (batch_size, eval_samples, eval_batch_size)
    return Synthetic("copy", _Sample(delay), num_symbols, alphabet, *sizes, marks=2)


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Samples with this delay, for `Synthetic`."""

    delay: int

    def __call__(self, key: Array, batch_size: int, n: int, blank: int) -> Batch:
        marker = blank - 1
        symbols = jax.random.randint(key, (n, batch_size), 0, marker, jnp.int32)
        gap = jnp.full((self.delay + n, batch_size), blank, jnp.int32)
        inputs = jnp.concatenate([symbols, gap.at[self.delay - 1].set(marker)])
        targets = jnp.concatenate([gap, symbols])
        step = jnp.broadcast_to(jnp.arange(len(targets))[:, None], targets.shape)
        return Batch(inputs, targets, mask=step >= n + self.delay)
