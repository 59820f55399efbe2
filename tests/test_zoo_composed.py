"""The zoo's cells made of others: HM-LSTM, FS-LSTM, Grid LSTM, dilation, noise at rate 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    B,
    M,
    T,
    assert_close,
    cell_params,
    jit,
    on_device,
    random_carry,
    run,
    step,
    tokens,
    vectors,
)

from tlstm_jax import GRU, LSTM, Elman
from tlstm_jax.cells import hm_lstm
from tlstm_jax.cells.fast_slow_lstm import FastSlowCarry, FastSlowLSTM, FastSlowNoise
from tlstm_jax.cells.gated_feedback import GatedFeedback
from tlstm_jax.cells.grid_lstm import GridCarry, GridLSTM
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.layer_norm_lstm import LayerNormLSTM
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.dilated import Dilated
from tlstm_jax.models.sequence import CellModel

LARGE = 900.0  # sigm of it is 1, and of its negative 0, in float64


def outputs(model, params, xs, **options):
    """(carry, outputs) of a sequence model."""
    carry = model.init_carry(xs.shape[1], jnp.float64)
    apply = jit(lambda params, xs: model.apply(params, (), carry, xs, **options)[:2])
    return apply(on_device(params), jnp.asarray(xs))


def hm_params(*boundaries, layers=3):
    """Random ones, but the layers' boundaries are always as told (None: as they come)."""
    params = cell_params(HMLSTM(M, num_layers=layers))
    for n, boundary in enumerate(boundaries):
        if boundary is not None:
            params[f"layer_{n}"]["recurrent"]["bias"][-1] = LARGE if boundary else -LARGE
    return params


def as_lstm(layer, *inputs):
    """An HM layer's LSTM, with these parts side by side as input, without the boundary's column."""
    kernels = [layer[name]["kernel"][:, : 4 * M] for name in inputs]
    recurrent = {name: leaf[..., : 4 * M] for name, leaf in layer["recurrent"].items()}
    return {"input": {"kernel": np.concatenate(kernels)}, "recurrent": recurrent}


def hm_carry(boundary, layers=3):
    carry = random_carry(HMLSTM(M, num_layers=layers))
    return carry._replace(boundary=jnp.full((B, layers - 1), boundary, jnp.float64))


def test_hm_lstm_that_always_updates_is_a_stacked_lstm(x64):
    # Boundaries below are 1, and its own of the step before is put back to 0.
    params, carry = hm_params(1, 1), HMLSTM(M, num_layers=3).init_carry(B, jnp.float64)
    hidden, memory, ys, expected = [], [], [], vectors()
    for x in expected:
        carry, y = step(HMLSTM(M, num_layers=3), params, carry, x)
        assert (carry.boundary == 1).all()
        carry = carry._replace(boundary=jnp.zeros((B, 2)))
        hidden.append(carry.hidden)
        memory.append(carry.memory)
        ys.append(y)
    gate, embed = (params["output"][name]["kernel"] for name in ("gate", "embed"))
    gates = 1 / (1 + np.exp(-np.concatenate(np.moveaxis(hidden, 2, 0), axis=-1) @ gate))
    total = 0.0
    for n in range(3):
        lstm = as_lstm(params[f"layer_{n}"], "bottom_up")
        carry, expected = run(LSTM(M), lstm, expected)
        assert_close(np.stack(hidden)[:, :, n], expected)
        assert_close(memory[-1][:, n], carry.memory)
        total = total + gates[..., n, None] * (expected @ embed[n])
    assert_close(np.stack(ys), np.maximum(total, 0))


