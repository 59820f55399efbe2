"""The kind of a model, read from the model itself."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.typing import Cell, SequenceModel

KINDS = {
    "cell": "one step at a time, each example on its own",
    "composed": "of cells or models",
    "parallel": "all time steps at once, without matrix products in a loop over time",
    "chunked": "some time steps at once, and a loop over such chunks",
    "sequential": "its own loop over time, for the entire batch",
}
_LOOPS = ("scan", "while")


def kind_of(model: Cell | SequenceModel) -> str:
    """Which of KINDS a model is."""
    if hasattr(model, "step"):
        return "cell"
    if any(hasattr(part, "step") or hasattr(part, "apply") for part in _fields(model)):
        return "composed"
    if hasattr(model, "chunk_size"):
        return "chunked"
    return "sequential" if _multiplies_in_a_loop(model) else "parallel"


def _fields(model: Any) -> Iterator[Any]:
    """The values of a dataclass's fields, and the elements of tuples among them."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        yield from value if isinstance(value, tuple) else (value,)


def _multiplies_in_a_loop(model: SequenceModel) -> bool:
    def apply(key: jax.Array) -> Any:
        shape = (*spatial_shape(model), 2)
        params, state = model.init(key, shape)
        carry = model.init_carry(1, params=params)
        return model.apply(params, state, carry, jnp.zeros((3, 1, *shape)))

    loops = [e for e in _equations(jax.make_jaxpr(apply)(jax.random.key(0))) if _is_loop(e)]
    inner = [e for loop in loops for part in loop.params.values() for e in _equations(part)]
    return any(e.primitive.name == "dot_general" for e in inner)


def _is_loop(equation: Any) -> bool:
    return equation.primitive.name in _LOOPS


def _equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr and of the jaxprs within it; none if it is not a jaxpr."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in getattr(jaxpr, "eqns", ()):
        yield equation
        for part in jax.tree.leaves(list(equation.params.values())):
            yield from _equations(part)
