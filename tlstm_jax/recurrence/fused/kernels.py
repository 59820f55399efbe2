"""The two Pallas kernels of the fused engine: T steps forward, and T steps back.

One program runs all steps of R rows (examples, or an example's locations). Its state stays in
registers and its weights, where they fit, in shared memory; at a step it reads and writes a few
rows.

    forward    a_n = z_n + sum_k S_k h W_kn       for every block n of the pre-activations
               state, y = update(state, a)
    backward   da, dstate                         from the derivative of update
               dh += sum_kn S_k^T da_n W_kn^T

S_k moves the rows of locations to where tap k reads them; rows of examples stay (k = 0 alone).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.recurrence.fused.launch import flatten, launch, on_any_platform
from tlstm_jax.typing import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What both kernels know of a cell.

    Attributes:
      update: (constants, extras, state, a) to (state, y), all lists of [R, M'] but y.
      hidden: which array of the state is multiplied by the weights.
      products: (tap, block of a) of every product, by taps.
      moved: for every tap, whether S_k is not the identity.
      room: bytes of shared memory for weights. Those that do not fit are read from the L2 cache at
        every step, one product's at a time.
    """

    update: Callable[..., tuple[list[Array], Array]]
    hidden: int
    products: tuple[tuple[int, int], ...]
    moved: tuple[bool, ...]
    room: int

    def resident(self, weights: dict[int, Any]) -> int:
        """The number of products, from the first, whose weights stay in shared memory."""
        sizes = []
        for _, n in self.products:
            _, high, wide = weights[n].shape
            sizes.append(weights[n].dtype.itemsize * high * wide)
        fits = [
            sum(sizes[:n]) + max(sizes[n:], default=0) <= self.room for n in range(len(sizes) + 1)
        ]
        return max((n for n, fit in enumerate(fits) if fit), default=0)


class Masks(NamedTuple):
    """Those of `recurrence.loop.Inputs`, float [T, N, R], N the programs; None where not given."""

    mask: Array | None
    reset: Array | None


class Forward(NamedTuple):
    """What `forward` returns.

    Attributes:
      last: the last state, [N, R, M'] each.
      ys: [T, N, R, M'].
      states: before each step, [T, N, R, M'] each; empty where they are not saved.
      pre_activations: of each block n, [T, N, R, M'_n]; also empty then.
    """

    last: list[Array]
    ys: Array
    states: list[Array]
    pre_activations: list[Array]


class Backward(NamedTuple):
    """The gradients that `backward` returns.

    Attributes:
      first: of the first state, [N, R, M'] each.
      pre_activations: of each block n, [T, N, R, M'_n].
      states: of the states that update returned, [T, N, R, M'] each.
    """

    first: list[Array]
    pre_activations: list[Array]
    states: list[Array]


def _dot(x: Array, w: Array) -> Array:
    return jnp.dot(x, w, preferred_element_type=jnp.float32)


def forward(
    step: Step,
    constants: list[Array],
    moves: Array | None,
    weights: dict[int, Array],
    extras: list[Array],
    masks: Masks,
    initial: list[Array],
    state: list[Array],
    zs: list[Array],
    y: jax.ShapeDtypeStruct,
    *,
    save: bool,
) -> Forward:
    """All T steps.

    Args:
      constants: of update, [R, M'] each.
      moves: S [K, R, R], or None.
      weights: of each block n of the pre-activations, [K, M', M'_n].
      extras: of update and step, [T, N, R] each, N the programs.
      initial: what a reset starts from, [N, R, M'] each; empty without resets.
      state: [N, R, M'] each.
      zs: of each block, [T, N, R, M'_n].
      y: shape [N, R, M'] and dtype of an output.
      save: whether the states before each step and the pre-activations are returned, for
        `backward`.
    """
    T, N = zs[0].shape[:2]
    tree = (constants, moves, weights, extras, masks, initial, state, zs)
    arrays, axes, structure = flatten(tree, (None, None, None, 1, 1, 0, 0, 1))

    def over_time(x: Any) -> tuple:
        return jax.ShapeDtypeStruct((T, *x.shape), x.dtype), 1

    outputs = [(x, 0) for x in state] + [over_time(y)]
    if save:
        outputs += [over_time(x) for x in state] + [(z, 1) for z in zs]
    S = len(state)

    def kernel(refs: tuple, out: tuple) -> None:
        constants, moves, weights, extras, masks, initial, first, zs = structure.unflatten(refs)
        constants = [ref[...] for ref in constants]
        held = _Weights(step, weights, moves)
        states, saved = out[S + 1 : 2 * S + 1], out[2 * S + 1 :]

        def body(t: Array, before: list[Array]) -> list[Array]:
            now = before
            if masks.reset is not None:
                now = _choose(masks.reset[t], [ref[...] for ref in initial], now)
            a = held.mix(now[step.hidden], [z[t] for z in zs])
            new, y = step.update(constants, [x[t] for x in extras], now, a)
            if masks.mask is not None:
                new = _choose(masks.mask[t], new, before)
                (y,) = _choose(masks.mask[t], [y], [jnp.zeros_like(y)])
            out[S][t] = y
            if save:
                for ref, x in zip((*states, *saved), (*now, *a), strict=True):
                    ref[t] = x
            return new

        last = lax.fori_loop(0, T, body, [ref[...] for ref in first])
        for ref, x in zip(out[:S], last, strict=True):
            ref[...] = x

    def call(*arrays: Array, interpret: bool) -> list:
        return launch(kernel, list(zip(arrays, axes, strict=True)), outputs, N, interpret=interpret)

    out = on_any_platform(call, *arrays)
    return Forward(out[:S], out[S], out[S + 1 : 2 * S + 1], out[2 * S + 1 :])


