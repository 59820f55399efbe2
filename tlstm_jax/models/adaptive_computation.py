"""Adaptive computation time: several steps of a cell for one input, as many as the input needs.

Graves, "Adaptive Computation Time for Recurrent Neural Networks", 2016.

    s^n, y^n = cell(s^{n-1}, [x_t, 1 if n = 1 else 0])        s^0 = s_{t-1}
    p^n = sigm(y^n W + b)
    N = the first n with p^1 + .. + p^n >= 1 - epsilon, or max_ponder
    R = 1 - (p^1 + .. + p^{N-1})
    s_t = p^1 s^1 + .. + p^{N-1} s^{N-1} + R s^N              y_t likewise
    cost_t = tau (N + R), of which only R has a gradient
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.base import OfCell
from tlstm_jax.cells.linear import check_size, linear, scaled_normal, widened
from tlstm_jax.cells.noise import given
from tlstm_jax.cells.shapes import sizes_of
from tlstm_jax.checks import check_call, check_cell, number_of_tokens
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.sequence import carry_dtype, draw_noise
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.recurrence.loop import is_split, select
from tlstm_jax.recurrence.unrolling import check_remat, unroll
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, PyTree, State


class Pondered(NamedTuple):
    """What steps over [T, B] inputs give; all zero beyond an example's length."""

    ys: Array  # y_t [T, B, .., M]
    steps: Array  # N, int32 [T, B]
    remainders: Array  # R [T, B], float32 or wider


