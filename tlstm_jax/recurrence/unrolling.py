"""A cell over time.

The same cell can be run over sequences at once, over streams in segments, and token by token
(`tlstm_jax.generation`); the three give the same numbers. `unroll_reference` is the slow, obvious
version of `unroll`, for tests and for reading.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from tlstm_jax.cells.linear import widened, zero_input
from tlstm_jax.checks import check_call, check_carry, check_cell
from tlstm_jax.devices import layout
from tlstm_jax.recurrence import cudnn
from tlstm_jax.recurrence.engine import check_engine, run
from tlstm_jax.recurrence.loop import Inputs, initial_carry, select
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
    initial: Carry | None = None,
    noise: PyTree = None,
    observe: Observe | None = None,
    remat_every: int | None = None,
    engine: str = "auto",
) -> tuple[Any, ...]:
    """Runs `cell` over xs.

    With `flush`, the sequences end with xs: `delay` zero inputs follow the last one, and ys[t]
    answers xs[t]. Without, xs is a segment of a stream: ys[t] answers the input `delay` steps
    before xs[t], which may be of an earlier segment, and the last `delay` inputs of a segment are
    answered in the next one (under truncated backpropagation they get no gradient from there).

    Args:
      cell: a Cell.
      params: its parameters.
      carry: the state to start from, `cell.init_carry(B)` or what an earlier call returned.
      xs: [T, B, I] float, or maps [T, B, .., I], or tokens [T, B] int.
      flush: whether the sequences end with xs.
      lengths: [B] int, how many of the T inputs belong to each example, clipped to [0, T]; None:
        all. Inputs beyond change no output, state or gradient, even if they are NaN; outputs there
        are zero.
      reset: [T, B] bool: where True, the state is reset to the initial carry before this input, and
        outputs that are still delayed are dropped (zero).
      initial: the carry that a reset starts from, leaves [B, ..]; None: `cell.init_carry(B)`.
      noise: what the cell draws for training, `cell.draw(key, steps, B)` with steps = T, or T +
        delay with `flush`; None outside training, or if it draws nothing.
      observe: called with the carry after every step; what it returns is stacked over steps.
      remat_every: save the carry only every so many steps, and recompute the steps between in the
        backward pass. None saves everything.
      engine: what runs over time; outputs are the same. "deferred" (`recurrence.deferred`) is a
        scan with a fast gradient of its own: it takes grad, vjp and jacrev, under jit and vmap, and
        what differentiates such a gradient again (slower than the scan's, and the CPU compiler of
        jaxlib 0.10.2 fails on some: "llvm_module != nullptr"), but forward mode first (jvp, jacfwd,
        jacrev(jacfwd)) raises JAX's TypeError on a custom_vjp. "scan" is plain JAX, for forward
        mode, second derivatives (hessian, grad of grad, Hessian-vector products) and gradients of
        trainings; it is also what cells without project / mix / update, cells that couple examples,
        `noise`, `observe`, and `reset` with `initial` run on. "cudnn" (`recurrence.cudnn`) is
        cuDNN's LSTM, on one NVIDIA device: for `LSTM` in float32 with vectors, or tokens of a
        vocabulary up to 1,024, and lengths, without reset, noise, observe and remat_every. "fused"
        (`recurrence.fused`) is one Pallas kernel for all steps, for some cells, on CUDA. "parallel"
        (`recurrence.parallel`) solves for all steps at once, for small or elementwise states, and
        falls back to the loop; `unroll_parallel` also returns how it went. "auto" is
        cuDNN where that applies, and the deferred engine elsewhere, under vmap, and in programs
        compiled by a process without an NVIDIA device. Where arrays are sharded only by the
        `in_shardings` of a jit, choose "deferred": cuDNN would compute the full batch on each
        device.

    Returns:
      (carry, ys), or (carry, ys, observed) with `observe`. carry: the state after each example's
      last input, before any flushing, so that calls chain. ys: [T, B, .., M]. observed: leaves
      [T, ..], or [T + delay, ..] with `flush`.

    Raises:
      ValueError: params, carry, xs, lengths or reset have shapes, kinds or names that do not fit,
        an axis of xs is empty, remat_every < 1, an unknown engine, or "cudnn" or "fused" for what
        these cannot run.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import TensorizedLSTM, unroll
      >>> cell = TensorizedLSTM(4, tensor_shape=(3,))
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> xs, lengths = jnp.ones((5, 2, 3)), jnp.array([5, 2])
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), xs, lengths=lengths)
      >>> ys.shape, bool((ys[2:, 1] == 0).all())
      ((5, 2, 4), True)
    """
    check_cell("cell", cell)
    lengths, reset = check_call(cell, params, carry, xs, lengths, reset)
    if initial is not None:
        check_carry(cell, initial, xs.shape[1], name="initial")
    check_remat(remat_every)
    check_engine(engine)
    xs, lengths = widened(xs), widened(lengths)
    if (placed := layout.explicit_batch((params, carry), xs)) is not None:
        mesh, batch = placed
        outputs = PartitionSpec(batch), PartitionSpec(None, batch), PartitionSpec()
        fixed = {"flush": flush, "observe": observe, "remat_every": remat_every, "engine": engine}
        again = functools.partial(_unroll_given, cell, fixed)
        given = {"lengths": lengths, "reset": reset, "initial": initial, "noise": noise}
        outputs = outputs[: 2 if observe is None else 3]
        return layout.on_explicit_axes(again, mesh, outputs, params, carry, xs, given)
    mask = None
    if lengths is not None:
        lengths = jnp.clip(lengths, 0, xs.shape[0])
        mask = sequence_mask(xs, lengths)
        xs = select(mask, xs, zero_input(xs))
    layer = (cell,), (params,), (carry,)
    options = {"reset": reset, "noise": noise, "observe": observe, "remat_every": remat_every}
    if cudnn.takes(engine, *layer, xs, **options):
        ours = functools.partial(cudnn.deferred, layer[0])
        (carry,), ys = cudnn.apply(engine, ours, *layer[1:], xs, mask)
        return carry, ys
    engine = "deferred" if engine in ("auto", "cudnn") else engine
    T = xs.shape[0]
    late_noise = jax.tree.map(lambda x: x[T:], noise)
    noise = jax.tree.map(lambda x: x[:T], noise)
    advance = functools.partial(
        run, cell, params, initial=initial, observe=observe, remat_every=remat_every, engine=engine
    )
    carry, ys, observed = advance(carry, Inputs(xs, reset, mask, noise))
    if flush and cell.delay:
        silence = zero_input(jnp.broadcast_to(xs[:1], (cell.delay, *xs.shape[1:])))
        _, late, late_observed = advance(carry, Inputs(silence, noise=late_noise))
        ys = align(ys, late, lengths)
        observed = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), observed, late_observed)
        if mask is not None:
            ys = select(mask, ys, jnp.zeros_like(ys))
    return (carry, ys) if observe is None else (carry, ys, observed)


def _unroll_given(
    cell: Cell,
    fixed: dict[str, Any],
    params: Params,
    carry: Carry,
    xs: Array,
    given: dict[str, Any],
) -> tuple[Any, ...]:
    return unroll(cell, params, carry, xs, **fixed, **given)


def sequence_mask(xs: Array, lengths: Array) -> Array:
    """[T, B] bool: which steps of xs [T, B, ..] are within the examples' lengths [B]."""
    T, B = xs.shape[:2]
    steps = jnp.broadcast_to(jnp.arange(T)[:, None], (T, B))
    return steps < jnp.broadcast_to(lengths[None].astype(steps.dtype), (T, B))


