"""What any setting may be: of its type, and not so large that no run could work."""

import os
import reprlib
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from tlstm_jax.names import accepted

_FLOAT32 = 2.0**128  # float32 ends before
_MOST_SIZE = 2**20  # of one axis
_MOST_COPIES = 256  # of what is traced once for each
_MOST_AXES = 5  # the kernel and the unrolled locations grow exponentially with them
_MOST_CORES = 20  # of a tensor train; 2^20 has no more factors

_COPIES = ("num_layers", "depth", "num_fast", "width", "relaxation", "num_heads", "block_conv_size")
_MOST_LENGTHS = {"tensor_shape": _MOST_AXES}
_MOST_LENGTHS |= dict.fromkeys(("tt_shape", "tt_input_shape"), _MOST_CORES)
_LEAST = {"seed": -(2**31)}  # where it is not 1
_LEAST |= dict.fromkeys(("permutation_seed", "warmup_steps", "curriculum_steps", "max_ponder"), 0)
_NUMBERS = ("num_steps", "warmup_steps", "eval_every", "checkpoint_every", "steps_per_call")
_NUMBERS += ("patience", "seed", "permutation_seed", "anneal_steps", "eval_samples")
_NUMBERS += ("relaxation_steps", "curriculum_steps")  # int32
_MOST = dict.fromkeys(_COPIES, _MOST_COPIES) | dict.fromkeys(_NUMBERS, 2**31 - 1)


def check_settings(
    what: str, given: Any, kinds: Mapping[str, Any], own: Collection[str] = ()
) -> None:
    """Checks settings that may come from a file.

    Args:
      what: what they are settings of, for the message.
      given: names and values.
      kinds: the known names and their types, as they are annotated.
      own: settings of a user's own code, of which only the type is checked.

    Raises:
      ValueError: not a mapping, an unknown name, or a value of another type or too large.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"the settings of {what} are {reprlib.repr(given)}; accepted is a mapping")
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(
                f"{reprlib.repr(name)} is not a setting of {what}; {accepted(name, kinds)}"
            )
        kind = kinds[name]
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        name_ = None if name in own else name
        if not any(_is(name_, value, option) for option in options):
            right = " or ".join(_describe(name_, option) for option in options)
            raise ValueError(f"{name} is {reprlib.repr(value)}; accepted are {right}")


def _is(name: str | None, value: Any, kind: Any) -> bool:
    """Whether a value can be the setting `name`, or of a user's own code (None)."""
    if kind is int:
        least, most = _bounds(name)
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) < _FLOAT32  # nor is NaN
    if kind == tuple[int, ...]:
        right = isinstance(value, tuple | list) and len(value) <= _most_length(name)
        return right and all(_is(name, size, int) for size in value)
    return isinstance(value, kind if kind in (bool, str, types.NoneType) else os.PathLike)


def _most_length(name: str | None) -> int:
    return _MOST_LENGTHS.get(name, _MOST_COPIES)


def _bounds(name: str | None) -> tuple[int, int]:
    if name is None:
        return -(2**31), 2**31 - 1
    return _LEAST.get(name, 1), _MOST.get(name, _MOST_SIZE)


def _describe(name: str | None, kind: Any) -> str:
    if kind is int:
        return "integers from {:,} to {:,}".format(*_bounds(name))
    if kind is float:
        return "finite numbers of float32"
    if kind == tuple[int, ...]:
        return "up to {} integers, each from {:,} to {:,}".format(
            _most_length(name), *_bounds(name)
        )
    return {bool: "true and false", str: "strings", types.NoneType: "none"}.get(kind, "paths")
