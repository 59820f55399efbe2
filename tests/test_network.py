"""Tokens or vectors to logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    BY_NAME,
    B,
    I,
    M,
    T,
    assert_close,
    each,
    floats,
    jit,
    on_device,
    random_params,
    tokens,
    vectors,
)

from tlstm_jax import LSTM, Network, Stacked, TensorizedLSTM, as_sequence
from tlstm_jax.models.sequence import CellModel
from tlstm_jax.overrides import override
from tlstm_jax.typing import SequenceModel

V = 4
FEW = ["lstm", "tlstm-4-k3", "tlstm-3x3-k3-cn"]


def network_params(network, seed=0):
    return random_params(lambda key: network.init(key)[0], seed)


def run(network, params, xs, **options):
    """(carry, logits)."""
    carry = network.init_carry(xs.shape[1], jnp.float64)
    apply = jit(functools.partial(network.apply, state=(), **options))
    return apply(on_device(params), carry=carry, inputs=jnp.asarray(xs))[:2]


@each(FEW)
@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_logits_are_a_linear_map_of_the_outputs(case, inputs, x64):
    network = Network(case.cell, I, V, tokens=inputs is tokens)
    params, xs = network_params(network), inputs()
    carry, logits = run(network, params, xs)
    expected = case.oracle(params["model"], xs)
    readout = params["readout"]
    assert logits.shape == (T, B, V)
    assert_close(logits, expected.ys @ readout["kernel"] + readout["bias"])
    assert_close(floats(carry), list(expected.states[-1]))


@each(FEW)
def test_last_only_reads_out_each_examples_last_output(case, x64):
    network, xs = Network(case.cell, I, V), vectors()
    params = network_params(network)
    _, logits = run(network, params, xs)
    _, last = run(network, params, xs, last_only=True)
    assert last.shape == (1, B, V)
    assert_close(last, logits[-1:])
    lengths = np.array([2, 4])
    _, logits = run(network, params, xs, lengths=lengths)
    _, last = run(network, params, xs, last_only=True, lengths=lengths)
    assert_close(last[0], np.stack([logits[1, 0], logits[3, 1]]))


def test_tokens_are_one_hot_vectors_and_minus_one_is_zero(x64):
    network, xs = Network(TensorizedLSTM(M, (3,)), I, V, tokens=True), tokens()
    params = network_params(network)
    one_hot = (xs[..., None] == np.arange(I)).astype(np.float64)
    assert_close(run(network, params, xs), run(network, params, one_hot))


@each(FEW)
def test_a_token_out_of_range_gives_nan_from_there_on(case, x64):
    network, xs = Network(case.cell, I, V, tokens=True), tokens()
    params = network_params(network)
    _, expected = run(network, params, xs)
    xs[2, 0] = I
    _, logits = run(network, params, xs)
    assert np.isnan(logits[2:, 0]).all()
    np.testing.assert_array_equal(logits[:, 1], expected[:, 1])


@each(["lstm", "tlstm-4-k3"])
def test_token_steps_equal_the_whole_sequence(case, x64):
    network, xs = Network(case.cell, I, V), vectors()
    params = on_device(network_params(network))
    _, logits = run(network, params, xs)
    carry, advance = network.init_token_carry(B, jnp.float64), jit(network.token_step)
    for x, expected in zip(xs, logits, strict=True):
        carry, now = advance(params, (), carry, jnp.asarray(x))
        assert_close(now, expected)


def test_logits_of_a_bfloat16_model_are_float32():
    network = Network(LSTM(M, dtype=jnp.bfloat16), I, V)
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    xs = jnp.zeros((T, B, I))
    apply = functools.partial(network.apply, state=state, carry=network.init_carry(B), inputs=xs)
    carry, logits, *_ = jax.eval_shape(lambda params: apply(params), params)
    assert logits.dtype == jnp.float32
    assert (carry.hidden.dtype, carry.memory.dtype) == (jnp.bfloat16, jnp.float32)


def test_starts_with_a_zero_bias_and_a_scaled_kernel():
    network = Network(LSTM(100), I, 50)
    params, state = jit(network.init)(jax.random.key(0))
    assert state == () and set(params) == {"model", "readout"}
    assert abs(params["readout"]["kernel"].std() * 10 - 1) < 0.05
    assert params["readout"]["bias"].shape == (50,) and not params["readout"]["bias"].any()


def test_an_override_reaches_the_cell():
    network = Network(BY_NAME["tlstm-4-k3"].cell, I, V)
    init = jit(jax.vmap(lambda floats: override(network, floats).init(jax.random.key(0))[0]))
    params = init({"forget_bias": jnp.array([0.5, 4.0])})
    biases = params["model"]["cross_layer"]["bias"][:, 2 * M : 3 * M]
    np.testing.assert_allclose(biases[1] - biases[0], 3.5, rtol=1e-6)


def test_a_cell_is_lifted_and_a_model_is_left_as_it_is():
    cell, stack = LSTM(M), Stacked(LSTM(M), 2)
    assert as_sequence(stack) is stack
    assert as_sequence(cell, remat_every=3) == CellModel(cell, remat_every=3)
    assert isinstance(as_sequence(cell), SequenceModel)
    for model in (TensorizedLSTM(M, (3,), normalization="layer"), stack):
        network = Network(model, I, V)
        assert (network.delay, network.causal) == (model.delay, model.causal)


def test_remat_of_a_model_is_passed_on(x64):
    plain = Network(LSTM(M), I, V)
    params, xs = network_params(plain), vectors()
    remat = Network(as_sequence(LSTM(M), remat_every=2), I, V)
    assert_close(run(remat, params, xs), run(plain, params, xs))
