"""One loop over time, with its resets and with steps beyond an example's length."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export, lax

from tlstm_jax.devices.platforms import LoopChoices
from tlstm_jax.typing import Array, Carry, Cell, Observe, Params, PyTree


class Inputs(NamedTuple):
    """What a loop over time reads at every step; arrays that are not given are None.

    Attributes:
      xs: [T, B, I] float, or tokens [T, B] int; inside the loop, one step of what `project` makes
        of them.
      reset: [T, B] bool: where True, the example starts from the initial carry with this step.
      mask: [T, B] bool: where False, the step is beyond the example's length. Its carry is kept,
        and its output is zero. With more axes, [T, B, ..], parts of an example rest.
      noise: what the cell drew for training, leaves [T, ..].
    """

    xs: Array
    reset: Array | None = None
    mask: Array | None = None
    noise: PyTree = None


class Outputs(NamedTuple):
    """What a loop over time returns of every step, beside the last carry.

    Attributes:
      ys: [T, B, M].
      observed: what `observe` returned of the carry after each step, leaves [T, ..].
      saved: what `step` saved, leaves [T, ..].
    """

    ys: Array | None
    observed: PyTree
    saved: PyTree


def is_split(cell: Cell) -> bool:
    """Whether the cell gives its step as project / mix / update."""
    return all(hasattr(cell, part) for part in ("project", "mix", "update"))


def select(condition: Array | None, new: PyTree, old: PyTree) -> PyTree:
    """`jnp.where` for every leaf; condition [B] or [T, B], the leaf's first axes; None: new."""
    if condition is None:
        return new

    def choose(a: Array, b: Array) -> Array:
        c = condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim))
        return jnp.where(jnp.broadcast_to(c, a.shape), a, b)

    return jax.tree.map(choose, new, old)


def fold(tree: PyTree) -> PyTree:
    """[T, B, ..] to [T B, ..]: every step an example of its own."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def initial_carry(cell: Cell, carry: Carry, initial: Carry | None = None) -> Carry:
    """`initial`, or the cell's own initial carry, with the batch size and the dtypes of `carry`."""
    if initial is None:
        initial = cell.init_carry(jax.tree.leaves(carry)[0].shape[0])
    return jax.tree.map(lambda a, b: a.astype(b.dtype), initial, carry)


def unroll_factor(num_steps: int, choices: LoopChoices) -> int:
    """How many steps make one iteration of the compiled loop: a divisor; 1 for short loops."""
    if export.is_symbolic_dim(num_steps):
        return 1
    most = choices.unroll if 8 * choices.unroll <= num_steps else 1
    return max(n for n in range(1, most + 1) if num_steps % n == 0)


def scan(
    cell: Cell,
    params: Params,
    carry: Carry,
    inputs: Inputs,
    *,
    initial: Carry | None = None,
    observe: Observe | None = None,
    step: Callable[..., tuple[Carry, Array, PyTree]] | None = None,
    constrain: Callable[[PyTree], PyTree] | None = None,
    unroll: int = 1,
) -> tuple[Carry, Outputs]:
    """The last carry and the outputs of a loop over time.

    Args:
      initial: the carry that a reset starts from; None: `cell.init_carry`.
      observe: see `unroll`.
      step: (carry, z) -> (carry, y, what to save); None: the cell's own step.
      constrain: applied to the carry and the input of every step: a sharding constraint.
      unroll: how many steps make one iteration of the compiled loop.
    """
    split = is_split(cell)

    def plain(carry: Carry, z: Array, *noise: PyTree) -> tuple[Carry, Array, None]:
        if not split:
            return *cell.step(params, carry, z, *noise), None
        return *cell.update(params, carry, cell.mix(params, carry, z, *noise), *noise), None

    def body(before: Carry, inputs: Inputs) -> tuple[Carry, Outputs]:
        z, reset, mask, noise = inputs
        before, z = constrain((before, z)) if constrain else (before, z)
        carry = before
        if reset is not None:
            carry = select(reset, initial_carry(cell, before, initial), before)
        new, y, saved = (step or plain)(carry, z, *(() if noise is None else (noise,)))
        new, y = select(mask, (new, y), (before, jax.tree.map(jnp.zeros_like, y)))
        return new, Outputs(y, None if observe is None else observe(new), saved)

    zs = cell.project(params, inputs.xs) if split else inputs.xs
    return lax.scan(body, carry, inputs._replace(xs=zs), unroll=unroll)
