"""The derivatives of a cell's three parts, and what of them is kept for the backward loop.

A pullback, as `jax.vjp` returns it, is a pytree whose leaves are its residuals. Those of a cell's update
are of three kinds: some follow from the parameters alone and are the same at every step, some are leaves
of the carry, and the others are saved. Of these, only what is expensive to make again is asked for.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, Primitive

from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree

EXPENSIVE = ("tanh", "logistic", "exp", "log", "erf", "rsqrt", "sqrt", "pow")
FIXED, SAVED = object(), object()  # where a residual is found, if not in the carry


class Pullbacks:
    """The pullbacks of project, mix and update of one cell, at given shapes.

    Parameters that a part does not read are no inputs of its pullback, nor are integer leaves of the
    carry: both appear as lists of leaves, which `Choice` takes out of a tree and puts back.

    Attributes:
      a: shape and dtype of the pre-activations.
      state: the leaves of the carry that are differentiated.
      of_project, of_mix, of_update: the leaves of params that each part reads.
      mix_varies: whether the residuals of mix differ between steps; not if it is linear in the state.
    """

    def __init__(self, cell: Cell, params: Params, carry: Carry, x: Array) -> None:
        self._cell = cell
        z = jax.eval_shape(cell.project, params, x)
        self.a = jax.eval_shape(cell.mix, params, carry, z)
        self.state = Choice([_is_float(leaf) for leaf in jax.tree.leaves(carry)])
        self.of_project = Choice(_read(cell.project, params, x))
        self.of_mix = Choice(_read(cell.mix, params, carry, z))
        self.of_update = Choice(_read(cell.update, params, carry, self.a))
        self._origins = _origins(lambda *x: self.update(*x)[2], params, carry, self.a)
        of_mix = _origins(self.mix, params, carry, z)
        self.mix_varies = any(origin is not FIXED for origin in of_mix)

    def update(self, params: Params, carry: Carry, a: Array) -> tuple[Carry, Array, Callable]:
        """(the new carry, y, pullback): (d new carry, dy) to (d params of update, d carry, da)."""

        @functools.partial(jax.checkpoint, policy=_is_expensive, prevent_cse=False)
        def update(chosen: list, moving: list, a: Array) -> tuple[tuple, Carry]:
            params_, carry_ = self.of_update.put(params, chosen), self.state.put(carry, moving)
            new, y = self._cell.update(params_, carry_, a)
            return (self.state.take(new), y), new

        inputs = self.of_update.take(params), self.state.take(carry), a
        (_, y), pull, new = jax.vjp(update, *inputs, has_aux=True)
        return new, y, pull

    def mix(self, params: Params, carry: Carry, z: Array) -> Callable:
        """The pullback of mix as the loop needs it: da to (d carry, dz)."""

        def mix(moving: list, z: Array) -> Array:
            return self._cell.mix(params, self.state.put(carry, moving), z)

        return jax.vjp(mix, self.state.take(carry), z)[1]

    def mix_weights(self, params: Params, carry: Carry, z: Array) -> Callable:
        """The pullback of mix to the weights: da to (d params of mix,)."""

        def mix(chosen: list) -> Array:
            return self._cell.mix(self.of_mix.put(params, chosen), carry, z)

        return jax.vjp(mix, self.of_mix.take(params))[1]

    def project(self, params: Params, xs: Array) -> tuple[Array, Callable]:
        """(zs, pullback): dzs to (d params of project, dxs); dxs is None for tokens."""

        def project(chosen: list, xs: Array) -> Array:
            return self._cell.project(self.of_project.put(params, chosen), xs)

        chosen = self.of_project.take(params)
        if _is_float(xs):
            return jax.vjp(project, chosen, xs)
        zs, pull = jax.vjp(lambda chosen: project(chosen, xs), chosen)
        return zs, lambda dzs: (*pull(dzs), None)

    def saved(self, pull: PyTree) -> list[Array]:
        """What must be saved of a pullback of update, beside the carry."""
        leaves = jax.tree.leaves(pull)
        return [leaf for leaf, o in zip(leaves, self._origins, strict=True) if o is SAVED]

    def at_step(self, pull: PyTree, carry: Carry, saved: list[Array]) -> Callable:
        """The pullback of update at the step of `carry` and `saved`, from that at any other step."""
        leaves, structure = jax.tree.flatten(pull)
        own, saved_ = jax.tree.leaves(carry), iter(saved)
        for n, origin in enumerate(self._origins):
            if origin is SAVED:
                leaves[n] = next(saved_)
            elif origin is not FIXED:
                leaves[n] = own[origin]
        return structure.unflatten(leaves)


class Choice:
    """Some leaves of trees of one structure."""

    def __init__(self, chosen: list[bool]) -> None:
        self._chosen = chosen

    def take(self, tree: PyTree) -> list[Array]:
        leaves = jax.tree.leaves(tree)
        return [leaf for leaf, chosen in zip(leaves, self._chosen, strict=True) if chosen]

    def put(self, tree: PyTree, leaves: list[Array]) -> PyTree:
        """`tree` with `leaves` in the places of its own."""
        old, structure = jax.tree.flatten(tree)
        new = iter(leaves)
        pairs = zip(old, self._chosen, strict=True)
        return structure.unflatten([next(new) if chosen else leaf for leaf, chosen in pairs])


def _is_expensive(primitive: Primitive, *_: Any, **__: Any) -> bool:
    return primitive.name in EXPENSIVE


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _read(part: Callable[..., Any], params: Params, *args: Any) -> list[bool]:
    """Which leaves of params `part(params, *args)` reads."""
    jaxpr = jax.make_jaxpr(part)(params, *args).jaxpr
    variables = [v for e in jaxpr.eqns for v in e.invars] + jaxpr.outvars
    read = {v for v in variables if not isinstance(v, Literal)}
    return [v in read for v in jaxpr.invars[: len(jax.tree.leaves(params))]]


def _origins(function: Callable[..., PyTree], params: Params, carry: Carry, x: Array) -> list:
    """Whence each leaf of function(params, carry, x) comes.

    FIXED if from params alone, a number if it is that leaf of carry, else SAVED.
    """
    jaxpr = jax.make_jaxpr(function)(params, carry, x).jaxpr
    fixed = len(jax.tree.leaves(params))
    varies = _varying(jaxpr, [n >= fixed for n in range(len(jaxpr.invars))])
    own = jaxpr.invars[fixed:-1]

    def origin(v: Any, varies: bool) -> Any:
        if not varies:
            return FIXED
        return own.index(v) if v in own else SAVED

    return [origin(*pair) for pair in zip(jaxpr.outvars, varies, strict=True)]


def _varying(jaxpr: Jaxpr, inputs: list[bool]) -> list[bool]:
    """Which outputs of a jaxpr depend on those of its inputs."""
    varying = {v for v, varies in zip(jaxpr.invars, inputs, strict=True) if varies}

    def varies(variables: Sequence) -> list[bool]:
        return [not isinstance(v, Literal) and v in varying for v in variables]

    for equation in jaxpr.eqns:
        among = varies(equation.invars)
        if equation.primitive.name in ("jit", "pjit"):
            outputs = _varying(equation.params["jaxpr"].jaxpr, among)
        else:
            outputs = [any(among)] * len(equation.outvars)
        varying.update(v for v, varies in zip(equation.outvars, outputs, strict=True) if varies)
    return varies(jaxpr.outvars)
