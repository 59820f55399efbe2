"""The adding problem: the sum of two marked numbers of a long sequence.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; as a regression in
the form of Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified
Linear Units", 2015. For 6 numbers:

    number  .3 .9 .1 .7 .2 .5
    marker   0  1  0  0  1  0
    target                 1.1
"""

import dataclasses

import jax
import jax.numpy as jnp

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.scoring import MEAN_SQUARED_ERROR, squared_error
from tlstm_jax.typing import Array, Batch, Sums

TOLERANCE = 0.04  # of an error, in the problem of 1997
WITHIN = f"within_{TOLERANCE}"


@dataclasses.dataclass(frozen=True)
class Adding(BaseTask):
    """Numbers uniform in [0, 1), one marked in each half; the last output is to be their sum.

    The loss is the mean squared error. A model that always answers 1 has 1/6, the variance of the
    sum. "within_0.04" is the part of the answers that is off by less than 0.04, which is what
    counted as right in 1997.

    Attributes:
      sequence_length: T, numbers in a sequence.
      eval_samples: fresh samples of an evaluation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.adding import Adding
      >>> task = Adding(sequence_length=6)
      >>> batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
      >>> numbers, markers = batch.inputs[:, 0].T  # of the first example
      >>> markers.tolist(), bool(batch.targets[0, 0, 0] == numbers @ markers)
      ([0.0, 0.0, 1.0, 1.0, 0.0, 0.0], True)
    """

    sequence_length: int = 200
    batch_size: int = 20
    eval_samples: int = 1000
    eval_batch_size: int = 250

    name = "adding"
    input_size = 2
    output_size = 1
    last_only = True
    target = 0.01
    metric_labels = MEAN_SQUARED_ERROR | {WITHIN: f"off by less than {TOLERANCE}"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence_length < 2:
            raise ValueError(
                f"sequence_length is {self.sequence_length}; accepted are integers >= 2"
            )

    def draw(self, key: Array, batch_size: int) -> Batch:
        """Fresh samples: inputs [T, B, 2], numbers and markers; targets [1, B, 1]."""
        T, B, half = self.sequence_length, batch_size, self.sequence_length // 2
        of_numbers, of_first, of_second = jax.random.split(key, 3)
        numbers = jax.random.uniform(of_numbers, (T, B))
        first = jax.random.randint(of_first, (B,), 0, half)
        second = jax.random.randint(of_second, (B,), half, T)
        step = jnp.arange(T)[:, None]
        marked = (step == first[None]) | (step == second[None])
        total = jnp.sum(jnp.where(marked, numbers, jnp.zeros_like(numbers)), axis=0)
        inputs = jnp.stack([numbers, marked.astype(numbers.dtype)], axis=-1)
        return Batch(inputs, total[None, :, None], mask=jnp.ones((1, B), bool))

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """ "loss", the squared error, and how many answers are nearer than 0.04."""
        sums = squared_error(logits, batch)
        near = jnp.all(jnp.abs(logits - batch.targets) < TOLERANCE, axis=-1) & batch.mask
        return sums | {WITHIN: (jnp.sum(near, dtype=jnp.float32), sums["loss"][1])}
