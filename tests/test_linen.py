"""The Linen modules against the functional form, and against flax's own cells."""

import flax
import jax
import jax.numpy as jnp
import pytest
from cases import B, I, M, T, assert_close, tokens, vectors
from flax import linen as nn
from flax_cases import (
    CELLS,
    DELAY_REFUSED,
    MODELS,
    TLSTM,
    TOLERANCE,
    TRNN,
    Running,
    answer,
    assert_same,
    each,
    functional,
    functional_answer,
    problem,
    real_only,
)

from tlstm_jax import linen
from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.gru import GRU
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.stacked import Stacked


@pytest.mark.slow(but=["LSTM"])
@each(MODELS)
def test_recurrent_equals_the_functional_form(model):
    def run(params, carry, xs, lengths):
        return linen.Recurrent(model).apply(
            {"params": params}, xs, initial_carry=carry, seq_lengths=lengths, return_carry=True
        )

    assert_same(answer(model, run), functional_answer(model))


@each(CELLS)
def test_flax_rnn_over_a_cell_equals_the_functional_form(model):
    def run(params, carry, xs, lengths):
        rnn = nn.RNN(linen.Cell(model), return_carry=True)
        variables = {"params": {"cell": params}}
        carry, ys = rnn.apply(variables, xs, initial_carry=carry, seq_lengths=lengths)
        return carry, real_only(ys)

    assert_same(answer(model, run), functional_answer(model))


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_recurrent_starts_from_the_initial_carry_and_may_be_time_major(inputs):
    params, _, xs = problem(TRNN, inputs)
    _, expected = functional(TRNN, params, TRNN.init_carry(B), xs)
    variables = {"params": params}
    ys = linen.Recurrent(TRNN, input_size=I).apply(variables, xs)
    assert_close(ys, expected, TOLERANCE)
    module = linen.Recurrent(TRNN, input_size=I, time_major=True)
    ys = module.apply(variables, jnp.swapaxes(xs, 0, 1), train=True)
    assert_close(jnp.swapaxes(ys, 0, 1), expected, TOLERANCE)


def test_flax_rnn_starts_from_the_initial_carry():
    params, _, xs = problem(LSTM(M))
    _, expected = functional(LSTM(M), params, LSTM(M).init_carry(B), xs)
    ys = nn.RNN(linen.Cell(LSTM(M))).apply({"params": {"cell": params}}, xs)
    assert_close(ys, expected, TOLERANCE)


def test_segments_of_a_stream_are_one_run():
    params, carry, xs = problem(TRNN)
    _, expected = functional(TRNN, params, carry, xs, flush=False)
    module = linen.Recurrent(TRNN).bind({"params": params})
    carry, first = module(xs[:, :2], initial_carry=carry, flush=False, return_carry=True)
    second = module(xs[:, 2:], initial_carry=carry, flush=False)
    assert_close(jnp.concatenate([first, second], axis=1), expected, TOLERANCE)


@each(MODELS)
def test_init_makes_the_functional_tree(model):
    key, xs = jax.random.key(0), jnp.zeros((B, T, I))
    expected = jax.eval_shape(lambda key: as_sequence(model).init(key, I)[0], key)
    assert jax.eval_shape(linen.Recurrent(model).init, key, xs) == {"params": expected}
    if model in CELLS:
        variables = jax.eval_shape(nn.RNN(linen.Cell(model)).init, key, xs)
        assert variables == {"params": {"cell": expected}}


def test_tensorized_lstm_has_the_published_parameter_names():
    cell = TensorizedLSTM(4, (3, 2), normalization="channel")
    variables = jax.eval_shape(linen.Recurrent(cell).init, jax.random.key(0), jnp.zeros((1, 5, 2)))
    assert jax.tree.map(lambda leaf: leaf.shape, variables["params"]) == {
        "input": {"kernel": (2, 4), "bias": (4,)},
        "cross_layer": {"kernel": (3, 3, 4, 25), "bias": (25,)},
        "norm": {"scale": (3, 2, 4), "bias": (3, 2, 4)},
    }


def test_init_draws_as_the_functional_form_does():
    init = jax.jit(linen.Recurrent(Stacked(LSTM(I, forget_bias=3.0), 2)).init)
    first, second = (init(jax.random.key(i), jnp.zeros((1, T, I)))["params"] for i in (0, 1))
    layers = [params[name] for params in (first, second) for name in params]
    assert len({float(layer["input"]["kernel"][0, 0]) for layer in layers}) == 4
    assert all(jnp.all(layer["recurrent"]["bias"][I : 2 * I] == 3) for layer in layers)


def test_vmap_over_members():
    params, _, xs = problem(TRNN)
    members = {"params": jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)}
    apply = linen.Recurrent(TRNN).apply
    ys = jax.jit(jax.vmap(apply, in_axes=(0, None)))(members, xs)
    for i in range(2):
        member = jax.tree.map(lambda p: p[i], members)  # noqa: B023
        assert_close(ys[i], apply(member, xs), 1e-5)


@each([LSTM(M, dtype=jnp.bfloat16), GRU(M, dtype=jnp.bfloat16)])
def test_compute_dtype(model):
    params, carry, xs = problem(model)
    expected = functional(model, params, carry, xs)
    settings = {"initial_carry": carry, "return_carry": True}
    for actual in (
        linen.Recurrent(model).apply({"params": params}, xs, **settings),
        nn.RNN(linen.Cell(model)).apply({"params": {"cell": params}}, xs, **settings),
    ):
        assert actual[1].dtype == jnp.bfloat16
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            assert a.dtype == b.dtype
            assert_close(a.astype(jnp.float32), b.astype(jnp.float32), 0.02)


