"""The loop over time, and its gradient.

JAX differentiates a scan step by step: the gradient by a weight matrix is a product at every step,
and a sum over steps. The deferred engine's backward loop makes only what is sequential, the gradients
of the state and of the pre-activations a_t; the gradient by the weights is one product over all steps
behind the loop. It serves every cell that gives its step as project / mix / update (`typing.Cell`),
without a word in the cell:

    forward    a_t = mix(params, carry_t, z_t);  carry_{t+1}, y_t = update(params, carry_t, a_t)
    backward   da_t, and dcarry_t in part    from the derivative of update by (carry_t, a_t)
               dz_t, and the rest of dcarry_t    from the derivative of mix by (carry_t, z_t)
    behind     dparams    from the derivative of mix by params, with steps folded into the batch
               (and of what parameters update has, summed in the loop: they are small)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, Literal, Primitive

from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree

ENGINES = ("deferred", "scan")


def check_engine(engine: str) -> None:
    """Raises ValueError unless `engine` is one of ENGINES."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; accepted are {', '.join(ENGINES)}")


def is_split(cell: Cell) -> bool:
    """Whether the cell gives its step as project / mix / update."""
    return all(hasattr(cell, part) for part in ("project", "mix", "update"))


def run(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    start: Array | None,
    live: Array | None,
    *,
    observe: Observe | None = None,
    remat_every: int | None = None,
    engine: str = "deferred",
) -> tuple[Carry, Array, PyTree]:
    """`cell` over T steps.

    Args:
      xs: [T, B, I] float, or tokens [T, B] int.
      start: [T, B] bool or None: where True, the example starts anew with this step.
      live: [T, B] bool or None: where False, the example's carry stands still and its y is zero.
      observe, remat_every, engine: see `unroll`.

    Returns:
      (carry, ys [T, B, M], what observe returned, stacked over steps).
    """
    if engine == "deferred" and observe is None and is_split(cell) and not _couples(cell):

        def steps(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
            carry, ys = _deferred(cell, params, carry, *inputs)
            return carry, (ys, None)
    else:

        def steps(carry: Carry, inputs: tuple) -> tuple[Carry, tuple]:
            carry, (ys, observed, _) = _scan(cell, params, carry, *inputs, observe=observe)
            return carry, (ys, observed)

    carry, (ys, observed) = _in_chunks(steps, carry, (xs, start, live), remat_every)
    return carry, ys, observed


def select(mask: Array | None, new: PyTree, old: PyTree) -> PyTree:
    """where(mask, new, old) for every leaf; mask [B] or [T, B] leads each leaf's axes; None: new."""
    if mask is None:
        return new

    def choose(a: Array, b: Array) -> Array:
        m = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return jnp.where(jnp.broadcast_to(m, a.shape), a, b)

    return jax.tree.map(choose, new, old)


def anew(cell: Cell, carry: Carry) -> Carry:
    """The initial carry, of the batch size and in the dtypes of `carry`."""
    B = jax.tree.leaves(carry)[0].shape[0]
    return jax.tree.map(lambda a, b: a.astype(b.dtype), cell.init_carry(B), carry)


def _couples(cell: Cell) -> bool:
    """Whether the cell says that its `mix` couples the examples of a batch."""
    return getattr(cell, "couples_examples", False)


def _in_chunks(
    steps: Callable[[Carry, tuple], tuple[Carry, tuple]],
    carry: Carry,
    inputs: tuple,
    remat_every: int | None,
) -> tuple[Carry, tuple]:
    """`steps` over all inputs, or over checkpointed chunks of `remat_every` of them."""
    if remat_every is None:
        return steps(carry, inputs)
    chunk = jax.checkpoint(steps, prevent_cse=False)
    T = inputs[0].shape[0]
    whole = T - T % remat_every
    split = jax.tree.map(lambda x: x[:whole].reshape(-1, remat_every, *x.shape[1:]), inputs)
    carry, outputs = lax.scan(chunk, carry, split)
    outputs = jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), outputs)
    if whole < T:
        carry, rest = chunk(carry, jax.tree.map(lambda x: x[whole:], inputs))
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, rest)
    return carry, outputs


