"""Tokens and lengths of any integer dtype give the same numbers."""

import functools

import jax
import jax.numpy as jnp
import model_cases
import numpy as np
import pytest
from cases import BY_NAME, VARIED, M, assert_close, cell_params, jit, on_device

from tlstm_jax import LSTM, TensorizedLSTM, generate, inspection, unroll
from tlstm_jax.cells.linear import linear
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.network import Network
from tlstm_jax.recurrence import cudnn
from tlstm_jax.recurrence.unrolling import unroll_reference

SIZE, T, B = 4, 5, 2
NARROW = ["uint8", "int8", "uint16", "int16", "uint32"]
TOKENS = np.random.default_rng(0).integers(0, SIZE, (T, B))
LENGTHS = np.array([T, 2])
TAKING_TOKENS = [
    case
    for case in model_cases.MODELS
    if case.takes_tokens and case.name in {*model_cases.SHORT, "chain", "stacked", "skip-late"}
]


def outputs(model, dtype, lengths, **options):
    model = as_sequence(model)
    params, state = model.init(jax.random.key(0), SIZE)
    carry = model.init_carry(B, params=params)
    lengths = None if lengths is None else jnp.asarray(lengths, dtype)
    apply = jit(model.apply, static_argnames="train")
    carry, ys, *_ = apply(
        params, state, carry, jnp.asarray(TOKENS, dtype), lengths=lengths, **options
    )
    return carry, ys


@pytest.mark.slow(but=["qrnn-fo-2", "wavenet"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("case", TAKING_TOKENS, ids=lambda case: case.name)
def test_bytes_are_tokens_like_any_other(case, lengths):
    assert_close(outputs(case.model, "uint8", lengths), outputs(case.model, "int32", lengths), 1e-6)


def test_bytes_are_tokens_of_a_batch_normalized_lstm():
    ours, expected = (outputs(BatchNormLSTM(M), dtype, LENGTHS) for dtype in ("uint8", "int32"))
    assert_close(ours, expected, 0)


@pytest.mark.slow(but=["lstm"])
@pytest.mark.parametrize("name", [n for n in VARIED if n != "conv-5x4-dilated"])
def test_bytes_are_a_cells_tokens(name):
    cell = BY_NAME[name].cell
    assert_close(outputs(cell, "uint8", LENGTHS), outputs(cell, "int32", LENGTHS), 0)


@pytest.mark.parametrize("dtype", NARROW)
def test_tokens_of_each_integer_dtype(dtype):
    cell = TensorizedLSTM(M, (3,))
    assert_close(outputs(cell, dtype, LENGTHS), outputs(cell, "int32", LENGTHS), 0)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_tokens_of_each_wide_dtype(dtype, x64):
    cell = TensorizedLSTM(M, (3,))
    assert_close(outputs(cell, dtype, LENGTHS), outputs(cell, "int32", LENGTHS), 0)


def test_dropped_bytes_are_the_zero_input():
    options = {"key": jax.random.key(3), "train": True}
    model = Dropout(LSTM(M), input_rate=0.5)
    ours, expected = (outputs(model, dtype, None, **options) for dtype in ("uint8", "int32"))
    assert_close(ours, expected, 0)


def test_all_256_bytes_are_an_alphabet():
    cell = TensorizedLSTM(M, (4,))
    params = on_device(cell_params(cell, 256))
    tokens = np.array([[255], [0], [7]])
    ours, expected = (
        unroll(cell, params, cell.init_carry(1), jnp.asarray(tokens, dtype))
        for dtype in ("uint8", "int32")
    )
    assert_close(ours, expected, 0)
    reference = unroll_reference(cell, params, cell.init_carry(1), jnp.asarray(tokens, "uint8"))
    assert_close(reference[1], expected[1], 1e-5)


@pytest.mark.parametrize("token", [2**31, 2**32 - 1])
def test_a_token_beyond_all_is_nan_in_unsigned_dtypes_too(token):
    params = {"kernel": jnp.ones((3, 2))}
    assert jnp.isnan(linear(jnp.asarray([token], jnp.uint32), params, None)).all()


def test_lengths_of_bytes_in_a_longer_sequence():
    cell = TensorizedLSTM(M, (3,))
    params, xs = on_device(cell_params(cell, SIZE)), jnp.zeros((300, 2), jnp.int32)
    run = jit(functools.partial(unroll, cell))
    ours, expected = (
        run(params, cell.init_carry(2), xs, lengths=jnp.asarray([200, 60], dtype))
        for dtype in ("uint8", "int32")
    )
    assert_close(ours, expected, 0)


@pytest.mark.slow(but=["lengths"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
def test_the_last_output_of_bytes(lengths):
    network = Network(TensorizedLSTM(M, (3,)), SIZE, SIZE, tokens=True)
    params, state = network.init(jax.random.key(0))

    def last(dtype):
        given = None if lengths is None else jnp.asarray(lengths, dtype)
        carry, xs = network.init_carry(B), jnp.asarray(TOKENS, dtype)
        return network.apply(params, state, carry, xs, last_only=True, lengths=given)[1]

    assert_close(last("uint8"), last("int32"), 0)


def test_a_prompt_of_bytes_is_gone_on_with():
    network = Network(TensorizedLSTM(M, (3,)), SIZE, SIZE, tokens=True)
    params, state = network.init(jax.random.key(0))
    ours, expected = (
        generate(network, params, state, jnp.asarray(TOKENS, dtype), 4, temperature=0)
        for dtype in ("uint8", "int32")
    )
    np.testing.assert_array_equal(ours, expected)


def test_states_and_kernels_of_bytes():
    network = Network(TensorizedLSTM(M, (3,)), SIZE, SIZE, tokens=True)
    params = network.init(jax.random.key(0))[0]["model"]

    def kernels(dtype):
        xs = jnp.asarray(TOKENS, dtype)
        trace = inspection.trace(network.model, params, xs)
        return trace, inspection.memory_kernels(network.model, params, xs, trace.carry)

    assert_close(kernels("uint8"), kernels("int32"), 0)


def test_bytes_become_one_hot_vectors_for_cudnn():
    ours, expected = (cudnn._one_hot(jnp.asarray(TOKENS, d), SIZE) for d in ("uint8", "int32"))
    assert_close(ours, expected, 0)
