"""The two Pallas kernels of the fused engine: T steps forwards, and T steps back.

One program runs all steps of R rows (examples, or an example's locations). Its state stays in registers
and its weights, where they fit, in shared memory; what it reads and writes at a step are a few rows.

    forward    a_n = z_n + sum_k S_k h W_kn       for every block n of the pre-activations
               state, y = update(state, a)
    backward   da, dstate                         from the derivative of update
               dh += sum_kn S_k^T da_n W_kn^T

S_k moves rows: the location that tap k reads; there is none (k = 0 alone) where a row is an example.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from tlstm_jax.typing import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What both kernels know of a cell.

    Attributes:
      update: (constants, extras, state, a) to (state, y), all lists of [R, M'] but y.
      hidden: which of the state is multiplied by the weights.
      products: (tap, block of a) of every product, by taps.
      moved: whether S_k is there, for every tap.
      room: bytes of shared memory for weights. Those that do not fit are read again, from the L2 cache,
        at every step, one product's at a time.
    """

    update: Callable[..., tuple[list[Array], Array]]
    hidden: int
    products: tuple[tuple[int, int], ...]
    moved: tuple[bool, ...]
    room: int

    def resident(self, weights: dict[int, Any]) -> int:
        """How many products' weights stay in shared memory, from the first."""
        sizes = []
        for _, n in self.products:
            _, high, wide = weights[n].shape
            sizes.append(weights[n].dtype.itemsize * high * wide)
        fits = [
            sum(sizes[:n]) + max(sizes[n:], default=0) <= self.room for n in range(len(sizes) + 1)
        ]
        return max((n for n, fit in enumerate(fits) if fit), default=0)


def _call(kernel: Callable, arrays: list, outputs: list, blocks: int, *, interpret: bool) -> list:
    """The kernel on `blocks` programs.

    arrays, outputs: pairs of an array (or shape and dtype) and the axis of its blocks (None: it has
    none); kernel takes two lists of references, without that axis.
    """

    def spec(shape: tuple[int, ...], axis: int | None) -> pl.BlockSpec:
        if axis is None:
            return pl.BlockSpec(shape, lambda b: (0,) * len(shape))
        block = tuple(None if n == axis else size for n, size in enumerate(shape))
        return pl.BlockSpec(
            block, lambda b: tuple(b if n == axis else 0 for n in range(len(shape)))
        )

    def body(*refs: Any) -> None:
        kernel(refs[: len(arrays)], refs[len(arrays) :])

    settings = {} if interpret else {"compiler_params": _triton()}
    call = pl.pallas_call(
        body,
        grid=(blocks,),
        in_specs=[spec(x.shape, axis) for x, axis in arrays],
        out_specs=[spec(x.shape, axis) for x, axis in outputs],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x, _ in outputs],
        interpret=interpret,
        **settings,
    )
    return call(*(x for x, _ in arrays))


def _triton() -> Any:
    from jax.experimental.pallas import triton

    return triton.CompilerParams(num_warps=8, num_stages=1)


def _flatten(tree: tuple, axes: tuple) -> tuple[list[Array], list, Any]:
    """The leaves of a tuple of trees, each one's axis of blocks, and the structure."""
    arrays, structure = jax.tree.flatten(tree)
    parts = zip(tree, axes, strict=True)
    return arrays, [axis for part, axis in parts for _ in jax.tree.leaves(part)], structure


def _on_any_platform(call: Callable[..., list], *arrays: Any) -> list:
    """Compiled by Triton for CUDA, interpreted elsewhere."""
    return lax.platform_dependent(
        *arrays,
        cuda=functools.partial(call, interpret=False),
        default=functools.partial(call, interpret=True),
    )


def _dot(x: Array, w: Array) -> Array:
    return jnp.dot(x, w, preferred_element_type=jnp.float32)


