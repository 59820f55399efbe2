"""Which examples of a data set make up a batch: pure functions of a key and a step."""

import jax
import jax.numpy as jnp

from tlstm_jax.typing import Array


def train_examples(key: Array, step: Array, count: int, batch_size: int) -> Array:
    """The examples of batch `step` of the endless sequence of epochs.

    Every epoch has its own order of the examples, drawn from `key`; those left over when no full
    batch remains are skipped in that epoch.

    Args:
      key: the run's data key.
      step: int32 scalar, from 0.
      count: examples there are, at least `batch_size`.

    Returns:
      int32 [batch_size], each from 0 to count - 1.
    """
    epoch, batch = jnp.divmod(jnp.asarray(step, jnp.int32), count // batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), count)
    return jax.lax.dynamic_slice_in_dim(order, batch * batch_size, batch_size)


def eval_examples(index: Array, count: int, batch_size: int) -> tuple[Array, Array]:
    """The examples of batch `index` of an evaluation that goes through all in order.

    Returns:
      (int32 [batch_size], bool [batch_size]): the last batch is filled up with the last example,
      which is to be masked out where the second is False.
    """
    position = jnp.arange(batch_size, dtype=jnp.int32)
    position = position + jnp.asarray(index, jnp.int32) * batch_size
    return jnp.minimum(position, count - 1), position < count
