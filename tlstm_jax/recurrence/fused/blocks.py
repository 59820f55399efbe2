"""A cell's functions as lists of equations, run on blocks of M features that are separate arrays.

Triton cannot slice or concatenate values, and takes only sizes that are powers of two. A value [R,
n M] is therefore a tuple of n arrays [R, M'], M' the next power of two: split, slice and
concatenate become operations on tuples, elementwise operations go block by block, and a reduction
over features leaves out the padding.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Primitive

from tlstm_jax.typing import Array

# fmt: off
ELEMENTWISE = frozenset((
    "abs", "add", "add_any", "convert_element_type", "copy", "div", "eq", "erf", "exp",
    "expm1", "ge", "gt", "integer_pow", "le", "log", "log1p", "logistic", "lt", "max",
    "min", "mul", "ne", "neg", "pow", "rsqrt", "select_n", "sign", "sqrt", "square",
    "stop_gradient", "sub", "tanh",
))
# fmt: on
REDUCTIONS = {"reduce_sum": (jnp.sum, lax.add, 0.0), "reduce_max": (jnp.max, lax.max, -jnp.inf)}
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr"}


class RefusedError(ValueError):
    """A cell does what blocks cannot do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Equation:
    """One primitive operation; values are numbers (variables) or Literals."""

    primitive: Primitive
    params: dict[str, Any]
    inputs: list
    outputs: list[int]
    shapes: list[tuple[int, ...]]  # of the outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A jaxpr without inner calls."""

    inputs: list[int]
    equations: list[Equation]
    outputs: list
    constants: dict[int, Array]
    widths: dict[int, int]  # of every variable's last axis

    def variables_from(self, inputs: Sequence[int]) -> set[int]:
        """All variables that depend on `inputs`."""
        reached = set(inputs)
        for e in self.equations:
            if any(not isinstance(v, Literal) and v in reached for v in e.inputs):
                reached.update(e.outputs)
        return reached


def program(closed: ClosedJaxpr) -> Program:
    """The equations of a jaxpr, with inner calls inlined."""
    equations: list[Equation] = []
    constants: dict[int, Array] = {}
    widths: dict[int, int] = {}
    count = iter(range(1 << 30))

    def inline(jaxpr: Any, consts: Sequence, arguments: Sequence) -> list:
        names: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        for v, value in zip(jaxpr.constvars, consts, strict=True):
            names[v] = next(count)
            constants[names[v]] = value

        def name(v: Any) -> Any:
            return v if isinstance(v, Literal) else names[v]

        for e in jaxpr.eqns:
            inputs = [name(v) for v in e.invars]
            if e.primitive.name in CALLS:
                inner = e.params[CALLS[e.primitive.name]]
                outputs = inline(inner.jaxpr, inner.consts, inputs)
            else:
                outputs = [next(count) for _ in e.outvars]
                widths.update(zip(outputs, map(_width, e.outvars), strict=True))
                shapes = [v.aval.shape for v in e.outvars]
                equations.append(Equation(e.primitive, e.params, inputs, outputs, shapes))
            names.update(zip(e.outvars, outputs, strict=True))
        return [name(v) for v in jaxpr.outvars]

    inputs = [next(count) for _ in closed.jaxpr.invars]
    widths.update(zip(inputs, map(_width, closed.jaxpr.invars), strict=True))
    outputs = inline(closed.jaxpr, closed.consts, inputs)
    return Program(inputs, equations, outputs, constants, widths)


def known_values(
    prog: Program, known: Sequence[int], wanted: Sequence[int]
) -> Callable[..., list[Array]]:
    """Arrays of the variables `wanted`, as a function of those of `known`; neither is blocked."""

    def evaluate(*arguments: Array) -> list[Array]:
        values = {**prog.constants, **dict(zip(known, arguments, strict=True))}
        for e in prog.equations:
            if all(isinstance(v, Literal) or v in values for v in e.inputs):
                operands = [v.val if isinstance(v, Literal) else values[v] for v in e.inputs]
                out = e.primitive.bind(*operands, **e.params)
                out = out if e.primitive.multiple_results else [out]
                values.update(zip(e.outputs, out, strict=True))
        return [values[v] for v in wanted]

    return evaluate