@dataclasses.dataclass(frozen=True)
class AdaptiveComputation(OfCell):
    """`cell` with up to `max_ponder` steps for every input; a SequenceModel.

    Parameters: {"cell": the cell's for I + 1 inputs, "halting": {"kernel" [M, 1], "bias" [1]}}; the
    halting unit reads the cell's output y, of maps its mean over locations. The carry is the
    cell's. Tokens are one-hot vectors, token -1 the zero vector.

    `apply` returns {"ponder": the mean of tau (N + R) over all steps and examples, but for steps
    beyond an example's length} as its cost; behind a delay, the steps before the first input count,
    too. All examples take max_ponder inner steps, in one loop; those of an example that has halted
    leave its state as it is, and weigh nothing.

    Attributes:
      cell: a Cell without delay, whose carry is of floats. What it draws in training is drawn for
        every inner step.
      max_ponder: the most inner steps for an input; >= 1.
      epsilon: in [0, 1), by how much the sum of p may miss 1, so that N = 1 is possible.
      ponder_cost: tau >= 0.
      halting_bias: initial bias of the halting unit: the larger, the sooner it halts.
      remat_every: see `unroll`; in steps over inputs. The loop is plain JAX, engine "scan".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LSTM, AdaptiveComputation
      >>> model = AdaptiveComputation(LSTM(4), max_ponder=10, ponder_cost=0.1)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, xs = model.init_carry(2), jnp.ones((5, 2, 3))
      >>> _, ys, _, aux = model.apply(params, state, carry, xs)
      >>> ys.shape, aux["ponder"].shape, model.ponder(params, carry, xs).steps.shape
      ((5, 2, 4), (), (5, 2))
    """

    cell: Cell
    _: dataclasses.KW_ONLY
    max_ponder: int = 10
    epsilon: float = dataclasses.field(default=0.01, metadata=STATIC)
    ponder_cost: float = 0.01
    halting_bias: float = 1.0
    remat_every: int | None = None

    def __post_init__(self) -> None:
        plain(self)
        check_cell("cell", self.cell)
        check_remat(self.remat_every)
        check_size("max_ponder", self.max_ponder)
        check_epsilon(self.epsilon)
        check_cost(self.ponder_cost)
        if not math.isfinite(self.halting_bias):
            raise ValueError(f"halting_bias is {self.halting_bias}; accepted are finite numbers")
        name = type(self.cell).__name__
        if self.cell.delay:
            raise ValueError(
                f"{name} has a delay of {self.cell.delay}; accepted with adaptive computation are "
                "cells without delay"
            )
        carry = jax.tree.leaves(jax.eval_shape(lambda: self.cell.init_carry(1)))
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in carry):
            raise ValueError(
                f"the carry of {name} has integers; accepted with adaptive computation, which "
                "takes means of it, are floats"
            )

    @property
    def _steps(self) -> "_InnerSteps":
        return _InnerSteps(self.cell, self.max_ponder, self.epsilon)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        params = self._steps.init(key, input_shape)
        bias = jnp.full((1,), self.halting_bias, jnp.float32)
        return {**params, "halting": {**params["halting"], "bias": bias}}, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        return self.cell.init_carry(batch_size, dtype)

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M].

        Raises:
          ValueError: the cell draws in training, and there is no key.
        """
        del flush
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        noise = self._draw(key, *xs.shape[:2]) if train else None
        carry, pondered = self._run(params, carry, xs, lengths, reset, noise)
        cost = pondered.steps.astype(pondered.remainders.dtype) + pondered.remainders
        number = jnp.sum((pondered.steps > 0).astype(cost.dtype))
        mean = jnp.sum(cost) / jnp.maximum(number, jnp.ones_like(number))
        tau = jnp.asarray(self.ponder_cost).astype(cost.dtype)
        return carry, pondered.ys, state, {"ponder": tau * mean}

    def ponder(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        *,
        lengths: Array | None = None,
        reset: Array | None = None,
    ) -> Pondered:
        """The outputs with the inner steps N and remainders R of every input, outside training."""
        lengths, reset = check_call(self, params, carry, xs, lengths, reset)
        return self._run(params, carry, xs, lengths, reset, None)[1]

    init_token_carry = init_carry

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        del state
        carry, pondered = self._steps.step(params, carry, self._vectors(params, x))
        return carry, pondered.ys

    def _run(
        self,
        params: Params,
        carry: Carry,
        xs: Array,
        lengths: Array | None,
        reset: Array | None,
        noise: PyTree,
    ) -> tuple[Carry, Pondered]:
        return unroll(
            self._steps,
            params,
            carry,
            self._vectors(params, xs),
            lengths=lengths,
            reset=reset,
            noise=noise,
            remat_every=self.remat_every,
            engine="scan",
        )

    def _draw(self, key: Array | None, num_steps: int, batch_size: int) -> PyTree:
        """The cell's noise, of its own for every inner step: leaves [T, B, max_ponder, ..]."""
        noise = draw_noise(self.cell, key, num_steps * self.max_ponder, batch_size)
        shape = num_steps, self.max_ponder

        def of_inputs(leaf: Array) -> Array:
            return jnp.swapaxes(leaf.reshape(*shape, *leaf.shape[1:]), 1, 2)

        return jax.tree.map(of_inputs, noise)

    def _vectors(self, params: Params, xs: Array) -> Array:
        """Tokens as one-hot vectors; NaN for what is no token, as in `linear`."""
        if not jnp.issubdtype(xs.dtype, jnp.integer):
            return xs
        number, dtype = number_of_tokens(self, params), carry_dtype(params)
        return linear(widened(xs), {"kernel": jnp.eye(number, dtype=dtype)}, dtype)


