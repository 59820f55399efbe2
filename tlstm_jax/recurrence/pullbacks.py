"""The derivatives of a cell's three parts, and which residuals are saved for the backward loop.

A pullback, as `jax.vjp` returns it, is a pytree whose leaves are its residuals. Those of a cell's
update are of three kinds: some follow from the parameters alone and are the same at every step,
some are leaves of the carry, and the others are saved. Of these, only what is expensive to
recompute is a residual.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, Primitive

from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree

# Sums, too, which are small and kernels of their own, and what a cell names (`checkpoint_name`).
EXPENSIVE = ("tanh", "logistic", "exp", "log", "erf", "rsqrt", "sqrt", "pow", "reduce_sum", "name")
MOST_EQUATIONS = 4  # from a new carry to an output that follows from it


class Origin(NamedTuple):
    """Where a residual is found at a step; saved, if neither.

    Attributes:
      fixed: it follows from params alone, and is the same at every step.
      leaf: it is this leaf of the carry.
    """

    fixed: bool = False
    leaf: int | None = None

    @property
    def saved(self) -> bool:
        return not self.fixed and self.leaf is None


class Pullbacks:
    """The pullbacks of project, mix and update of one cell, at given shapes.

    Parameters that a part does not read are not inputs of its pullback, nor are integer leaves of
    the carry: what is left of both are lists of leaves, which `Choice` takes from a tree and puts
    back.

    Attributes:
      a: shape and dtype of the pre-activations.
      state: chooses the leaves of the carry that are differentiated.
      of_project, of_mix, of_update: choose the leaves of params that each part reads.
      mix_varies: whether the residuals of mix differ between steps; not if it is linear in the
        state.
      to_save: shapes and dtypes of what must be saved of a pullback of update, beside the carry.
      read: new carry -> y, where the output of a step follows from its new carry; else None.
    """

    def __init__(self, cell: Cell, params: Params, carry: Carry, x: Array) -> None:
        self._cell = cell
        project, z = _trace(cell.project, params, x)
        mix, self.a = _trace(cell.mix, params, carry, z)
        update, _ = _trace(cell.update, params, carry, self.a)
        number = len(jax.tree.leaves(params))
        self.state = Choice([_is_float(leaf) for leaf in jax.tree.leaves(carry)])
        self.of_project, self.of_mix, self.of_update = (
            Choice(_read(part, number)) for part in (project, mix, update)
        )
        self.read = _reads_off(update)
        pull, residuals = _trace(lambda *x: self.update(*x)[2], params, carry, self.a)
        self._origins = _origins(pull, number)
        self.to_save = self.saved(residuals)
        of_mix, _ = _trace(self.mix, params, carry, z)
        self.mix_varies = not all(origin.fixed for origin in _origins(of_mix, number))

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

    def mix_weights(self, params: Params, carry: Carry, z: Array) -> tuple[Array, Callable]:
        """(a, the pullback of mix to the weights): da to (d params of mix,)."""

        def mix(chosen: list) -> Array:
            return self._cell.mix(self.of_mix.put(params, chosen), carry, z)

        return jax.vjp(mix, self.of_mix.take(params))

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
        return [leaf for leaf, o in zip(leaves, self._origins, strict=True) if o.saved]

    def recomputed(self, params: Params, carry: Carry, a: Array) -> list[Array]:
        """What would have been saved of a step, recomputed."""
        return self.saved(self.update(params, carry, a)[2])

    def at_step(self, pull: PyTree, carry: Carry, saved: list[Array]) -> Callable:
        """The pullback of update at the step of `carry` and `saved`, given that of any step."""
        leaves, structure = jax.tree.flatten(pull)
        own, saved_ = jax.tree.leaves(carry), iter(saved)
        for n, origin in enumerate(self._origins):
            if origin.saved:
                leaves[n] = next(saved_)
            elif origin.leaf is not None:
                leaves[n] = own[origin.leaf]
        return structure.unflatten(leaves)


class Choice:
    """Some leaves of trees of one structure."""

    def __init__(self, chosen: list[bool]) -> None:
        self._chosen = chosen

    @property
    def any(self) -> bool:
        """Whether any leaf is chosen."""
        return any(self._chosen)

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


def _trace(function: Callable[..., PyTree], *args: Any) -> tuple[Jaxpr, PyTree]:
    """The jaxpr of function(*args), and its results' shapes and dtypes."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    return closed.jaxpr, shapes


def _read(jaxpr: Jaxpr, number: int) -> list[bool]:
    """Which of its first inputs a jaxpr reads."""
    variables = [v for e in jaxpr.eqns for v in e.invars] + jaxpr.outvars
    read = {v for v in variables if not isinstance(v, Literal)}
    return [v in read for v in jaxpr.invars[:number]]


def _reads_off(update: Jaxpr) -> Callable[[Carry], Array] | None:
    """new carry -> y, if few equations of an update's jaxpr lead from the one to the other."""
    *new, y = update.outvars
    if any(isinstance(v, Literal) for v in (*new, y)):
        return None
    needed, equations = {y}.difference(new), []
    for equation in reversed(update.eqns):
        if needed.intersection(equation.outvars):
            equations.insert(0, equation)
            needed.difference_update(equation.outvars)
            inputs = (v for v in equation.invars if not isinstance(v, Literal))
            needed.update(v for v in inputs if v not in new)
    if needed or len(equations) > MOST_EQUATIONS:
        return None
    reading = update.replace(constvars=[], invars=new, outvars=[y], eqns=equations)
    return lambda carry: jax.core.eval_jaxpr(reading, [], *jax.tree.leaves(carry))[0]


def _origins(jaxpr: Jaxpr, number: int) -> list[Origin]:
    """The origin of each output of a jaxpr over (params, carry, x); params has `number` leaves."""
    varies = _varying(jaxpr, [n >= number for n in range(len(jaxpr.invars))])
    own = jaxpr.invars[number:-1]

    def origin(v: Any, varies: bool) -> Origin:
        if not varies:
            return Origin(fixed=True)
        return Origin(leaf=own.index(v)) if v in own else Origin()

    return [origin(*pair) for pair in zip(jaxpr.outvars, varies, strict=True)]


def _varying(jaxpr: Jaxpr, inputs: list[bool]) -> list[bool]:
    """Which outputs of a jaxpr depend on inputs that vary."""
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