def _scan(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Array,
    start: Array | None,
    live: Array | None,
    *,
    observe: Observe | None = None,
    step: Callable[[Carry, Array], tuple[Carry, Array, PyTree]] | None = None,
) -> tuple[Carry, tuple[Array, PyTree, PyTree]]:
    """(carry, (ys, observed, saved)): the loop of `step(carry, z) -> (carry, y, saved)`, or the cell's."""

    split = is_split(cell)

    def plain(carry: Carry, z: Array) -> tuple[Carry, Array, None]:
        if not split:
            return *cell.step(params, carry, z), None
        return *cell.update(params, carry, cell.mix(params, carry, z)), None

    def body(before: Carry, inputs: tuple) -> tuple[Carry, tuple]:
        z, start, live = inputs
        carry = before if start is None else select(start, anew(cell, before), before)
        new, y, saved = (step or plain)(carry, z)
        new, y = select(live, (new, y), (before, jnp.zeros_like(y)))
        return new, (y, None if observe is None else observe(new), saved)

    zs = cell.project(params, xs) if split else xs
    return lax.scan(body, carry, (zs, start, live))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _deferred(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[Carry, Array]:
    carry, (ys, _, _) = _scan(cell, params, carry, xs, start, live)
    return carry, ys


def _deferred_fwd(
    cell: Cell, params: Params, carry: Carry, xs: Array, start: Array | None, live: Array | None
) -> tuple[tuple[Carry, Array], tuple]:
    parts = _Parts(cell, params, carry, xs[0])

    def step(carry: Carry, z: Array) -> tuple[Carry, Array, tuple]:
        new, y, pull = parts.update(params, carry, cell.mix(params, carry, z))
        return new, y, (carry, parts.residuals(pull))

    carry, (ys, _, saved) = _scan(cell, params, carry, xs, start, live, step=step)
    return (carry, ys), (params, xs, start, live, *saved)


def _deferred_bwd(cell: Cell, residuals: tuple, cotangents: tuple[Carry, Array]) -> tuple:
    params, xs, start, live, carries, saved = residuals
    dcarry, dys = cotangents
    carry, x = jax.tree.map(lambda leaf: leaf[0], (carries, xs))
    parts = _Parts(cell, params, carry, x)
    # The first step's derivatives lend theirs to every step where they follow from params alone.
    a = jnp.zeros(parts.a.shape, parts.a.dtype)
    pull_update = parts.update(params, carry, a)[2]
    pull_mix = jax.linearize(parts.mix(params, carry, cell.project(params, x)), a)[1]
    N = _steps_of_a_product(xs.shape[0], a)

    def step(first: Array, zs: Array, loop: tuple, n: Array) -> tuple[tuple, tuple]:
        """One step back."""
        dcarry, dupdate = loop
        dy, start_, live_, carry, saved_ = jax.tree.map(
            lambda leaf: lax.dynamic_index_in_dim(leaf, first + n, keepdims=False),
            (dys, start, live, carries, saved),
        )
        zeros = jax.tree.map(jnp.zeros_like, (dcarry, dy))
        pull = parts.at_step(pull_update, carry, saved_)
        more, dbefore, da = pull(select(live_, (dcarry, dy), zeros))
        pull = parts.mix(params, carry, zs[n]) if parts.mix_varies else pull_mix
        dmixed, dz = pull(da)
        dbefore = jax.tree.map(jnp.add, dbefore, dmixed)
        if start_ is not None:
            dbefore = select(start_, zeros[0], dbefore)
        if live_ is not None:
            dbefore = select(live_, dbefore, dcarry)
        dz = None if dz is da else dz  # where mix adds z, lest it be stored twice
        return (dbefore, jax.tree.map(jnp.add, dupdate, more)), (da, dz)

    def steps(loop: tuple, first: Array) -> tuple[tuple, Array | None]:
        """N steps back from first + N - 1 to first, and their share of the weights' gradient."""
        dcarry, dupdate, dmix, dproject = loop
        some = functools.partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=N)
        some_carries, some_xs = jax.tree.map(some, (carries, xs))
        zs, pull_project = _vjp(cell.project, parts.of_project, params, some_xs)
        (dcarry, dupdate), (das, dzs) = lax.scan(
            functools.partial(step, first, zs), (dcarry, dupdate), jnp.arange(N), reverse=True
        )
        folded = _fold((some_carries, zs))
        more_mix, _ = _vjp(cell.mix, parts.of_mix, params, *folded)[1](_fold(das))
        more_project, dxs = pull_project(das if dzs is None else dzs)
        dmix, dproject = jax.tree.map(jnp.add, (dmix, dproject), (more_mix, more_project))
        return (dcarry, dupdate, dmix, dproject), dxs

    choices = (parts.of_update, parts.of_mix, parts.of_project)
    loop = tuple(jax.tree.map(jnp.zeros_like, choice.take(params)) for choice in choices)
    firsts = jnp.arange(0, xs.shape[0], N)
    loop, dxs = lax.scan(steps, (parts.state.take(dcarry), *loop), firsts, reverse=True)
    dparams = zeros = jax.tree.map(jnp.zeros_like, params)
    for choice, chosen in zip(choices, loop[1:], strict=True):
        dparams = jax.tree.map(jnp.add, dparams, choice.put(zeros, chosen))
    dxs = None if dxs is None else dxs.reshape(xs.shape)
    return dparams, parts.state.put(dcarry, loop[0]), dxs, None, None


_deferred.defvjp(_deferred_fwd, _deferred_bwd)

ROWS = 4096


