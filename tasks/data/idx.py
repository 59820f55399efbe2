"""IDX files, the format of MNIST: a big-endian header and unsigned bytes, plain or in gzip."""

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from tlstm_jax.tasks.data.formats import GZIP
from tlstm_jax.tasks.data.inflate import BombError, read_at_most

Split = tuple[np.ndarray, np.ndarray]  # images uint8 [N, H, W], labels int32 [N]

CLASSES = 10
IMAGE_SHAPE = (28, 28)
FILES = {  # part -> its images and its labels
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_MAX_BYTES = 2**30  # of items in one file
_DEFLATE_RATIO = 1032  # deflate cannot compress better than this


def find_files(directory: Path) -> dict[str, Path]:
    """The four files of a dataset by the names in `FILES`, {} where there are none.

    Accepted are `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, with or without `.gz`,
    also in a folder of such a name; of several, the first in this order is taken.

    Raises:
      FileNotFoundError: some of the four are there, but not all.
    """
    names = [name for pair in FILES.values() for name in pair]
    found = {}
    for name in names:
        spellings = (name, name.replace("-idx", ".idx"))
        files = [spelling + end for spelling in spellings for end in ("", ".gz")]
        paths = (directory / folder / file for folder in ("", *spellings) for file in files)
        if path := next(filter(Path.is_file, paths), None):
            found[name] = path
    missing = [name for name in names if name not in found]
    if found and missing:
        raise FileNotFoundError(
            f"{directory} has {', '.join(path.name for path in found.values())}, but not "
            f"{', '.join(missing)}; accepted are all four files, plain or with .gz"
        )
    return found


def read_split(images_path: Path, labels_path: Path) -> Split:
    """Images uint8 [N, 28, 28] and labels int32 [N] from a pair of files.

    Raises:
      ValueError: a file is damaged, the counts differ, or a label is out of range.
    """
    images = read_idx(images_path, IMAGE_SHAPE)
    labels = read_idx(labels_path, ())
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}; "
            "accepted is one label for each image"
        )
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise ValueError(
            f"{labels_path}: label {labels[wrong[0]]} of example {wrong[0]} is out of range; "
            f"accepted are 0 to {CLASSES - 1}"
        )
    return images, labels.astype(np.int32)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The items of an IDX file of unsigned bytes, plain or in gzip: uint8 [N, *shape].

    Raises:
      ValueError: the file is empty, truncated, too long, damaged, or has other items.
    """
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path}: empty file; accepted is an IDX file")
    with path.open("rb") as raw:
        compressed = raw.read(len(GZIP)) == GZIP
    # A header can announce any size: bound it before reading.
    most = min(size * (_DEFLATE_RATIO if compressed else 1), _MAX_BYTES)
    try:
        with path.open("rb") as raw:
            if not compressed:
                return _parse(raw, path, shape, most)
            with gzip.open(raw) as file:
                return _parse(file, path, shape, most, raw.tell)
    except BombError as error:
        raise ValueError(f"{path}: {error}; accepted is an IDX file in gzip") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: damaged or truncated ({error}); accepted is an IDX file in gzip"
        ) from error


def _parse(
    file: IO[bytes],
    path: Path,
    shape: tuple[int, ...],
    most: int,
    packed: Callable[[], int] | None = None,
) -> np.ndarray:
    ndim = 1 + len(shape)
    magic = 0x800 + ndim  # 8: unsigned bytes
    header = file.read(4 + 4 * ndim)
    if len(header) < 4 + 4 * ndim:
        raise ValueError(
            f"{path}: truncated, {len(header)} bytes in all; accepted is a header of {4 + 4 * ndim}"
        )
    found_magic, count, *sides = np.frombuffer(header, ">u4").tolist()
    if found_magic != magic:
        raise ValueError(
            f"{path}: magic number {found_magic}; accepted is {magic} (unsigned bytes in {ndim} "
            f"dimension{'s' * (ndim > 1)})"
        )
    if tuple(sides) != shape:
        raise ValueError(f"{path}: images of {sides} pixels; accepted are {list(shape)}")
    if count == 0:
        raise ValueError(f"{path}: no items; accepted is at least one")
    length = count * math.prod(shape)
    if length > most:
        raise ValueError(
            f"{path}: truncated or too large, the header announces {length} bytes; accepted is at "
            f"most {most} for a file of this size"
        )
    content = read_at_most(file, length + 1, packed)
    if len(content) != length:
        found = f"truncated, {len(content)}" if len(content) < length else f"more than {length}"
        raise ValueError(
            f"{path}: {found} bytes after the header; accepted are {length} for its {count} items"
        )
    return np.frombuffer(content, np.uint8).reshape(count, *shape)