def run_blocks(prog: Program, values: dict[int, Any], features: int) -> list:
    """The program's outputs, tuples of blocks where they are blocked.

    Args:
      values: of the variables from which the remaining equations start: tuples of blocks [R, M'],
        or arrays [R] and scalars. Equations that do not depend on these are skipped.
      features: M.

    Raises:
      RefusedError: an operation is not elementwise over features, nor a reduction over them.
    """
    values = dict(values)
    for e in prog.equations:
        if all(v in values for v in e.outputs):
            continue
        if not all(isinstance(v, Literal) or v in values for v in e.inputs):
            continue  # of params alone, and not needed here
        operands = [v.val if isinstance(v, Literal) else values[v] for v in e.inputs]
        values.update(zip(e.outputs, _apply(e, operands, features), strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in prog.outputs]


def touched_blocks(prog: Program, variable: int, features: int) -> list[bool]:
    """Which M-wide blocks of the program's output depend on `variable`, [R, M], linearly.

    Raises:
      RefusedError: they depend on it by other than a product, sums, slices and concatenations.
    """
    flags: dict[int, tuple[bool, ...]] = {variable: (True,)}
    for e in prog.equations:
        name = e.primitive.name
        operands = [None if isinstance(v, Literal) else flags.get(v) for v in e.inputs]
        if not any(o is not None and any(o) for o in operands):
            continue
        number = _blocks(e.shapes[0][-1], features, name)
        if name == "dot_general":
            out = (True,) * number
        elif name == "concatenate":
            out = ()
            for o, v in zip(operands, e.inputs, strict=True):
                out += o or (False,) * _blocks(prog.widths[v], features, name)
        elif name == "slice":
            out = _slice(e, operands[0], features)
        elif name in ("add", "sub", "convert_element_type", "reshape", "neg"):
            given = [o for o in operands if o is not None]
            out = tuple(any(o[n] for o in given) for n in range(number))
        else:
            raise RefusedError(f"its mix has the operation {name!r} on the state")
        flags[e.outputs[0]] = out
    return list(flags.get(prog.outputs[0], ()))


def _width(variable: Any) -> int:
    """The last axis of a jaxpr's variable; 0 of a scalar."""
    return (variable.aval.shape or (0,))[-1]


def _apply(e: Equation, operands: list, features: int) -> list:
    name = e.primitive.name
    blocked = [o for o in operands if isinstance(o, tuple)]
    if name == "split" and blocked:
        _check_last(e, e.params["axis"])
        pieces, first = [], 0
        for size in e.params["sizes"]:
            number = _blocks(size, features, name)
            pieces.append(operands[0][first : first + number])
            first += number
        return pieces
    if name == "slice" and blocked:
        return [_slice(e, operands[0], features)]
    if name == "concatenate" and len(blocked) == len(operands):
        _check_last(e, e.params["dimension"])
        return [sum(operands, ())]
    if name in REDUCTIONS and blocked:
        return [_reduce(e, operands[0], features)]
    if name in ("broadcast_in_dim", "reshape") and not blocked:
        # [R] to [R, 1] or [R, M], and scalars: unchanged here, and broadcast where they are used.
        return [operands[0]]
    if name in ELEMENTWISE:
        return [_each(e, operands)]
    raise RefusedError(f"its update has the operation {name!r}")


def _each(e: Equation, operands: list) -> Any:
    """An elementwise operation, block by block."""
    numbers = {len(o) for o in operands if isinstance(o, tuple)}
    if not numbers:
        return e.primitive.bind(*operands, **_settings(e))
    if len(numbers) > 1:
        raise RefusedError(f"its update has the operation {e.primitive.name!r} on unequal widths")
    out = []
    for n in range(numbers.pop()):
        own = [o[n] if isinstance(o, tuple) else o for o in operands]
        shape = next(o.shape for o in own if getattr(o, "ndim", 0) == 2)
        own = [_spread(o, shape) for o in own]
        out.append(e.primitive.bind(*own, **_settings(e)))
    return tuple(out)


def _settings(e: Equation) -> dict[str, Any]:
    """The parameters of an elementwise operation, without its result's sharding."""
    return {k: None if k == "sharding" else v for k, v in e.params.items()}


def _spread(x: Any, shape: tuple[int, int]) -> Any:
    """A scalar or [R] as [R, M']."""
    x = jnp.asarray(x)
    if x.shape == shape:
        return x
    if x.ndim == 1:
        return jnp.broadcast_to(x[:, None], shape)
    return jnp.broadcast_to(x, shape)


def _reduce(e: Equation, blocks: tuple, features: int) -> Array:
    """Over features alone: [R]."""
    if tuple(e.params["axes"]) != (1,):
        raise RefusedError(f"its update has the operation {e.primitive.name!r} over examples")
    reduce, join, fill = REDUCTIONS[e.primitive.name]
    return functools.reduce(join, [reduce(fill_padding(b, features, fill), axis=1) for b in blocks])


def fill_padding(block: Array, size: int, fill: float) -> Array:
    """[R, M'] with `fill` in the padding."""
    if block.shape[1] == size:
        return block
    column = lax.broadcasted_iota(jnp.int32, block.shape, 1)
    return jnp.where(column < size, block, jnp.full(block.shape, fill, block.dtype))


def _slice(e: Equation, blocks: tuple, features: int) -> tuple:
    """The blocks that a slice of the last axis takes."""
    starts, limits = e.params["start_indices"], e.params["limit_indices"]
    strides = e.params["strides"] or (1,) * len(starts)
    all_rows = all(s == 0 for s in starts[:-1]) and limits[:-1] == e.shapes[0][:-1]
    if not all_rows or any(s != 1 for s in strides) or starts[-1] % features:
        raise RefusedError("its update has a slice that is not of entire gates")
    first = starts[-1] // features
    return blocks[first : first + _blocks(e.shapes[0][-1], features, "slice")]


def _check_last(e: Equation, axis: int) -> None:
    if axis != len(e.shapes[0]) - 1:
        raise RefusedError(f"its update has the operation {e.primitive.name!r} over examples")


def _blocks(width: int, features: int, name: str) -> int:
    if width % features:
        raise RefusedError(f"the operation {name!r} is on {width} values, not gates of {features}")
    return width // features