@pytest.mark.parametrize("below", [0, 1])
@pytest.mark.parametrize("own", [0, 1])
def test_hm_lstm_updates_copies_or_flushes(own, below, x64):
    params, carry = hm_params(below, None), hm_carry(own)
    new, _ = step(HMLSTM(M, num_layers=3), params, carry, vectors()[0])
    old = LSTMCarry(carry.hidden[:, 1], carry.memory[:, 1])
    h_below, h_above = new.hidden[:, 0], carry.hidden[:, 2]
    if own:  # what it remembers is gone; it hears from above
        old = old._replace(memory=jnp.zeros_like(old.memory))
        lstm = as_lstm(params["layer_1"], "bottom_up", "top_down")
        x = jnp.concatenate([below * h_below, h_above], axis=-1)
        expected, _ = step(LSTM(M), lstm, old, x)
    elif below:
        expected, _ = step(LSTM(M), as_lstm(params["layer_1"], "bottom_up"), old, h_below)
    else:
        expected = old
    assert_close(LSTMCarry(new.hidden[:, 1], new.memory[:, 1]), expected, 1e-13)


def test_hm_lstm_whose_layers_end_nothing_copies_those_above_the_lowest(x64):
    params, start = hm_params(0, 0), hm_carry(0.0)
    carry, _ = run(HMLSTM(M, num_layers=3), params, vectors(), start)
    np.testing.assert_array_equal(carry.hidden[:, 1:], start.hidden[:, 1:])
    np.testing.assert_array_equal(carry.memory[:, 1:], start.memory[:, 1:])
    lowest = LSTMCarry(start.hidden[:, 0], start.memory[:, 0])
    expected, _ = run(LSTM(M), as_lstm(params["layer_0"], "bottom_up"), vectors(), lowest)
    assert_close(LSTMCarry(carry.hidden[:, 0], carry.memory[:, 0]), expected)


@pytest.mark.parametrize("slope", [1.0, 5.0])
def test_a_boundary_is_a_step_with_the_gradient_of_the_hard_sigmoid(slope, x64):
    a = jnp.array([-1.5, -0.9, -0.1, 0.1, 0.9, 1.5]) / slope
    value, gradient = jax.vmap(jax.value_and_grad(hm_lstm._boundary), (0, None))(a, slope)
    np.testing.assert_array_equal(value, [0, 0, 0, 1, 1, 1])
    assert_close(gradient, slope / 2 * np.array([0, 1, 1, 1, 1, 0]))


def test_the_slope_reaches_the_boundary_from_the_setting_and_from_the_parameters(x64):
    params, carry = on_device(cell_params(HMLSTM(M, num_layers=2))), hm_carry(1.0, layers=2)
    x = jnp.asarray(vectors()[0])

    def gradient(setting, **entries):
        """Of the upper layer's memory by the lower one's bias, its boundary's part."""

        def total(params):
            cell = HMLSTM(M, num_layers=2, slope=setting)
            return jnp.sum(cell.step(params | entries, carry, x)[0].memory[:, 1])

        return jit(jax.grad(total))(params)["layer_0"]["recurrent"]["bias"][-1]

    assert gradient(0.1) != 0
    assert_close(gradient(0.2), 2 * gradient(0.1))  # small enough for no saturation
    assert_close(gradient(0.1, slope=jnp.float64(0.2)), gradient(0.2))


