"""The engine that solves for all steps at once: values, gradients, and when it gives up."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import cell_params, on_device

from tlstm_jax import (
    GRU,
    LSTM,
    SLSTM,
    Elman,
    ParaGRU,
    ParaLSTM,
    TensorizedLSTM,
    Zoneout,
    unroll,
    unroll_parallel,
)
from tlstm_jax.recurrence import parallel
from tlstm_jax.recurrence.loop import Inputs, scan

T, B, I = 30, 3, 2
CELLS = {
    "gru": GRU(4),
    "para-lstm": ParaLSTM(4),
    "tlstm": TensorizedLSTM(3, (3,), normalization="channel", epsilon=1e-2),
    "para-gru": ParaGRU(4),
    "lstm": LSTM(4),
    "elman": Elman(4),
    "slstm": SLSTM(3),
}


def inputs_of(restarts):
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(T, B, I)))
    if not restarts:
        return Inputs(xs)
    mask = np.arange(T)[:, None] < np.array([T, 7, 0])
    return Inputs(xs, jnp.asarray(rng.random((T, B)) < 0.1), jnp.asarray(mask))


def carry_of(cell):
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape) if leaf.dtype == float else leaf,
        cell.init_carry(B, jnp.float64),
    )


@pytest.mark.slow(but=["gru-False", "para-lstm-True", "tlstm-True"])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_values_and_gradients_are_those_of_the_loop(name, restarts, x64):
    cell, inputs = CELLS[name], inputs_of(restarts)
    params, carry = on_device(cell_params(cell)), carry_of(cell)

    def loop(params, carry, inputs):
        carry, outputs = scan(cell, params, carry, inputs)
        return carry, outputs.ys

    def solve(params, carry, inputs):
        carry, ys, solved = parallel.run(cell, params, carry, inputs, tolerance=1e-13)
        return carry, ys, solved

    def loss(run, params, carry, xs):
        carry, ys, *solved = run(params, carry, inputs._replace(xs=xs))
        floats = [leaf for leaf in jax.tree.leaves(carry) if leaf.dtype == float]
        total = jnp.sum(jnp.sin(3 * ys)) + sum(jnp.sum(jnp.cos(leaf)) for leaf in floats)
        return total, (carry, ys, solved)

    def of(run):
        function = jax.value_and_grad(
            functools.partial(loss, run), (0, 1, 2), has_aux=True, allow_int=True
        )
        return jax.jit(function)(params, carry, inputs.xs)

    (expected, (*values, _)), gradients = of(loop)
    (found, (*solved_values, (solved,))), solved_gradients = of(solve)
    assert bool(solved.converged) and 1 <= int(solved.iterations) <= 25
    chex.assert_trees_all_close((found, solved_values), (expected, values), rtol=1e-9, atol=1e-11)
    for a, b in zip(*map(jax.tree.leaves, (solved_gradients, gradients)), strict=True):
        if a.dtype == float:
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_a_state_that_does_not_converge_is_that_of_the_loop():
    cell = GRU(16)
    params = cell.init(jax.random.key(0), I)
    chaotic = jax.tree.map(lambda leaf: 6 * leaf, params)
    xs = jax.random.normal(jax.random.key(1), (200, B, I))
    for weights, converges in ((params, True), (chaotic, False)):
        run = jax.jit(functools.partial(unroll_parallel, cell))
        carry, ys, solved = run(weights, cell.init_carry(B), xs)
        assert bool(solved.converged) == converges
        assert (float(solved.residual) <= 1e-5) == converges
        expected = jax.jit(functools.partial(unroll, cell))(weights, cell.init_carry(B), xs)
        chex.assert_trees_all_close((carry, ys), expected, rtol=1e-3, atol=1e-4)


def test_memories_of_zero_behind_a_normalization_do_not_overflow():
    cell = TensorizedLSTM(4, (2,), normalization="channel")
    params = cell.init(jax.random.key(0), 16)
    xs = jax.random.normal(jax.random.key(1), (512, 2, 16))
    solved = jax.jit(functools.partial(unroll_parallel, cell))(params, cell.init_carry(2), xs)[2]
    assert bool(solved.converged) and int(solved.iterations) <= 20


@pytest.mark.parametrize("name", ["gru", "tlstm"])
def test_it_is_an_engine(name):
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), I)
    xs = jax.random.normal(jax.random.key(1), (20, B, I))
    lengths = jnp.array([20, 3, 11])

    def loss(params, xs, engine):
        _, ys = unroll(cell, params, cell.init_carry(B), xs, lengths=lengths, engine=engine)
        return jnp.sum(jnp.sin(ys))

    of = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)
    chex.assert_trees_all_close(
        of(params, xs, "parallel"), of(params, xs, "scan"), rtol=1e-3, atol=1e-4
    )


def test_an_example_alone_gives_the_same_and_so_does_vmap():
    cell = ParaGRU(4)
    params = cell.init(jax.random.key(0), I)
    xs = jax.random.normal(jax.random.key(1), (20, B, I))

    def ys(xs):
        return unroll_parallel(cell, params, cell.init_carry(1), xs)[1]

    whole = unroll_parallel(cell, params, cell.init_carry(B), xs)[1]
    each = jax.vmap(ys, 1, 1)(xs[:, :, None])[:, :, 0]
    chex.assert_trees_all_close(each, whole, rtol=1e-4, atol=1e-5)


def test_what_it_does_not_take():
    wide = GRU(65)
    params = wide.init(jax.random.key(0), I)
    xs = jnp.ones((5, B, I))
    with pytest.raises(
        ValueError, match=r"^GRU has a state of 65 numbers; accepted by the parallel"
    ):
        unroll(wide, params, wide.init_carry(B), xs, engine="parallel")
    noisy = Zoneout(GRU(4), hidden=0.1)
    params = noisy.init(jax.random.key(0), I)
    noise = noisy.draw(jax.random.key(1), 5, B)
    with pytest.raises(ValueError, match=r"^engine is 'parallel', which takes no noise, observe"):
        unroll(noisy, params, noisy.init_carry(B), xs, noise=noise, engine="parallel")
    with pytest.raises(ValueError, match=r"^xs has shape \(0, 3, 2\); accepted are T >= 1 steps"):
        unroll_parallel(wide, params, wide.init_carry(B), xs[:0])
