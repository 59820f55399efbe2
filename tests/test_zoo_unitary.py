"""The unitary networks: their matrix is unitary, so that states and gradients keep their norms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, assert_close, cell_params, jit, on_device, random_carry, run, vectors

from tlstm_jax import unroll
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryCarry, UnitaryRNN

M = 5  # complex numbers


def matrix(cell, params):
    """T [M, M], for rows: what `mix` makes of the unit vectors, and of i times them."""
    rows = jnp.eye(2 * M)
    mix = jit(lambda h: cell.mix(on_device(params), UnitaryCarry(h), jnp.zeros_like(h)))
    re, im = np.split(np.asarray(mix(rows)), 2, axis=-1)
    T = (re + 1j * im)[:M]
    assert_close((re + 1j * im)[M:], 1j * T)  # linear in complex numbers, too
    return T


def full_capacity(cell, params):
    """Parameters of `FullCapacityURNN`, its W the T of `cell`."""
    T = matrix(cell, params)
    kept = {name: params[name] for name in ("input", "modrelu")}
    return kept | {"unitary": {"real": T.real, "imag": T.imag}}


def both(seed=0):
    cell = UnitaryRNN(2 * M)
    params = cell_params(cell, seed=seed)
    return (cell, params), (FullCapacityURNN(2 * M), full_capacity(cell, params))


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_of_the_factors_is_unitary_and_none_is_idle(seed, x64):
    cell, params = UnitaryRNN(2 * M), cell_params(UnitaryRNN(2 * M), seed=seed)
    T = matrix(cell, params)
    assert_close(T @ T.conj().T, np.eye(M))
    for name, n in [
        ("phases", 0),
        ("phases", 1),
        ("phases", 2),
        *(("reflections", n) for n in (0, 1)),
    ]:
        kernel = params[name]["kernel"].copy()
        kernel[n] = np.flip(kernel[n])
        changed = matrix(cell, params | {name: {"kernel": kernel}})
        assert np.abs(changed - T).max() > 1e-2
        assert_close(changed @ changed.conj().T, np.eye(M))
    assert np.abs(matrix(UnitaryRNN(2 * M, permutation_seed=1), params) - T).max() > 1e-2


def test_full_capacity_with_that_matrix_is_the_same_network(x64):
    (cell, params), (full, full_params) = both()
    carry = random_carry(cell)
    expected = run(cell, params, vectors(), carry)
    assert_close(run(full, full_params, vectors(), carry), expected)


def test_full_capacity_starts_as_a_urnn():
    key, full = jax.random.key(3), FullCapacityURNN(2 * M)
    params = jit(lambda key: (UnitaryRNN(2 * M).init(key, I), full.init(key, I)))(key)
    carry, xs = UnitaryCarry(jnp.ones((B, 2 * M))), jnp.asarray(vectors(), jnp.float32)
    expected = run(UnitaryRNN(2 * M), params[0], xs, carry)
    assert_close(run(full, params[1], xs, carry), expected, 1e-5)


@pytest.mark.parametrize("which", [0, 1], ids=["urnn", "full"])
def test_without_bias_and_input_states_and_gradients_keep_their_norms(which, x64):
    cell, params = both()[which]
    params = on_device(params | {"modrelu": {"bias": np.zeros(M)}})
    start, xs = random_carry(cell), jnp.zeros((100, B, I))

    def norms(start):
        return jnp.linalg.norm(unroll(cell, params, start, xs)[1], axis=-1)

    expected = jnp.linalg.norm(start.hidden, axis=-1)
    assert_close(jit(norms)(start), jnp.broadcast_to(expected, (100, B)), 1e-11)

    weights = jnp.asarray(vectors(steps=1, size=2 * M)[0])

    def loss(start):
        return jnp.sum(weights * unroll(cell, params, start, xs)[1][-1])

    gradient = jit(jax.grad(loss))(start).hidden
    expected = jnp.linalg.norm(weights, axis=-1)
    assert_close(jnp.linalg.norm(gradient, axis=-1), expected, 1e-11)
    assert np.abs(gradient - weights).max() > 1e-2  # but turned


@pytest.mark.slow(but=["full-0.0", "urnn-0.0"])
@pytest.mark.parametrize("bias", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("which", [0, 1], ids=["urnn", "full"])
def test_gradients_are_finite_at_zero(which, bias, x64):
    cell, params = both()[which]
    params = on_device(params | {"modrelu": {"bias": np.full(M, bias)}})

    @jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradient(params, xs):
        ys = unroll(cell, params, cell.init_carry(B, jnp.float64), xs)[1]
        return jnp.sum(jnp.square(ys) + ys)

    silent = gradient(params, jnp.zeros((3, B, I)))
    # The state stays zero; where it leaves zero in the last step, the weights are reached.
    heard = gradient(params, jnp.zeros((3, B, I)).at[-1].set(5.0))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((silent, heard)))
    assert not any(leaf.any() for leaf in jax.tree.leaves(silent))
    assert heard[0]["input"]["kernel"].all() and heard[0]["modrelu"]["bias"].all()


def test_mod_relu_keeps_the_phase_and_moves_the_modulus(x64):
    cell = FullCapacityURNN(2 * M)
    bias = np.array([-9.0, -0.3, 0.0, 0.3, 2.0])
    z = random_carry(cell).hidden
    h = cell.update({"modrelu": {"bias": bias}}, UnitaryCarry(z), z)[1]
    (before, after) = (parts[:, :M] + 1j * parts[:, M:] for parts in map(np.asarray, (z, h)))
    assert_close(np.abs(after), np.maximum(np.abs(before) + bias, 0))
    assert not after[:, 0].any() and after[:, 1:].all()
    assert_close(np.angle(after[:, 1:]), np.angle(before[:, 1:]))