@pytest.mark.parametrize("inputs", [vectors, tokens])
@pytest.mark.parametrize("mode", ["plain", "mean", "masks"])
def test_fast_slow_lstm_is_layer_normalized_lstms_wired_up(mode, inputs, x64):
    rates = (0.0, 0.0) if mode == "plain" else (0.05, 0.3)
    cell = FastSlowLSTM(
        M, slow_features=4, num_fast=3, zoneout_hidden=rates[0], zoneout_memory=rates[1]
    )
    params, x, carry = cell_params(cell), inputs()[0], random_carry(cell)
    rng, noise = np.random.default_rng(0), None
    if mode == "masks":
        drawn = [rng.random(shape) < 0.5 for shape in [(B, 3, M)] * 2 + [(B, 4)] * 2]
        noise = FastSlowNoise(LSTMCarry(*drawn[:2]), LSTMCarry(*drawn[2:]))

    def zoned(old, new, kept):
        if mode == "masks":
            return LSTMCarry(*(np.where(k, o, n) for k, o, n in zip(kept, old, new, strict=True)))
        pairs = zip(rates, old, new, strict=True)
        return LSTMCarry(*(rate * o + (1 - rate) * n for rate, o, n in pairs))

    def masks(n):
        return noise and LSTMCarry(*(kept[:, n] for kept in noise.fast))

    silent = {
        "input": {"kernel": np.zeros((1, 4 * M))},
        "input_norm": params["fast_0"]["input_norm"],
    }
    silent["input_norm"] = silent["input_norm"] | {"bias": np.zeros(4 * M)}
    fast = carry.fast
    fast = zoned(fast, step(LayerNormLSTM(M), params["fast_0"], fast, x)[0], masks(0))
    slow = step(LayerNormLSTM(4), params["slow"], carry.slow, fast.hidden)[0]
    slow = zoned(carry.slow, slow, noise and noise.slow)
    fast = zoned(fast, step(LayerNormLSTM(M), params["fast_1"], fast, slow.hidden)[0], masks(1))
    last = params["fast_2"] | silent
    fast = zoned(fast, step(LayerNormLSTM(M), last, fast, np.zeros((B, 1)))[0], masks(2))
    noisy = jit(lambda params, x: cell.step(params, carry, x, on_device(noise)))
    result = noisy(on_device(params), jnp.asarray(x))
    assert_close(result, (FastSlowCarry(fast, slow), fast.hidden))


@pytest.mark.parametrize("tied", [False, True])
def test_grid_lstm_is_lstms_wired_up(tied, x64):
    cell = GridLSTM(M, num_layers=3, tied=tied)
    params, carry, x = cell_params(cell), random_carry(cell), vectors()[0]

    def block(of, h_depth, h_time, m):
        kernel = of["kernel"]
        lstm = {
            "input": {"kernel": kernel[:M]},
            "recurrent": {"kernel": kernel[M:], "bias": of["bias"]},
        }
        return step(LSTM(M), lstm, LSTMCarry(h_time, m), h_depth)[0]

    h, m = np.split(x @ params["input"]["kernel"] + params["input"]["bias"], 2, axis=-1)
    states = []
    for n in range(3):
        layer = params["layer" if tied else f"layer_{n}"]
        time = block(layer["time"], h, carry.hidden[:, n], carry.memory[:, n])
        h, m = block(layer["depth"], h, time.hidden, m)
        states.append(time)
    expected = GridCarry(*(np.stack(leaves, axis=1) for leaves in zip(*states, strict=True)))
    assert_close(step(cell, params, carry, x), (expected, h))


def test_tied_grid_lstm_is_the_untied_one_with_equal_weights(x64):
    params = cell_params(GridLSTM(M, num_layers=3, tied=True))
    copies = {f"layer_{n}": params["layer"] for n in range(3)} | {"input": params["input"]}
    expected = run(GridLSTM(M, num_layers=3), copies, tokens())
    assert_close(run(GridLSTM(M, num_layers=3, tied=True), params, tokens()), expected)


def feedback_params(cell, num_layers, *, bias, alone):
    """Random ones; all gates have this bias, and layers hear themselves only, if so told."""
    params = cell_params(GatedFeedback(M, cell=cell, num_layers=num_layers))
    for n, layer in enumerate(params.values()):
        layer["gate"]["bias"][:] = bias
        if alone:
            U = layer["feedback"]["kernel"].reshape(num_layers, M, M)
            U[np.arange(num_layers) != n] = 0.0
    return params


