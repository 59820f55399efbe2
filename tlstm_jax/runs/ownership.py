"""One program at a time writes to a folder: it holds a lock, which a kill frees."""

import contextlib
import errno
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator

from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.files import LOCK, is_unclaimed, naming

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = LOCK
_MOST = 200  # bytes of an owner's description
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


@contextlib.contextmanager
def owning_run(directory: RunDirectory) -> Iterator[None]:
    """Owns a run's folder; of a sweep's member, also the sweep's, shared with other members."""
    sweep = directory.path.resolve().parent.parent / "sweep.json"
    with contextlib.ExitStack() as stack:
        if sweep.is_file():
            stack.enter_context(owning(sweep.parent, sweep, shared=True))
        stack.enter_context(owning(directory.path, directory.config))
        yield


@contextlib.contextmanager
def owning(folder: pathlib.Path, first: pathlib.Path, *, shared: bool = False) -> Iterator[None]:
    """Makes the folder, and holds it; does nothing to one that holds something else.

    Args:
      folder: of a run, or of a sweep.
      first: the file that tells whose the folder is.
      shared: others may hold it shared at the same time.

    Raises:
      ValueError: another process holds it; the message says which.
      OSError: it cannot be written.
    """
    if folder.exists() and not first.is_file() and not is_unclaimed(folder, first):
        yield  # to be refused by its `claim`
        return
    path = folder / NAME
    with naming(path):
        folder.mkdir(parents=True, exist_ok=True)
        options = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        file = os.open(path, options | getattr(os, "O_NONBLOCK", 0), 0o644)
    try:
        if _lock(file, folder, shared):
            os.ftruncate(file, 0)
            os.pwrite(file, _who().encode(), 0)
        yield
    finally:
        os.close(file)  # which frees it


def _lock(file: int, folder: pathlib.Path, shared: bool) -> bool:
    """Whether it is locked; False where there are no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(file, _MOST, 0).decode(errors="replace")
        who = said if said.isprintable() and said else "another program"
        raise ValueError(
            f"{folder} is in use by {who}; accepted is one program at a time: end that one, or "
            "give another --workdir"
        ) from None
    except OSError as e:
        if e.errno not in _NO_LOCKS:
            raise
        print(
            f"{folder} is on a file system without locks: no other program may write there",
            file=sys.stderr,
        )
        return False
    return True


def _who() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"[:_MOST]
