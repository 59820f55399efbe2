"""What the fused engine's kernels need of a cell: rows, weights, and its update on blocks.

A vector cell is used as it is: the weights are what its `mix` does to the state, and `blocks.py`
runs the equations of its update.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from tlstm_jax.recurrence.fused import blocks, kernels
from tlstm_jax.recurrence.fused.blocks import RefusedError
from tlstm_jax.typing import Array, Carry, Cell, Params

ROWS = 16  # the least of a product
# The least of a product: Triton has every warp compute all of one that is no wider than high, and
# then all of every other product of the loop.
WIDTH = 32
# Of an H100's 227 KB of shared memory; what Triton needs for transposing values was seen to fit
# beside it.
ROOM = 192 * 1024
FEATURES = 128  # the most: of more, two weights do not fit at once
# The most, of all weights: a block reads some 100 KB a microsecond; with more, XLA's loop is as
# fast.
BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Rows:
    """How examples, of `locations` rows each, are arranged in programs of R rows.

    Attributes:
      batch: B.
      tensor_shape: (P_1..P_D) of the tensorized cells, () where an example is a row.
    """

    batch: int
    tensor_shape: tuple[int, ...] = ()

    @property
    def locations(self) -> int:
        return functools.reduce(int.__mul__, self.tensor_shape, 1)

    @property
    def padded(self) -> int:
        """Rows of an example."""
        return power_of_two(self.locations)

    @property
    def examples(self) -> int:
        """Of a program."""
        return max(1, ROWS // self.padded)

    @property
    def size(self) -> int:
        """R."""
        return self.examples * self.padded

    @property
    def programs(self) -> int:
        return -(-self.batch // self.examples)

    def pack(self, x: Array, lead: int = 0) -> Array:
        """[.., B, P_1..P_D, M] to [.., N, R, M'], after `lead` axes, padded with zeros."""
        front, M = x.shape[:lead], x.shape[-1]
        x = x.reshape(*front, self.batch, self.locations, M)
        missing = self.programs * self.examples - self.batch
        pads = (
            *((0, 0),) * lead,
            (0, missing),
            (0, self.padded - self.locations),
            (0, power_of_two(M, WIDTH) - M),
        )
        return jnp.pad(x, pads).reshape(*front, self.programs, self.size, -1)

    def pack_masks(self, x: Array) -> Array:
        """[T, B] or [T, B, P_1..P_D] to [T, N, R] float32."""
        x = x.reshape(*x.shape[:2], -1).astype(jnp.float32)
        x = jnp.broadcast_to(x, (*x.shape[:2], self.locations))
        return self.pack(x[..., None], 1)[..., 0]

    def unpack(self, x: Array, width: int, lead: int = 0) -> Array:
        """The inverse of `pack`."""
        front = x.shape[:lead]
        x = x.reshape(*front, -1, self.padded, x.shape[-1])
        x = x[(*(slice(None),) * lead, slice(self.batch), slice(self.locations), slice(width))]
        return x.reshape(*front, self.batch, *self.tensor_shape, width)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A cell, as the kernels run it.

    Attributes:
      rows: how its examples are arranged.
      widths: of the blocks of its pre-activations.
      constants, moves, weights: arguments of `kernels.forward`.
      read: ys [T, B, .., M] of what update returns as y.
    """

    step: kernels.Step
    rows: Rows
    widths: list[int]
    constants: list[Array]
    moves: Array | None
    weights: dict[int, Array]
    read: Callable[[Array], Array] = lambda ys: ys

    def split(self, a: Array, lead: int) -> list[Array]:
        """Pre-activations [.., B, .., Z] as packed blocks."""
        ends = [sum(self.widths[: n + 1]) for n in range(len(self.widths) - 1)]
        return [self.rows.pack(x, lead) for x in jnp.split(a, ends, axis=-1)]

    def join(self, blocks_: list[Array], lead: int) -> Array:
        """The inverse of `split`."""
        pieces = zip(blocks_, self.widths, strict=True)
        return jnp.concatenate([self.rows.unpack(x, w, lead) for x, w in pieces], axis=-1)


def power_of_two(size: int, least: int = 1) -> int:
    """The next power of two, `least` or more."""
    return max(least, 1 << (size - 1).bit_length())


def check_weights(weights: dict[int, Array], cell: Cell) -> None:
    """Raises RefusedError if reading the weights would take as long as a step of XLA's loop."""
    size = sum(w.size * w.dtype.itemsize for w in weights.values())
    if size > BYTES:
        raise RefusedError(
            f"{type(cell).__name__} has {size >> 10} KB of padded weights, over {BYTES >> 10}"
        )


def check_features(M: int, cell: Cell) -> None:
    """Raises RefusedError unless the weights of M features fit in shared memory."""
    if not 2 <= M <= FEATURES:
        raise RefusedError(f"{type(cell).__name__} has {M} features, not 2 to {FEATURES}")


def pad_weights(w: Array) -> Array:
    """[K, M, W] with the last two axes padded to powers of two."""
    more = [(0, power_of_two(size, WIDTH) - size) for size in w.shape[1:]]
    return jnp.pad(w, ((0, 0), *more))


def vector_plan(cell: Cell, params: Params, carry: Carry, z: Array) -> Plan:
    """The plan of a cell whose carry is vectors [B, M]; z [B, ..] is one step's.

    Raises:
      RefusedError: its mix is not one product with one of them, or its update not elementwise over
        M.
    """
    leaves, structure = jax.tree.flatten(carry)
    shapes = {leaf.shape for leaf in leaves}
    if len(shapes) != 1 or any(leaf.ndim != 2 for leaf in leaves):
        raise RefusedError(
            f"{type(cell).__name__} has a carry of shapes {sorted(map(str, shapes))}"
        )
    ((B, M),) = shapes
    check_features(M, cell)
    rows = Rows(B)
    R = rows.size

    def some(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((R, *x.shape[1:]), x.dtype)

    moving = jax.tree.map(some, carry)
    mix = jax.make_jaxpr(cell.mix)(params, moving, some(z))
    (a,) = mix.out_avals
    widths = [M] * (a.shape[-1] // M)
    update = jax.make_jaxpr(cell.update)(params, moving, jax.ShapeDtypeStruct(a.shape, a.dtype))

    prog = blocks.program(mix)
    own = prog.inputs[-1 - len(leaves) : -1]
    touched = [blocks.touched_blocks(prog, v, M) for v in own]
    if sum(any(t) for t in touched) != 1:
        raise RefusedError(f"{type(cell).__name__} multiplies more than one part of its carry")
    hidden = next(n for n, t in enumerate(touched) if any(t))
    zeros = [jnp.zeros((M, M), leaf.dtype) for leaf in leaves]

    def of_hidden(h: Array) -> Array:
        carry = structure.unflatten([*zeros[:hidden], h, *zeros[hidden + 1 :]])
        return cell.mix(params, carry, jnp.zeros((M, *z.shape[1:]), z.dtype))

    _, matrix = jax.jvp(of_hidden, (zeros[hidden],), (jnp.eye(M, dtype=leaves[hidden].dtype),))
    which = [n for n, t in enumerate(touched[hidden]) if t]
    weights = {n: pad_weights(matrix[None, :, n * M : (n + 1) * M]) for n in which}
    check_weights(weights, cell)
    step_, constants = _blockwise_update(blocks.program(update), params, len(leaves), M)
    step = kernels.Step(step_, hidden, tuple((0, n) for n in which), (False,), ROOM)
    return Plan(step, rows, widths, constants, None, weights)


def _blockwise_update(
    prog: blocks.Program, params: Params, S: int, M: int
) -> tuple[Callable[..., tuple[list[Array], Array]], list[Array]]:
    """The update of `kernels.Step`, and its constants: what follows from params alone."""
    given = jax.tree.leaves(params)
    reached = prog.variables_from(prog.inputs[len(given) :])
    uses = [v for e in prog.equations if e.outputs[0] in reached for v in e.inputs] + prog.outputs
    wanted = list(dict.fromkeys(v for v in uses if not isinstance(v, Literal) and v not in reached))
    found = blocks.known_values(prog, prog.inputs[: len(given)], wanted)(*given)
    constants, numbers = [], []
    for value in found:
        if value.ndim == 2 and value.shape[1] % M == 0:
            parts = jnp.split(value, value.shape[1] // M, axis=1)
            wide = power_of_two(M, WIDTH)
            constants += [jnp.pad(x, ((0, 0), (0, wide - M))) for x in parts]
            numbers.append(len(parts))
        elif value.ndim == 0:
            constants.append(jnp.full((ROWS,), value))
            numbers.append(0)
        else:
            raise RefusedError(f"its update uses parameters of shape {value.shape}")

    def update(
        constants: list[Array], extras: list[Array], state: list[Array], a: list[Array]
    ) -> tuple[list[Array], Array]:
        del extras
        values: dict[int, Any] = {}
        rest = iter(constants)
        for v, number in zip(wanted, numbers, strict=True):
            values[v] = tuple(next(rest) for _ in range(number)) if number else next(rest)
        moving = prog.inputs[len(given) :]
        for v, x in zip(moving, [*((s,) for s in state), tuple(a)], strict=True):
            values[v] = x
        *new, y = (out[0] for out in blocks.run_blocks(prog, values, M))
        return list(new), y

    # Finds operations that blocks cannot do here, rather than in the kernel.
    some = jax.ShapeDtypeStruct((ROWS, power_of_two(M, WIDTH)), jnp.float32)
    a = [some] * (prog.widths[prog.inputs[-1]] // M)
    jax.eval_shape(update, constants, [], [some] * S, a)
    return update, constants
