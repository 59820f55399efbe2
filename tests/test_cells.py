"""Every cell against its independent version in NumPy, and what all cells have in common."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    CASES,
    FEW,
    NARROW,
    ON_MAPS,
    SHORT,
    B,
    I,
    M,
    T,
    assert_close,
    assert_narrow,
    cell_params,
    each,
    floats,
    inputs_for,
    jit,
    on_device,
    tokens,
)

from tlstm_jax import unroll
from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.typing import Cell


def check_against_the_oracle(case, xs):
    params = cell_params(case.cell)
    carry = case.cell.init_carry(B, jnp.float64)
    run = jit(functools.partial(unroll, case.cell, observe=floats))
    carry, ys, observed = run(on_device(params), carry, jnp.asarray(xs))
    expected = case.oracle(params, xs)
    assert ys.shape == (T, B, *spatial_shape(case.cell), case.cell.features)
    assert_close(ys, expected.ys)
    assert_close(floats(carry), list(expected.states[-1]))
    for t, state in enumerate(expected.states):
        assert_close([leaf[t] for leaf in observed], list(state))


@each(CASES)
def test_equals_its_independent_version(case, x64):
    check_against_the_oracle(case, inputs_for(case))


@pytest.mark.slow(but=SHORT)
@each(FEW)
def test_equals_its_independent_version_on_tokens(case, x64):
    check_against_the_oracle(case, tokens())


@pytest.mark.slow(but=SHORT)
@each(FEW)
def test_tokens_are_one_hot_vectors_and_minus_one_is_zero(case, x64):
    params = on_device(cell_params(case.cell))
    xs = tokens()
    one_hot = (xs[..., None] == np.arange(I)).astype(np.float64)
    carry = case.cell.init_carry(B, jnp.float64)
    advance = jit(case.cell.step)
    for x, vector in zip(xs, one_hot, strict=True):
        of_token = advance(params, carry, x)
        assert_close(of_token, advance(params, carry, vector))
        carry, _ = of_token


@each(["gru", "tlstm-4-k3"])
def test_a_token_out_of_range_gives_nan(case, x64):
    params = on_device(cell_params(case.cell))
    x = jnp.array([I, -2, 1, -1])
    carry, _ = jit(case.cell.step)(params, case.cell.init_carry(4, jnp.float64), x)
    first = carry.hidden.reshape(4, -1, M)[:, 0]  # where a tensorized cell's input enters
    assert np.isnan(first[:2]).all() and np.isfinite(first[2:]).all()


@each(CASES)
def test_a_cell_is_a_hashable_cell(case):
    assert isinstance(case.cell, Cell)
    assert hash(dataclasses.replace(case.cell)) == hash(case.cell)
    assert dataclasses.replace(case.cell) == case.cell


@pytest.mark.slow(but=SHORT)
@each([*FEW, *ON_MAPS])
def test_parts_compose_to_the_step(case, x64):
    cell, params = case.cell, on_device(cell_params(case.cell))
    if not hasattr(cell, "project"):
        pytest.skip("no parts")
    x = jnp.asarray(inputs_for(case)[0])
    carry = jax.tree.map(lambda leaf: leaf + 1, cell.init_carry(B, jnp.float64))

    def in_parts(params, carry, x):
        return cell.update(params, carry, cell.mix(params, carry, cell.project(params, x)))

    assert_close(jit(in_parts)(params, carry, x), jit(cell.step)(params, carry, x))


@pytest.mark.slow(but=["lstm", "gru", "tlstm-4-k3"])
@each([*FEW, "trnn-3x2-k2", *ON_MAPS])
def test_jit_equals_no_jit(case, x64):
    params, x = on_device(cell_params(case.cell)), jnp.asarray(inputs_for(case)[0])
    carry = jax.tree.map(lambda leaf: leaf + 1, case.cell.init_carry(B, jnp.float64))
    jitted = jax.jit(case.cell.step)(params, carry, x)
    with jax.disable_jit():
        assert_close(case.cell.step(params, carry, x), jitted, 1e-14)


def loss(cell, params, xs):
    carry = cell.init_carry(xs.shape[1], xs.dtype)
    return jnp.sum(jnp.square(unroll(cell, params, carry, xs)[1].astype(xs.dtype)))


@pytest.mark.slow(but=["gru"])
@each([*FEW, "tlstm-3-k2", *ON_MAPS])
def test_vmap_over_members_equals_a_loop(case, x64):
    # Parameters, inputs and gradients of three members, as a sweep over seeds has them.
    members = [on_device(cell_params(case.cell, seed=seed)) for seed in range(3)]
    xs = jnp.stack([inputs_for(case, seed=seed) for seed in range(3)])
    gradient = jax.value_and_grad(functools.partial(loss, case.cell))
    together = jit(jax.vmap(gradient))(jax.tree.map(lambda *x: jnp.stack(x), *members), xs)
    one = jit(gradient)
    for n, params in enumerate(members):
        assert_close(jax.tree.map(lambda x: x[n], together), one(params, xs[n]))  # noqa: B023


@pytest.mark.slow(but=["lstm", "gru", "tlstm-4-k3"])
@each(
    [name for name in [*FEW, *ON_MAPS] if name != "hm"]
)  # its boundary's gradient is not its derivative
def test_gradients_are_the_derivative_along_a_direction(case, x64):
    inputs = on_device(cell_params(case.cell)), jnp.asarray(inputs_for(case))
    direction = on_device(cell_params(case.cell, seed=5)), jnp.asarray(inputs_for(case, seed=5))
    value = jit(functools.partial(loss, case.cell))
    grads = jit(jax.grad(functools.partial(loss, case.cell), argnums=(0, 1)))(*inputs)
    along = sum(map(jnp.vdot, *map(jax.tree.leaves, (grads, direction))))
    step = 1e-5
    there, back = (
        value(*jax.tree.map(lambda x, d: x + sign * step * d, inputs, direction))  # noqa: B023
        for sign in (1, -1)
    )
    np.testing.assert_allclose((there - back) / (2 * step), along, rtol=1e-6)


@each(["lstm", "tlstm-3-k2"])
def test_one_trace_per_configuration(case, x64):
    chex.clear_trace_counter()
    params, xs = on_device(cell_params(case.cell)), jnp.asarray(inputs_for(case))

    @functools.partial(jit, static_argnames="cell")
    @chex.assert_max_traces(n=1)
    def run(cell, params, carry, xs):
        return unroll(cell, params, carry, xs, flush=False)

    carry = case.cell.init_carry(B, jnp.float64)
    for _ in range(3):
        carry, _ = run(dataclasses.replace(case.cell), params, carry, xs)
    with pytest.raises(AssertionError, match="traced"):
        run(dataclasses.replace(case.cell, input_scale=2.0), params, carry, xs)


def float32_params(cell):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), cell_params(cell))


@pytest.mark.slow(but=SHORT)
@each(NARROW)
def test_bfloat16_computes_in_it_and_keeps_memory_wide(case):
    cell = dataclasses.replace(case.cell, dtype=jnp.bfloat16)
    params, xs = float32_params(cell), jnp.asarray(inputs_for(case), jnp.float32)
    carry, ys = jit(functools.partial(unroll, cell))(params, cell.init_carry(B), xs)
    assert ys.dtype == jnp.bfloat16
    assert_narrow(carry)
    if case.name == "hm":  # a rounding can turn a boundary
        return
    expected = case.oracle(cell_params(cell), inputs_for(case)).ys
    assert np.abs(ys.astype(jnp.float32) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.slow(but=["lstm", "tlstm-4-k3"])
@each(NARROW)
def test_bfloat16_gradients_are_float32(case):
    cell = dataclasses.replace(case.cell, dtype=jnp.bfloat16)
    xs = jnp.asarray(inputs_for(case), jnp.float32)
    gradient = functools.partial(jax.grad(loss, argnums=1), cell)
    grads = jax.eval_shape(gradient, float32_params(cell), xs)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(grads))


@pytest.mark.slow
@each(["gru", "tlstm-3-k2"])
def test_bfloat16_gradients_are_near_float32_ones(case):
    xs, params = jnp.asarray(inputs_for(case), jnp.float32), float32_params(case.cell)
    narrow = dataclasses.replace(case.cell, dtype=jnp.bfloat16)
    gradient = jit(jax.grad(loss, argnums=1), static_argnums=0)
    pairs = zip(
        *map(jax.tree.leaves, (gradient(narrow, params, xs), gradient(case.cell, params, xs))),
        strict=True,
    )
    for a, b in pairs:
        assert jnp.linalg.norm(a - b) < 0.05 * jnp.linalg.norm(b)
