"""Any cell over time in parallel: Newton's iteration forwards, one linear scan backwards.

Lim, Zhu, Selfridge and Kasim, "Parallelizing Non-Linear Sequential Models over the Sequence Length",
ICLR 2024; Danieli et al., "ParaRNN", 2025. The states solve s_t = F(s_{t-1}, x_t) for all t at once.
With J_t = dF/ds at the last iterate, the next one solves the linear recurrence

    s_t = J_t s_{t-1} + F(s'_{t-1}, x_t) - J_t s'_{t-1}                     s' the last iterate

by an associative scan. After n iterations the first n steps are exact. At the solution, the gradient
by s_t is g_t + J_{t+1}^T (gradient by s_{t+1}): one scan more, whatever found the solution; then the
gradients by parameters and inputs are those of T independent steps.

A scan has matrices as wide as the state, n^3 for each step where the loop over time has n^2: worth it
for small states, long sequences and devices with idle arithmetic units. A cell that says
`elementwise = True`, whose carry has leaves [B, M] and mixes no two features, has matrices of as
many rows as it has leaves. Trained cells take more iterations than untrained ones, and chaotic ones
never converge: those go through the loop.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.recurrence.loop import Inputs, fold, initial_carry, scan, select
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree

WIDEST = 64  # of a state, for cells that are not elementwise


class Solved(NamedTuple):
    """How Newton's iteration ended.

    Attributes:
      iterations: int32 scalar.
      residual: float32 scalar, the largest |F(s_{t-1}, x_t) - s_t| of an example over its largest
        |s_t|, of the worst example.
      converged: bool scalar; if not, states are those of a loop over time.
    """

    iterations: Array
    residual: Array
    converged: Array


def run(
    cell: Cell,
    params: Params,
    carry: Carry,
    inputs: Inputs,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 30,
) -> tuple[Carry, Array, Solved]:
    """`cell` over T steps: (the last carry, ys [T, B, M], how it was found).

    Args:
      tolerance: of the residual.
      max_iterations: after so many the loop over time takes over.

    Raises:
      ValueError: the cell's state is wider than `WIDEST` and it is not elementwise.
    """
    packing = _Packing.of(cell, carry)
    start, whole = packing.pack(carry)
    wholes = _integers(cell, packing, params, carry, inputs)  # before every step

    def steps(args: PyTree, before: Array) -> tuple[Array, Array]:
        """All steps, each from its own state: (the states behind them [T, B, n], ys)."""
        params, inputs, wholes = args
        T, B = before.shape[:2]
        held = packing.unpack(fold(before), fold(wholes))
        xs, reset, mask, _ = (None if a is None else fold(a) for a in inputs)
        state = held if reset is None else select(reset, initial_carry(cell, held), held)
        new, y = cell.step(params, state, xs)
        new, y = select(mask, (new, y), (held, jnp.zeros_like(y)))
        return packing.pack(new)[0].reshape(T, B, -1), y.reshape(T, B, *y.shape[1:])

    args = params, inputs, wholes
    fixed_args, fixed_start = lax.stop_gradient((args, start))
    states, solved = _newton(
        functools.partial(steps, fixed_args), fixed_start, packing, len(inputs.xs), tolerance,
        max_iterations,
    )  # fmt: skip

    def looped() -> Array:
        def packed(carry: Carry) -> Array:
            return packing.pack(carry)[0]

        params, inputs, _ = fixed_args
        return scan(cell, params, lax.stop_gradient(carry), inputs, observe=packed)[1].observed

    states = lax.cond(solved.converged, lambda: states, looped)
    states = _trajectory(steps, packing, args, start, states)
    before = jnp.concatenate([start[None], states[:-1]])
    _, ys = steps(args, before)
    whole = _integers(cell, packing, params, carry, inputs, last=True)
    return packing.unpack(states[-1], whole), ys, solved


class _Packing(NamedTuple):
    """A carry as one vector for each example, and its integers apart.

    Attributes:
      shapes, dtypes: of the leaves, without B.
      structure: of the carry.
      groups, width: the Jacobian of a step is `groups` blocks of `width` rows.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    structure: Any
    groups: int
    width: int

    @classmethod
    def of(cls, cell: Cell, carry: Carry) -> "_Packing":
        leaves, structure = jax.tree.flatten(carry)
        shapes = tuple(leaf.shape[1:] for leaf in leaves)
        dtypes = tuple(leaf.dtype for leaf in leaves)
        sizes = [leaf[0].size if leaf.shape[0] else 0 for leaf in leaves if _floating(leaf.dtype)]
        if getattr(cell, "elementwise", False):
            return cls(shapes, dtypes, structure, sizes[0], len(sizes))
        if sum(sizes) > WIDEST:
            raise ValueError(
                f"{type(cell).__name__} has a state of {sum(sizes)} numbers; accepted by the parallel "
                f"engine are up to {WIDEST}, or elementwise cells"
            )
        return cls(shapes, dtypes, structure, 1, sum(sizes))

    @property
    def widest(self) -> Any:
        return jnp.float64 if jnp.float64 in self.dtypes else jnp.float32

    def pack(self, carry: Carry) -> tuple[Array, list[Array]]:
        """([B, n] floats, in the widest of their dtypes; the other leaves)."""
        leaves = jax.tree.leaves(carry)
        floats = [x.astype(self.widest) for x in leaves if _floating(x.dtype)]
        others = [x for x in leaves if not _floating(x.dtype)]
        B = leaves[0].shape[0]
        return jnp.concatenate([x.reshape(B, -1) for x in floats], axis=1), others

    def unpack(self, vector: Array, others: list[Array]) -> Carry:
        leaves, at, others = [], 0, list(others)
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            if not _floating(dtype):
                leaves.append(others.pop(0))
                continue
            size = functools.reduce(lambda a, b: a * b, shape, 1)
            part = lax.slice_in_dim(vector, at, at + size, axis=1)
            leaves.append(part.reshape(-1, *shape).astype(dtype))
            at += size
        return jax.tree.unflatten(self.structure, leaves)

    def grouped(self, vector: Array) -> Array:
        """[.., n] as [.., groups, width]: the leaves' numbers of one feature side by side."""
        parts = vector.reshape(*vector.shape[:-1], self.width, self.groups)
        return jnp.swapaxes(parts, -1, -2)

    def joined(self, parts: Array) -> Array:
        """The inverse of `grouped`."""
        return jnp.swapaxes(parts, -1, -2).reshape(*parts.shape[:-2], -1)

    def jacobian(
        self, function: Callable[[Array], tuple[Array, Any]], before: Array
    ) -> tuple[Array, Array]:
        """(function(before)[0] [T, B, n], its Jacobians [T, B, groups, width, width])."""

        def along(n: Array) -> tuple[Array, Array]:
            of_row = jnp.arange(self.width)[:, None] == n
            tangent = jnp.broadcast_to(of_row, (self.width, self.groups)).reshape(-1)
            tangent = jnp.broadcast_to(tangent.astype(before.dtype)[None, None], before.shape)
            return jax.jvp(lambda s: function(s)[0], (before,), (tangent,))

        after, columns = jax.vmap(along, out_axes=(None, -1))(jnp.arange(self.width))
        J = jax.vmap(self.grouped, in_axes=-1, out_axes=-1)(columns)
        return after, J


