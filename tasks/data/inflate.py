"""Reading what may be compressed, in bounded memory: an archive can be a bomb."""

from collections.abc import Callable
from typing import IO

MAX_RATIO = 200  # text deflates 3 to 5 times, MNIST 5, logs some tens; zeros, as in bombs, 1000
FREE_BYTES = 2**24  # at any ratio: a short text may repeat itself
_CHUNK = 2**16  # zipfile reads as much ahead


class BombError(ValueError):
    """An archive inflates too much."""


def read_at_most(file: IO[bytes], most: int, packed: Callable[[], int] | None = None) -> bytes:
    """The next bytes of `file`, up to its end or `most`.

    Args:
      packed: the position in the archive that `file` inflates; None: it is not an archive. What the
        archive declares is not trusted.

    Raises:
      BombError: over FREE_BYTES, and over MAX_RATIO times what was read of the archive.
    """
    chunks = []
    size = 0
    while chunk := file.read(min(_CHUNK, most - size)):
        chunks.append(chunk)
        size += len(chunk)
        if packed is not None and size > max(FREE_BYTES, MAX_RATIO * packed()):
            raise BombError(
                f"inflates to over {size:,} bytes, more than {MAX_RATIO} times its size"
            )
    return b"".join(chunks)
