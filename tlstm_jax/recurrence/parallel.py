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

from tlstm_jax.cells.linear import widened, zero_input
from tlstm_jax.checks import check_call, check_cell
from tlstm_jax.recurrence.flat_states import FlatStates
from tlstm_jax.recurrence.loop import Inputs, fold, initial_carry, scan, select
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree


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
      ValueError: the cell's state is wider than `flat_states.WIDEST` and it is not elementwise.
    """
    flat = FlatStates.of(cell, carry)
    start, whole = flat.pack(carry)
    wholes = _integers(cell, flat, params, carry, inputs)  # before every step

    def steps(args: PyTree, before: Array) -> tuple[Array, Array]:
        """All steps, each from its own state: (the states behind them [T, B, n], ys)."""
        params, inputs, wholes = args
        T, B = before.shape[:2]
        held = flat.unpack(fold(before), fold(wholes))
        xs, reset, mask, _ = (None if a is None else fold(a) for a in inputs)
        state = held if reset is None else select(reset, initial_carry(cell, held), held)
        new, y = cell.step(params, state, xs)
        new, y = select(mask, (new, y), (held, jnp.zeros_like(y)))
        return flat.pack(new)[0].reshape(T, B, -1), y.reshape(T, B, *y.shape[1:])

    args = params, inputs, wholes
    fixed_args, fixed_start = lax.stop_gradient((args, start))
    states, solved = _newton(
        functools.partial(steps, fixed_args), fixed_start, flat, len(inputs.xs), tolerance,
        max_iterations,
    )  # fmt: skip

    def looped() -> Array:
        def packed(carry: Carry) -> Array:
            return flat.pack(carry)[0]

        params, inputs, _ = fixed_args
        return scan(cell, params, lax.stop_gradient(carry), inputs, observe=packed)[1].observed

    states = lax.cond(solved.converged, lambda: states, looped)
    states = _trajectory(steps, flat, args, start, states)
    before = jnp.concatenate([start[None], states[:-1]])
    _, ys = steps(args, before)
    whole = _integers(cell, flat, params, carry, inputs, last=True)
    return flat.unpack(states[-1], whole), ys, solved


def unroll_parallel(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    lengths: Array | None = None,
    reset: Array | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 30,
) -> tuple[Carry, Array, Solved]:
    """`unroll` without flushing, in parallel over time, and how it went.

    Under vmap the loop over time, which takes over where there is no convergence, is always run.

    Args:
      cell: a Cell whose state has up to 64 numbers, or that is elementwise.
      params, carry, xs, lengths, reset: see `unroll`.
      tolerance: of the residual, relative to the largest state.
      max_iterations: after so many the loop over time takes over.

    Returns:
      (carry, ys, Solved).

    Raises:
      ValueError: as of `unroll`, or the cell's state is too wide.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU, unroll_parallel
      >>> cell = GRU(16)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> xs = jax.random.normal(jax.random.key(1), (512, 2, 3))
      >>> carry, ys, solved = unroll_parallel(cell, params, cell.init_carry(2), xs)
      >>> ys.shape, bool(solved.converged), int(solved.iterations) < 10
      ((512, 2, 16), True, True)
    """
    check_cell("cell", cell)
    lengths, reset = check_call(cell, params, carry, xs, lengths, reset)
    xs, lengths = widened(xs), widened(lengths)
    mask = None
    if lengths is not None:
        T, B = xs.shape[:2]
        mask = jnp.arange(T)[:, None] < jnp.broadcast_to(lengths[None], (T, B))
        xs = select(mask, xs, zero_input(xs))
    inputs = Inputs(xs, reset, mask)
    return run(cell, params, carry, inputs, tolerance=tolerance, max_iterations=max_iterations)


def _integers(
    cell: Cell, flat: FlatStates, params: Params, carry: Carry, inputs: Inputs, last: bool = False
) -> Any:
    """The leaves that are no floats, [T, B, ..] before every step, or behind the last one.

    They depend on no float, of which nothing is computed.
    """
    vector, others = lax.stop_gradient(flat.pack(carry))

    def step(others: list[Array], inputs: Inputs) -> tuple[list[Array], list[Array]]:
        held = flat.unpack(jnp.zeros_like(vector), others)
        state = held
        if inputs.reset is not None:
            state = select(inputs.reset, initial_carry(cell, held), held)
        new, _ = cell.step(lax.stop_gradient(params), state, inputs.xs)
        return flat.pack(select(inputs.mask, new, held))[1], others

    end, before = lax.scan(step, others, lax.stop_gradient(inputs))
    return end if last else before


def _newton(
    steps: Callable[[Array], tuple[Array, Array]],
    start: Array,
    flat: FlatStates,
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
        after, J = flat.jacobian(steps, before(states))
        held = flat.grouped(before(states))
        driven = flat.grouped(after) - _times(J, held)
        driven = driven.at[0].add(_times(J[0], flat.grouped(start)))
        states = flat.joined(_linear_scan(J, driven))
        return states, iterations + 1, residual(states, steps(before(states))[0])

    first = steps(jnp.broadcast_to(start[None], (T, *start.shape)))[0]
    # Once more: a memory of zeros is divided by the root of its normalization's epsilon, and the
    # product of such Jacobians over time overflows.
    first = steps(before(first))[0]
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
    steps: Callable[..., Any], flat: FlatStates, args: PyTree, start: Array, states: Array
) -> Array:
    """`states`, which solve the steps, as a function of their arguments and the first state."""
    del steps, flat, args, start
    return states


def _forward(
    steps: Callable[..., Any], flat: FlatStates, args: PyTree, start: Array, states: Array
) -> tuple[Array, PyTree]:
    return states, (args, start, states)


def _backward(
    steps: Callable[..., Any], flat: FlatStates, saved: PyTree, gradient: Array
) -> tuple[PyTree, Array, Array]:
    args, start, states = saved
    before = jnp.concatenate([start[None], states[:-1]])
    _, J = flat.jacobian(functools.partial(steps, args), before)
    transposed = jnp.swapaxes(J, -1, -2)
    later = jnp.concatenate([transposed[1:], jnp.zeros_like(transposed[:1])])
    total = flat.joined(_linear_scan(later, flat.grouped(gradient), reverse=True))
    _, pull = jax.vjp(lambda args, before: steps(args, before)[0], args, before)
    of_args, of_before = pull(total)
    return of_args, of_before[0], jnp.zeros_like(states)


_trajectory.defvjp(_forward, _backward)
