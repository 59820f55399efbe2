"""What is said of a name that nothing has."""

import difflib
from collections.abc import Iterable
from typing import Any


def accepted(value: Any, names: Iterable[str]) -> str:
    """The names that are accepted in place of `value`, behind the one that was perhaps meant."""
    names = list(names)
    close = difflib.get_close_matches(value, names, n=1) if isinstance(value, str) else []
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}accepted are {', '.join(names)}"
