"""What the tests of cuDNN's LSTM share: JAX's reference for the call, models, comparisons."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import I, M, T, floats, jit, random_params, tokens, vectors
from jax.experimental import rnn

from tlstm_jax import LSTM, Bidirectional, LearnedCarry, Stacked, as_sequence
from tlstm_jax.models.chain import Chain
from tlstm_jax.recurrence import alternatives, cudnn

LENGTHS = np.array([0, 1, T, T + 3, 3], np.int32)
NVIDIA = pytest.mark.skipif(not cudnn.is_available(), reason="no NVIDIA device with cuDNN")


def reference(x, h, c, weights, ends, *sizes):
    """`jax.experimental.rnn.lstm` in plain JAX, by that module's own reference and unpacking.

    An example of no steps makes everything NaN.
    """
    *sizes, dropout, bidirectional, _ = sizes
    each = rnn.unpack_lstm_weights(weights, *sizes, bidirectional)
    with jax.numpy_rank_promotion("allow"):
        y, h, c = rnn.lstm_ref(x, h, c, *each, ends, *sizes, dropout, bidirectional)
    return jnp.where(jnp.any(ends < 1), jnp.nan, y), h, c


def replace_cudnn(monkeypatch):
    """Makes the CPU pass for an NVIDIA device with cuDNN; returns a list of the traced calls."""
    if cudnn.is_available():
        pytest.skip("cuDNN itself is here")
    calls = []

    def forward(*args, **settings):
        calls.append("forward")
        sizes = settings.values()
        args = *args, *sizes
        return reference(*args), (args[:5], jnp.zeros(7))

    def backward(*args):
        calls.append("backward")
        sizes, (inputs, _), cotangents = args[:6], *args[6:]
        moving, ends = inputs[:4], inputs[4]
        pull = jax.vjp(lambda *x: reference(*x, ends, *sizes), *moving)[1]
        return *pull(cotangents), jnp.zeros_like(ends)

    monkeypatch.setattr(rnn, "lstm", lambda *args, **settings: forward(*args, **settings)[0])
    monkeypatch.setattr(rnn, "lstm_fwd", forward)
    monkeypatch.setattr(rnn, "lstm_bwd", backward)
    monkeypatch.setattr(alternatives, "PLATFORM", "cpu")
    monkeypatch.setattr(cudnn, "is_available", lambda: True)
    return calls


def lift(name):
    return {
        "one": lambda engine: as_sequence(LSTM(M), engine=engine),
        "learned carry": lambda engine: LearnedCarry(LSTM(M), engine=engine),
        "stacked": lambda engine: Stacked(LSTM(M), 3, engine=engine),
        "shared": lambda engine: Stacked(LSTM(M), 3, shared=True, engine=engine),
        "bidirectional": lambda engine: Bidirectional(*[as_sequence(LSTM(M), engine=engine)] * 2),
        "layers of two directions": lambda engine: Chain(
            (Bidirectional(*[as_sequence(LSTM(M), engine=engine)] * 2),) * 2
        ),
    }[name]


MODELS = ("one", "learned carry", "stacked", "shared", "bidirectional", "layers of two directions")


def inputs_of(model, xs):
    """Float32 parameters, a carry that is not zero, and inputs."""
    params = random_params(lambda key: model.init(key, I)[0])
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    carry = model.init_carry(xs.shape[1], params=params)
    rng = np.random.default_rng(5)
    carry = jax.tree.map(lambda x: jnp.asarray(np.tanh(rng.normal(size=x.shape)), x.dtype), carry)
    return params, carry, jnp.asarray(xs, jnp.int32 if xs.dtype == np.int32 else jnp.float32)


def everything(model, lengths, *inputs):
    """Outputs, last carry, and gradients of a function of both by params, carry and inputs."""

    def loss(*inputs):
        params, carry, xs = inputs
        carry, ys, _, _ = model.apply(params, (), carry, xs, lengths=lengths)
        return sum(jnp.sum(jnp.sin(leaf + 1)) for leaf in floats((ys, carry))), (ys, carry)

    gradient = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    (_, outputs), gradients = gradient(*inputs)
    return floats(outputs), floats(gradients)


def assert_same(actual, expected, tolerance=1e-5):
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    for a, b in zip(actual, expected, strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=False)


def compare(name, xs, lengths, engine, tolerance=1e-5):
    model, ours = lift(name)(engine), lift(name)("deferred")
    inputs = inputs_of(model, xs)
    if lengths is not None and xs.dtype != np.int32:
        beyond = np.arange(T)[:, None] >= lengths[None]
        inputs = *inputs[:2], jnp.where(beyond[..., None], jnp.nan, inputs[2])
    actual = jit(functools.partial(everything, model, lengths))(*inputs)
    expected = jit(functools.partial(everything, ours, lengths))(*inputs)
    assert any(leaf.any() for leaf in expected[1])
    assert_same(actual, expected, tolerance)


CASES = [
    pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"]),
    pytest.mark.parametrize("kind", [vectors, tokens]),
    pytest.mark.parametrize("name", MODELS),
]


def over_cases(test):
    return functools.reduce(lambda test, mark: mark(test), CASES, test)


def loss_of(engine, model="one", **options):
    """A function of params, carry and xs, and its inputs."""
    model = lift(model)(engine)

    def loss(params, carry, xs):
        carry, ys, _, _ = model.apply(params, (), carry, xs, **options)
        return sum(jnp.sum(jnp.sin(leaf + 1)) for leaf in floats((ys, carry)))

    return loss, inputs_of(model, vectors())


def members(inputs, number=3):
    """Inputs that differ in parameters, carries and xs."""
    return jax.tree.map(lambda x: jnp.stack([x * (1 + n / 8) for n in range(number)]), inputs)
