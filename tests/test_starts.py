"""The starts that are compared: each differs from the library's in what it says, and in no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import LSTM, TensorizedLSTM, unroll
from tlstm_jax.scripts.experiments import flow
from tlstm_jax.scripts.experiments.started import StartedLSTM, StartedTensorizedLSTM

KEY = jax.random.key(0)
M = 24


def started(*shape, **settings):
    return StartedTensorizedLSTM(M, shape or (3,), normalization="channel", **settings)


def gate(params, n):
    return np.asarray(params["cross_layer"]["bias"][n * M : (n + 1) * M])


def test_without_settings_it_is_the_library():
    for cell, own in ((started(), TensorizedLSTM), (StartedLSTM(M), LSTM)):
        settings = (
            {"tensor_shape": (3,), "normalization": "channel", "forget_spread": 0.0}
            if own is not LSTM
            else {}
        )
        params, expected = cell.init(KEY, 2), own(M, **settings).init(KEY, 2)
        jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_each_setting_changes_its_own_parameters():
    plain = started().init(KEY, 2)
    for settings, where in (
        ({"forget_spread": 2.0}, ("cross_layer", "bias")),
        ({"chrono": 50.0}, ("cross_layer", "bias")),
        ({"own_tap_bias": 2.0}, ("cross_layer", "bias")),
        ({"norm_scale": 0.3}, ("norm", "scale")),
        ({"kernel": "orthogonal"}, ("cross_layer", "kernel")),
        ({"kernel": "identity"}, ("cross_layer", "kernel")),
        ({"kernel": "inside"}, ("cross_layer", "kernel")),
    ):
        params = started(**settings).init(KEY, 2)
        changed = {
            tuple(k.key for k in path)
            for (path, a), b in zip(
                jax.tree.leaves_with_path(params), jax.tree.leaves(plain), strict=True
            )
            if not np.array_equal(a, b)
        }
        assert changed == {where}, settings


def test_biases():
    slow = gate(started(chrono=50.0).init(KEY, 2), 2)
    np.testing.assert_array_equal(gate(started(chrono=50.0).init(KEY, 2), 1), -slow)
    assert 0 <= slow.min() < slow.max() <= np.log(49) and len(set(slow)) == M
    spread = gate(started(forget_spread=2.0, forget_bias=1.0).init(KEY, 2), 2)
    assert -1 <= spread.min() < 0 and 2 < spread.max() <= 3
    lstm = StartedLSTM(M, forget_spread=2.0).init(KEY, 2)["recurrent"]["bias"][M : 2 * M]
    assert -1 <= lstm.min() < 0 and 2 < lstm.max() <= 3
    own = started(3, 3, own_tap_bias=2.0).init(KEY, 2)["cross_layer"]["bias"][4 * M :]
    assert own.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0]
    lstm = StartedLSTM(M, chrono=50.0).init(KEY, 2)["recurrent"]["bias"]
    np.testing.assert_array_equal(lstm[:M], -lstm[M : 2 * M])


def test_kernels():
    drawn = started().init(KEY, 2)["cross_layer"]["kernel"]
    W = started(kernel="orthogonal").init(KEY, 2)["cross_layer"]["kernel"]
    for tap in W:
        for block in jnp.split(tap[:, : 4 * M], 4, axis=1):
            np.testing.assert_allclose(block.T @ block, np.eye(M) / 3, atol=1e-5)
    W = started(kernel="identity").init(KEY, 2)["cross_layer"]["kernel"]
    np.testing.assert_array_equal(W[1, :, :M], np.eye(M))
    W = started(kernel="inside").init(KEY, 2)["cross_layer"]["kernel"]
    # Location 0 reads x and two locations, 1 all three, 2 two.
    np.testing.assert_allclose(W, drawn * (3 / (8 / 3)) ** 0.5, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_reading_the_last_wave(shape):
    xs = jax.random.normal(KEY, (4, 2, 2))
    cell, corner = started(*shape, readout="wave"), started(*shape)
    params = cell.init(KEY, 2)
    _, ys = unroll(cell, params, cell.init_carry(2), xs)
    _, at_corner, hidden = unroll(
        corner, params, corner.init_carry(2), xs, observe=lambda carry: carry.hidden
    )
    wave = hidden[corner.delay :]
    # Of (2, 3): the wave u = 2 is column 2, both rows.
    expected = at_corner if len(shape) == 1 else wave[:, :, :, 2].mean(axis=2)
    np.testing.assert_allclose(ys, expected, atol=1e-6)


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="kernel is 'zero'; accepted are normal, orthogonal"):
        started(kernel="zero")
    with pytest.raises(ValueError, match="readout is 'all'; accepted are corner, wave"):
        started(readout="all")


@pytest.mark.slow
def test_gradients_of_an_lstm_vanish_sooner_with_less_memory():
    long, short = (
        flow.norms(LSTM(M, forget_bias=bias), steps=30, batch=2, seeds=2) for bias in (4.0, -4.0)
    )
    assert long.shape == (29, 1)
    assert long[-1, 0] > 0.01 and long[0, 0] > 1e3 * short[0, 0]
    figure = flow.plot({"LSTM": LSTM(4), "tLSTM": started(2)}, steps=6, batch=2, seeds=1)
    by_cell, by_location = figure.axes
    assert len(by_cell.lines) == 2 and len(by_location.lines) == 2
    assert by_location.get_title() == "tLSTM"
