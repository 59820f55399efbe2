"""The next frame of digits that bounce in a box.

Srivastava, Mansimov and Salakhutdinov, "Unsupervised Learning of Video Representations using
LSTMs", ICML 2015; the task of Shi et al., "Convolutional LSTM Network", NIPS 2015.

A digit's upper left corner starts anywhere in [0, L]^2, L being the size of the box less that of a
digit, moves in any direction at a speed between L / 20 and 3 L / 20 pixels a frame, and is reflected
at 0 and at L. Positions are rounded to whole pixels; where digits overlap, the brighter one is seen.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.tasks import images
from tlstm_jax.tasks.base import BaseTask
from tlstm_jax.tasks.scoring import BINARY_CROSS_ENTROPY, binary_score
from tlstm_jax.typing import Array, Batch, Sums

_SLOWEST, _FASTEST = 0.05, 0.15  # of L, a frame
_MOST = 2**10  # pixels along a side
_EVAL_SEED = 1  # of the films, whatever the run's seed is


@dataclasses.dataclass(frozen=True, repr=False)
class MovingDigits(BaseTask):
    """Films drawn on the device, of digits of each part; made by `moving_digits`.

    Training never shows a film twice. An evaluation has the same `eval_samples` films in every run.

    Attributes:
      data: for each part "train", "valid" and "test" its digits, uint8 [N, D, D]; "white", the
        brightest pixel of all, a float32 scalar.
      batch_size, eval_batch_size: films of a batch.
      eval_samples: films of an evaluation.
      objects: digits in a film.
      canvas: H = W, pixels along a side of the box.
      num_frames: frames of a film, of which T = num_frames - 1 are inputs.
    """

    data: Mapping[str, Any]
    batch_size: int
    eval_batch_size: int
    eval_samples: int
    objects: int
    canvas: int
    num_frames: int

    name = "moving_digits"
    output_size = 1
    per_location = True
    autoregressive = True
    metric_labels = BINARY_CROSS_ENTROPY
    feed = staticmethod(jax.nn.sigmoid)

    def __post_init__(self) -> None:
        super().__post_init__()
        side = self.data["train"].shape[-1]
        if not side < self.canvas <= _MOST:
            raise ValueError(
                f"canvas is {self.canvas}; accepted with digits of {side} x {side} pixels are "
                f"{side + 1} to {_MOST}"
            )
        for name, least in (("eval_samples", 1), ("objects", 1), ("num_frames", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; accepted are integers >= {least}"
                )

    def __repr__(self) -> str:
        fields = (f.name for f in dataclasses.fields(self) if f.name != "data")
        return f"MovingDigits({', '.join(f'{name}={getattr(self, name)}' for name in fields)})"

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(H, W, 1)."""
        return self.canvas, self.canvas, 1

    @property
    def given(self) -> int:
        """Half of the frames, 10 of 20."""
        return self.num_frames // 2

    @property
    def about(self) -> str:
        digits = " digit" if self.objects == 1 else " digits"
        return (
            f"films of {self.num_frames} frames of {self.canvas} x {self.canvas} pixels, "
            f"{self.objects}{digits}; in training {len(self.data['train']):,} different ones"
        )

    def num_examples(self, split: str) -> int:
        """`eval_samples`."""
        del split
        return self.eval_samples

    def train_batch(self, data: Mapping[str, Any], key: Array, step: Array, delay: int) -> Batch:
        """New films: inputs [T, B, H, W, 1] in [0, 1], and as targets the frame after each."""
        del delay
        keys = jax.random.split(jax.random.fold_in(key, step), self.batch_size)
        return self._batch(data, "train", keys, jnp.ones(self.batch_size, bool))

    def eval_batch(
        self, data: Mapping[str, Any], key: Array, split: str, index: Array, delay: int
    ) -> Batch:
        """Films `index` B to `index` B + B - 1 of the part's own; what fills up is masked out."""
        del key, delay
        number = jnp.arange(self.eval_batch_size, dtype=jnp.int32)
        number = number + jnp.asarray(index, jnp.int32) * self.eval_batch_size
        key = jax.random.key(_EVAL_SEED, impl="threefry2x32")  # which draws alike under vmap
        key = jax.random.fold_in(key, 0 if split == "valid" else 1)
        keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(number)
        return self._batch(data, split, keys, number < self.eval_samples)

    def metrics(self, logits: Array, batch: Batch) -> Sums:
        """The loss: binary cross-entropy in nats per frame, summed over its pixels."""
        return binary_score(logits, batch)

    def film(self, inputs: np.ndarray) -> np.ndarray:
        """Frames [T, H, W] of inputs [T, H, W, 1]."""
        return np.asarray(inputs)[..., 0]

    def _batch(self, data: Mapping[str, Any], split: str, keys: Array, mask: Array) -> Batch:
        digits = jnp.asarray(data[split])
        films = jax.vmap(lambda key: self._film(digits, key), out_axes=1)(keys)[..., None]
        films = films / data["white"]
        mask = jnp.broadcast_to(mask[None], (self.num_frames - 1, len(keys)))
        return Batch(films[:-1], targets=films[1:], mask=mask)

    def _film(self, digits: Array, key: Array) -> Array:
        """One film [num_frames, H, W]."""
        which, start, direction, speed = jax.random.split(key, 4)
        chosen = digits[jax.random.randint(which, (self.objects,), 0, len(digits), jnp.int32)]
        chosen = chosen.astype(jnp.float32)
        L = self.canvas - digits.shape[-1]
        start = jax.random.uniform(start, (self.objects, 2), maxval=L)
        angle = jax.random.uniform(direction, (self.objects, 1), maxval=2 * np.pi)
        speed = jax.random.uniform(
            speed, (self.objects, 1), minval=_SLOWEST * L, maxval=_FASTEST * L
        )
        velocity = speed * jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)
        corners = positions(start, velocity, self.num_frames, L)
        return draw_frames(chosen, jnp.rint(corners).astype(jnp.int32), self.canvas)


