"""Checksums of a folder's files, in a file among them.

SHA256SUMS has a line for each other file, as the program `sha256sum` writes and checks them, and a
last line with the checksum of the lines above, so that its own damage is found as well. It is
written last and moved into place: a folder without it was interrupted while it was written.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterator

NAME = "SHA256SUMS"
_MOST_FILES = 2**20
_MOST = 2**24  # bytes of SHA256SUMS; a checkpoint's has thousands


def write(folder: pathlib.Path) -> None:
    """Writes the checksums of all files in `folder` and below, replacing earlier ones.

    Raises:
      OSError: a file cannot be read, or the checksums cannot be written.
      ValueError: a file has a line break in its name.
    """
    temporary, path = folder / f"{NAME}.tmp", folder / NAME
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p not in (temporary, path))
    names = [p.relative_to(folder).as_posix() for p in files]
    if broken := [name for name in names if len(name.splitlines()) != 1]:
        raise ValueError(f"{folder} has {broken[0]!r}; accepted are names without line breaks")
    lines = "".join(f"{_sha256(p)}  {name}\n" for p, name in zip(files, names, strict=True))
    with temporary.open("w") as file:
        file.write(lines + _last(lines))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def problem(folder: pathlib.Path) -> str | None:
    """The first problem with the files of `folder`, or None.

    It may have files and folders only, no links, pipes or devices, and no file that the checksums
    do not name; this is checked before anything is read.
    """
    path = folder / NAME
    if folder.is_symlink():
        return "it is a link; accepted are folders"
    try:
        there = set(_files(folder))
    except ValueError as e:
        return str(e)
    except OSError as e:
        return f"{folder} cannot be read: {e}"
    if NAME not in there:
        return f"{NAME} is missing, as if saving had been interrupted"
    try:
        with path.open("rb") as file:
            content = file.read(_MOST).decode()
        lines = content.splitlines(keepends=True)
        if not lines or content != "".join(lines[:-1]) + _last("".join(lines[:-1])):
            return f"{NAME} differs from its own checksum"
        named = {line.rstrip("\n").partition("  ")[2] for line in lines[:-1]}
        if unnamed := sorted(there - named - {NAME}):
            return f"{unnamed[0]} is not named in {NAME}"
        for line in lines[:-1]:
            digest, _, name = line.rstrip("\n").partition("  ")
            file = folder / name
            if not name or pathlib.PurePosixPath(name).is_absolute() or ".." in file.parts:
                return f"{NAME} names {name!r}; accepted are files below it"
            if name not in there:
                return f"{name} is missing"
            if _sha256(file) != digest:
                return f"{name} differs from its checksum"
    except UnicodeDecodeError:
        return f"{NAME} differs from its own checksum"
    except (OSError, ValueError) as e:  # a disk that cannot read; a name with a null byte
        return f"{path} cannot be checked: {e}"
    return None


def _files(folder: pathlib.Path) -> Iterator[str]:
    """The names of all files below; raises ValueError for what is neither a file nor a folder."""
    waiting, number = [folder], 0
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = pathlib.Path(entry.path)
                name, number = path.relative_to(folder).as_posix(), number + 1
                if number > _MOST_FILES:
                    raise ValueError(f"it has over {_MOST_FILES:,} files")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield name
                else:
                    raise ValueError(f"{name} is neither a file nor a folder")


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last(lines: str) -> str:
    return f"# {hashlib.sha256(lines.encode()).hexdigest()}\n"
