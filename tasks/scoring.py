"""The loss and the metrics that all tasks share: masked classification."""

import jax
import jax.numpy as jnp
import optax

from tlstm_jax.typing import Array, Batch, Sums

CROSS_ENTROPY = {"loss": "loss (nats per scored output)"}  # what `score` has, on learning curves


def score(logits: Array, batch: Batch) -> Sums:
    """Sums and counts over the scored outputs of a batch.

    Args:
      logits: [T, B, V] float32 ([1, B, V] where only the last output is scored), or with spatial
        axes between B and V.
      batch: targets and mask of shape [T, B] (or [1, B]), or with these axes.

    Returns:
      "loss" (negative log-likelihood in nats, per scored output), "accuracy" (per scored output)
      and "sequence_accuracy" (all of a sequence's scored outputs right, per sequence that has any).
    """
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)  # [T, B]
    right = jnp.argmax(logits, axis=-1).astype(batch.targets.dtype) == batch.targets
    axes = (0, *range(2, batch.mask.ndim))  # all but B
    scored = jnp.any(batch.mask, axis=axes)  # [B]
    whole = scored & jnp.all(right | ~batch.mask, axis=axes)
    count = _count(batch.mask)
    return {
        "loss": (jnp.sum(jnp.where(batch.mask, nll, jnp.zeros_like(nll))), count),
        "accuracy": (_count(right & batch.mask), count),
        "sequence_accuracy": (_count(whole), _count(scored)),
    }


def _count(mask: Array) -> jax.Array:
    return jnp.sum(mask, dtype=jnp.float32)
