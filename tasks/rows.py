"""Image classification, row by row: an image is a sequence of rows, classified at the end.

`rows_digits`, `rows_mnist` and `rows_fashion_mnist` read the rows from top to bottom; `prows_digits`,
`prows_mnist` and `prows_fashion_mnist` first permute the pixels of the whole image, as `pdigits`,
`pmnist` and `pfashion_mnist` do. A row is a map [W, 1]: a model of maps reads it as one, a model of
vectors as a vector of W numbers. Data and standardization are those of `tasks.images`.
"""

import dataclasses
import functools
import os

from tlstm_jax.tasks import images
from tlstm_jax.tasks.images import Images
from tlstm_jax.typing import Array

NAMES = tuple(
    f"{permuted}rows_{dataset}"
    for dataset in ("mnist", "fashion_mnist", "digits")
    for permuted in ("", "p")
)


@dataclasses.dataclass(frozen=True, repr=False)
class Rows(Images):
    """Images as sequences of rows; made by `load`. The settings are those of `Images`."""

    @property
    def steps(self) -> int:
        """T = H, the rows of an image."""
        return self.side

    @property
    def input_size(self) -> tuple[int, int]:
        """(W, 1)."""
        return self.side, 1

    def sequences(self, pixels: Array) -> Array:
        """Inputs [H, B, W, 1] of images [B, H W]."""
        return pixels.reshape(-1, self.side, self.side, 1).swapaxes(0, 1)


def load(
    name: str,
    data_dir: str | os.PathLike = "data",
    *,
    batch_size: int = 50,
    eval_batch_size: int = 250,
    valid_fraction: float = 0.1,
    permutation_seed: int = 0,
) -> Rows:
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
      >>> from tlstm_jax.tasks.rows import rows_digits
      >>> task = rows_digits()
      >>> batch = task.train_batch(task.data, jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, batch.targets.shape
      ((8, 50, 8, 1), (1, 50))
    """
    if name not in NAMES:
        raise ValueError(f"name is {name!r}; accepted are {', '.join(NAMES)}")
    made = images.load(
        name.replace("rows_", ""),
        data_dir,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        valid_fraction=valid_fraction,
        permutation_seed=permutation_seed,
    )
    return Rows(name, made.data, batch_size, eval_batch_size, made.permutation_seed)


rows_mnist = functools.partial(load, "rows_mnist")
prows_mnist = functools.partial(load, "prows_mnist")
rows_fashion_mnist = functools.partial(load, "rows_fashion_mnist")
prows_fashion_mnist = functools.partial(load, "prows_fashion_mnist")
rows_digits = functools.partial(load, "rows_digits")
prows_digits = functools.partial(load, "prows_digits")
