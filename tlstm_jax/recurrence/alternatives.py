"""One of two equal functions: one for NVIDIA devices, one for everything else.

What a program will run on is known when it is lowered, and whether it is vmapped when it is
transformed; when it is traced, neither is known. Both functions are therefore traced, with their
gradients, and one of them is compiled.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from tlstm_jax.typing import PyTree

PLATFORM = "cuda"
Function = Callable[[PyTree, PyTree], PyTree]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def either(ours: Function, theirs: Function, floats: PyTree, others: PyTree) -> PyTree:
    """theirs(floats, others) on CUDA devices and not under vmap, else ours(floats, others).

    It can be differentiated by `floats`, once and in reverse mode, each function by its own
    gradient. The residuals of the function that does not run are zeros, which XLA removes from the
    compiled program.

    Args:
      ours: runs everywhere.
      theirs: gives the same numbers on CUDA devices; needs no batching rule.
      floats: a pytree of floats.
      others: a pytree of integers and booleans.
    """

    def here(floats: PyTree, others: PyTree) -> PyTree:
        return _by_platform(theirs, ours, floats, others)

    return _under_vmap(here, ours)(floats, others)


def _fwd(ours: Function, theirs: Function, *args: PyTree) -> tuple[PyTree, tuple]:
    shapes = [jax.tree.leaves(_pullback(function, *args)) for function in (ours, theirs)]

    def by(which: int) -> Function:
        def forward(floats: PyTree, others: PyTree) -> tuple[PyTree, list, Any]:
            outputs, pull = jax.vjp(lambda x: (ours, theirs)[which](x, others), floats)
            saved = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            saved[which] = jax.tree.leaves(pull)
            return outputs, saved, jnp.bool_(which == 0)

        return forward

    forward = _under_vmap(functools.partial(_by_platform, by(1), by(0)), by(0))
    outputs, saved, was_ours = forward(*args)
    return outputs, (args, saved, was_ours)


def _bwd(ours: Function, theirs: Function, residuals: tuple, cotangents: PyTree) -> tuple:
    args = residuals[0]
    back = [jax.tree.structure(_pullback(function, *args)) for function in (ours, theirs)]

    def by(which: int) -> Callable[..., PyTree]:
        def backward(residuals: tuple, cotangents: PyTree) -> PyTree:
            return back[which].unflatten(residuals[1][which])(cotangents)[0]

        return backward

    def batched(residuals: tuple, cotangents: PyTree) -> PyTree:
        """By ours, even if theirs ran: vmap may be applied after the forward pass."""
        (floats, others), saved, was_ours = residuals

        def again() -> list:
            return jax.tree.leaves(jax.vjp(lambda x: ours(x, others), floats)[1])

        saved = [lax.cond(was_ours, lambda: saved[0], again), None]
        return by(0)((None, saved), cotangents)

    backward = _under_vmap(functools.partial(_by_platform, by(1), by(0)), batched)
    return backward(residuals, cotangents), None


either.defvjp(_fwd, _bwd)


def _by_platform(theirs: Callable, ours: Callable, *args: PyTree) -> PyTree:
    return lax.platform_dependent(*args, **{PLATFORM: theirs}, default=ours)


def _under_vmap(function: Callable[..., Any], batched: Callable[..., Any]) -> Callable[..., Any]:
    """`function`; under vmap, `batched`."""
    call = custom_vmap(function)

    @call.def_vmap
    def rule(size: int, given: list, *args: PyTree) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(given))
        out = jax.vmap(batched, axes, axis_size=size)(*args)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _pullback(function: Function, floats: PyTree, others: PyTree) -> PyTree:
    """The shape of the pullback of `function` by `floats`."""
    return jax.eval_shape(lambda x, y: jax.vjp(lambda x: function(x, y), x)[1], floats, others)
