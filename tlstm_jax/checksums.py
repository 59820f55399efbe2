"""Checksums of a folder's files, in a file among them.

SHA256SUMS has a line for each other file, as the program `sha256sum` writes and checks them, and a last
line with the checksum of the lines above, so that it tells its own damage, too. It is written last, to
another name first: a folder without it was cut off in being written.
"""

import hashlib
import os
import pathlib

NAME = "SHA256SUMS"
_MOST = 2**24  # bytes of SHA256SUMS; a checkpoint's has some thousands


def write(folder: pathlib.Path) -> None:
    """Writes the checksums of all files in `folder` and below, in place of those that are there.

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
    """The first thing that is wrong with the files of `folder`, or None.

    Files that were added later are none of it.
    """
    path = folder / NAME
    if not path.is_file():
        return f"{NAME} is missing, as if its writing had been cut off"
    try:
        with path.open("rb") as file:
            content = file.read(_MOST).decode()
        lines = content.splitlines(keepends=True)
        if not lines or content != "".join(lines[:-1]) + _last("".join(lines[:-1])):
            return f"{NAME} differs from its own checksum"
        for line in lines[:-1]:
            digest, _, name = line.rstrip("\n").partition("  ")
            file = folder / name
            if not name or pathlib.PurePosixPath(name).is_absolute() or ".." in file.parts:
                return f"{NAME} names {name!r}; accepted are files below it"
            if not file.is_file():
                return f"{name} is missing"
            if _sha256(file) != digest:
                return f"{name} differs from its checksum"
    except UnicodeDecodeError:
        return f"{NAME} differs from its own checksum"
    except (OSError, ValueError) as e:  # a disk that cannot read; a name with a null byte
        return f"{path} cannot be checked: {e}"
    return None


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last(lines: str) -> str:
    return f"# {hashlib.sha256(lines.encode()).hexdigest()}\n"