def forward(
    step: Step,
    constants: list[Array],
    moves: Array | None,
    weights: dict[int, Array],
    extras: list[Array],
    masks: dict[str, Array],
    initial: list[Array],
    state: list[Array],
    zs: list[Array],
    y: jax.ShapeDtypeStruct,
    *,
    save: bool,
) -> tuple[list[Array], Array, list[Array], list[Array]]:
    """All T steps.

    Args:
      constants: of update, [R, M'] each.
      moves: S [K, R, R], or None.
      weights: of each block n of the pre-activations, [K, M', M'_n].
      extras: of update and step, [T, N, R] each, N the programs.
      masks: "live" and "start" [T, N, R], float, where they are there.
      initial: what a start starts from, [N, R, M'] each; empty without "start".
      state: [N, R, M'] each.
      zs: of each block, [T, N, R, M'_n].
      y: shape [N, R, M'] and dtype of an output.
      save: whether the states before each step and the pre-activations are returned, for `backward`.

    Returns:
      The last state, ys [T, N, R, M'], and, with `save`, the states [T, N, R, M'] and pre-activations.
    """
    T, N = zs[0].shape[:2]
    tree = (constants, moves, weights, extras, masks, initial, state, zs)
    arrays, axes, structure = _flatten(tree, (None, None, None, 1, 1, 0, 0, 1))

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
            if "start" in masks:
                now = _choose(masks["start"][t], [ref[...] for ref in initial], now)
            a = held.mix(now[step.hidden], [z[t] for z in zs])
            new, y = step.update(constants, [x[t] for x in extras], now, a)
            if "live" in masks:
                new = _choose(masks["live"][t], new, before)
                (y,) = _choose(masks["live"][t], [y], [jnp.zeros_like(y)])
            out[S][t] = y
            if save:
                for ref, x in zip((*states, *saved), (*now, *a), strict=True):
                    ref[t] = x
            return new

        last = lax.fori_loop(0, T, body, [ref[...] for ref in first])
        for ref, x in zip(out[:S], last, strict=True):
            ref[...] = x

    def call(*arrays: Array, interpret: bool) -> list:
        return _call(kernel, list(zip(arrays, axes, strict=True)), outputs, N, interpret=interpret)

    out = _on_any_platform(call, *arrays)
    return out[:S], out[S], out[S + 1 : 2 * S + 1], out[2 * S + 1 :]


def backward(
    step: Step,
    constants: list[Array],
    moves: Array | None,
    weights: dict[int, Array],
    extras: list[Array],
    masks: dict[str, Array],
    states: list[Array],
    saved: list[Array],
    dstate: list[Array],
    dys: Array,
) -> tuple[list[Array], list[Array], list[Array]]:
    """All T steps back.

    Args:
      constants, extras, masks: as in `forward`.
      moves: S_k^T [K, R, R], or None.
      weights: of each block, W^T [K, M'_n, M'].
      states, saved: what `forward` returned.
      dstate, dys: the gradients of the last state and of the outputs.

    Returns:
      The gradients of the first state, of the pre-activations [T, N, R, M'_n], and of the states that
      update returned, [T, N, R, M'] each.
    """
    T, N = dys.shape[:2]
    tree = (constants, moves, weights, extras, masks, states, saved, dstate, dys)
    arrays, axes, structure = _flatten(tree, (None, None, None, 1, 1, 1, 1, 0, 1))
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
            if "live" in masks:
                dnew = _choose(masks["live"][t], dnew, zeros)
                (dy,) = _choose(masks["live"][t], [dy], [jnp.zeros_like(dy)])
            now = [ref[t] for ref in states]
            extra = [x[t] for x in extras]
            update = functools.partial(step.update, constants, extra)
            _, pull = jax.vjp(update, now, [a[t] for a in saved])
            dnow, da = pull((dnew, dy))
            dnow = list(dnow)
            dnow[step.hidden] += held.back(da).astype(dnow[step.hidden].dtype)
            for ref, x in zip(out[S:], (*da, *dnew), strict=True):
                ref[t] = x
            if "start" in masks:
                dnow = _choose(masks["start"][t], zeros, dnow)
            if "live" in masks:
                dnow = _choose(masks["live"][t], dnow, after)
            return dnow

        first = lax.fori_loop(0, T, body, [ref[...] for ref in last])
        for ref, x in zip(out[:S], first, strict=True):
            ref[...] = x

    def call(*arrays: Array, interpret: bool) -> list:
        return _call(kernel, list(zip(arrays, axes, strict=True)), outputs, N, interpret=interpret)

    out = _on_any_platform(call, *arrays)
    return out[:S], out[S : S + A], out[S + A :]


class _Weights:
    """The products of a step; what fits of the weights is read before the loop."""

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
            # Moved before the product: Triton has every warp do the whole of one whose result goes into
            # another, and this one is small.
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
