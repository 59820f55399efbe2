"""Every cell against its independent version in NumPy, and what all cells have in common."""

import functools

import jax
import jax.numpy as jnp
import pytest
from cases import (
    CASES,
    B,
    T,
    assert_close,
    cell_params,
    each,
    floats,
    on_device,
    tokens,
    vectors,
)

from tlstm_jax.unroll import unroll


@each(CASES)
@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_cell_equals_its_independent_version(case, inputs, x64):
    params, xs = cell_params(case.cell), inputs()
    carry = case.cell.init_carry(B, jnp.float64)
    run = jax.jit(functools.partial(unroll, case.cell, observe=floats))
    carry, ys, observed = run(on_device(params), carry, jnp.asarray(xs))
    expected = case.oracle(params, xs)
    assert ys.shape == (T, B, case.cell.features)
    assert_close(ys, expected.ys)
    assert_close(floats(carry), list(expected.states[-1]))
    for t, state in enumerate(expected.states):
        assert_close([leaf[t] for leaf in observed], list(state))
