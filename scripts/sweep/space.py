"""What a sweep is over, as given on the command line."""

import re
from collections.abc import Sequence
from typing import Any

from absl import flags

from tlstm_jax.sweeps.search import LogUniform, Uniform

MOST_MEMBERS = 10_000  # each has a folder, and a place in memory
_RANGES = {"log": LogUniform, "uniform": Uniform}


def parse(texts: Sequence[str]) -> dict[str, Any]:
    """--over's arguments: setting -> values, each as its own flag reads it, or a range.

    Raises:
      ValueError: a setting or its values are not accepted.
    """
    space: dict[str, Any] = {}
    for text in texts:
        name, equals, spec = text.partition("=")
        name = "features" if name == "channels" else name  # like the flag's alias
        if not equals or not spec:
            raise ValueError(
                f"over is {text!r}; accepted is name=values, as in learning_rate=1e-3,3e-3"
            )
        if name in ("task", "preset") or name not in flags.FLAGS:
            raise ValueError(
                f"over names {name!r}; accepted are settings of the model and of training"
            )
        if name in space:
            raise ValueError(f"over names {name} twice; accepted is one list of values")
        space[name] = _values(name, spec)
    return space


def _values(name: str, spec: str) -> Any:
    kind, *bounds = spec.split(":")
    parser = flags.FLAGS[name].parser
    if kind in _RANGES:
        if not isinstance(parser, flags.FloatParser):
            raise ValueError(f"{name} is {spec}; accepted are values, since it is not a float")
        try:
            low, high = map(float, bounds)
        except ValueError:
            raise ValueError(f"{name} is {spec}; accepted is {kind}:low:high") from None
        least = "low < high, finitely apart" + ", low > 0" * (kind == "log")
        try:
            return _RANGES[kind](low, high)
        except ValueError:
            raise ValueError(f"{name} is {spec}; accepted are bounds with {least}") from None
    if whole := re.fullmatch(r"(-?\d+)\.\.(-?\d+)", spec):
        first, last = map(int, whole.groups())
        if not first <= last < first + MOST_MEMBERS:
            raise ValueError(
                f"{name} is {spec}; accepted is first..last, of up to {MOST_MEMBERS:,} values"
            )
        return list(range(first, last + 1))
    try:
        return [parser.parse(value) for value in spec.split(",")]
    except (ValueError, TypeError) as e:
        raise ValueError(f"{name} is {spec} ({e}); accepted are values of its flag") from None
