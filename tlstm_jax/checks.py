"""Checks what a cell or model is given against its own shapes, at the border: errors of one line.

Only shapes and dtypes are read, from `init` and `init_carry` under `jax.eval_shape`: nothing is
computed, and compiled programs stay the same. Unknown (symbolic) sizes are not compared.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.typing import Array, Carry, Cell, InputShape, Params, PyTree, SequenceModel, State

_KINDS = {jnp.floating: "floats", jnp.integer: "integers", jnp.bool_: "booleans"}
_SIZES = "T >= 1 steps", "B >= 1 examples"
_SHAPES = "[T, B, .., I] floats and [T, B] integers"
# Two input sizes, to find where a tree of parameters has them: a prime, and one of many factors.
_PROBES = 1009, 30030


def check_model(name: str, model: Any) -> None:
    """Raises ValueError unless `model` is a Cell or a SequenceModel."""
    if not (_has(model, "step") or _has(model, "apply")):
        raise ValueError(
            f"{name} is {_described(model)}; accepted are cells and models of tlstm_jax, or of its "
            "protocols"
        )


def check_cell(name: str, cell: Any) -> None:
    """Raises ValueError unless `cell` is a Cell."""
    if not _has(cell, "step"):
        raise ValueError(
            f"{name} is {_described(cell)}; accepted are cells of tlstm_jax, or of its protocol"
        )


def check_call(
    model: Cell | SequenceModel,
    params: Params,
    carry: Carry,
    xs: Array,
    lengths: Any = None,
    reset: Any = None,
    *,
    state: State = None,
) -> tuple[Array | None, Array | None]:
    """Checks what `model` is called with; see `tlstm_jax.unroll` for the arguments.

    Returns:
      (lengths, reset) as arrays; they may be given as lists.

    Raises:
      ValueError: something has another shape, kind or structure than the model's own.
    """
    lengths, reset = check_inputs(xs, lengths, reset)
    name = type(model).__name__
    if xs.ndim == 2 and (spatial := getattr(model, "spatial_shape", ())):
        raise ValueError(
            f"xs has shape {xs.shape} and integers; accepted by {name}, which reads maps, are "
            f"floats [T, B, {', '.join(map(str, spatial))}, I]"
        )
    size = input_shape_of(xs) if xs.ndim > 2 else number_of_tokens(model, params)
    sizes = size if isinstance(size, tuple) else (size,)
    size = size if all(isinstance(size, int) for size in sizes) else None
    if size is not None:
        own_params, own_state = recall(_init, model, size)
        check_tree("params", params, own_params, f"{name} with {size} inputs", _optional(model))
        if jax.tree.leaves(own_state):
            check_tree("state", state, own_state, name)
    check_carry(model, carry, xs.shape[1], size)
    return lengths, reset


def input_shape_of(xs: Array) -> InputShape:
    """The shape of one input, as `init` takes it, from xs [T, B, .., I]."""
    return xs.shape[-1] if xs.ndim == 3 else xs.shape[2:]


def check_carry(
    model: Cell | SequenceModel,
    carry: Carry,
    batch_size: int,
    size: InputShape | None = None,
    *,
    name: str = "carry",
) -> None:
    """Raises ValueError unless `carry` is one of the model's for a batch of that size.

    Args:
      size: the shape of one input, which a model's carry, unlike a cell's, may depend on.
      name: what the message calls it.
    """
    if size is None and hasattr(model, "apply"):
        return
    own, by = recall(_init_carry, model, size, batch_size), type(model).__name__
    if jax.tree.structure(carry) != jax.tree.structure(own):
        raise ValueError(f"{name} is {_outline(carry)}; accepted by {by} is {_outline(own)}")
    check_tree(name, carry, own, f"{by} for a batch of {batch_size}")


def check_inputs(xs: Array, lengths: Any, reset: Any) -> tuple[Array | None, Array | None]:
    """Raises ValueError unless inputs suit `unroll`; returns lengths and reset as arrays."""
    if not (hasattr(xs, "shape") and hasattr(xs, "dtype")):
        raise ValueError(
            f"xs is a {type(xs).__name__}; accepted are arrays, [T, B, .., I] of floats and [T, B] "
            "of integers"
        )
    if jnp.issubdtype(xs.dtype, jnp.complexfloating):
        raise ValueError(f"xs has dtype {xs.dtype}; accepted are floats and integers")
    if xs.ndim < 2 or (xs.ndim == 2) != jnp.issubdtype(xs.dtype, jnp.integer):
        raise ValueError(f"xs has shape {xs.shape}; accepted are {_SHAPES}")
    wanted = (*_SIZES, *["spatial sizes >= 1"] * (xs.ndim - 3), "I >= 1 features")
    for what, size in zip(wanted, xs.shape, strict=False):
        if isinstance(size, int) and size < 1:
            raise ValueError(f"xs has shape {xs.shape}; accepted are {what}")
    lengths = _checked("lengths", lengths, "[B]", xs.shape[1:2], jnp.integer)
    reset = _checked("reset", reset, "[T, B]", xs.shape[:2], jnp.bool_)
    if lengths is not None and lengths.dtype.itemsize < 4:  # in which T may not be a number
        lengths = lengths.astype(jnp.int32)
    return lengths, reset


def check_tree(
    name: str, given: PyTree, own: PyTree, by: str, optional: tuple[str, ...] = ()
) -> None:
    """Raises ValueError unless `given` has the names, shapes and kinds of `own`.

    Args:
      optional: entries that `given` may have in addition.
    """
    if isinstance(given, Mapping) and optional:
        given = {key: value for key, value in given.items() if key not in optional}
    leaves, accepted = _leaves(given), _leaves(own)
    if missing := [path for path in accepted if path not in leaves]:
        raise ValueError(f"{name} lacks {_listed(missing)}; accepted by {by} is {_outline(own)}")
    if more := [path for path in leaves if path not in accepted]:
        raise ValueError(f"{name} has {_listed(more)}; accepted by {by} is {_outline(own)}")
    for path, leaf in leaves.items():
        shape, expected = jnp.shape(leaf), accepted[path]
        if len(shape) != len(expected.shape) or any(map(_differ, shape, expected.shape)):
            raise ValueError(
                f"{name}{path} has shape {shape}; accepted by {by} is {expected.shape}"
            )
        kind = next(kind for kind in _KINDS if jnp.issubdtype(expected.dtype, kind))
        if not jnp.issubdtype(jnp.result_type(leaf), kind):
            raise ValueError(
                f"{name}{path} has dtype {jnp.result_type(leaf)}; accepted are {_KINDS[kind]}"
            )


def check_step(cell: Cell, params: Params, carry: Carry, x: Array) -> None:
    """`check_call` for one step: x [B, .., I], or tokens [B]."""
    check_call(cell, params, carry, jax.ShapeDtypeStruct((1, *x.shape), x.dtype))


def number_of_tokens(model: Cell | SequenceModel, params: Params) -> int | None:
    """The number of tokens that parameters are for; None if the model takes no tokens."""
    try:
        axes, more = recall(_input_axes, model)
    except ValueError:  # it takes vectors of one width only, and says so itself
        return None
    leaves, number = _leaves(params), 1
    for path, axis in axes:
        shape = jnp.shape(leaves.get(path, jnp.zeros(())))
        number *= shape[axis] if axis < len(shape) else 1
    return number - more


def _has(model: Any, part: str) -> bool:
    names = ("features", "delay", "causal", "init", "init_carry", part)
    return not isinstance(model, type) and all(hasattr(model, name) for name in names)


def _described(value: Any) -> str:
    """Its value where that is short, else its type."""
    text, kind = repr(value), type(value)
    return (
        text if len(text) < 80 and "\n" not in text else f"a {kind.__module__}.{kind.__qualname__}"
    )


def _checked(name: str, value: Any, axes: str, shape: tuple, kind: Any) -> Array | None:
    if value is None:
        return None
    value = jnp.asarray(value)
    if value.ndim != len(shape) or any(map(_differ, value.shape, shape)):
        raise ValueError(f"{name} has shape {value.shape}; accepted is {axes} = {shape}")
    if not jnp.issubdtype(value.dtype, kind):
        raise ValueError(f"{name} has dtype {value.dtype}; accepted are {_KINDS[kind]}")
    return value


def _differ(a: Any, b: Any) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _leaves(tree: PyTree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (" .." if len(paths) > 3 else "")


def _outline(tree: PyTree) -> str:
    """The names of a tree, down to its arrays."""
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key}: {_outline(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        inner = (f"{key}: {_outline(value)}" for key, value in tree._asdict().items())
        return f"{type(tree).__name__}({', '.join(inner)})"
    if isinstance(tree, tuple | list):
        return f"{type(tree).__name__}({', '.join(map(_outline, tree))})"
    shape = getattr(tree, "shape", None)
    return type(tree).__name__ if shape is None else str(list(shape))


def _optional(model: Cell | SequenceModel) -> tuple[str, ...]:
    """Entries that a model's parameters may have beside those that `init` makes."""
    inner = getattr(model, "cell", None)
    return getattr(model, "optional_params", () if inner is None else _optional(inner))