def test_refuses_a_cell_with_delay_inside_flax_rnn():
    with pytest.raises(ValueError, match=DELAY_REFUSED):
        linen.Cell(TLSTM)
    linen.Cell(TensorizedLSTM(M, (1,)))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((B, T), "int32", "input_size is None; accepted with integer inputs is the number of"),
        (
            (B, T),
            "float32",
            r"inputs are float32 \(2, 5\); accepted are float \[B, T, .., I\] and int",
        ),
        ((B, T, I), "int32", r"inputs are int32 \(2, 5, 2\); accepted are float"),
    ],
)
def test_recurrent_refuses_inputs(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        linen.Recurrent(Elman(M)).init(jax.random.key(0), jnp.zeros(shape, dtype))


def test_refuses_other_sizes_than_it_was_initialized_for():
    module = linen.Recurrent(Elman(M))
    variables = module.init(jax.random.key(0), jnp.zeros((B, T, I)))
    with pytest.raises(flax.errors.ScopeParamShapeError, match=r'"input".*\(3, 3\).*\(2, 3\)'):
        module.apply(variables, jnp.zeros((B, T, I + 1)))
    with pytest.raises(ValueError, match=r"lengths has shape \(3,\); accepted is \[B\]"):
        module.apply(variables, jnp.zeros((B, T, I)), seq_lengths=jnp.ones(3, jnp.int32))


def test_cell_refuses_tokens_and_other_than_one_batch_axis():
    cell = linen.Cell(Elman(M))
    carry = cell.initialize_carry(jax.random.key(0), (B, I))
    with pytest.raises(ValueError, match=r"x is int32 \(2,\); accepted is float \[B, I\] \(tokens"):
        cell.init(jax.random.key(0), carry, jnp.zeros((B,), jnp.int32))
    with pytest.raises(ValueError, match=r"input_shape is \(2,\); accepted is \(B, .., I\)"):
        nn.RNN(cell).init(jax.random.key(0), jnp.zeros((T, I)))


def test_model_state_is_a_collection_that_training_updates():
    module, xs = linen.Recurrent(Running()), jnp.ones((B, T, I))
    variables = module.init(jax.random.key(0), xs, train=True)
    assert_close(variables["state"], {"model": {"sum": jnp.zeros(I)}})
    ys, updates = module.apply(variables, xs, train=True, mutable=["state", "intermediates"])
    assert jnp.all(ys == 2)
    assert_close(updates["state"], {"model": {"sum": jnp.full(I, B * T)}})
    assert updates["intermediates"]["aux"][0] == {"cost": 2}
    assert jnp.all(module.apply(variables | {"state": updates["state"]}, xs) == 2 + B * T)
    with pytest.raises(flax.errors.ModifyScopeVariableError, match="state"):
        module.apply(variables, xs, train=True)


def test_models_that_draw_take_their_key_from_the_stream_dropout():
    module, xs = linen.Recurrent(Running()), jnp.ones((B, T, I))
    variables = module.init(jax.random.key(0), xs)
    rngs = {"dropout": jax.random.key(1)}
    ys, _ = module.apply(variables, xs, train=True, rngs=rngs, mutable=["state"])
    assert jnp.all(ys != 2)
    assert jnp.all(module.apply(variables, xs, rngs=rngs) == 2)


def split(x, names):
    return dict(zip(names, jnp.split(x, len(names), axis=-1), strict=True))


def lstm_variables(params):
    kernels = split(params["input"]["kernel"], ["ii", "if", "ig", "io"])
    recurrent = split(params["recurrent"]["kernel"], ["hi", "hf", "hg", "ho"])
    biases = split(params["recurrent"]["bias"], recurrent)
    return {name: {"kernel": kernel} for name, kernel in kernels.items()} | {
        name: {"kernel": recurrent[name], "bias": biases[name]} for name in recurrent
    }


def gru_variables(params):
    kernels = split(params["input"]["kernel"], ["ir", "iz", "in"])
    biases = split(params["input"]["bias"], kernels)
    recurrent = split(params["recurrent"]["kernel"], ["hr", "hz", "hn"])
    variables = {name: {"kernel": kernels[name], "bias": biases[name]} for name in kernels}
    variables |= {name: {"kernel": kernel} for name, kernel in recurrent.items()}
    variables["hn"]["bias"] = params["recurrent"]["bias"]
    return variables


def simple_variables(params):
    bias = params["recurrent"]["bias"]
    return {
        "i": {"kernel": params["input"]["kernel"], "bias": bias},
        "h": {"kernel": params["recurrent"]["kernel"]},
    }


@pytest.mark.parametrize(
    ("model", "peer", "convert"),
    [
        (LSTM(M), nn.LSTMCell(M), lstm_variables),
        (LSTM(M), nn.OptimizedLSTMCell(M), lstm_variables),
        (GRU(M), nn.GRUCell(M), gru_variables),
        (Elman(M), nn.SimpleCell(M), simple_variables),
    ],
    ids=["LSTM", "OptimizedLSTM", "GRU", "Simple"],
)
def test_equals_flax_own_cell_with_copied_weights(model, peer, convert):
    params, _, xs = problem(model)
    expected = nn.RNN(peer).apply({"params": {"cell": convert(params)}}, xs)
    assert_close(linen.Recurrent(model).apply({"params": params}, xs), expected, 1e-5)
    ours = nn.RNN(linen.Cell(model)).apply({"params": {"cell": params}}, xs)
    assert_close(ours, expected, 1e-5)
