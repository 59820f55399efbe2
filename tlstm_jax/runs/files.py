"""Files that are complete or absent: written under a new name and moved into place."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

LOCK = "lock"  # which a folder's owner holds, see `ownership`


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The name to write to; at the end, the file of this name replaces `path`.

    Raises:
      OSError: it cannot be written; the earlier file is still there.
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
      OSError: it cannot be written; the earlier file is still there.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_figure(path: pathlib.Path, figure: Any) -> None:
    """Writes a matplotlib Figure as PNG.

    Raises:
      OSError: it cannot be written; the earlier file is still there.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Errors in writing name the file, which those of a full disk do not."""
    try:
        yield
    except OSError as e:
        raise OSError(f"{path} could not be written: {e}") from e


def is_unclaimed(folder: pathlib.Path, first: pathlib.Path) -> bool:
    """Whether a folder is empty, except for what an interrupted writing of its first file left."""
    left = {_temporary(first), folder / LOCK}
    return folder.is_dir() and all(path in left for path in folder.iterdir())


def check_folder(path: str | None) -> None:
    """Raises ValueError if `path` is a broken link, which can neither be read nor created."""
    if path is not None and os.path.islink(path) and not os.path.exists(path):
        raise ValueError(
            f"{path} is a broken link to {os.readlink(path)}; accepted is a folder, or a name for "
            "a new one"
        )


def folder_name(name: str) -> str:
    """A folder for a name like digits/2d or my_tasks:parity/my_cells:MGU."""
    return "-".join(part.rpartition(":")[2] for part in name.split("/"))


def free_folder(folder: str, is_taken: Callable[[pathlib.Path], bool]) -> str:
    """`folder`, or the first of `folder`-2, `folder`-3, .. that is not taken."""
    names = itertools.chain([folder], (f"{folder}-{n}" for n in itertools.count(2)))
    return next(name for name in names if not is_taken(pathlib.Path(name)))


def _temporary(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".tmp")
