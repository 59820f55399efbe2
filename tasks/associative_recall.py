"""Associative recall: the value that belongs to a key.

Ba, Hinton, Mnih, Leibo and Ionescu, "Using Fast Weights to Attend to the Recent Past", NIPS 2016:
pairs of a letter and a digit, no letter twice, and then one of the letters again. For 4 pairs:

    input   c 9 k 8 j 3 f 1 ? ? c
    target                      9
"""

import dataclasses
import string

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.scoring import CROSS_ENTROPY, score
from tlstm_jax.typing import Array, Batch, Sums

_KEYS, _VALUES = len(string.ascii_lowercase), len(string.digits)
_MARK = _KEYS + _VALUES


@dataclasses.dataclass(frozen=True)
class AssociativeRecall(BaseTask):
    """Letters with a digit each, and the question which digit one of them had.

    Of the last output only; chance is 10 %, and 1 / num_pairs for a model that knows the values but
    not whose they are, where no value comes twice.

    Attributes:
      num_pairs: letters with a digit, up to 26.
      eval_samples: fresh samples of an evaluation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.associative_recall import AssociativeRecall
      >>> task = AssociativeRecall(num_pairs=4)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, task.text(batch.inputs[:, 0]), task.class_names[batch.targets[0, 0]]
      ((11, 128), 'e8w5v3z9??v', '3')
    """

    num_pairs: int = 8
    batch_size: int = 128
    eval_samples: int = 1000
    eval_batch_size: int = 250

    name = "associative_recall"
    input_size = _KEYS + _VALUES + 1
    output_size = _VALUES
    tokens = True
    last_only = True
    metric = "accuracy"
    target = 0.99
    metric_labels = CROSS_ENTROPY
    token_names = (*string.ascii_lowercase, *string.digits, "?")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.num_pairs <= _KEYS:
            raise ValueError(
                f"num_pairs is {self.num_pairs}; accepted are 1 to {_KEYS}, as many as letters"
            )

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples."""
        K, B = self.num_pairs, batch_size
        of_keys, of_values, of_asked = jax.random.split(key, 3)
        letters = jnp.broadcast_to(jnp.arange(_KEYS, dtype=jnp.int32)[:, None], (_KEYS, B))
        letters = jax.random.permutation(of_keys, letters, axis=0, independent=True)[:K]
        values = jax.random.randint(of_values, (K, B), 0, _VALUES, jnp.int32)
        asked = jax.random.randint(of_asked, (1, B), 0, K)
        pairs = jnp.stack([letters, _KEYS + values], axis=1).reshape(2 * K, B)
        marks = jnp.full((2, B), _MARK, jnp.int32)
        asked_letters, targets = (
            jnp.take_along_axis(of, asked, axis=0) for of in (letters, values)
        )
        inputs = jnp.concatenate([pairs, marks, asked_letters])
        return Batch(inputs, targets, mask=jnp.ones_like(targets, bool))

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """The loss (nats) and the accuracy per question; logits [1, B, 10]."""
        sums = score(logits, batch)
        return {name: sums[name] for name in ("loss", "accuracy")}

    def encode(self, prompt: str) -> np.ndarray:
        """The tokens of a question, int32 [T], of any number of pairs.

        Raises:
          ValueError: it has not the form of a question.
        """
        tokens = super().encode(prompt)
        keys, values, rest = tokens[:-3:2], tokens[1:-3:2], tokens[-3:]
        right = (
            len(tokens) % 2 == 1
            and len(set(keys.tolist())) == len(keys) > 0
            and (keys < _KEYS).all()
            and ((values >= _KEYS) & (values < _MARK)).all()
            and (rest[:2] == _MARK).all()
            and rest[2] in keys
        )
        if not right:
            raise ValueError(
                f"prompt {prompt!r} has not the form of {self.name}; accepted is the like of "
                "c9k8j3f1??c, no letter twice among the pairs"
            )
        return tokens
