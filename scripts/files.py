"""Files that are whole or not there: written to a new name and moved into place."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The name to write to; what stands there at the end takes the place of `path`.

    Raises:
      OSError: it cannot be written; what was there before is still there.
    """
    temporary = _temporary(path)
    with naming(path):
        try:
            yield temporary
            os.replace(temporary, path)
        except OSError:  # a full disk, say
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file of text, in UTF-8 on every system.

    Raises:
      OSError: it cannot be written; what was there before is still there.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """An error in writing says what could not be written: a full disk's does not."""
    try:
        yield
    except OSError as e:
        raise OSError(f"{path} could not be written: {e}") from e


def is_unclaimed(folder: pathlib.Path, first: pathlib.Path) -> bool:
    """Whether a folder is empty, but for what is left where the writing of its first file was cut off."""
    return folder.is_dir() and all(path == _temporary(first) for path in folder.iterdir())


def _temporary(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".tmp")
