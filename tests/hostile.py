"""What the tests of files and flags from strangers share."""

import contextlib
import dataclasses
import json
import math

from hypothesis import strategies as st


@contextlib.contextmanager
def refusal(*named):
    """Any failure is a ValueError or an OSError, in one line that has one of `named`."""
    try:
        yield
    except (ValueError, OSError) as error:
        message = str(error)
        assert "\n" not in message and any(str(n) in message for n in named), repr(error)


@st.composite
def mutated(draw, valid):
    """`valid` bytes with a few pieces overwritten, inserted or removed, or truncated."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        piece = draw(st.binary(min_size=1, max_size=8))
        change = draw(st.sampled_from(("overwrite", "insert", "delete", "truncate")))
        if change == "overwrite":
            content[at : at + len(piece)] = piece
        elif change == "insert":
            content[at:at] = piece
        elif change == "delete":
            del content[at : at + len(piece)]
        else:
            del content[at:]
    return bytes(content)


NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 3, 20, 2**20, 2**31, 10**30, 0.0, 0.5, 1e-320, 1e39, math.nan, math.inf]
)
PLAIN = st.none() | st.booleans() | NUMBERS | st.integers() | st.floats() | st.text(max_size=9)
JSON = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)
SHAPES = st.lists(st.integers(-1, 9), max_size=6).map(tuple) | st.lists(NUMBERS, max_size=3)
WORDS = st.sampled_from(("", "/", "../x", "a\0b", "none", "layer", "cosine", "é\n", "\udcff"))
VALUES = NUMBERS | PLAIN | SHAPES | WORDS | JSON
CHEAP = ("addition", "memorization", "char_lm")  # tasks; the others read images, or download them


def make(chosen):
    """The network and the task, where that takes no download."""
    assert json.loads(json.dumps(dataclasses.asdict(chosen)))
    if chosen.task in CHEAP:
        task, network, _ = chosen.make()
        assert task.batch_size >= 1 and network.delay >= 0
