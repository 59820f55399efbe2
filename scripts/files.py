"""Files that are whole or not there: written to a new name and moved into place."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The name to write to; what stands there at the end takes the place of `path`."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    os.replace(temporary, path)
