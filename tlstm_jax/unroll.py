"""A cell over time.

The same cell can be run over whole sequences, over streams that are cut into segments, and token by
token (`tlstm_jax.generate`); the three give the same numbers. `unroll_reference` is the slow, obvious
twin of `unroll`, for tests and for reading.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import zero_input
from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree


def unroll(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    flush: bool = True,
    lengths: Array | None = None,
    reset: Array | None = None,
    observe: Observe | None = None,
    remat_every: int | None = None,
) -> tuple[Any, ...]:
    """Runs `cell` over xs by `lax.scan`.

    With `flush`, xs is the rest of whole sequences: `delay` zero inputs follow the last real one, and
    ys[t] answers xs[t]. Without, it is a segment of a stream: ys[t] answers the input `delay` steps
    before xs[t], perhaps one of an earlier segment, and the last `delay` inputs of a segment are
    answered in the next (so that, under truncated backpropagation, they get no gradient from it).

    Args:
      cell: a Cell.
      params: its parameters.
      carry: the state to start from, `cell.init_carry(B)` or what an earlier call returned.
      xs: [T, B, I] float, or tokens [T, B] int.
      flush: whether the sequences end here.
      lengths: [B] int, how many of the T inputs belong to each example (all of them if None), clipped
        to [0, T]. What lies beyond changes no output, state or gradient, even if it is NaN; outputs
        there are zero.
      reset: [T, B] bool: where True, the example starts anew, from the initial carry, with this input.
        Its outputs still under way are dropped (zero).
      observe: called with the carry after every step; what it returns is stacked over steps.
      remat_every: save the carry every so many steps only, and recompute what lies between in the
        backward pass. None saves everything.

    Returns:
      (carry, ys), or (carry, ys, observed) with `observe`. carry: the state after each example's last
      real input, before any flushing, so that calls chain. ys: [T, B, M]. observed: leaves [T, ..],
      or [T + delay, ..] with `flush`.

    Raises:
      ValueError: xs, lengths or reset have shapes that do not fit, T < 1, or remat_every < 1.
    """
    _check(xs, lengths, reset, remat_every)
    B = xs.shape[1]
    real = None
    if lengths is not None:
        lengths = jnp.clip(lengths, 0, xs.shape[0])
        real = _real(xs, lengths)
        xs = _select(real, xs, zero_input(xs))

    def body(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        z, start, live = inputs
        before = carry
        if start is not None:
            carry = _select(start, _anew(cell, carry, B), carry)
        carry, y = advance(carry, z)
        if live is not None:
            carry = _select(live, carry, before)
        return carry, (y, None if observe is None else observe(carry))

    project, advance = _parts(cell, params)
    inputs = (project(xs), reset, real)
    carry, (ys, observed) = _scan(body, carry, inputs, remat_every)
    if flush and cell.delay:
        silence = project(zero_input(jnp.broadcast_to(xs[:1], (cell.delay, *xs.shape[1:]))))
        _, (late, late_observed) = _scan(body, carry, (silence, None, None), remat_every)
        ys = _align(ys, late, lengths)
        observed = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), observed, late_observed)
    if real is not None:
        ys = _select(real, ys, jnp.zeros_like(ys))
    return (carry, ys) if observe is None else (carry, ys, observed)


class _Advance(Protocol):
    def __call__(self, carry: Carry, z: Array) -> tuple[Carry, Array]: ...


def _parts(cell: Cell, params: Params) -> tuple[Any, _Advance]:
    """The part of a step for all inputs at once, and the part inside the loop."""
    if not hasattr(cell, "project"):
        return (lambda xs: xs), (lambda carry, x: cell.step(params, carry, x))

    def advance(carry: Carry, z: Array) -> tuple[Carry, Array]:
        return cell.update(params, carry, cell.mix(params, carry, z))

    return (lambda xs: cell.project(params, xs)), advance


def _scan(body: Any, carry: Carry, inputs: PyTree, remat_every: int | None) -> tuple[Carry, PyTree]:
    """`lax.scan`, in checkpointed chunks of `remat_every` steps."""
    if remat_every is None:
        return lax.scan(body, carry, inputs)
    T = jax.tree.leaves(inputs)[0].shape[0]
    chunk = jax.checkpoint(lambda carry, inputs: lax.scan(body, carry, inputs), prevent_cse=False)
    whole = T - T % remat_every
    split = jax.tree.map(lambda x: x[:whole].reshape(-1, remat_every, *x.shape[1:]), inputs)
    carry, outputs = lax.scan(chunk, carry, split)
    outputs = jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), outputs)
    if whole < T:
        carry, rest = chunk(carry, jax.tree.map(lambda x: x[whole:], inputs))
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, rest)
    return carry, outputs


def _real(xs: Array, lengths: Array) -> Array:
    """[T, B] bool: which inputs lie within the examples' lengths."""
    T, B = xs.shape[:2]
    steps = jnp.broadcast_to(jnp.arange(T)[:, None], (T, B))
    return steps < jnp.broadcast_to(lengths[None].astype(steps.dtype), (T, B))


