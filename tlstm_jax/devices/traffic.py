"""What a compiled program exchanges between devices, read from its text."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) [^\n]*\{\n(.*?)^\}", re.M | re.S)
_ENTRY = re.compile(r"^ENTRY %?([\w.\-]+)", re.M)
_CALLED = re.compile(r"(?:body|calls|to_apply|branch_computations)=\{?%?([\w.\-]+)")
BODY = re.compile(r"\bbody=%?([\w.\-]+)")
TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"(\d+)"')
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+)(\d+)?\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
      kind: one of KINDS.
      num_bytes: of its result, on one device.
      times: how often it runs in a call of the program.
      loops: the number of loops around it.
    """

    kind: str
    num_bytes: int
    times: int
    loops: int


def collectives(text: str) -> list[Collective]:
    """The collectives of a compiled program.

    Args:
      text: `jax.stages.Compiled.as_text()`. A loop of unknown length counts once.
    """
    bodies = computations(text)
    found = []
    for name, times, loops in _calls(bodies, entry(text)):
        for shape, kind in _COLLECTIVE.findall(bodies[name]):
            found.append(Collective(kind, _num_bytes(shape), times, loops))
    return found


def computations(text: str) -> dict[str, str]:
    """The computations of a compiled program: name -> its lines."""
    return dict(_COMPUTATION.findall(text))


def entry(text: str) -> str:
    """The name of the computation that a compiled program begins with."""
    return _ENTRY.search(text)[1]


def _calls(
    bodies: dict[str, str], name: str, times: int = 1, loops: int = 0
) -> Iterator[tuple[str, int, int]]:
    """(computation, how often, in how many loops) of a computation and all that it calls."""
    yield name, times, loops
    for line in bodies[name].splitlines():
        looped = BODY.search(line)
        trips = TRIPS.search(line)
        for inner in _CALLED.findall(line):
            if inner not in bodies:
                continue
            if looped and inner == looped[1]:
                yield from _calls(bodies, inner, times * int(trips[1] if trips else 1), loops + 1)
            else:
                yield from _calls(bodies, inner, times, loops)


def _num_bytes(shape: str) -> int:
    """Of f32[3,4], or of a tuple of such."""
    total = 0
    for kind, bits, sizes in _ARRAY.findall(shape):
        size = math.prod(int(n) for n in sizes.split(",") if n)
        total += size * (1 if kind == "pred" else int(bits or 8) // 8)
    return total


def summary(found: list[Collective]) -> list[tuple[str, int, int]]:
    """(kind, how often in a call, bytes in a call) of the collectives, the most bytes first."""
    times, sent = collections.Counter(), collections.Counter()
    for c in found:
        times[c.kind] += c.times
        sent[c.kind] += c.times * c.num_bytes
    return [(kind, times[kind], n) for kind, n in sent.most_common()]
