"""Float settings as traced values, so that a sweep can vmap over them.

Settings are static: they are hashed, and a program is compiled for each. To trace some of them,
override them in a copy of the network or model inside the traced function, once, at the top:

    params, state = override(network, {"forget_bias": value}).init(key)

Such a copy cannot be hashed, nor be a static argument of a jitted function. What caches results by
settings (`checks.recall`) computes them again for it.
"""

import copy
import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from tlstm_jax.typing import Array, Floats

T = TypeVar("T")

# Metadata of a float field: what no traced value can replace, and what none replaces where it is 0.
STATIC, UNLESS_ZERO = {"override": "never"}, {"override": "unless zero"}

INPUT_SCALE = "input_scale"  # above the first layer, inputs are hidden states, whatever x is
_FLOATS = (float, float | None, "float", "float | None")  # strings: postponed annotations


def overridable(model: Any) -> tuple[str, ...]:
    """The settings of a dataclass, and of its parts, that `override` can replace: floats."""
    names = [name for part in (model, *parts(model)) for name in _own(part)]
    return tuple(dict.fromkeys(names))


def override(model: T, floats: Floats | None) -> T:
    """A copy of `model` with `floats` in place of its settings of these names, and its parts'.

    `input_scale` is set where x enters: in the outermost part that has it, and only in the first of
    several layers. What is not changed is not copied.

    Args:
      model: a network, model, cell or other dataclass of settings.
      floats: scalars, traced or not; they are not checked as `model` checks its own.

    Raises:
      ValueError: a name is not that of a float setting, or of one that has to be static.
    """
    floats, names = floats or {}, overridable(model)
    if unknown := sorted(set(floats) - set(names)):
        raise ValueError(
            f"override names {', '.join(unknown)}; accepted for {type(model).__name__} are "
            f"{', '.join(names)}"
        )
    return _copy(model, floats)


def initial(network: Any) -> frozenset[str]:
    """The settings of a `Network` that can be overridden in its `init`, and are read nowhere else.

    Only these can be traced by `init` while `apply` has the network as it is. Settings that init
    does not read, or that a step reads as well, are not among them.
    """
    key = jax.random.key(0)
    shape = (1, 1) if network.tokens else (1, 1, *network.input_sizes)
    xs = jnp.zeros(shape, jnp.int32 if network.tokens else jnp.float32)

    def init(floats: Floats) -> Any:
        return override(network, floats).init(key)

    def apply(floats: Floats) -> Any:
        params, state = network.init(key)
        carry = network.init_carry(1, params=params)
        return override(network, floats).apply(params, state, carry, xs, key=key, train=True)

    known, unknown = _read(init, overridable(network))
    at_start = known - unknown
    return frozenset(at_start.difference(*_read(apply, at_start)))


def plain(settings: Any) -> None:
    """Converts float fields given as NumPy or JAX scalars to Python floats: settings are hashed.

    Raises:
      ValueError: such a field is not a number.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        is_plain = value is None or isinstance(value, int | float | jax.core.Tracer)
        if field.type not in _FLOATS or is_plain:
            continue
        if getattr(value, "shape", None) != ():
            raise ValueError(f"{field.name} is {value!r}; accepted are numbers")
        object.__setattr__(settings, field.name, float(value))


def _read(
    function: Callable[[Floats], Any], names: Collection[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Which floats `function` computes with, and which of them it cannot take when traced."""
    try:
        floats = {name: jnp.float32(0.5) for name in sorted(names)}
        jaxpr = jax.make_jaxpr(function)(floats).jaxpr
    except (TypeError, ValueError):  # it needs a concrete number
        if len(names) == 1:
            return frozenset(names), frozenset(names)
        each = [_read(function, [name]) for name in names]
        return tuple(frozenset().union(*found) for found in zip(*each, strict=True))
    read = {v for e in jaxpr.eqns for v in e.invars if not isinstance(v, Literal)}
    read.update(v for v in jaxpr.outvars if not isinstance(v, Literal))
    return frozenset(n for n, v in zip(floats, jaxpr.invars, strict=True) if v in read), frozenset()


def _own(part: Any) -> list[str]:
    """The names of a part's own fields that can be replaced."""
    fields = [field for field in dataclasses.fields(part) if field.type in _FLOATS]
    return [
        field.name
        for field in fields
        if field.metadata != STATIC
        and not (field.metadata == UNLESS_ZERO and _is_zero(getattr(part, field.name)))
    ]


def _is_zero(value: Array | float | None) -> bool:
    return isinstance(value, int | float) and value == 0


def _is_part(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def parts(model: Any) -> list[Any]:
    """All parts of a dataclass that are dataclasses, without itself."""
    found = []
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            found += [part, *parts(part)] if _is_part(part) else []
    return found


def _copy(part: T, floats: Floats) -> T:
    changed = {name: floats[name] for name in _own(part) if name in floats}
    within = {k: v for k, v in floats.items() if not (k == INPUT_SCALE and k in changed)}
    above = {k: v for k, v in within.items() if k != INPUT_SCALE}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if _is_part(value):
            changed[field.name] = _copy(value, within)
        elif isinstance(value, tuple) and any(map(_is_part, value)):
            layers = [
                _copy(layer, above if n else within) if _is_part(layer) else layer
                for n, layer in enumerate(value)
            ]
            changed[field.name] = tuple(layers)
    return _with(part, changed)


def _with(part: T, changed: dict[str, Any]) -> T:
    """`part` with these fields changed; `part` itself if there are none."""
    old = {name: getattr(part, name) for name in changed}
    if all(_is_same(old[name], new) for name, new in changed.items()):
        return part
    new = copy.copy(part)
    for name, value in changed.items():
        object.__setattr__(new, name, value)  # past __post_init__, which reads numbers
    return new


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, tuple) and isinstance(new, tuple):
        return all(a is b for a, b in zip(old, new, strict=True))
    return old is new