def _floating(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def _integers(
    cell: Cell, packing: _Packing, params: Params, carry: Carry, inputs: Inputs, last: bool = False
) -> Any:
    """The leaves that are no floats, [T, B, ..] before every step, or behind the last one.

    They depend on no float, of which nothing is computed.
    """
    vector, others = lax.stop_gradient(packing.pack(carry))

    def step(others: list[Array], inputs: Inputs) -> tuple[list[Array], list[Array]]:
        held = packing.unpack(jnp.zeros_like(vector), others)
        state = held
        if inputs.reset is not None:
            state = select(inputs.reset, initial_carry(cell, held), held)
        new, _ = cell.step(lax.stop_gradient(params), state, inputs.xs)
        return packing.pack(select(inputs.mask, new, held))[1], others

    end, before = lax.scan(step, others, lax.stop_gradient(inputs))
    return end if last else before


def _newton(
    steps: Callable[[Array], tuple[Array, Array]],
    start: Array,
    packing: _Packing,
    T: int,
    tolerance: float,
    max_iterations: int,
) -> tuple[Array, Solved]:
    """The states [T, B, n] behind every step, from `start` [B, n]."""

    def before(states: Array) -> Array:
        return jnp.concatenate([start[None], states[:-1]])

    def residual(states: Array, after: Array) -> Array:
        off = jnp.max(jnp.abs(after - states), axis=(0, 2))  # [B]
        size = jnp.max(jnp.abs(states), axis=(0, 2))
        return jnp.max(off / (size + jnp.finfo(size.dtype).tiny)).astype(jnp.float32)

    def going(loop: tuple[Array, Array, Array]) -> Array:
        _, iterations, found = loop
        return (found > tolerance) & (iterations < max_iterations) & jnp.isfinite(found)

    def iterate(loop: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        states, iterations, _ = loop
        after, J = packing.jacobian(steps, before(states))
        held = packing.grouped(before(states))
        driven = packing.grouped(after) - _times(J, held)
        driven = driven.at[0].add(_times(J[0], packing.grouped(start)))
        states = packing.joined(_linear_scan(J, driven))
        return states, iterations + 1, residual(states, steps(before(states))[0])

    first = steps(jnp.broadcast_to(start[None], (T, *start.shape)))[0]
    found = residual(first, steps(before(first))[0])
    states, iterations, found = lax.while_loop(going, iterate, (first, jnp.int32(0), found))
    return states, Solved(iterations, found, found <= tolerance)


def _linear_scan(A: Array, b: Array, *, reverse: bool = False) -> Array:
    """x_t = A_t x_{t-1} + b_t with x_0 = 0: A [T, .., k, k], b [T, .., k]."""

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        product = first[0] * then[0] if A.shape[-1] == 1 else then[0] @ first[0]
        return product, _times(then[0], first[1]) + then[1]

    return lax.associative_scan(compose, (A, b), reverse=reverse)[1]


def _times(A: Array, x: Array) -> Array:
    """A x, of matrices [.., k, k] and vectors [.., k]."""
    return A[..., 0] * x if A.shape[-1] == 1 else jnp.einsum("...ij,...j->...i", A, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _trajectory(
    steps: Callable[..., Any], packing: _Packing, args: PyTree, start: Array, states: Array
) -> Array:
    """`states`, which solve the steps, as a function of their arguments and the first state."""
    del steps, packing, args, start
    return states


def _forward(
    steps: Callable[..., Any], packing: _Packing, args: PyTree, start: Array, states: Array
) -> tuple[Array, PyTree]:
    return states, (args, start, states)


def _backward(
    steps: Callable[..., Any], packing: _Packing, saved: PyTree, gradient: Array
) -> tuple[PyTree, Array, Array]:
    args, start, states = saved
    before = jnp.concatenate([start[None], states[:-1]])
    _, J = packing.jacobian(functools.partial(steps, args), before)
    transposed = jnp.swapaxes(J, -1, -2)
    later = jnp.concatenate([transposed[1:], jnp.zeros_like(transposed[:1])])
    total = packing.joined(_linear_scan(later, packing.grouped(gradient), reverse=True))
    _, pull = jax.vjp(lambda args, before: steps(args, before)[0], args, before)
    of_args, of_before = pull(total)
    return of_args, of_before[0], jnp.zeros_like(states)


_trajectory.defvjp(_forward, _backward)
