"""MNIST and Fashion-MNIST from IDX files, through tensorflow-datasets without TensorFlow.

`load` looks for the four IDX files in `data_dir/<name>`, in torchvision's folder and in `data_dir`,
each also in `raw`; without any, and with nothing prepared earlier, it downloads them to
`data_dir/<name>`. The first time it prepares them with its own builder; from then on it reads the
preparation, kept in `data_dir/prepared` under a fingerprint of the files, so that one is never
taken for another. If it cannot be kept, the files are read each time. Files in `data_dir` itself
count as whichever dataset is asked for.

The download was tried against a local HTTP server only, never against the hosts in `SOURCES`; the
sizes and checksums are those that tensorflow-datasets records for these files.
"""

import contextlib
import hashlib
import http.client
import io
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from tlstm_jax.tasks.data import idx

Splits = dict[str, idx.Split]

_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}  # its folders' names
_MAX_EXAMPLES = 2**21  # more than the largest IDX file has
_TIMEOUT = 10.0  # seconds to wait for each address of a host, and for each piece of the answer


class Source(NamedTuple):
    """Where the IDX files of a dataset can be downloaded.

    Attributes:
      url: what a file's name is appended to.
      files: file name -> (size in bytes, SHA-256 in hexadecimal).
    """

    url: str
    files: Mapping[str, tuple[int, str]]


