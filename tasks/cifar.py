"""CIFAR-10 pixel by pixel: sequences of 1,024 grey pixels, or of as many colours.

`cifar10` reads the rows from top to bottom, `pcifar10` the pixels in a random order, the same for
every image. Parts and standardization are those of `tasks.images`; a colour's three numbers are
standardized alike.
"""

import functools
import os
from pathlib import Path

from tlstm_jax.tasks.data import cifar
from tlstm_jax.tasks.images import Images, from_arrays


def load(
    name: str,
    data_dir: str | os.PathLike = "data",
    *,
    colour: bool = False,
    batch_size: int = 50,
    eval_batch_size: int = 250,
    valid_fraction: float = 0.1,
    permutation_seed: int = 0,
) -> Images:
    """The task `name`, cifar10 or pcifar10.

    Args:
      name: a leading "p" permutes the pixels.
      data_dir: where the files of CIFAR-10's binary version are.
      colour: inputs are red, green and blue; else their luma alone.
      batch_size: images of a training batch.
      eval_batch_size: images of an evaluation batch.
      valid_fraction: share of the training set that is held out.
      permutation_seed: of the order of the pixels; unused where they are not permuted.

    Raises:
      ValueError: a setting is out of range, or a file is damaged.
      FileNotFoundError: files are missing.

    Example:
      >>> import pathlib, tempfile
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from tlstm_jax.tasks.cifar import cifar10
      >>> from tlstm_jax.tasks.data.cifar import FILES
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> records = np.random.default_rng(0).integers(0, 10, (20, 3073), np.uint8)
      >>> for name in FILES["train"] + FILES["test"]:  # in place of the real ones
      ...     _ = (folder / name).write_bytes(records.tobytes())
      >>> task = cifar10(folder, colour=True)
      >>> batch = task.train_batch(task.data, jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, batch.targets.shape
      ((1024, 50, 3), (1, 50))
    """
    splits = cifar.load(Path(data_dir))
    if not colour:
        splits = {part: (cifar.grey(images), labels) for part, (images, labels) in splits.items()}
    return from_arrays(
        name,
        splits["train"],
        splits["test"],
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        valid_fraction=valid_fraction,
        permutation_seed=permutation_seed if name.startswith("p") else None,
    )


cifar10 = functools.partial(load, "cifar10")
pcifar10 = functools.partial(load, "pcifar10")
