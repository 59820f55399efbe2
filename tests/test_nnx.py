"""The NNX modules against the functional form, and against flax's own cells."""

import functools

import jax
import jax.numpy as jnp
import pytest
from cases import B, I, M, T, assert_close, tokens, vectors
from flax import nnx
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

from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.gru import GRU
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.nnx import Cell, Recurrent, arrays


def load(module, params):
    """The module with functional parameters."""
    nnx.update(module.params, params)
    return module


def recurrent(model, params=None, **settings):
    module = Recurrent(model, I, rngs=nnx.Rngs(0), **settings)
    return module if params is None else load(module, params)


def cell(model, params):
    return load(Cell(model, I, rngs=nnx.Rngs(0)), params)


@pytest.mark.slow(but=["LSTM"])
@each(MODELS)
def test_recurrent_equals_the_functional_form(model):
    def run(params, carry, xs, lengths):
        module = recurrent(model, params)
        return module(xs, initial_carry=carry, seq_lengths=lengths, return_carry=True)

    assert_same(answer(model, run), functional_answer(model))


@each(CELLS)
def test_flax_rnn_over_a_cell_equals_the_functional_form(model):
    def run(params, carry, xs, lengths):
        rnn = nnx.RNN(cell(model, params), return_carry=True)
        carry, ys = rnn(xs, initial_carry=carry, seq_lengths=lengths)
        return carry, real_only(ys)

    assert_same(answer(model, run), functional_answer(model))


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_recurrent_starts_from_the_initial_carry_and_may_be_time_major(inputs):
    params, _, xs = problem(TRNN, inputs)
    _, expected = functional(TRNN, params, TRNN.init_carry(B), xs)
    assert_close(recurrent(TRNN, params)(xs), expected, TOLERANCE)
    ys = recurrent(TRNN, params, time_major=True)(jnp.swapaxes(xs, 0, 1), train=True)
    assert_close(jnp.swapaxes(ys, 0, 1), expected, TOLERANCE)


def test_flax_rnn_starts_from_the_initial_carry():
    params, _, xs = problem(LSTM(M))
    _, expected = functional(LSTM(M), params, LSTM(M).init_carry(B), xs)
    assert_close(nnx.RNN(cell(LSTM(M), params))(xs), expected, TOLERANCE)


def test_a_cell_steps_over_tokens():
    params, carry, xs = problem(LSTM(M), tokens)
    expected = LSTM(M).step(params, carry, xs[:, 0])
    assert_close(cell(LSTM(M), params)(carry, xs[:, 0]), expected, TOLERANCE)


def test_segments_of_a_stream_are_one_run():
    params, carry, xs = problem(TRNN)
    _, expected = functional(TRNN, params, carry, xs, flush=False)
    module = recurrent(TRNN, params)
    carry, first = module(xs[:, :2], initial_carry=carry, flush=False, return_carry=True)
    second = module(xs[:, 2:], initial_carry=carry, flush=False)
    assert_close(jnp.concatenate([first, second], axis=1), expected, TOLERANCE)


@each(MODELS)
def test_init_makes_the_functional_tree(model):
    expected = jax.eval_shape(lambda key: as_sequence(model).init(key, I)[0], jax.random.key(0))
    module = nnx.eval_shape(functools.partial(recurrent, model))
    assert nnx.to_pure_dict(nnx.state(module, nnx.Param)) == {"params": expected}
    assert arrays(module.params) == expected
    if model in CELLS:
        rnn = nnx.eval_shape(lambda: nnx.RNN(Cell(model, I, rngs=nnx.Rngs(0)), rngs=False))
        assert nnx.to_pure_dict(nnx.state(rnn, nnx.Param)) == {"cell": {"params": expected}}


def test_init_draws_as_the_functional_form_does():
    expected = LSTM(M).init(nnx.Rngs(7).params(), I)
    for kind in (Cell, Recurrent):
        module = kind(LSTM(M), I, rngs=nnx.Rngs(7))
        assert_close(arrays(module.params), expected, TOLERANCE)


def test_nnx_transforms():
    params, _, xs = problem(TRNN)
    module = recurrent(TRNN, params)
    expected = module(xs)
    assert_close(nnx.jit(lambda module, xs: module(xs))(module, xs), expected, TOLERANCE)

    graph, state = nnx.split(module)
    assert_close(nnx.merge(graph, state)(xs), expected, TOLERANCE)

    def cost(module):
        return jnp.sum(module(xs) ** 2)

    gradient = nnx.jit(nnx.grad(cost))(module)
    pure = jax.jit(jax.grad(lambda params: cost(recurrent(TRNN, params))))(params)
    assert_close(nnx.to_pure_dict(gradient), {"params": pure}, TOLERANCE)


def test_vmap_over_members():
    params, _, xs = problem(TRNN)
    module = recurrent(TRNN, params)
    expected = [module(xs)]
    nnx.update(module.params, jax.tree.map(lambda p: 2 * p, params))
    expected.append(module(xs))
    nnx.update(module.params, jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params))
    ys = nnx.jit(nnx.vmap(lambda module, xs: module(xs), in_axes=(0, None)))(module, xs)
    assert_close(ys, jnp.stack(expected), 1e-5)