SOURCES = {
    "mnist": Source(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        {
            "train-images-idx3-ubyte.gz": (
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            "train-labels-idx1-ubyte.gz": (
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            "t10k-images-idx3-ubyte.gz": (
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            "t10k-labels-idx1-ubyte.gz": (
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        },
    ),
    "fashion_mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": (
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            "train-labels-idx1-ubyte.gz": (
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            "t10k-images-idx3-ubyte.gz": (
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            "t10k-labels-idx1-ubyte.gz": (
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        },
    ),
}


class IdxImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The tensorflow-datasets builder of labelled images."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, directory: Path, splits: Splits | None = None) -> None:
        """`directory` holds the preparation; `splits` are the arrays to prepare."""
        self._splits = splits or {}
        super().__init__(data_dir=directory, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        # tfds.features.Image would need TensorFlow.
        image = tfds.features.Tensor(shape=idx.IMAGE_SHAPE, dtype=np.uint8, encoding="bytes")
        label = tfds.features.Tensor(shape=(), dtype=np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Grey images with labels, in the order of their IDX files.",
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # it would need TensorFlow
        return {name: self._generate_examples(*split) for name, split in self._splits.items()}

    def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": image, "label": label}


def load(name: str, data_dir: str | os.PathLike, *, source: Source | None = None) -> Splits:
    """The "train" and "test" part of a dataset.

    Args:
      name: "mnist" or "fashion_mnist".
      data_dir: where the IDX files are or are downloaded to, and where the preparation is kept.
      source: where to download from; None: `SOURCES[name]`.

    Returns:
      Images uint8 [N, 28, 28] and labels int32 [N] of each part, in the order of the files.

    Raises:
      FileNotFoundError: some of the files are missing, or all of them and the download failed.
      ImportError: there is only a preparation, and array_record cannot be imported.
      ValueError: a file is damaged, a download has another checksum, or there are no files but
        several preparations.
    """
    if name not in SOURCES:
        raise ValueError(f"name is {name!r}; accepted are {', '.join(SOURCES)}")
    data_dir = Path(data_dir).expanduser()
    if data_dir.exists() and not data_dir.is_dir():
        raise NotADirectoryError(f"data_dir is {data_dir}, a file; accepted is a directory")
    files = _find_files(name, data_dir)
    if not files:
        prepared = [path for path in data_dir.glob(f"prepared/{name}-*") if _is_prepared(path)]
        if len(prepared) > 1:
            raise ValueError(
                f"{data_dir} has no IDX files of {name}, and several preparations "
                f"({', '.join(sorted(map(str, prepared)))}); accepted are the files, or only one"
            )
        if prepared:
            return _read(prepared[0])
        download(source or SOURCES[name], data_dir / name)
        files = idx.find_files(data_dir / name)
    directory = data_dir / "prepared" / f"{name}-{_fingerprint(files)}"
    if _is_prepared(directory):
        try:
            return _read(directory)
        except ImportError as error:
            print(f"{error}; reading the files instead", file=sys.stderr)
            return _read_files(files)
    splits = _read_files(files)
    try:
        _prepare(directory, splits)
    except (OSError, ImportError) as error:  # a read-only folder, a full disk, no array_record
        why = " ".join(str(error).split())
        print(
            f"{directory} cannot be written ({why}): the files are read again each time",
            file=sys.stderr,
        )
    return splits


def download(source: Source, directory: Path) -> None:
    """Puts the files of `source` into `directory`: all of them with the right checksum, or none.

    Raises:
      FileNotFoundError: a file cannot be fetched.
      ValueError: a file has another size or SHA-256.
    """
    print(f"Downloading {source.url} to {directory}", file=sys.stderr)
    contents = {}
    for name, (size, sha256) in source.files.items():
        url = source.url + name
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                content = response.read(size + 1)
        except (OSError, http.client.HTTPException) as error:
            raise FileNotFoundError(
                f"{directory} has no IDX files, and {url} cannot be downloaded ({error}); "
                f"accepted are {', '.join(source.files)}, also without .gz"
            ) from error
        digest = hashlib.sha256(content).hexdigest()
        if (len(content), digest) != (size, sha256):
            raise ValueError(
                f"{url}: {len(content)} bytes read, SHA-256 {digest}; accepted are {size} bytes, "
                f"{sha256}"
            )
        contents[name] = content
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="download-") as partial:
        for name, content in contents.items():
            Path(partial, name).write_bytes(content)
        for name in contents:
            Path(partial, name).replace(directory / name)


def _find_files(name: str, data_dir: Path) -> dict[str, Path]:
    for folder in (name, _TORCHVISION[name], "."):
        for inner in (".", "raw"):
            if files := idx.find_files(data_dir / folder / inner):
                return files
    return {}


def _read_files(files: Mapping[str, Path]) -> Splits:
    return {part: idx.read_split(files[x], files[y]) for part, (x, y) in idx.FILES.items()}


def _fingerprint(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for path in files.values():
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _is_prepared(directory: Path) -> bool:
    version = directory / IdxImages.name / str(IdxImages.VERSION)
    return (version / "dataset_info.json").is_file()


def _prepare(directory: Path, splits: Splits) -> None:
    print(f"Preparing {directory}", file=sys.stderr)
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder = IdxImages(directory, splits)
    with (
        contextlib.redirect_stdout(io.StringIO()),  # it announces a download
        contextlib.suppress(FileExistsError),  # another process was faster
    ):
        builder.download_and_prepare(download_config=config)


def _read(directory: Path) -> Splits:
    try:
        sources = IdxImages(directory).as_data_source()
        return {part: _read_part(sources[part]) for part in idx.FILES}
    except ImportError as error:
        why = " ".join(str(error).split())
        raise ImportError(
            f"{directory} needs array_record, which cannot be imported ({why})"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged preparation can make its reader raise anything
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{directory} is damaged ({why}); accepted is none: delete it, and it is prepared again"
        ) from error


def _read_part(records: Sequence[Mapping[str, np.ndarray]]) -> idx.Split:
    if len(records) > _MAX_EXAMPLES:  # as its metadata say
        raise ValueError(f"{len(records)} examples; accepted are up to {_MAX_EXAMPLES}")
    examples = records.__getitems__(range(len(records)))  # far faster than one by one
    images, labels = zip(*((e["image"], e["label"]) for e in examples), strict=True)
    labels = np.array(labels, np.int32)
    if labels.min() < 0 or labels.max() >= idx.CLASSES:
        raise ValueError(f"a label is out of range; accepted are 0 to {idx.CLASSES - 1}")
    return np.stack(images), labels
