"""Sequential image classification: an image is read pixel by pixel and classified at the end.

`mnist`, `fashion_mnist` and `digits` read the rows from top to bottom; `pmnist`, `pfashion_mnist`
and `pdigits` read the pixels in a random order, the same for every image. digits are scikit-learn's
bundled 8x8 digits, which need no files; the others come from `tasks.data.datasets`.

A part of the training set is held out as "valid", for choices; "test" is only reported. Pixels are
standardized with the mean and the standard deviation over all pixels of what remains for training.
"""

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.examples import eval_examples, train_examples
from tlstm_jax.tasks.scoring import CROSS_ENTROPY, score
from tlstm_jax.typing import Array, Batch, Sums

Data = Mapping[str, Any]
Split = tuple[np.ndarray, np.ndarray]  # images [N, H, W], labels [N]

NAMES = ("mnist", "pmnist", "fashion_mnist", "pfashion_mnist", "digits", "pdigits")
_EVAL_SPLITS = ("valid", "test")
_SPLIT_SEED = 1  # of the parts, whatever the run's seed is
_DIGITS_TEST = 360  # of 1,797


@dataclass(frozen=True, repr=False)
class Images(BaseTask):
    """Images as sequences of pixels; made by `load` or `from_arrays`.

    Attributes:
      name: of the task.
      data: for each part "train", "valid" and "test" its "images", uint8 [N, T], or [N, T, 3] of
        colours, in the order in which they are read, and "labels", int32 [N]; "mean" and "std" of
        the training pixels, float32 scalars.
      batch_size: images of a training batch.
      eval_batch_size: images of an evaluation batch.
      permutation_seed: of the order of the pixels; None: row by row.
    """

    name: str
    data: Data
    batch_size: int = 50
    eval_batch_size: int = 250
    permutation_seed: int | None = None

    output_size = 10
    last_only = True
    metric = "accuracy"
    metric_labels = CROSS_ENTROPY

    def __post_init__(self) -> None:
        for split in ("train", *_EVAL_SPLITS):
            part = self.data[split]["images"], self.data[split]["labels"]
            _check_pairs(f"{split} of {self.name}", *part, self.output_size)
        count = self.num_examples("train")
        if not 1 <= self.batch_size <= count:
            raise ValueError(
                f"batch_size is {self.batch_size}; accepted are 1 to {count}, the training images "
                f"of {self.name}"
            )
        super().__post_init__()

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{split}={self.num_examples(split)}" for split in ("train", *_EVAL_SPLITS)
        )
        return (
            f"{type(self).__name__}(name={self.name!r}, steps={self.steps}, {sizes}, "
            f"batch_size={self.batch_size}, eval_batch_size={self.eval_batch_size}, "
            f"permutation_seed={self.permutation_seed})"
        )

    @property
    def input_size(self) -> int:
        """1, or 3 of colours."""
        return math.prod(self.data["train"]["images"].shape[2:])

    @property
    def steps(self) -> int:
        """T, the pixels of an image."""
        return self.data["train"]["images"].shape[1]

    def num_examples(self, split: str) -> int:
        """Images of the part "train", "valid" or "test"."""
        return len(self.data[split]["labels"])

    @property
    def side(self) -> int:
        """H = W of an image.

        Raises:
          ValueError: its pixels are not those of a square.
        """
        pixels = self.data["train"]["images"].shape[1]
        if (side := math.isqrt(pixels)) ** 2 != pixels:
            raise ValueError(f"an image has {pixels} pixels; accepted are those of a square")
        return side

    def picture(self, inputs: np.ndarray) -> np.ndarray:
        """The image [H, W] of its pixels in the order in which they are read; H = W.

        Of colours, the mean of red, green and blue.

        Raises:
          ValueError: they are not those of a square.
        """
        pixels = np.asarray(inputs).reshape(self.side**2, -1).mean(axis=1)
        image = np.empty_like(pixels, shape=self.side**2)
        image[_order(image.size, self.permutation_seed)] = pixels
        return image.reshape(self.side, self.side)

    def train_batch(self, data: Data, key: Array, step: Array, delay: int) -> Batch:
        """Batch `step` of the endless sequence of epochs, B = batch_size.

        Every epoch has its own order of the images, drawn from `key`; the images left over when no
        full batch remains are skipped in that epoch.
        """
        del delay
        count = data["train"]["labels"].shape[0]
        index = train_examples(key, step, count, self.batch_size)
        return self._gather(data, "train", index, jnp.ones(index.shape, bool))

    def num_eval_batches(self, split: str, delay: int) -> int:
        """Batches that hold every image of `split`, the last one filled up."""
        _check_split(split)
        return super().num_eval_batches(split, delay)

    def eval_batch(self, data: Data, key: Array, split: str, index: Array, delay: int) -> Batch:
        """Batch `index` of `split` in order, B = eval_batch_size; what fills up is masked out."""
        del key, delay
        _check_split(split)
        count = data[split]["labels"].shape[0]
        return self._gather(data, split, *eval_examples(index, count, self.eval_batch_size))

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """The loss (nats) and the accuracy per image; logits [1, B, 10]."""
        sums = score(logits, batch)
        return {name: sums[name] for name in ("loss", "accuracy")}

    def sequences(self, pixels: Array) -> Array:
        """Inputs [T, B, 1] of images [B, T], or [T, B, 3] of colours [B, T, 3]."""
        return pixels.reshape(*pixels.shape[:2], -1).swapaxes(0, 1)

    def _gather(self, data: Data, split: str, index: Array, mask: Array) -> Batch:
        images = jnp.asarray(data[split]["images"])[index].astype(jnp.float32)  # [B, T]
        labels = jnp.asarray(data[split]["labels"])[index]  # [B]
        inputs = self.sequences((images - data["mean"]) / data["std"])
        return Batch(inputs, targets=labels[None], mask=mask[None])


