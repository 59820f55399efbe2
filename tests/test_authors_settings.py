"""Where models and presets start, and what presets say, as the models' authors have it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import zoo
from tlstm_jax.cells.unitary import FullCapacityURNN, UnitaryRNN
from tlstm_jax.models.batch_norm_lstm import BatchNormLSTM
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.zoo.presets import PRESETS


def test_the_identity_of_batch_normalization_is_of_g_alone():
    M = 5
    kernel = BatchNormLSTM(M, identity=True).init(jax.random.key(0), 3)[0]["recurrent"]["kernel"]
    usual = BatchNormLSTM(M).init(jax.random.key(0), 3)[0]["recurrent"]["kernel"]
    for n, gate in enumerate("ifgo"):
        block = slice(n * M, (n + 1) * M)
        expected = np.eye(M) if gate == "g" else usual[:, block]
        np.testing.assert_array_equal(kernel[:, block], expected)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [UnitaryRNN, FullCapacityURNN])
@pytest.mark.parametrize("units", [2, 50, 512])
def test_a_unitary_networks_first_state_is_uniform_with_a_norm_of_one_on_average(cell, units):
    # U(-s, s) has variance s^2 / 3; of 2n real numbers, s = sqrt(3 / 2n) gives E|h|^2 = 1.
    model = LearnedCarry(cell(2 * units))
    assert model.carry_scale == pytest.approx((3 / (2 * units)) ** 0.5)
    carry = model.init(jax.random.key(0), 1)[0]["carry"]["hidden"]
    assert jnp.max(jnp.abs(carry)) <= model.carry_scale
    assert units < 50 or abs(float(jnp.sum(carry**2)) - 1) < 0.25


@pytest.mark.parametrize("name", ["mnist/paper-urnn", "pmnist/paper-full-urnn"])
def test_presets_of_unitary_networks_start_as_wide_as_their_width_asks_for(name):
    preset = PRESETS[name]
    model = zoo.make_model(preset.model, **{"features": preset.settings["features"]})
    assert "carry_scale" not in preset.settings
    assert model.carry_scale == pytest.approx((3 / 1024) ** 0.5)


def test_a_cells_carry_starts_at_zero_where_the_cell_says_nothing():
    assert zoo.make_model("lstm", learned_carry=True).carry_scale == 0
    assert zoo.make_model("urnn", carry_scale=0.5).carry_scale == 0.5


@pytest.mark.parametrize("around", ["zoneout_hidden", "recurrent_dropout"])
def test_what_is_put_around_a_unitary_network_does_not_hide_its_start(around):
    model = zoo.make_model("urnn", features=12, **{around: 0.1})
    assert model.carry_scale == pytest.approx(0.5)


def test_the_hm_lstms_slope_grows_by_a_twenty_fifth_an_epoch():
    settings = PRESETS["char_lm/paper-hm-lstm"].settings
    epoch = 90_000_000 / (settings["batch_size"] * settings["segment_length"])
    model = zoo.make_model("hm_lstm", features=2, anneal_steps=settings["anneal_steps"])
    slopes = [float(model.slope({"steps": jnp.float32(n * epoch)})) for n in (0, 1, 50, 100, 101)]
    assert slopes == pytest.approx([1.0, 1.04, 3.0, 5.0, 5.0])


def test_the_hm_lstms_figure_is_without_layer_normalization():
    assert PRESETS["char_lm/paper-hm-lstm"].published.startswith("1.34 bits per character")


@pytest.mark.parametrize("task", ["mnist", "pmnist"])
def test_the_dilated_grus_reset_is_before_the_product(task):
    preset = PRESETS[f"{task}/paper-dilated-gru"]
    names = ("features", "cell", "num_layers", "reset")
    model = zoo.make_model("dilated", **{name: preset.settings[name] for name in names})
    assert "ResetBeforeGRU" in repr(model) and " GRU(" not in repr(model)
    assert "ResetBeforeGRU" not in repr(zoo.make_model("dilated"))


@pytest.mark.parametrize("size", ["27m", "47m"])
def test_the_fast_slow_presets_normalize_each_gates_sum(size):
    assert PRESETS[f"char_lm/paper-fs-lstm-{size}"].settings["normalization"] == "gates"