def zero_beyond(xs: Array, lengths: Array | None) -> Array:
    """xs [T, B, ..] with the zero input behind each example's end, where there may be NaN."""
    return xs if lengths is None else _select(_real(xs, lengths), xs, zero_input(xs))


def _align(ys: Array, late: Array, lengths: Array | None) -> Array:
    """Outputs in the order of their inputs: y_t is the step t + delay of ys, then of `late`."""
    (T, B), delay = ys.shape[:2], late.shape[0]
    steps = jnp.concatenate([ys, late])
    if lengths is None:
        return steps[delay:]
    # Behind an example's end, T is left out: its flushing began at its own length.
    step = jnp.broadcast_to(jnp.arange(T)[:, None] + delay, (T, B))
    end = jnp.broadcast_to(lengths[None].astype(step.dtype), (T, B))
    step = jnp.minimum(jnp.where(step < end, step, step - end + T), T + delay - 1)
    return jnp.take_along_axis(steps, step[..., None], axis=0)


def _select(mask: Array, new: PyTree, old: PyTree) -> PyTree:
    """where(mask, new, old) for every leaf; mask [B] or [T, B] leads each leaf's axes."""

    def select(a: Array, b: Array) -> Array:
        m = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return jnp.where(jnp.broadcast_to(m, a.shape), a, b)

    return jax.tree.map(select, new, old)


def _anew(cell: Cell, carry: Carry, batch_size: int) -> Carry:
    """The initial carry, in the dtypes of `carry`."""
    return jax.tree.map(lambda a, b: a.astype(b.dtype), cell.init_carry(batch_size), carry)


def _check(xs: Array, lengths: Array | None, reset: Array | None, remat_every: int | None) -> None:
    tokens = jnp.issubdtype(xs.dtype, jnp.integer)
    if xs.ndim != (2 if tokens else 3):
        raise ValueError(
            f"xs has shape {xs.shape}; accepted are [T, B, I] floats and [T, B] integers"
        )
    if xs.shape[0] < 1:
        raise ValueError(f"xs has shape {xs.shape}; accepted are T >= 1 steps")
    if lengths is not None and lengths.shape != xs.shape[1:2]:
        raise ValueError(f"lengths has shape {lengths.shape}; accepted is [B] = {xs.shape[1:2]}")
    if reset is not None and reset.shape != xs.shape[:2]:
        raise ValueError(f"reset has shape {reset.shape}; accepted is [T, B] = {xs.shape[:2]}")
    check_remat(remat_every)


def check_remat(remat_every: int | None) -> None:
    """Raises ValueError unless `remat_every` is None or at least 1."""
    if remat_every is not None and remat_every < 1:
        raise ValueError(f"remat_every is {remat_every}; accepted are None and integers >= 1")


def unroll_reference(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    *,
    flush: bool = True,
    lengths: Array | None = None,
    reset: Array | None = None,
) -> tuple[Carry, Array]:
    """`unroll` as a plain loop, example by example; not to be used under jit.

    Only for cells that treat the examples of a batch apart.
    """
    T, B = xs.shape[:2]
    carries, outputs = [], []
    y = jax.eval_shape(lambda: cell.step(params, carry, xs[0])[1])
    nothing = jnp.zeros(y.shape[1:], y.dtype)
    for b in range(B):
        state = jax.tree.map(lambda x: x[b : b + 1], carry)  # noqa: B023
        length = T if lengths is None else min(max(int(lengths[b]), 0), T)
        steps = []
        for t in range(length):
            if reset is not None and reset[t, b]:
                state = _anew(cell, state, 1)
            state, y = cell.step(params, state, xs[t, b : b + 1])
            steps.append(y[0])
        carries.append(state)
        if flush:
            for _ in range(cell.delay):
                state, y = cell.step(params, state, zero_input(xs[0, b : b + 1]))
                steps.append(y[0])
            steps = steps[cell.delay :]
        outputs.append(jnp.stack(steps + [nothing] * (T - length)))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *carries), jnp.stack(outputs, axis=1)