def load(
    name: str,
    data_dir: str | os.PathLike = "data",
    *,
    batch_size: int = 50,
    eval_batch_size: int = 250,
    valid_fraction: float = 0.1,
    permutation_seed: int = 0,
) -> Images:
    """The task `name`, one of `NAMES`.

    Args:
      name: a leading "p" permutes the pixels.
      data_dir: where the IDX files are or are downloaded to; digits need none.
      batch_size: images of a training batch.
      eval_batch_size: images of an evaluation batch.
      valid_fraction: share of the training set that is held out.
      permutation_seed: of the order of the pixels; unused where they are not permuted.

    Raises:
      ValueError: a setting is out of range, or a file is damaged.
      FileNotFoundError: files are missing, and cannot be downloaded.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.images import digits
      >>> task = digits()
      >>> batch = task.train_batch(task.data, jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, batch.targets.shape
      ((64, 50, 1), (1, 50))
    """
    if name not in NAMES:
        raise ValueError(f"name is {name!r}; accepted are {', '.join(NAMES)}")
    dataset = name.removeprefix("p")
    if dataset == "digits":
        train, test = _load_digits()
    else:
        from tlstm_jax.tasks.data import datasets  # imports tensorflow-datasets

        splits = datasets.load(dataset, data_dir)
        train, test = splits["train"], splits["test"]
    return from_arrays(
        name,
        train,
        test,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        valid_fraction=valid_fraction,
        permutation_seed=None if name == dataset else permutation_seed,
    )


mnist = functools.partial(load, "mnist")
pmnist = functools.partial(load, "pmnist")
fashion_mnist = functools.partial(load, "fashion_mnist")
pfashion_mnist = functools.partial(load, "pfashion_mnist")
digits = functools.partial(load, "digits")
pdigits = functools.partial(load, "pdigits")


def from_arrays(
    name: str,
    train: Split,
    test: Split,
    *,
    batch_size: int = 50,
    eval_batch_size: int = 250,
    valid_fraction: float = 0.1,
    permutation_seed: int | None = None,
) -> Images:
    """A task from images uint8 [N, H, W(, 3)] and labels int32 [N] (0 to 9); see `load`.

    Raises:
      ValueError: a setting is out of range, images and labels do not match, or all training pixels
        are alike.
    """
    for split, part in (("train", train), ("test", test)):
        _check_pairs(f"{split} of {name}", *part, Images.output_size)
    if train[0][0].size != test[0][0].size:
        raise ValueError(
            f"test of {name} has images of {test[0][0].size} pixels, train of {train[0][0].size}; "
            "accepted are images of one size"
        )
    images, labels = train
    held_out = round(len(labels) * valid_fraction)
    if not 1 <= held_out < len(labels):
        raise ValueError(
            f"valid_fraction is {valid_fraction}, {held_out} of {len(labels)} training images; "
            f"accepted are 1 to {len(labels) - 1} images"
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    parts = {
        "train": (images[order[held_out:]], labels[order[held_out:]]),
        "valid": (images[order[:held_out]], labels[order[:held_out]]),
        "test": test,
    }
    (H, W), colours = images.shape[1:3], images.shape[3:]
    pixels = _order(H * W, permutation_seed)
    data = {
        split: {
            "images": images.reshape(len(labels), H * W, *colours).take(pixels, axis=1),
            "labels": labels,
        }
        for split, (images, labels) in parts.items()
    }
    mean, std = data["train"]["images"].mean(), data["train"]["images"].std()
    if std == 0:
        raise ValueError(
            f"all training pixels of {name} are {mean:g}; accepted are pixels that differ"
        )
    data |= {"mean": np.array(mean, np.float32), "std": np.array(std, np.float32)}
    return Images(name, data, batch_size, eval_batch_size, permutation_seed)


def _load_digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits  # slow to import, and not needed for the others

    bundle = load_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(bundle.target))
    images = bundle.images[order].astype(np.uint8)  # 0 to 16
    labels = bundle.target[order].astype(np.int32)
    train, test = slice(_DIGITS_TEST, None), slice(_DIGITS_TEST)
    return (images[train], labels[train]), (images[test], labels[test])


def _check_pairs(what: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Raises ValueError unless there is a label for each image, and each is a class."""
    if np.ndim(labels) != 1 or not np.issubdtype(labels.dtype, np.integer):
        kind = f"shape {labels.shape}" if np.ndim(labels) != 1 else f"{labels.dtype}"
        raise ValueError(f"{what} has labels of {kind}; accepted are integers [N]")
    if len(images) != len(labels):
        raise ValueError(
            f"{what} has {len(images)} images and {len(labels)} labels; accepted are as many"
        )
    if not len(images):
        raise ValueError(f"{what} has 0 images; accepted is at least 1")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{what} has labels {labels.min()} to {labels.max()}; accepted are 0 to {classes - 1}"
        )


def _order(number: int, permutation_seed: int | None) -> np.ndarray:
    """The positions of the pixels in the order in which they are read."""
    if permutation_seed is None:
        return np.arange(number)
    return np.random.default_rng(permutation_seed).permutation(number)


def _check_split(split: str) -> None:
    if split not in _EVAL_SPLITS:
        raise ValueError(f"split is {split!r}; accepted are {', '.join(_EVAL_SPLITS)}")
