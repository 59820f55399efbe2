"""Tasks as a user makes them, one for each kind of targets that are not a class per output.

Only a task's own `metrics` reads its targets: training minimizes its metric "loss".
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlstm_jax.tasks import BaseTask
from tlstm_jax.tasks.examples import eval_examples, train_examples
from tlstm_jax.tasks.scoring import MEAN_SQUARED_ERROR, squared_error
from tlstm_jax.typing import Batch


@dataclasses.dataclass(frozen=True)
class MovingAverage(BaseTask):
    """Regression, float targets [T, B, 1]: the exponential moving average of what was read."""

    length: int = 12
    batch_size: int = 16

    input_size = 1
    output_size = 1

    def draw(self, key, batch_size):
        xs = jax.random.normal(key, (self.length, batch_size, 1))

        def average(mean, x):
            mean = 0.7 * mean + 0.3 * x
            return mean, mean

        _, targets = jax.lax.scan(average, jnp.zeros_like(xs[0]), xs)
        return Batch(xs, targets, mask=jnp.ones(xs.shape[:2], bool))

    metrics = staticmethod(squared_error)
    metric_labels = MEAN_SQUARED_ERROR


@dataclasses.dataclass(frozen=True)
class Transcription(BaseTask):
    """CTC (Graves et al., ICML 2006): labels of sequences of different lengths, not aligned.

    Each label is heard for two or three frames, in noise. Targets are [1, B, N] int32, filled up
    with -1; class 0 is CTC's blank.
    """

    num_labels: int = 4  # at most
    symbols: int = 3
    batch_size: int = 16

    @property
    def input_size(self):
        return self.symbols

    @property
    def output_size(self):
        return 1 + self.symbols

    def draw(self, key, batch_size):
        N, T, B = self.num_labels, 3 * self.num_labels, batch_size
        keys = jax.random.split(key, 4)
        # No label follows itself.
        moves = jax.random.randint(keys[0], (B, N), 1, self.symbols)
        labels = jnp.cumsum(moves, axis=1) % self.symbols  # [B, N]
        counts = jax.random.randint(keys[1], (B, 1), 1, N + 1)
        ends = jnp.cumsum(jax.random.randint(keys[2], (B, N), 2, 4), axis=1)  # in frames
        heard = jnp.sum(jnp.arange(T)[:, None, None] >= ends[None], axis=-1)  # [T, B]
        frames = jnp.take_along_axis(labels.T, jnp.minimum(heard, N - 1), axis=0)
        noise = 0.3 * jax.random.normal(keys[3], (T, B, self.symbols))
        return Batch(
            inputs=jax.nn.one_hot(frames, self.symbols) + noise,
            targets=jnp.where(jnp.arange(N)[None] < counts, 1 + labels, -1)[None],
            mask=jnp.ones((1, B), bool),  # of sequences
            lengths=jnp.take_along_axis(ends, counts - 1, axis=1)[:, 0],
        )

    def metrics(self, logits, batch):
        labels, T = batch.targets[0], logits.shape[0]
        behind = (jnp.arange(T)[None] >= batch.lengths[:, None]).astype(float)
        losses = optax.ctc_loss(  # [B]
            logits.swapaxes(0, 1), behind, jnp.maximum(labels, 0), (labels < 0).astype(float)
        )
        scored = batch.mask[0]
        return {"loss": (jnp.sum(losses, where=scored), jnp.sum(scored.astype(float)))}


@dataclasses.dataclass(frozen=True)
class FirstSymbol(BaseTask):
    """Classification of sequences of different lengths, with data: which symbol came first?

    Attributes:
      data: for each part its "tokens" [N, T], "lengths" [N] and "classes" [N].
    """

    data: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(repr=False)
    batch_size: int = 16
    eval_batch_size: int = 16

    input_size = 5
    output_size = 5
    tokens = True
    last_only = True
    metric = "accuracy"

    def num_examples(self, split):
        return len(self.data[split]["classes"])

    def train_batch(self, data, key, step, delay):
        count = data["train"]["classes"].shape[0]
        index = train_examples(key, step, count, self.batch_size)
        return self._gather(data["train"], index, jnp.ones_like(index, bool))

    def eval_batch(self, data, key, split, index, delay):
        count = data[split]["classes"].shape[0]
        return self._gather(data[split], *eval_examples(index, count, self.eval_batch_size))

    def _gather(self, part, index, mask):
        tokens, lengths, classes = (
            jnp.asarray(part[name])[index] for name in ("tokens", "lengths", "classes")
        )
        return Batch(tokens.T, classes[None], mask[None], lengths)


def first_symbol(sizes=(64, 23, 18), length=7, seed=0, **settings):
    """The task on drawn data."""
    data, rng = {}, np.random.default_rng(seed)
    for split, n in zip(("train", "valid", "test"), sizes, strict=True):
        tokens = rng.integers(0, 5, (n, length), np.int32)
        lengths = rng.integers(1, length + 1, n, np.int32)
        data[split] = {"tokens": tokens, "lengths": lengths, "classes": tokens[:, 0].copy()}
    return FirstSymbol(data, **settings)
