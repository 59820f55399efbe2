"""cuDNN's LSTM under vmap, jit and in loops, against the deferred engine; and what is compiled.

On a machine with an NVIDIA device, what needs one runs with

    JAX_PLATFORMS=cuda,cpu XLA_FLAGS= python -m pytest tests/test_cudnn_transformed.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import M, jit
from cudnn_cases import NVIDIA, assert_same, loss_of, members, replace_cudnn
from jax.experimental import rnn

from tlstm_jax import LSTM, unroll
from tlstm_jax.recurrence import alternatives


@pytest.fixture
def stand_in(monkeypatch):
    return replace_cudnn(monkeypatch)


def over_members(loss):
    return jax.vmap(jax.value_and_grad(loss, argnums=(0, 1, 2)))


def over_examples(loss):
    """The gradient of each example on its own, with shared parameters."""

    def one(params, carry, x):
        expand = functools.partial(jax.tree.map, lambda leaf: leaf[None])
        return loss(params, expand(carry), x[:, None])

    return lambda params, carry, xs: jax.vmap(jax.grad(one), (None, 0, 1))(params, carry, xs)


def with_cotangents(loss):
    """Several backward passes after one forward pass."""

    def both(*inputs):
        value, pull = jax.vjp(loss, *inputs)
        return jax.vmap(pull)(value * jnp.arange(1.0, 4.0))

    return both


def with_cotangents_of_members(loss):
    return jax.vmap(with_cotangents(loss))


def over_members_twice(loss):
    return jax.vmap(over_members(loss), (None, None, 0))


def of_a_loop(loss):
    """A gradient through a loop over time, and one made again in the backward pass."""

    def looped(params, carry, xs):
        def body(total, x):
            return total + jax.checkpoint(loss)(params, carry, x * total), None

        return jax.lax.scan(body, 0.1, jnp.stack([xs, 2 * xs]))[0]

    return jax.value_and_grad(looped, argnums=(0, 1, 2))


def of_steps(loss):
    """Steps of a training in one compiled loop, vmapped."""

    def train(params, carry, xs):
        def step(params, x):
            gradient = jax.grad(loss)(params, carry, x)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), None

        return jax.lax.scan(step, params, jnp.stack([xs, 2 * xs]))[0]

    return jax.vmap(train)


ALONE = (with_cotangents, of_a_loop)  # what is left takes a leading axis of members
SHARED = (over_examples,)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "cudnn"])
@pytest.mark.parametrize(
    "transform",
    [over_members, over_examples, with_cotangents, with_cotangents_of_members, of_a_loop, of_steps],
)
def test_transformations_give_the_deferred_engines_numbers(transform, engine, stand_in):
    ours, inputs = loss_of("deferred")
    if transform not in (*ALONE, *SHARED):
        inputs = members(inputs)
    theirs, _ = loss_of(engine)
    assert_same(jit(transform(theirs))(*inputs), jit(transform(ours))(*inputs), 2e-5)


def test_under_two_vmaps(stand_in):
    inputs = members(loss_of("deferred")[1])
    inputs = *inputs[:2], members(inputs[2], 2)
    ours, theirs = (jit(over_members_twice(loss_of(e)[0]))(*inputs) for e in ("deferred", "auto"))
    assert_same(theirs, ours, 2e-5)


def test_without_jit(stand_in):
    ours, theirs = (jax.grad(loss)(*inputs) for loss, inputs in map(loss_of, ("deferred", "auto")))
    assert_same(theirs, ours)


def test_auto_runs_cudnn_on_its_platform_alone(stand_in, monkeypatch):
    monkeypatch.setattr(rnn, "lstm_ref", lambda x, h, c, *_: (jnp.zeros((*x.shape[:2], M)), h, c))
    loss, inputs = loss_of("auto")
    expected = loss_of("deferred")[0](*inputs)
    assert not np.allclose(jit(loss)(*inputs), expected, rtol=1e-3)
    assert_same(jit(jax.vmap(loss))(*members(inputs, 1)), expected[None])
    monkeypatch.setattr(alternatives, "PLATFORM", "cuda")
    jax.clear_caches()
    loss, _ = loss_of("auto")
    assert_same(jit(loss)(*inputs), expected)
    assert_same(loss(*inputs), expected)
    assert_same(jit(jax.grad(loss))(*inputs), jit(jax.grad(loss_of("deferred")[0]))(*inputs))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transform", "platform", "like"),
    [(jax.grad, "cpu", "cudnn"), (jax.grad, "cuda", "deferred"), (over_members, "cpu", "deferred")],
    ids=["cuDNN runs", "it does not", "under vmap"],
)
def test_a_program_holds_nothing_of_the_function_that_does_not_run(
    transform, platform, like, stand_in, monkeypatch
):
    monkeypatch.setattr(alternatives, "PLATFORM", platform)
    cell, xs = LSTM(16), jnp.zeros((2000, 3, 16))
    params, carry = cell.init(jax.random.key(0), 16), cell.init_carry(3)

    def needed(engine):
        def loss(params, carry, xs):
            return jnp.sum(unroll(cell, params, carry, xs, engine=engine)[1] ** 2)

        inputs = params, carry, xs
        inputs = members(inputs) if transform is over_members else inputs
        lowered = jax.jit(transform(loss)).lower(*inputs)
        program = lowered.compile({"xla_backend_optimization_level": 3})
        return program.memory_analysis().temp_size_in_bytes, program.as_text().count(
            " conditional("
        )

    memory, conditionals = needed("auto")
    assert memory < 1.02 * needed(like)[0]
    assert not conditionals


@NVIDIA
def test_on_a_device_auto_runs_under_vmap_and_jit():
    for transform in (over_members, with_cotangents_of_members):
        inputs = members(loss_of("deferred")[1])
        with jax.default_matmul_precision("highest"):
            ours, theirs = (jit(transform(loss_of(e)[0]))(*inputs) for e in ("deferred", "auto"))
        assert_same(theirs, ours, 1e-4)
