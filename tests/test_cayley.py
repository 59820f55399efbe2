"""The Cayley step: unitary matrices stay unitary, and go downhill."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import assert_close, jit

from tlstm_jax import training, zoo
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.cayley import cayley, is_unitary
from tlstm_jax.training.settings import TrainSettings

M = 6


def unitary(seed):
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.normal(size=(M, M)) + 1j * rng.normal(size=(M, M)))[0]


def pair(W):
    return {"real": jnp.asarray(W.real), "imag": jnp.asarray(W.imag)}


def matrix(pair):
    return np.asarray(pair["real"]) + 1j * np.asarray(pair["imag"])


def test_a_step_is_the_published_one(x64):
    W, G = unitary(0), unitary(1) * 3
    rule = cayley(0.2)
    params = {"deep": {"unitary": pair(W)}}
    updates, state = jit(rule.update)({"deep": {"unitary": pair(G)}}, rule.init(params), params)
    A = G @ W.conj().T - W @ G.conj().T
    eye = np.eye(M)
    expected = np.linalg.inv(eye + 0.1 * A) @ (eye - 0.1 * A) @ W
    assert_close(W + matrix(updates["deep"]["unitary"]), expected)
    assert state.count == 1


def test_the_rate_may_be_a_schedule(x64):
    W, G = unitary(0), unitary(1)
    rule = cayley(lambda count: jnp.where(count == 0, 0.1, 0.2))
    state, params = rule.init(pair(W)), pair(W)
    _, state = rule.update(pair(G), state, params)
    second, _ = rule.update(pair(G), state, params)
    constant = cayley(0.2)
    expected, _ = constant.update(pair(G), constant.init(params), params)
    assert_close(second, expected)


@pytest.mark.parametrize("conjugated", [False, True])
def test_the_gradient_by_the_two_parts_is_the_conjugate_of_jaxs(conjugated, x64):
    """With it the loss falls as its derivative says; with the conjugate it does not."""
    W, target = unitary(0), unitary(1)
    slope = np.random.default_rng(2).normal(size=(M, M))

    def loss(params):
        return jnp.sum(slope * ((params["real"] - target.real) ** 2 + params["imag"] ** 3))

    params, rate = pair(W), 1e-6
    gradient = jax.grad(loss)(params)
    G = matrix(gradient)
    if conjugated:
        gradient = pair(G.conj())
    rule = cayley(rate)
    updates, _ = rule.update(gradient, rule.init(params), params)
    fall = loss(optax.apply_updates(params, updates)) - loss(params)
    A = G @ W.conj().T - W @ G.conj().T
    expected = -rate * np.sum((G.conj() * (A @ W)).real)  # first order: <G, -A W>
    assert expected < 0
    assert (abs(fall / expected - 1) < 1e-4) == (not conjugated)


def test_thousands_of_steps_in_float32_stay_unitary_and_find_the_minimum():
    W, target = unitary(0), unitary(1)
    params = jax.tree.map(lambda x: x.astype(jnp.float32), pair(W))
    goal = jax.tree.map(lambda x: x.astype(jnp.float32), pair(target))

    def loss(params):
        return sum(jnp.sum((params[k] - goal[k]) ** 2) for k in goal)

    rule = cayley(0.05)

    def step(loop, _):
        params, state = loop
        updates, state = rule.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jit(lambda loop: jax.lax.scan(step, loop, None, length=3000))(
        (params, rule.init(params))
    )
    W = matrix(params)
    assert np.abs(W.conj().T @ W - np.eye(M)).max() < 1e-5
    assert loss(params) < 1e-4


@pytest.mark.slow
def test_training_moves_the_unitary_matrix_by_it_and_the_rest_by_adam():
    task = memorization(num_symbols=2, alphabet_size=3, batch_size=4)
    network = zoo.make_network(
        "full_urnn",
        input_size=task.input_size,
        output_size=task.output_size,
        tokens=True,
        features=8,
    )
    settings = TrainSettings(num_steps=20, steps_per_call=20, eval_every=20, checkpoint_every=20)
    first = training.init_state(network, task, settings, jax.random.key(0))
    before = jax.tree.map(np.asarray, first.params)
    (report,) = training.fit(network, task, settings, state=first)
    after = report.state.params
    W, old = (matrix(p["model"]["cell"]["unitary"]) for p in (after, before))
    assert np.abs(W.conj().T @ W - np.eye(4)).max() < 1e-5
    assert np.abs(W - old).max() > 1e-5
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after, before)
    assert all(change > 0 for change in jax.tree.leaves(moved))


def test_only_what_lies_under_the_name_unitary_is_unitary():
    tree = {"unitary": {"real": 0, "imag": 0}, "input": {"kernel": 0}}
    paths = jax.tree_util.tree_leaves_with_path(tree)
    assert [is_unitary(path) for path, _ in paths] == [False, True, True]


def test_refuses_to_step_without_parameters():
    rule = cayley(0.1)
    with pytest.raises(
        ValueError, match=r"^params is None; accepted by the Cayley step are the parameters$"
    ):
        rule.update(pair(unitary(0)), rule.init(None))