def _steps_of_a_product(T: int, a: Array) -> int:
    """Over how many steps, a divisor of T, a weight gradient is one product."""
    rows = a.size // a.shape[-1]
    divisors = [n for n in range(1, T + 1) if T % n == 0 and n * rows <= ROWS]
    most = max(divisors, default=1)
    return most if 4 * most * rows >= ROWS else T


def _vjp(
    part: Callable[..., Array], chosen: "_Choice", params: Params, *args: PyTree
) -> tuple[Array, Callable[[Array], tuple]]:
    """part(params, *args), and its pullback to the chosen params and to the last of args, if float."""
    *args, last = args

    def of(chosen_: list, *last_: Array) -> Array:
        return part(chosen.put(params, chosen_), *args, *(last_ or (last,)))

    if _is_float(last):
        return jax.vjp(of, chosen.take(params), last)
    out, pull = jax.vjp(of, chosen.take(params))
    return out, lambda cotangent: (*pull(cotangent), None)


def _fold(tree: PyTree) -> PyTree:
    """[T, B, ..] to [T B, ..]: every step an example of its own."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


class _Parts:
    """The derivatives of a cell's update and mix, and which of their residuals differ between steps.

    A pullback is a pytree whose leaves are its residuals.
    """

    def __init__(self, cell: Cell, params: Params, carry: Carry, x: Array) -> None:
        self._cell = cell
        z = jax.eval_shape(cell.project, params, x)
        self.a = jax.eval_shape(cell.mix, params, carry, z)
        self.state = _Choice([_is_float(leaf) for leaf in jax.tree.leaves(carry)])
        self.of_update = _Choice(_read(cell.update, params, carry, self.a))
        self.of_mix = _Choice(_read(cell.mix, params, carry, z))
        self.of_project = _Choice(_read(cell.project, params, x))
        self._origins = _origins(lambda *x: self.update(*x)[2], params, carry, self.a)
        of_pull = _origins(self.mix, params, carry, z)
        self.mix_varies = any(origin is not FIXED for origin in of_pull)

    def update(
        self, params: Params, carry: Carry, a: Array
    ) -> tuple[Carry, Array, Callable[..., tuple]]:
        """The new carry, y, and the pullback of both to (params that update reads, carry, a)."""

        @functools.partial(jax.checkpoint, policy=_is_expensive, prevent_cse=False)
        def update(chosen: list, moving: list, a: Array) -> tuple[tuple, Carry]:
            params_, carry_ = self.of_update.put(params, chosen), self.state.put(carry, moving)
            new, y = self._cell.update(params_, carry_, a)
            return (self.state.take(new), y), new

        chosen, moving = self.of_update.take(params), self.state.take(carry)
        (_, y), pull, new = jax.vjp(update, chosen, moving, a, has_aux=True)
        return new, y, pull

    def mix(self, params: Params, carry: Carry, z: Array) -> Callable[[Array], tuple]:
        """The pullback of mix to (carry, z)."""

        def mix(moving: list, z: Array) -> Array:
            return self._cell.mix(params, self.state.put(carry, moving), z)

        return jax.vjp(mix, self.state.take(carry), z)[1]

    def residuals(self, pull: PyTree) -> list[Array]:
        """What must be saved of update's pullback, beside the carry."""
        leaves = jax.tree.leaves(pull)
        return [leaf for leaf, o in zip(leaves, self._origins, strict=True) if o is SAVED]

    def at_step(self, pull: PyTree, carry: Carry, residuals: list[Array]) -> Callable[..., tuple]:
        """Update's pullback at the step of `carry` and `residuals`, from that of any step."""
        leaves, structure = jax.tree.flatten(pull)
        own, saved = jax.tree.leaves(carry), iter(residuals)
        for n, origin in enumerate(self._origins):
            if origin is SAVED:
                leaves[n] = next(saved)
            elif origin is not FIXED:
                leaves[n] = own[origin]
        return structure.unflatten(leaves)


FIXED, SAVED = object(), object()


def _is_expensive(primitive: Primitive, *_: Any, **__: Any) -> bool:
    """Whether what a primitive makes is saved for the backward loop, rather than made again."""
    return primitive.name in EXPENSIVE


EXPENSIVE = ("tanh", "logistic", "exp", "dot_general", "rsqrt")


def _origins(function: Callable[..., PyTree], params: Params, carry: Carry, x: Array) -> list:
    """Whence each leaf of function(params, carry, x) comes: FIXED if from params alone, the leaf of
    carry that it is, or SAVED.
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


class _Choice:
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


def _read(part: Callable[..., Any], params: Params, *args: Any) -> list[bool]:
    """Which leaves of params `part(params, *args)` reads."""
    jaxpr = jax.make_jaxpr(part)(params, *args).jaxpr
    variables = [v for e in jaxpr.eqns for v in e.invars] + jaxpr.outvars
    read = {v for v in variables if not isinstance(v, Literal)}
    return [v in read for v in jaxpr.invars[: len(jax.tree.leaves(params))]]