@dataclasses.dataclass(frozen=True)
class _InnerSteps(OfCell):
    """All inner steps for one input as the step of a Cell, whose output is a `Pondered`.

    If the cell has them apart, inputs are projected for all steps at once; the products with the
    state are in `update`, however, so that this is for the plain scan only.
    """

    cell: Cell
    max_ponder: int
    epsilon: float

    def init(self, key: Array, input_shape: InputShape) -> Params:
        *spatial, I = sizes_of(input_shape)
        of_cell, of_halting = jax.random.split(key)
        kernel = scaled_normal(of_halting, (self.features, 1), 1.0)
        halting = {"kernel": kernel, "bias": jnp.zeros((1,), jnp.float32)}
        shape = (*spatial, I + 1) if spatial else I + 1
        return {"cell": self.cell.init(of_cell, shape), "halting": halting}

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.cell.init_carry(batch_size, dtype)

    @property
    def project(self) -> Callable[..., tuple[PyTree, PyTree]]:
        project = self.cell.project if is_split(self.cell) else lambda params, x: x

        def both(params: Params, x: Array) -> tuple[PyTree, PyTree]:
            """For the first inner step, and for the others."""
            flag = jnp.ones((*x.shape[:-1], 1), x.dtype)
            first, later = (jnp.concatenate([x, f], axis=-1) for f in (flag, 0 * flag))
            return project(params["cell"], first), project(params["cell"], later)

        return both

    def mix(self, params: Params, carry: Carry, z: PyTree, noise: PyTree = None) -> PyTree:
        del params, carry, noise
        return z

    def update(
        self, params: Params, carry: Carry, z: PyTree, noise: PyTree = None
    ) -> tuple[Carry, Pondered]:
        halting = params["halting"]
        dtype = carry_dtype(halting)  # float32 or wider, as all sums here
        noise = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), noise)
        numbers = jnp.arange(self.max_ponder)

        def body(before: tuple[Carry, Array], inputs: tuple) -> tuple[tuple[Carry, Array], tuple]:
            (state, total), (n, noise) = before, inputs
            runs = total < 1 - self.epsilon  # no step before has halted
            this = jax.tree.map(lambda a, b: jnp.where(n == 0, a, b), *z)
            new, y = self._advance(params["cell"], state, this, noise)
            new = select(runs, new, state)
            read = jnp.mean(y.astype(dtype), axis=tuple(range(1, y.ndim - 1)))
            p = jax.nn.sigmoid(linear(read, halting, dtype)[:, 0])
            halts = (total + p >= 1 - self.epsilon) | (n == self.max_ponder - 1)
            remainder = jnp.where(runs & halts, 1 - total, jnp.zeros_like(total))
            weight = remainder + jnp.where(runs & ~halts, p, jnp.zeros_like(p))
            total = jnp.where(runs, total + p, total)
            return (new, total), (new, y, weight, remainder, runs)

        total = jnp.zeros((jax.tree.leaves(carry)[0].shape[0],), dtype)
        _, (states, ys, weights, remainders, runs) = lax.scan(
            body, (carry, total), (numbers, noise)
        )

        def mean(values: Array) -> Array:
            """The weighted mean of what inner steps gave: [max_ponder, B, ..] to [B, ..]."""
            wide = carry_dtype((values, weights))
            w = weights.reshape(*weights.shape, *(1,) * (values.ndim - 2)).astype(wide)
            summed = jnp.sum(jnp.broadcast_to(w, values.shape) * values.astype(wide), axis=0)
            return summed.astype(values.dtype)

        steps = jnp.sum(runs, axis=0, dtype=jnp.int32)
        pondered = Pondered(mean(ys), steps, jnp.sum(remainders, axis=0))
        return jax.tree.map(mean, states), pondered

    def step(
        self, params: Params, carry: Carry, x: Array, noise: PyTree = None
    ) -> tuple[Carry, Pondered]:
        return self.update(params, carry, self.project(params, x), noise)

    def _advance(
        self, params: Params, carry: Carry, z: PyTree, noise: PyTree
    ) -> tuple[Carry, Array]:
        """One inner step of the cell."""
        cell, noise = self.cell, given(noise)
        if not is_split(cell):
            return cell.step(params, carry, z, *noise)
        return cell.update(params, carry, cell.mix(params, carry, z, *noise), *noise)

    def init_token_carry(self, batch_size: int, dtype: Any = jnp.float32) -> Carry:
        return self.init_carry(batch_size, dtype)

    token_step = step


def check_epsilon(value: Any) -> None:
    """Raises ValueError unless `value`, by how much a sum of p may miss 1, is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"epsilon is {value}; accepted are numbers in [0, 1)")


def check_cost(value: Any) -> None:
    """Raises ValueError unless `value`, the cost of pondering, is a finite number >= 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"ponder_cost is {value}; accepted are numbers >= 0")
