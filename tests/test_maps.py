"""Inputs of any rank: models over maps, and networks that read maps or write them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, cell_params, jit, on_device, random_params, vectors
from flax import linen as nn
from flax import nnx

from tlstm_jax import (
    LSTM,
    AdaptiveComputation,
    Bidirectional,
    ConvLSTM,
    LearnedCarry,
    Network,
    Residual,
    Zoneout,
    linen,
    unroll,
    zoo,
)
from tlstm_jax import nnx as tlstm_nnx
from tlstm_jax.cells.maps import convolve
from tlstm_jax.recurrence.unrolling import unroll_reference
from tlstm_jax.tasks.scoring import score
from tlstm_jax.typing import Batch

MAP, V = (3, 2), 5
CELL = ConvLSTM(M, spatial_shape=MAP)
XS = vectors(size=(*MAP, I))


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("spatial", [(7,), (4, 6), (3, 2, 4)], ids=str)
def test_a_convolution_is_xlas(spatial, kernel_size, dilation, x64):
    rng = np.random.default_rng(0)
    D, taps = len(spatial), (kernel_size,) * len(spatial)
    x, kernel = rng.normal(size=(T, B, *spatial, I)), rng.normal(size=(*taps, I, M))
    reach = dilation * (kernel_size // 2)
    letters = "abc"[:D]
    expected = jax.lax.conv_general_dilated(
        x.reshape(T * B, *spatial, I),
        kernel,
        (1,) * D,
        [(reach, reach)] * D,
        rhs_dilation=(dilation,) * D,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    ).reshape(T, B, *spatial, M)
    ours = jit(functools.partial(convolve, dilation=dilation))
    assert_close(ours(jnp.asarray(x), jnp.asarray(kernel)), expected, 1e-11)


def network_of(model, **settings):
    return Network(model, (*MAP, I), V, **settings)


def applied(network, **options):
    params, state = network.init(jax.random.key(0))
    carry = network.init_carry(B, params=params)
    xs = jnp.asarray(XS, jnp.float32)
    _, logits, *_ = jit(functools.partial(network.apply, **options))(params, state, carry, xs)
    return params, np.asarray(logits)


@pytest.mark.parametrize("map_readout", ["flatten", "mean"])
def test_one_answer_is_read_from_all_locations(map_readout):
    network = network_of(CELL, map_readout=map_readout)
    params, logits = applied(network)
    _, ys = unroll(CELL, params["model"], CELL.init_carry(B), jnp.asarray(XS, jnp.float32))
    read = ys.reshape(T, B, -1) if map_readout == "flatten" else ys.mean(axis=(2, 3))
    kernel = params["readout"]["kernel"]
    assert kernel.shape == ((6 * M, V) if map_readout == "flatten" else (M, V))
    np.testing.assert_allclose(logits, read @ kernel, atol=1e-5)
    _, last = applied(network, last_only=True)
    np.testing.assert_allclose(last, logits[-1:], atol=1e-6)


def test_an_answer_for_every_location():
    params, logits = applied(network_of(CELL, per_location=True))
    _, ys = unroll(CELL, params["model"], CELL.init_carry(B), jnp.asarray(XS, jnp.float32))
    np.testing.assert_allclose(logits, ys @ params["readout"]["kernel"], atol=1e-5)


def test_a_model_of_vectors_reads_maps_as_one_vector_and_writes_them():
    params, logits = applied(network_of(LSTM(M), per_location=True))
    flat = jnp.asarray(XS.reshape(T, B, -1), jnp.float32)
    _, ys = unroll(LSTM(M), params["model"], LSTM(M).init_carry(B), flat)
    expected = (ys @ params["readout"]["kernel"]).reshape(T, B, *MAP, V)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    params, logits = applied(network_of(LSTM(M)))
    assert logits.shape == (T, B, V) and params["readout"]["kernel"].shape == (M, V)


@pytest.mark.parametrize("per_location", [False, True])
@pytest.mark.parametrize("model", [CELL, LSTM(M)], ids=["conv", "lstm"])
def test_step_by_step_the_logits_are_the_same(model, per_location):
    network = network_of(model, per_location=per_location)
    params, logits = applied(network)
    carry = network.init_token_carry(B, params=params)
    for t, x in enumerate(jnp.asarray(XS, jnp.float32)):
        carry, answer = jit(network.token_step)(params, (), carry, x)
        np.testing.assert_allclose(answer, logits[t], atol=1e-5)


def test_each_examples_last_map_is_read_and_the_first_of_what_runs_backwards():
    network = network_of(Bidirectional(CELL, CELL))
    lengths = np.array([T, 2])
    params, last = applied(network, last_only=True, lengths=lengths)
    carry = network.init_carry(B)
    _, ys, *_ = network.sequence.apply(
        params["model"], (), carry, jnp.asarray(XS, jnp.float32), lengths=jnp.asarray(lengths)
    )
    ahead = np.stack([ys[n - 1, b, ..., :M] for b, n in enumerate(lengths)])
    read = np.concatenate([ahead, ys[0, ..., M:]], axis=-1).reshape(B, -1)
    np.testing.assert_allclose(last[0], read @ params["readout"]["kernel"], atol=1e-5)


def test_scores_of_locations_are_those_of_as_many_steps():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(T, B, *MAP, V)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, V, (T, B, *MAP)), jnp.int32)
    mask = jnp.asarray(rng.random((T, B, *MAP)) < 0.7)

    def flat(x):
        return jnp.moveaxis(x, 1, 3).reshape(-1, B, *x.shape[4:])

    ours = score(logits, Batch(None, targets, mask))
    steps = score(flat(logits), Batch(None, flat(targets), flat(mask)))
    for name, pair in ours.items():
        np.testing.assert_allclose(pair, steps[name], rtol=1e-5)


def test_flaxs_own_rnn_runs_a_cell_over_maps():
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), cell_params(CELL))
    xs = jnp.asarray(np.swapaxes(XS, 0, 1), jnp.float32)
    _, expected = unroll(CELL, params, CELL.init_carry(B), jnp.swapaxes(xs, 0, 1))
    expected = jnp.swapaxes(expected, 0, 1)
    rnn = nn.RNN(linen.Cell(CELL))
    np.testing.assert_allclose(rnn.apply({"params": {"cell": params}}, xs), expected, atol=1e-6)
    cell = tlstm_nnx.Cell(CELL, (*MAP, I), rngs=nnx.Rngs(0))
    nnx.update(cell.params, params)
    np.testing.assert_allclose(nnx.RNN(cell)(xs), expected, atol=1e-6)


def test_the_recurrent_kernel_has_orthogonal_columns_for_each_gate():
    kernel = CELL.init(jax.random.key(0), (*MAP, I))["recurrent"]["kernel"]
    for gate in jnp.split(kernel.reshape(9 * M, 4 * M), 4, axis=-1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(M), atol=1e-5)


def test_a_convolutional_lstm_without_axes_is_an_lstm(x64):
    cell = ConvLSTM(M)
    params = on_device(cell_params(LSTM(M)))
    assert jax.tree.map(jnp.shape, cell.init(jax.random.key(0), I)) == jax.tree.map(
        jnp.shape, params
    )
    for xs in (vectors(), np.array([[0, 1], [-1, 0]], np.int32)):
        start = LSTM(M).init_carry(B, jnp.float64)
        ours = unroll(cell, params, start, jnp.asarray(xs))
        assert_close(ours, unroll(LSTM(M), params, start, jnp.asarray(xs)))


REFUSED = [
    (
        lambda: run(LSTM(M), XS),
        r"input_shape is \(3, 2, 2\); accepted by LSTM, which reads vectors",
    ),
    (lambda: run(CELL, vectors()), r"input_shape is 2; accepted by ConvLSTM with spatial_shape"),
    (lambda: run(CELL, vectors(size=(2, 3, I))), r"accepted by ConvLSTM .* is \(3, 2, I\)"),
    (
        lambda: run(CELL, np.zeros((T, B), np.int32)),
        r"xs has shape \(5, 2\) and integers; accepted by",
    ),
    (lambda: ConvLSTM(M, spatial_shape=(0,)), r"spatial_shape is \(0,\); accepted are tuples"),
    (lambda: ConvLSTM(M, kernel_size=4), "kernel_size is 4; accepted are odd integers >= 1"),
    (lambda: ConvLSTM(M, dilation=0), "dilation is 0; accepted are integers >= 1"),
    (lambda: Bidirectional(CELL, LSTM(M)), r"the two directions have spatial_shape \(3, 2\) and"),
    (lambda: Residual(CELL).init(jax.random.key(0), M), "a residual connection around"),
    (lambda: Network(LSTM(M), I, V, per_location=True), "per_location is True and input_size 2"),
    (
        lambda: network_of(CELL, map_readout="max"),
        "map_readout is 'max'; accepted are flatten, mean",
    ),
    (
        lambda: zoo.make_model("lstm", map_readout="mean"),
        "map_readout is mean; accepted of a model",
    ),
    (lambda: linen.Cell(CELL).initialize_carry(None, (B, I)), r"input_shape is \(2, 2\); accepted"),
]


def run(cell, xs):
    params = cell.init(jax.random.key(0), (*MAP, I) if cell is CELL else I)
    return unroll(cell, params, cell.init_carry(B), jnp.asarray(xs))


@pytest.mark.parametrize(("what", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused_in_one_line(what, message):
    with pytest.raises(ValueError, match=message) as error:
        what()
    assert "\n" not in str(error.value)


def test_the_zoo_takes_the_sizes_of_maps_from_the_inputs():
    network = zoo.make_network(
        "conv_lstm", input_size=[*MAP, I], output_size=V, tokens=False, features=M, num_layers=2
    )
    assert [layer.cell.spatial_shape for layer in network.model.layers] == [MAP, MAP]
    assert zoo.count_parameters(network) == 9 * 4 * M * (I + 3 * M) + 8 * M + 6 * M * V + V


def test_a_learned_carry_is_a_map_for_each_leaf(x64):
    model = LearnedCarry(CELL)
    params = on_device(model.init(jax.random.key(0), (*MAP, I))[0])
    assert jax.tree.map(jnp.shape, params["carry"]) == {
        "hidden": (*MAP, M),
        "memory": (*MAP, M),
    }
    rng = np.random.default_rng(0)
    learned = {name: jnp.asarray(rng.normal(size=(*MAP, M))) for name in ("hidden", "memory")}
    params |= {"carry": learned}
    xs, reset = jnp.asarray(XS), jnp.zeros((T, B), bool).at[2, 0].set(True)
    carry = model.init_carry(B, jnp.float64, params=params)
    _, ys, *_ = model.apply(params, (), carry, xs, reset=reset)
    begun = type(carry)(**{name: learned[name][None] for name in learned})
    _, expected = unroll(CELL, params["cell"], begun, xs[2:, :1])
    assert_close(ys[2:, :1], expected)


def test_zoneout_draws_for_every_location(x64):
    cell, params = Zoneout(CELL, hidden=0.3, memory=0.2), on_device(cell_params(CELL))
    noise = cell.draw(jax.random.key(1), T, B)
    assert noise[0].hidden.shape == (T, B, *MAP, M)
    inputs = params, cell.init_carry(B, jnp.float64), jnp.asarray(XS)
    assert_close(unroll(cell, *inputs, noise=noise), unroll_reference(cell, *inputs, noise=noise))


def test_pondering_over_a_map_halts_by_the_mean_over_its_locations(x64):
    model = AdaptiveComputation(CELL, max_ponder=2)
    params = random_params(lambda key: model.init(key, (*MAP, I))[0])
    params = on_device(params)
    carry, xs = model.init_carry(B, jnp.float64), jnp.asarray(XS)
    _, ys, _, aux = model.apply(params, (), carry, xs)
    flags = [jnp.concatenate([xs[0], jnp.full((B, *MAP, 1), n)], axis=-1) for n in (1.0, 0.0)]
    first, y_1 = CELL.step(params["cell"], carry, flags[0])
    _, y_2 = CELL.step(params["cell"], first, flags[1])
    halting = params["halting"]
    p = jax.nn.sigmoid(y_1.mean(axis=(1, 2)) @ halting["kernel"] + halting["bias"][None])
    p = p[:, :, None, None]
    assert ((p > 0.01) & (p < 0.99)).all()
    assert_close(ys[0], p * y_1 + (1 - p) * y_2)
    assert aux["ponder"].shape == ()
