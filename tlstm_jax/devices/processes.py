"""A training of several processes, each of which runs this program on the devices of its host.

All compute the same on the same global arrays, and only the first writes files. What only one of
them finds out (an error, a signal, the time), it has to tell the others.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")
_MOST = 1000  # bytes of a message


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def wait() -> None:
    """Returns once all processes have called it."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("tlstm_jax")


def agree(message: str | None) -> str | None:
    """The message of the first process that has one, in all of them; None if none has."""
    if jax.process_count() == 1:
        return message
    own = np.zeros(_MOST, np.uint8)
    text = (message or "").encode()[:_MOST]
    own[: len(text)] = np.frombuffer(text, np.uint8)
    texts = [bytes(row).rstrip(b"\0") for row in multihost_utils.process_allgather(own)]
    return next((text.decode(errors="replace") for text in texts if text), None)


def first(do: Callable[[], T]) -> T | None:
    """What `do` returns, run in the first process only; None in the others, which wait for it."""
    return together(lambda: do() if is_first() else None)


def together(find: Callable[[], T]) -> T:
    """What `find` returns; if it raises in one process, it raises in all, and none waits forever.

    Raises:
      ValueError, OSError: what `find` raised here.
      ValueError: what it raised in another process.
    """
    found, error = None, None
    try:
        found = find()
    except (ValueError, OSError) as e:
        found, error = None, e
    said = agree(None if error is None else f"process {jax.process_index()}: {error}")
    if error is not None:
        raise error
    if said is not None:
        raise ValueError(said)
    return found