def recall(function: Callable[..., Any], model: Cell | SequenceModel, *sizes: Any) -> Any:
    """The lru_cached `function` of these arguments; recomputed if the model cannot be hashed."""
    try:
        hash((model, *sizes))
    except TypeError:
        return function.__wrapped__(model, *sizes)
    return function(model, *sizes)


@functools.lru_cache(maxsize=256)
def _init(model: Cell | SequenceModel, size: InputShape) -> tuple[PyTree, PyTree]:
    """The shapes of the model's own parameters and state."""
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), size))
    return made if hasattr(model, "apply") else (made, ())


@functools.lru_cache(maxsize=256)
def _init_carry(model: Cell | SequenceModel, size: InputShape | None, batch_size: Any) -> PyTree:
    """The shapes of the model's own carry."""
    if not hasattr(model, "apply"):
        return jax.eval_shape(lambda: model.init_carry(batch_size))
    params, _ = recall(_init, model, size)
    return jax.eval_shape(lambda params: model.init_carry(batch_size, params=params), params)


@functools.lru_cache(maxsize=256)
def _input_axes(model: Cell | SequenceModel) -> tuple[list[tuple[str, int]], int]:
    """Parameters and their axes whose sizes multiply to the number of inputs; most often one.

    Returns:
      (these, by how much their product is larger than the number).
    """
    first, second = (_leaves(recall(_init, model, size)[0]) for size in _PROBES)
    varying = [
        ((path, axis), sizes)
        for path, leaf in first.items()
        for axis, sizes in enumerate(zip(leaf.shape, second[path].shape, strict=True))
        if sizes[0] != sizes[1]
    ]
    for where, sizes in varying:
        if (more := _more(sizes)) is not None:
            return [where], more
    products = itertools.accumulate((sizes for _, sizes in varying), _times)  # of a tensor train
    for n, sizes in enumerate(products, 1):
        if (more := _more(sizes)) is not None:
            return [where for where, _ in varying[:n]], more
    return [], 0


def _times(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] * b[0], a[1] * b[1]


def _more(sizes: tuple[int, int]) -> int | None:
    """By how much both sizes are larger than the probes; None if not by the same."""
    first, second = (size - probe for size, probe in zip(sizes, _PROBES, strict=True))
    return first if first == second else None
