"""The binary files of CIFAR-10: records of a label and 32 x 32 pixels, red, green and blue.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from pathlib import Path

import numpy as np

Split = tuple[np.ndarray, np.ndarray]  # images uint8 [N, 32, 32, 3], labels int32 [N]

SIDE, CLASSES = 32, 10
FOLDER = "cifar-10-batches-bin"  # of the archive, cifar-10-binary.tar.gz
FILES = {
    "train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    "test": ("test_batch.bin",),
}
_RECORD = 1 + 3 * SIDE**2
_MAX_BYTES = 2**28  # of one file; they have 30,730,000


def load(data_dir: Path) -> dict[str, Split]:
    """The "train" and "test" part, from the files in `data_dir` or in a folder `FOLDER` in it.

    Raises:
      FileNotFoundError: some of the six files are missing.
      ValueError: a file is damaged.
    """
    data_dir = Path(data_dir).expanduser()
    if data_dir.exists() and not data_dir.is_dir():
        raise NotADirectoryError(f"data_dir is {data_dir}, a file; accepted is a directory")
    names = [name for split in FILES.values() for name in split]
    folders = [data_dir / FOLDER, data_dir]
    folder = next((f for f in folders if any((f / name).is_file() for name in names)), data_dir)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder} has no {', '.join(missing)}; accepted is a folder with the six files of "
            "CIFAR-10's binary version (cifar-10-binary.tar.gz, unpacked)"
        )
    splits = {}
    for split, files in FILES.items():
        parts = [read(folder / name) for name in files]
        splits[split] = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return splits


def read(path: Path) -> Split:
    """The images and labels of a file.

    Raises:
      ValueError: it is empty, has other than whole records, or a label is out of range.
    """
    size = path.stat().st_size
    if not 0 < size <= _MAX_BYTES or size % _RECORD:
        raise ValueError(
            f"{path} has {size:,} bytes; accepted are multiples of {_RECORD:,}, up to {_MAX_BYTES:,}"
        )
    records = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int32)
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise ValueError(
            f"{path}: label {labels[wrong[0]]} of example {wrong[0]} is out of range; accepted are "
            f"0 to {CLASSES - 1}"
        )
    return records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def grey(images: np.ndarray) -> np.ndarray:
    """The luma of colours, as of ITU-R BT.601: uint8 [N, H, W] of uint8 [N, H, W, 3]."""
    return np.rint(images @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
