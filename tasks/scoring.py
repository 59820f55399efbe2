"""Losses and metrics that tasks share: masked classification, and masked regression."""

import jax
import jax.numpy as jnp
import optax

from tlstm_jax.typing import Array, Batch, Sums

# What the losses are called on learning curves: `metric_labels` of a task.
CROSS_ENTROPY = {"loss": "loss (nats per scored output)"}  # of `score`
MEAN_SQUARED_ERROR = {"loss": "loss (mean squared error)"}  # of `squared_error`

BINARY_CROSS_ENTROPY = {"loss": "loss (nats per frame)"}  # of `binary_score`


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


def squared_error(outputs: Array, batch: Batch) -> Sums:
    """Sum and count of a regression: the mean squared error over the scored outputs of a batch.

    A task of one's own has with it its loss in two lines:

        metrics = staticmethod(squared_error)
        metric_labels = MEAN_SQUARED_ERROR

    Args:
      outputs: [T, B, ..] floats ([1, B, ..] where only the last output is scored).
      batch: targets of the same shape, and a mask of its first axes, [T, B] say.

    Returns:
      "loss": squared errors, each the mean over the axes that the mask does not have.

    Raises:
      ValueError: outputs and targets differ in their shapes, or the mask has others than their
        first axes.
    """
    targets, mask = batch.targets, batch.mask
    if outputs.shape != targets.shape or mask.shape != targets.shape[: mask.ndim]:
        raise ValueError(
            f"outputs, targets and mask have the shapes {outputs.shape}, {targets.shape} and "
            f"{mask.shape}; accepted are outputs like targets, and a mask of their first axes"
        )
    squared = jnp.square(outputs - targets.astype(outputs.dtype))
    squared = jnp.mean(squared, axis=tuple(range(mask.ndim, squared.ndim)))
    return {"loss": (jnp.sum(jnp.where(mask, squared, jnp.zeros_like(squared))), _count(mask))}


def binary_score(logits: Array, batch: Batch) -> Sums:
    """Binary cross-entropy of the scored outputs of a batch, each a frame of pixels.

    Args:
      logits: [T, B, ..] floats, of the probability that a pixel is 1.
      batch: targets of the same shape, in [0, 1], and a mask [T, B].

    Returns:
      "loss": in nats, the sum over the pixels of a frame, per scored frame. Where targets are
      neither 0 nor 1, its least value is their entropy, not 0.
    """
    nats = optax.sigmoid_binary_cross_entropy(logits, batch.targets)
    nats = jnp.sum(nats, axis=tuple(range(batch.mask.ndim, nats.ndim)))
    scored = jnp.where(batch.mask, nats, jnp.zeros_like(nats))
    return {"loss": (jnp.sum(scored), _count(batch.mask))}


def _count(mask: Array) -> jax.Array:
    return jnp.sum(mask, dtype=jnp.float32)
