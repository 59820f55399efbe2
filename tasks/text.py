"""Text as bytes: reading it from a file, and writing it in the symbols of a vocabulary.

A vocabulary is the sorted distinct bytes of a training text, V of them. Symbol i < V stands for
byte `vocabulary[i]`; symbol V, the last, is the unknown symbol, for every other byte. The symbols
of a text always fit uint8: where V is 256, no byte is left to be unknown.
"""

import gzip
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from pydoc_data.topics import topics
from typing import IO

import numpy as np

MAX_BYTES = 2**31 - 1  # of text, uncompressed: positions are int32, and an archive may be a bomb
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()  # how the unknown symbol is written
_CHUNK = 2**24
_ACCEPTED = "accepted: a readable text file, plain, .gz or .zip"
_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,  # zipfile's for a password or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,  # zipfile's for a damaged name
)


def read_text(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a text file: plain, .gz, or .zip (its only file, or the one named enwik8).

    Raises:
      FileNotFoundError: there is nothing at `path`.
      ValueError: not a file, empty, unreadable (a damaged archive, a password), a .zip with several
        files and not just one of them named enwik8, or more than MAX_BYTES of text.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"data_path '{path}' does not exist; {_ACCEPTED}")
    if not path.is_file():
        raise ValueError(f"data_path '{path}' is not a file; {_ACCEPTED}")
    try:
        match path.suffix.lower():
            case ".zip":
                with zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as file:
                    text = _read_bounded(file, path)
            case ".gz":
                with gzip.open(path) as file:
                    text = _read_bounded(file, path)
            case _:
                with path.open("rb") as file:
                    text = _read_bounded(file, path)
    except _UNREADABLE as error:
        raise ValueError(f"data_path '{path}' cannot be read ({error}); {_ACCEPTED}") from error
    if not text:
        raise ValueError(f"data_path '{path}' is empty; accepted: a file with text in it")
    return text


def help_topics() -> bytes:
    """The English text of Python's own help topics, in the order of their names.

    It differs a little from one version of Python to the next.
    """
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def make_vocabulary(text: bytes) -> tuple[int, ...]:
    """The sorted distinct bytes of `text`."""
    return tuple(byte for byte in range(256) if byte in text)


def encode(text: bytes, vocabulary: Sequence[int]) -> np.ndarray:
    """The symbols of `text`, int32 [N]; a byte outside the vocabulary is len(vocabulary)."""
    return to_symbols(text, vocabulary).astype(np.int32)


def to_symbols(text: bytes, vocabulary: Sequence[int]) -> np.ndarray:
    """`encode` without the copy to int32, for long texts: a read-only uint8 [N]."""
    table = bytearray([len(vocabulary) % 256]) * 256
    for symbol, byte in enumerate(vocabulary):
        table[byte] = symbol
    return np.frombuffer(text.translate(table), np.uint8)


def decode(symbols: Iterable[int], vocabulary: Sequence[int]) -> bytes:
    """The text that `symbols` [N] stand for; the unknown symbol is written as U+FFFD in UTF-8.

    Raises:
      ValueError: a symbol outside 0 .. len(vocabulary).
    """
    written = [bytes([byte]) for byte in vocabulary] + [REPLACEMENT]
    symbols = [int(symbol) for symbol in symbols]
    for symbol in symbols:
        if not 0 <= symbol < len(written):
            raise ValueError(f"symbols contain {symbol}; accepted are 0 to {len(vocabulary)}")
    return b"".join(written[symbol] for symbol in symbols)


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    files = [info for info in archive.infolist() if not info.is_dir()]
    chosen = files
    if len(files) != 1:
        chosen = [info for info in files if PurePosixPath(info.filename).name == "enwik8"]
    if len(chosen) != 1:
        raise ValueError(
            f"data_path '{archive.filename}' holds {len(files)} files, {len(chosen)} of them named "
            "enwik8; accepted: a .zip with exactly one file, or with one named enwik8"
        )
    return chosen[0]


def _read_bounded(file: IO[bytes], path: Path) -> bytes:
    chunks = []
    size = 0
    while chunk := file.read(_CHUNK):  # the sizes that an archive declares may lie
        size += len(chunk)
        if size > MAX_BYTES:
            raise ValueError(
                f"data_path '{path}' holds more text than is accepted: {MAX_BYTES:,} bytes"
            )
        chunks.append(chunk)
    return b"".join(chunks)
