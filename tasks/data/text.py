"""Text as bytes: reading it from a file, and writing it in the symbols of a vocabulary.

A vocabulary is the sorted distinct bytes of a training text, V of them. Symbol i < V is byte
`vocabulary[i]`; symbol V, the last, is the unknown symbol, for all other bytes. The symbols of a
text always fit uint8: where V is 256, no byte is left to be unknown.
"""

import gzip
import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from pydoc_data.topics import topics

import numpy as np

from tlstm_jax.tasks.data.formats import GZIP, ZIP, not_text
from tlstm_jax.tasks.data.inflate import BombError, read_at_most

MAX_BYTES = 2**31 - 1  # of text, uncompressed: positions are int32, and an archive may be a bomb
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()  # how the unknown symbol is written
_MAX_DIRECTORY = 2**20  # bytes of a .zip's directory, which zipfile takes in at once
_ACCEPTED = "accepted is a readable text file, plain, .gz or .zip"  # whatever its name is


class _RefusedError(ValueError):
    """Its message is complete."""


def read_text(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a text file: plain, .gz, or .zip (its only file, or the one named enwik8).

    An archive is recognized by its content, whatever its name is.

    Raises:
      FileNotFoundError: there is nothing at `path`.
      ValueError: not a file, empty, unreadable (a damaged archive, a password), a .zip with several
        files and not just one of them named enwik8, more than MAX_BYTES of text, a bomb, another
        kind of archive, or UTF-16.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"data_path '{path}' does not exist; {_ACCEPTED}")
    if not path.is_file():
        raise ValueError(f"data_path '{path}' is not a file; {_ACCEPTED}")
    try:
        text = _read(path)
    except _RefusedError:
        raise
    except BombError as error:
        raise ValueError(f"data_path '{path}' {error}; {_ACCEPTED}") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive can make its reader raise anything
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"data_path '{path}' cannot be read ({why}); {_ACCEPTED}") from error
    _check_size(path, len(text))
    if not text:
        raise ValueError(f"data_path '{path}' is empty; accepted is a file with text")
    if (kind := not_text(text)) is not None:
        raise ValueError(f"data_path '{path}' {kind}; {_ACCEPTED}")
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
    """The text of `symbols` [N]; the unknown symbol is written as U+FFFD in UTF-8.

    Raises:
      ValueError: a symbol outside 0 .. len(vocabulary).
    """
    written = [bytes([byte]) for byte in vocabulary] + [REPLACEMENT]
    symbols = [int(symbol) for symbol in symbols]
    for symbol in symbols:
        if not 0 <= symbol < len(written):
            raise ValueError(f"symbols contain {symbol}; accepted are 0 to {len(vocabulary)}")
    return b"".join(written[symbol] for symbol in symbols)


def _read(path: Path) -> bytes:
    """Up to one byte more than is accepted."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(ZIP) or (path.suffix.lower() == ".zip" and not start.startswith(GZIP)):
        with _ZipSource(path) as raw, zipfile.ZipFile(raw) as archive:
            member = _member(archive, path)
            _check_size(path, member.file_size)  # as declared; what it holds is counted as well
            with archive.open(member) as file:
                return read_at_most(file, MAX_BYTES + 1, raw.tell)
    if start.startswith(GZIP) or path.suffix.lower() == ".gz":
        with path.open("rb") as raw, gzip.open(raw) as file:
            return read_at_most(file, MAX_BYTES + 1, raw.tell)
    _check_size(path, path.stat().st_size)
    with path.open("rb") as file:
        return read_at_most(file, MAX_BYTES + 1)


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise _RefusedError(
            f"data_path '{path}' has over {MAX_BYTES:,} bytes of text; accepted are fewer"
        )


class _ZipSource(io.FileIO):
    """A file of which nothing reads more than _MAX_DIRECTORY bytes at once."""

    def read(self, size: int = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        if (left if size < 0 else min(size, left)) > _MAX_DIRECTORY:
            raise _RefusedError(
                f"data_path '{self.name}' has too large a directory; accepted is a .zip with one "
                f"of up to {_MAX_DIRECTORY:,} bytes"
            )
        return super().read(size)


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    files = [info for info in archive.infolist() if not info.is_dir()]
    chosen = files
    if len(files) != 1:
        chosen = [info for info in files if PurePosixPath(info.filename).name == "enwik8"]
    if len(chosen) != 1:
        raise _RefusedError(
            f"data_path '{path}' holds {len(files)} files, {len(chosen)} of them named "
            "enwik8; accepted is a .zip with exactly one file, or with one named enwik8"
        )
    method = chosen[0].compress_type
    # The others take memory as their headers say, and inflate without a bound.
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _RefusedError(
            f"data_path '{path}' is compressed by method {method} of .zip; accepted are 0 "
            "(stored), 8 (deflated)"
        )
    return chosen[0]