@each([LSTM(M, dtype=jnp.bfloat16), GRU(M, dtype=jnp.bfloat16)])
def test_compute_dtype(model):
    params, carry, xs = problem(model)
    expected = functional(model, params, carry, xs)
    for module in (recurrent(model, params), nnx.RNN(cell(model, params))):
        actual = module(xs, initial_carry=carry, return_carry=True)
        assert actual[1].dtype == jnp.bfloat16
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            assert a.dtype == b.dtype
            assert_close(a.astype(jnp.float32), b.astype(jnp.float32), 0.02)


def test_refuses_a_cell_with_delay_inside_flax_rnn():
    with pytest.raises(ValueError, match=DELAY_REFUSED):
        Cell(TLSTM, I, rngs=nnx.Rngs(0))
    nnx.eval_shape(lambda: Cell(TensorizedLSTM(M, (1,)), I, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        (
            (B, T),
            "float32",
            r"inputs are float32 \(2, 5\); accepted are float \[B, T, .., I\] and int",
        ),
        ((B, T, I), "int32", r"inputs are int32 \(2, 5, 2\); accepted are float"),
        (
            (B, T, I + 1),
            "float32",
            r"params.*kernel.* has shape \(2, 3\); accepted by Elman with 3 inputs",
        ),
    ],
)
def test_recurrent_refuses_inputs(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        recurrent(Elman(M))(jnp.zeros(shape, dtype))


def test_cell_refuses_other_than_one_batch_axis():
    params, _, _ = problem(Elman(M))
    with pytest.raises(ValueError, match=r"input_shape is \(2,\); accepted is \(B, .., I\)"):
        nnx.RNN(cell(Elman(M), params))(jnp.zeros((T, I)))


@pytest.mark.skipif(
    not hasattr(nnx, "capture"), reason="flax is older than this test's way to read"
)
def test_training_updates_the_model_state():
    module, xs = recurrent(Running()), jnp.ones((B, T, I))
    assert jnp.all(module(xs) == 2)

    @nnx.jit
    @nnx.capture(nnx.Intermediate)
    def train(module, rngs):
        return module(xs, train=True, rngs=rngs)

    ys, sown = train(module, None)
    assert jnp.all(ys == 2)
    assert nnx.to_pure_dict(sown) == {"aux": ({"cost": 2},)}
    statistics = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
    assert_close(statistics, {"state": {"sum": jnp.full(I, B * T)}})
    assert jnp.all(module(xs) == 2 + B * T)
    ys, _ = train(module, nnx.Rngs(dropout=1))
    assert jnp.all(ys != 2 + B * T)


def split(x, names):
    return dict(zip(names, jnp.split(x, len(names), axis=-1), strict=True))


def lstm_params(params):
    kernels = split(params["input"]["kernel"], ["ii", "if_", "ig", "io"])
    recurrent = split(params["recurrent"]["kernel"], ["hi", "hf", "hg", "ho"])
    biases = split(params["recurrent"]["bias"], recurrent)
    return {name: {"kernel": kernel} for name, kernel in kernels.items()} | {
        name: {"kernel": recurrent[name], "bias": biases[name]} for name in recurrent
    }


def optimized_lstm_params(params):
    return {"dense_i": params["input"], "dense_h": params["recurrent"]}


def gru_params(params):
    return {"dense_i": params["input"], "dense_h": {"kernel": params["recurrent"]["kernel"]}}


def simple_params(params):
    bias = params["recurrent"]["bias"]
    return {
        "dense_i": params["input"] | {"bias": bias},
        "dense_h": {"kernel": params["recurrent"]["kernel"]},
    }


@pytest.mark.parametrize(
    ("model", "peer", "convert"),
    [
        (LSTM(M), nnx.LSTMCell, lstm_params),
        (LSTM(M), nnx.OptimizedLSTMCell, optimized_lstm_params),
        (GRU(M), nnx.GRUCell, gru_params),
        (Elman(M), nnx.SimpleCell, simple_params),
    ],
    ids=["LSTM", "OptimizedLSTM", "GRU", "Simple"],
)
def test_equals_flax_own_cell_with_copied_weights(model, peer, convert):
    params, _, xs = problem(model)
    if peer is nnx.GRUCell:  # it has no bias inside the reset
        params["recurrent"]["bias"] = jnp.zeros(M)
    other, weights = peer(I, M, rngs=nnx.Rngs(0)), convert(params)
    own = nnx.to_pure_dict(nnx.state(other, nnx.Param))
    assert jax.tree.structure(weights) == jax.tree.structure(own)
    nnx.update(other, weights)
    expected = nnx.RNN(other)(xs)
    assert_close(recurrent(model, params)(xs), expected, 1e-5)
    assert_close(nnx.RNN(cell(model, params))(xs), expected, 1e-5)