def as_layer(cell, layer, n):
    """The parameters of a plain cell with a layer's matrices, its U^nn for the candidate."""
    U = layer["feedback"]["kernel"][n * M : (n + 1) * M]
    W, b = layer["input"]["kernel"], layer["input"]["bias"]
    if cell == "elman":
        return {"input": {"kernel": W}, "recurrent": {"kernel": U, "bias": b}}
    gates = np.split(layer["recurrent"]["kernel"], 3 if cell == "lstm" else 2, axis=-1)
    if cell == "lstm":
        U = np.concatenate([*gates[:2], U, gates[2]], axis=-1)
        return {"input": {"kernel": W}, "recurrent": {"kernel": U, "bias": b}}
    recurrent = {"kernel": np.concatenate([*gates, U], axis=-1), "bias": np.zeros(M)}
    return {"input": {"kernel": W, "bias": b}, "recurrent": recurrent}


PLAIN = {"elman": Elman(M), "lstm": LSTM(M), "gru": GRU(M)}


@pytest.mark.parametrize("inputs", [vectors, tokens])
@pytest.mark.parametrize("cell", PLAIN)
def test_gated_feedback_whose_gates_are_1_and_whose_layers_hear_themselves_is_a_stack(
    cell, inputs, x64
):
    params = feedback_params(cell, 3, bias=LARGE, alone=True)
    carry, ys = run(GatedFeedback(M, cell=cell, num_layers=3), params, inputs())
    expected = inputs()
    for n, layer in enumerate(params.values()):
        of_layer, expected = run(PLAIN[cell], as_layer(cell, layer, n), expected)
        assert_close([part[:, n] for part in carry], list(of_layer))
    assert_close(ys, expected)


@pytest.mark.parametrize("cell", PLAIN)
def test_gated_feedback_whose_gates_are_0_hears_no_candidate_of_the_past(cell, x64):
    params = feedback_params(cell, 2, bias=-LARGE, alone=False)
    model = GatedFeedback(M, cell=cell, num_layers=2)
    start, below = random_carry(model), vectors()[0]
    carry, y = step(model, params, start, below)
    for n, layer in enumerate(params.values()):
        plain = as_layer(cell, layer, n)
        plain["recurrent"]["kernel"][:, slice(2 * M, 3 * M) if cell != "elman" else slice(M)] = 0.0
        own = type(start)(*(part[:, n] for part in start))
        of_layer, below = step(PLAIN[cell], plain, own, below)
        assert_close([part[:, n] for part in carry], list(of_layer))
    assert_close(y, below)


@pytest.mark.parametrize("cell", PLAIN)
def test_a_layer_of_gated_feedback_hears_those_above_it_one_step_later(cell, x64):
    model = GatedFeedback(M, cell=cell, num_layers=2)
    params = cell_params(model)
    start = model.init_carry(B, jnp.float64)
    above = start._replace(hidden=start.hidden.at[:, 1].set(0.5))
    with_, without = (
        step(model, params, carry, vectors()[0])[0].hidden for carry in (above, start)
    )
    assert (with_[:, 0] != without[:, 0]).all()


@pytest.mark.parametrize("dilation", [1, 3, T + 1])
@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_dilated_is_a_run_of_the_cell_over_each_residue_class(dilation, inputs, x64):
    params, xs = cell_params(LSTM(M)), inputs(steps=7)
    ys = outputs(Dilated(LSTM(M), dilation), params, xs)[1]
    for first in range(dilation):
        assert_close(ys[first::dilation], run(LSTM(M), params, xs[first::dilation])[1])


@pytest.mark.parametrize("cell", [LSTM(M), GRU(M), Elman(M)], ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("wrap", [Zoneout, lambda cell: RecurrentDropout(cell, rate=0.0)], ids="zd")
def test_with_a_rate_of_zero_noise_changes_nothing(wrap, cell, x64):
    params, wrapped = cell_params(cell), wrap(cell)
    expected = run(cell, params, vectors())
    assert_close(run(wrapped, params, vectors()), expected, 1e-14)
    options = {"train": True, "key": jax.random.key(0)}
    assert_close(outputs(CellModel(wrapped), params, vectors(), **options), expected, 1e-14)