def zero_beyond(xs: Array, lengths: Array | None) -> Array:
    """xs [T, B, ..] with the zero input beyond each example's length, where there may be NaN."""
    return xs if lengths is None else select(sequence_mask(xs, lengths), xs, zero_input(xs))


def align(ys: Array, late: Array, lengths: Array | None) -> Array:
    """Outputs in the order of their inputs: y_t is step t + delay of ys followed by `late`."""
    (T, B), delay = ys.shape[:2], late.shape[0]
    steps = jnp.concatenate([ys, late])
    if lengths is None:
        return steps[delay:]
    # An example's flushing follows its own last step: the steps between there and T are skipped.
    step = jnp.broadcast_to(jnp.arange(T)[:, None] + delay, (T, B))
    end = jnp.broadcast_to(lengths[None].astype(step.dtype), (T, B))
    step = jnp.minimum(jnp.where(step < end, step, step - end + T), T + delay - 1)
    step = step.reshape(T, B, *(1,) * (steps.ndim - 2))
    return jnp.take_along_axis(steps, step, axis=0)


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
    initial: Carry | None = None,
    noise: PyTree = None,
) -> tuple[Carry, Array]:
    """`unroll` as a plain loop, example by example; not to be used under jit.

    Only for cells that do not couple the examples of a batch.
    """
    xs, lengths = widened(xs), widened(lengths)
    T, B = xs.shape[:2]
    carries, outputs = [], []
    y = jax.eval_shape(lambda: cell.step(params, carry, xs[0])[1])
    nothing = jnp.zeros(y.shape[1:], y.dtype)

    def one(tree: PyTree, b: int) -> PyTree:
        return jax.tree.map(lambda x: x[b : b + 1], tree)

    def drawn(t: int, b: int) -> tuple:
        return () if noise is None else (one(jax.tree.map(lambda x: x[t], noise), b),)

    for b in range(B):
        state = one(carry, b)
        length = T if lengths is None else min(max(int(lengths[b]), 0), T)
        steps = []
        for t in range(length):
            if reset is not None and reset[t, b]:
                state = initial_carry(cell, state, one(initial, b))
            state, y = cell.step(params, state, xs[t, b : b + 1], *drawn(t, b))
            steps.append(y[0])
        carries.append(state)
        if flush:
            for n in range(cell.delay):
                silence = zero_input(xs[0, b : b + 1])
                state, y = cell.step(params, state, silence, *drawn(T + n, b))
                steps.append(y[0])
            steps = steps[cell.delay :]
        outputs.append(jnp.stack(steps + [nothing] * (T - length)))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *carries), jnp.stack(outputs, axis=1)