def backward(
    step: Step,
    constants: list[Array],
    moves: Array | None,
    weights: dict[int, Array],
    extras: list[Array],
    masks: Masks,
    states: list[Array],
    saved: list[Array],
    dstate: list[Array],
    dys: Array,
) -> Backward:
    """All T steps back.

    Args:
      constants, extras, masks: as in `forward`.
      moves: S_k^T [K, R, R], or None.
      weights: of each block, W^T [K, M'_n, M'].
      states, saved: what `forward` returned.
      dstate, dys: the gradients of the last state and of the outputs.
    """
    T, N = dys.shape[:2]
    tree = (constants, moves, weights, extras, masks, states, saved, dstate, dys)
    arrays, axes, structure = flatten(tree, (None, None, None, 1, 1, 1, 1, 0, 1))
    S, A = len(states), len(saved)
    outputs = [(x, 0) for x in dstate] + [(x, 1) for x in saved] + [(x, 1) for x in states]

    def kernel(refs: tuple, out: tuple) -> None:
        constants, moves, weights, extras, masks, states, saved, last, dys = structure.unflatten(
            refs
        )
        constants = [ref[...] for ref in constants]
        held = _Weights(step, weights, moves)

        def body(i: Array, after: list[Array]) -> list[Array]:
            t = T - 1 - i
            zeros = [jnp.zeros_like(x) for x in after]
            dnew, dy = after, dys[t]
            if masks.mask is not None:
                dnew = _choose(masks.mask[t], dnew, zeros)
                (dy,) = _choose(masks.mask[t], [dy], [jnp.zeros_like(dy)])
            now = [ref[t] for ref in states]
            extra = [x[t] for x in extras]
            update = functools.partial(step.update, constants, extra)
            _, pull = jax.vjp(update, now, [a[t] for a in saved])
            dnow, da = pull((dnew, dy))
            dnow = list(dnow)
            dnow[step.hidden] += held.back(da).astype(dnow[step.hidden].dtype)
            for ref, x in zip(out[S:], (*da, *dnew), strict=True):
                ref[t] = x
            if masks.reset is not None:
                dnow = _choose(masks.reset[t], zeros, dnow)
            if masks.mask is not None:
                dnow = _choose(masks.mask[t], dnow, after)
            return dnow

        first = lax.fori_loop(0, T, body, [ref[...] for ref in last])
        for ref, x in zip(out[:S], first, strict=True):
            ref[...] = x

    def call(*arrays: Array, interpret: bool) -> list:
        return launch(kernel, list(zip(arrays, axes, strict=True)), outputs, N, interpret=interpret)

    out = on_any_platform(call, *arrays)
    return Backward(out[:S], out[S : S + A], out[S + A :])


class _Weights:
    """The products of a step; as many weights as fit are read before the loop."""

    def __init__(self, step: Step, weights: dict[int, Any], moves: Any) -> None:
        self._step, self._weights = step, weights
        number = step.resident(weights)
        self._held = [weights[n][k] for k, n in step.products[:number]]
        self._moves = {k: moves[k] for k, moved in enumerate(step.moved) if moved}

    def _weight(self, index: int) -> Array:
        if index < len(self._held):
            return self._held[index]
        k, n = self._step.products[index]
        return self._weights[n][k]

    def mix(self, h: Array, zs: list[Array]) -> list[Array]:
        sums: dict[int, Array] = {}
        moved: dict[int, Array] = {}
        for index, (k, n) in enumerate(self._step.products):
            w = self._weight(index)
            if k not in moved:
                x = h.astype(w.dtype)
                moved = {k: self._move(k, x)}
            product = _dot(moved[k], w)
            sums[n] = sums[n] + product if n in sums else product
        return [z + sums[n].astype(z.dtype) if n in sums else z for n, z in enumerate(zs)]

    def back(self, da: list[Array]) -> Array:
        total = None
        for index, (k, n) in enumerate(self._step.products):
            w = self._weight(index)
            # Moved before the product: Triton has every warp compute all of one whose result is an
            # operand of another, and this one is small.
            product = _dot(self._move(k, da[n].astype(w.dtype)), w)
            total = product if total is None else total + product
        return total

    def _move(self, k: int, x: Array) -> Array:
        return _dot(self._moves[k].astype(x.dtype), x).astype(x.dtype) if k in self._moves else x


def _choose(mask: Array, new: list[Array], old: list[Array]) -> list[Array]:
    """new where mask [R] is positive, else old."""
    return [
        jnp.where(jnp.broadcast_to(mask[:, None], a.shape) > 0, a, b)
        for a, b in zip(new, old, strict=True)
    ]
