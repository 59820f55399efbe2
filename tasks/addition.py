"""Addition of two numbers, read digit by digit.

Zaremba and Sutskever, "Learning to Execute", 2014; Kalchbrenner, Danihelka and Graves, "Grid Long
Short-Term Memory", ICLR 2016; in the form of He et al., NIPS 2017. For n = 3 digits, 3n + 4 steps,
`-` being the blank:

    input   - 1 2 3 - 9 0 0 - - - - -
    target  - - - - - - - - 1 0 2 3 -
"""

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.synthetic import Synthetic, write
from tlstm_jax.typing import Array, Batch


class Addition(Synthetic):
    """Two numbers and their sum; made by `addition`."""

    def encode(self, prompt: str) -> np.ndarray:
        """As of `Synthetic`; neither number may begin with 0."""
        tokens = super().encode(prompt)  # 3 n + 4
        if tokens[1] == 0 or tokens[len(tokens) // 3 + 1] == 0:
            raise ValueError(
                f"prompt {prompt!r} has a number that begins with 0; accepted are others"
            )
        return tokens


def addition(
    num_digits: int = 15,
    batch_size: int = 15,
    eval_samples: int = 1000,
    eval_batch_size: int = 250,
    curriculum_start: int = 1,
    curriculum_steps: int = 0,
) -> Addition:
    """Addition of two numbers of exactly `num_digits` digits, without leading zeros.

    The sum is left-aligned, without leading zeros. Its digits and one blank after them are scored.

    Args:
      curriculum_start, curriculum_steps: see `Synthetic`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.addition import addition
      >>> task = addition(num_digits=3)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
      ((13, 15), '-776-694-----', '--------1470-')
    """
    if num_digits < 1:
        raise ValueError(f"num_digits is {num_digits}; accepted are integers >= 1")
    alphabet = (*"0123456789", "-")
    sizes = (batch_size, eval_samples, eval_batch_size)
    curriculum = (_sample_of_sizes, curriculum_start, curriculum_steps)
    return Addition("addition", _sample, num_digits, alphabet, *sizes, *curriculum)


def _sample(key: Array, batch_size: int, n: int, blank: int) -> Batch:
    a_key, b_key = jax.random.split(key)
    a, b = _number(a_key, batch_size, n), _number(b_key, batch_size, n)  # [B, n]
    total, digits = add(a, b)  # [B, n + 1], [B]
    gap = jnp.full((batch_size, 1), blank, jnp.int32)
    inputs = jnp.concatenate([gap, a, gap, b, jnp.tile(gap, (1, n + 2))], axis=1)
    place = jnp.broadcast_to(jnp.arange(n + 2)[None], (batch_size, n + 2))
    digits = jnp.broadcast_to(digits[:, None], place.shape)
    answer = jnp.where(place < digits, jnp.concatenate([total, gap], axis=1), blank)
    targets = jnp.concatenate([jnp.tile(gap, (1, 2 * n + 2)), answer], axis=1)
    unscored = jnp.zeros((batch_size, 2 * n + 2), bool)
    mask = jnp.concatenate([unscored, place <= digits], axis=1)
    return Batch(inputs.T, targets.T, mask.T)


def _sample_of_sizes(key: Array, sizes: Array, n: int, blank: int) -> Batch:
    """As `_sample`, of numbers of sizes [B] digits, up to n."""
    B = sizes.shape[0]
    there = jnp.broadcast_to(jnp.arange(n)[None], (B, n)) < jnp.broadcast_to(sizes[:, None], (B, n))
    a, b = (
        jnp.where(there, number, jnp.zeros_like(number))  # both times the same power of 10
        for number in (_number(k, B, n) for k in jax.random.split(key))
    )
    total, digits = add(a, b)
    digits = digits - n + sizes
    gap = jnp.full((3 * n + 4, B), blank, jnp.int32)
    start = 2 * sizes + 2
    step = jnp.broadcast_to(jnp.arange(3 * n + 4, dtype=jnp.int32)[:, None], gap.shape)
    first, last = (jnp.broadcast_to(at, gap.shape) for at in (start, start + digits))
    return Batch(
        inputs=write(write(gap, a.T, 1, sizes), b.T, sizes + 2, sizes),
        targets=write(gap, total.T, start, digits),
        mask=(step >= first) & (step <= last),
        lengths=3 * sizes + 4,
    )


def _number(key: Array, batch_size: int, n: int) -> Array:
    """Uniform over the numbers of exactly n digits, most significant first: [B, n] int32."""
    least = jnp.where(jnp.arange(n) == 0, 1, 0)
    least = jnp.broadcast_to(least[None], (batch_size, n))
    return jax.random.randint(key, (batch_size, n), least, 10, jnp.int32)


def add(a: Array, b: Array) -> tuple[Array, Array]:
    """The sum of two numbers, digit by digit, since 15 digits overflow int32.

    Args:
      a, b: [B, n] int32 digits, most significant first.

    Returns:
      digits [B, n + 1] left-aligned without a leading zero (what is left over at the end is 0), and
      their number [B], n or n + 1.
    """

    def place(carry: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        total = pair[0] + pair[1] + carry
        return total // 10, total % 10

    carry, digits = jax.lax.scan(place, jnp.zeros_like(a[:, 0]), (a.T, b.T), reverse=True)
    digits = digits.T  # [B, n]
    long = carry[:, None] > 0
    zero = jnp.zeros_like(carry)[:, None]
    with_carry = jnp.concatenate([carry[:, None], digits], axis=1)
    without = jnp.concatenate([digits, zero], axis=1)
    total = jnp.where(jnp.broadcast_to(long, with_carry.shape), with_carry, without)
    return total, a.shape[1] + carry
