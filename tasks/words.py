"""How tokens and classes are written, and read again."""

import re
from collections.abc import Sequence

import numpy as np


def numerals(number: int) -> tuple[str, ...]:
    """0 to 9, then <10>, <11>, .., so that a sequence of them can be read again."""
    return tuple(str(n) if n < 10 else f"<{n}>" for n in range(number))


def encode(text: str, names: Sequence[str]) -> np.ndarray:
    """The numbers of the names that a text consists of, int32 [T].

    Raises:
      ValueError: it holds something else.
    """
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    found = re.findall("|".join([*longest_first, "(?s:.)"]), text)
    number = {name: n for n, name in enumerate(names)}
    for name in found:
        if name not in number:
            raise ValueError(f"prompt holds {name!r}; accepted are {''.join(names)}")
    return np.array([number[name] for name in found], np.int32)


def letters(number: int) -> tuple[str, ...]:
    """How so many symbols are written: a, b, c .. if these do, else <0>, <1>, .."""
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
    return tuple(names[:number]) if number <= len(names) else tuple(f"<{n}>" for n in range(number))