def positions(start: Array, velocity: Array, num_frames: int, L: float) -> Array:
    """Where points are that move evenly and are reflected at 0 and at L.

    Args:
      start, velocity: [..], at the first frame, and a frame.

    Returns:
      [num_frames, ..] in [0, L].
    """
    time = jnp.arange(num_frames, dtype=start.dtype).reshape(-1, *(1,) * start.ndim)
    unfolded = start[None] + time * velocity[None]
    return L - jnp.abs(jnp.mod(unfolded, 2 * L) - L)


def draw_frames(digits: Array, corners: Array, canvas: int) -> Array:
    """Digits in a box, the brighter one where they overlap.

    Args:
      digits: [N, D, D].
      corners: int32 [T, N, 2], row and column of each digit's upper left pixel, from 0 to
        canvas - D.

    Returns:
      [T, canvas, canvas].
    """
    pixel = jax.lax.broadcasted_iota(jnp.int32, (*corners.shape, canvas), corners.ndim)
    place = pixel - corners[..., None]  # [T, N, 2, canvas], in the digit
    drawn = jax.nn.one_hot(place, digits.shape[-1], dtype=digits.dtype)  # [T, N, 2, canvas, D]
    rows, columns = drawn[:, :, 0], drawn[:, :, 1]
    frames = jnp.einsum("tnyi,nij,tnxj->tnyx", rows, digits, columns, precision="highest")
    return jnp.max(frames, axis=1)


def moving_digits(
    data_dir: str | os.PathLike | None = None,
    *,
    objects: int = 2,
    canvas: int | None = None,
    num_frames: int = 20,
    batch_size: int = 16,
    eval_batch_size: int = 50,
    eval_samples: int = 500,
    valid_fraction: float = 0.1,
) -> MovingDigits:
    """The next frame of films of bouncing digits, each part's films of its own digits.

    Args:
      data_dir: where MNIST's IDX files are or are downloaded to; None: scikit-learn's 8x8 digits,
        which are bundled.
      objects: digits in a film.
      canvas: pixels along a side of the box; None: 64 for MNIST, 16 for 8x8 digits.
      num_frames: frames of a film; a rollout is given the first half of them.
      batch_size: films of a training batch.
      eval_batch_size: films of an evaluation batch.
      eval_samples: films of an evaluation.
      valid_fraction: share of the training digits that is held out for validation.

    Raises:
      ValueError: a setting is out of range, or a file is damaged.
      FileNotFoundError: files are missing, and cannot be downloaded.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax.tasks.moving_digits import moving_digits
      >>> task = moving_digits(num_frames=6)
      >>> batch = task.train_batch(task.data, jax.random.key(0), jnp.int32(0), 0)
      >>> batch.inputs.shape, batch.targets.shape, batch.mask.shape
      ((5, 16, 16, 16, 1), (5, 16, 16, 16, 1), (5, 16))
    """
    dataset = "digits" if data_dir is None else "mnist"
    made = images.load(dataset, data_dir or "", batch_size=1, valid_fraction=valid_fraction)
    parts = {split: made.data[split]["images"] for split in ("train", "valid", "test")}
    data = {split: part.reshape(-1, made.side, made.side) for split, part in parts.items()}
    data["white"] = np.array(max(part.max() for part in parts.values()), np.float32)
    if canvas is None:
        canvas = 16 if data_dir is None else 64
    sizes = (batch_size, eval_batch_size, eval_samples, objects, canvas, num_frames)
    return MovingDigits(data, *sizes)
