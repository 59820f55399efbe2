"""Binarized images, modelled pixel by pixel: nats per image.

Images are binarized once, by chance: a pixel is 1 with a probability of its brightness, drawn from
a fixed seed, the same in every run, as in Salakhutdinov and Murray, "On the Quantitative Analysis
of Deep Belief Networks", ICML 2008. Two forms have the same likelihood, that of an image's pixels
each given those before it, row by row:

* `by="pixels"`: T = H W, the input is the pixel before as a token (-1, the zero input, before the
  first), the target the pixel: for any causal model;
* `by="rows"`: T = H, the input is a row as a map [W, 1], the target the same row: for models that
  mask their inputs themselves, as PixelRNN's (van den Oord et al., "Pixel Recurrent Neural
  Networks", ICML 2016). Any other would see its target, and is refused.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks import images
from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.examples import eval_examples, train_examples
from tlstm_jax.tasks.scoring import score
from tlstm_jax.typing import Array, Batch, InputShape, Sums

NAMES = ("pixels_mnist", "pixels_digits")
FORMS = ("pixels", "rows")
_BINARIZATION_SEED = 1  # of all runs


@dataclasses.dataclass(frozen=True, repr=False)
class Pixels(BaseTask):
    """Binarized images and their likelihood; made by `load`.

    Training minimizes the mean in nats per pixel; the metric is their sum over an image.

    Attributes:
      name: of the task.
      data: for each part "train", "valid" and "test" its images, uint8 [N, H W] of 0 and 1, row by
        row; H = W.
      batch_size: images of a training batch.
      eval_batch_size: images of an evaluation batch.
      by: "pixels" or "rows".
    """

    name: str
    data: Mapping[str, Any]
    batch_size: int
    eval_batch_size: int
    by: str

    output_size = 2
    autoregressive = True
    metric = "nats_per_image"
    metric_labels = {"loss": "loss (nats per pixel)", "nats_per_image": "nats per image"}  # noqa: RUF012
    token_names = ("0", "1")
    class_names = ("0", "1")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in FORMS:
            raise ValueError(f"by is {self.by!r}; accepted are {', '.join(FORMS)}")
        if self.batch_size > (count := self.num_examples("train")):
            raise ValueError(
                f"batch_size is {self.batch_size}; accepted are 1 to {count}, the training images "
                f"of {self.name}"
            )

    def __repr__(self) -> str:
        return (
            f"Pixels(name={self.name!r}, by={self.by!r}, batch_size={self.batch_size}, "
            f"eval_batch_size={self.eval_batch_size})"
        )

    @property
    def side(self) -> int:
        """H = W."""
        return round(self.data["train"].shape[1] ** 0.5)

    @property
    def tokens(self) -> bool:
        return self.by == "pixels"

    @property
    def per_location(self) -> bool:
        return self.by == "rows"

    @property
    def own_targets(self) -> bool:
        return self.by == "rows"

    @property
    def input_size(self) -> InputShape:
        """2 tokens, or maps (W, 1)."""
        return 2 if self.tokens else (self.side, 1)

    def num_examples(self, split: str) -> int:
        """Images of the part "train", "valid" or "test"."""
        return len(self.data[split])

    def train_batch(self, data: Mapping[str, Any], key: Array, step: Array, delay: int) -> Batch:
        """Batch `step` of the endless sequence of epochs, each in an order of its own."""
        del delay
        index = train_examples(key, step, data["train"].shape[0], self.batch_size)
        return self._gather(data["train"], index, jnp.ones(index.shape, bool))

    def eval_batch(
        self, data: Mapping[str, Any], key: Array, split: str, index: Array, delay: int
    ) -> Batch:
        """Batch `index` of `split` in order; what fills up is masked out."""
        del key, delay
        count = data[split].shape[0]
        return self._gather(data[split], *eval_examples(index, count, self.eval_batch_size))

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """The loss in nats per pixel, and "nats_per_image", its sum over an image."""
        total, pixels = score(logits, batch)["loss"]
        shown = jnp.any(batch.mask, axis=(0, *range(2, batch.mask.ndim)))  # [B]
        return {
            "loss": (total, pixels),
            "nats_per_image": (total, jnp.sum(shown, dtype=jnp.float32)),
        }

    def encode(self, prompt: str) -> np.ndarray:
        """An image's first pixels as tokens, int32 [T]; -1, the zero input, before them."""
        return np.concatenate([[np.int32(-1)], super().encode(prompt)])

    def text(self, tokens: Array) -> str:
        """The pixels among tokens [T]."""
        return super().text([token for token in tokens if token >= 0])

    def picture(self, inputs: np.ndarray) -> np.ndarray | None:
        """The image [H, W] of rows [H, W, 1]; None for tokens, which end before its last pixel."""
        return None if self.tokens else np.asarray(inputs)[..., 0]

    def sample_picture(self, sampled: np.ndarray) -> np.ndarray:
        """The image [H, W] of its pixels, [H W] or [H, W]."""
        return np.reshape(sampled, (self.side, self.side))

    def _gather(self, part: Array, index: Array, mask: Array) -> Batch:
        pixels = jnp.asarray(part)[index].astype(jnp.int32).T  # [H W, B]
        if self.tokens:
            inputs = jnp.concatenate([jnp.full_like(pixels[:1], -1), pixels[:-1]])
            targets = pixels
        else:
            targets = pixels.reshape(self.side, self.side, -1).swapaxes(1, 2)  # [H, B, W]
            inputs = targets[..., None].astype(jnp.float32)
        mask = jnp.expand_dims(mask, (0, *range(2, targets.ndim)))
        return Batch(inputs, targets, jnp.broadcast_to(mask, targets.shape))


def load(
    name: str,
    data_dir: str | os.PathLike = "data",
    *,
    by: str = "pixels",
    batch_size: int = 50,
    eval_batch_size: int = 250,
    valid_fraction: float = 0.1,
) -> Pixels:
    """The task `name`, one of `NAMES`.

    Args:
      data_dir: where the IDX files are or are downloaded to; digits need none.
      by: what is read in a step: "pixels", or "rows" with a model that masks its inputs.
      batch_size: images of a training batch.
      eval_batch_size: images of an evaluation batch.
      valid_fraction: share of the training set that is held out.

    Raises:
      ValueError: a setting is out of range, or a file is damaged.
      FileNotFoundError: files are missing, and cannot be downloaded.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.pixels import pixels_digits
      >>> task = pixels_digits()
      >>> batch = task.train_batch(task.data, jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, batch.targets.shape, batch.inputs[:3, 0].tolist()
      ((64, 50), (64, 50), [-1, 0, 0])
    """
    if name not in NAMES:
        raise ValueError(f"name is {name!r}; accepted are {', '.join(NAMES)}")
    dataset = name.removeprefix("pixels_")
    made = images.load(dataset, data_dir, batch_size=1, valid_fraction=valid_fraction)
    valid, train, test = (made.data[split]["images"] for split in ("valid", "train", "test"))
    white = np.float32(max(part.max() for part in (valid, train, test)))
    # Training images come in the same order, of which the first are held out, however many.
    rng = np.random.default_rng(_BINARIZATION_SEED)
    seen, test = (
        (rng.random(part.shape, np.float32) < part / white).astype(np.uint8)
        for part in (np.concatenate([valid, train]), test)
    )
    data = {"train": seen[len(valid) :], "valid": seen[: len(valid)], "test": test}
    return Pixels(name, data, batch_size, eval_batch_size, by)


pixels_mnist = functools.partial(load, "pixels_mnist")
pixels_digits = functools.partial(load, "pixels_digits")
