"""What a network predicts from its own predictions, and the pictures of it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import GRU, LSTM, Bidirectional, ConvLSTM, Network, TensorizedLSTM, generate
from tlstm_jax.generation import rollout
from tlstm_jax.image_pictures import plot_rollout, plot_sheets

NETWORKS = {
    "vectors": Network(LSTM(5), 3, 3),
    "maps": Network(ConvLSTM(4, spatial_shape=(3, 4)), (3, 4, 2), 2, per_location=True),
    "maps-as-vectors": Network(GRU(5), (3, 4, 2), 2, per_location=True),
    "delay": Network(
        TensorizedLSTM(4, (3,), normalization="channel"), (4, 1), 1, per_location=True
    ),
}


def start(network, T=4, B=2):
    size = network.input_size if isinstance(network.input_size, tuple) else (network.input_size,)
    params, state = network.init(jax.random.key(1))
    params = jax.tree.map(lambda leaf: 3 * leaf, params)  # so that what is fed back matters
    return params, state, jax.random.uniform(jax.random.key(2), (T, B, *size))


@pytest.mark.slow
@pytest.mark.parametrize("feed", [jax.nn.sigmoid, jnp.tanh], ids=["sigmoid", "tanh"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rollout_is_runs_over_the_whole_with_predictions_in_place_of_inputs(name, feed):
    network = NETWORKS[name]
    params, state, xs = start(network)
    found = rollout(network, params, state, xs, 5, feed=feed)
    for n in range(5):
        logits = network.apply(params, state, network.init_carry(2), xs)[1]
        np.testing.assert_allclose(found[n], logits[-1], atol=2e-4)
        xs = jnp.concatenate([xs, feed(logits[-1:])])
    assert found.shape == (5, *xs.shape[1:])


MAPS = NETWORKS["maps"]
REFUSED = [
    (Network(Bidirectional(LSTM(5), LSTM(5)), 3, 3), {}, "Bidirectional is not causal"),
    (Network(LSTM(5), 3, 4), {}, "the network reads (3,) and writes (4,); accepted is one that"),
    (Network(LSTM(5), 3, 3, tokens=True), {}, "the network reads tokens and writes (3,)"),
    (Network(LSTM(5), (4, 1), 4), {}, "the network reads (4, 1) and writes (4,); accepted"),
    (MAPS, {"num_steps": 0}, "num_steps is 0; accepted are integers >= 1"),
    (MAPS, {"xs": jnp.zeros((0, 2, 3, 4, 2))}, "xs has shape (0, 2, 3, 4, 2); accepted is [T, B, "),
    (MAPS, {"xs": jnp.zeros((3, 2, 4, 3, 2))}, "accepted is [T, B, 3, 4, 2] with T >= 1"),
]


@pytest.mark.parametrize(("network", "changed", "text"), REFUSED, ids=[r[2] for r in REFUSED])
def test_what_cannot_be_rolled_out_is_refused(network, changed, text):
    params, state, xs = start(network)
    with pytest.raises(ValueError, match=re.escape(text)):
        rollout(network, params, state, **{"xs": xs, "num_steps": 2} | changed)


def test_generation_starts_from_the_zero_input():
    network = Network(LSTM(8), 2, 2, tokens=True)
    params, state = network.init(jax.random.key(0))
    params["readout"]["bias"] = jnp.array([0.0, 1.0])
    none = jnp.full((1, 4000), -1, jnp.int32)
    drawn = generate(network, params, state, none, 3, key=jax.random.key(1))
    assert drawn.shape == (3, 4000) and set(np.unique(drawn)) == {0, 1}
    logits = network.apply(params, state, network.init_carry(1), none[:, :1])[1][0, 0]
    expected = float(jax.nn.softmax(logits)[1])
    assert abs(np.mean(drawn[0]) - expected) < 5 * 0.5 / 4000**0.5
    begun = jnp.array([[-1, -1], [0, 1]], jnp.int32)
    assert generate(network, params, state, begun, 3, temperature=0).shape == (3, 2)
    for prompt, text in (
        ([[-1, 0]], "prompt has tokens -1 to 0"),
        ([[-1, -1], [0, -1]], "prompt has tokens -1 to 0; accepted are 0 to 1"),
    ):
        with pytest.raises(ValueError, match=text):
            generate(network, params, state, jnp.array(prompt), 3, temperature=0)


def test_a_picture_of_a_rollout_has_the_truth_above_the_prediction():
    truth = np.random.default_rng(0).uniform(size=(6, 3, 4))
    figure = plot_rollout(truth, 1 - truth[2:], title="rollout")
    above, below = (np.asarray(axis.images[0].get_array().filled(np.nan)) for axis in figure.axes)
    assert above.shape == below.shape == (3, 6 * 5 - 1)
    for t in range(6):
        np.testing.assert_array_equal(above[:, 5 * t : 5 * t + 4], truth[t])
        shown = below[:, 5 * t : 5 * t + 4]
        assert np.isnan(shown).all() if t < 2 else np.array_equal(shown, 1 - truth[t])
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == list("123456")
    (frame,) = figure.axes[0].patches
    assert (frame.get_x(), frame.get_width()) == (-0.5, 2 * 5 - 1)  # around the two given ones


def test_a_sheet_has_every_image_in_rows():
    images = np.random.default_rng(0).uniform(size=(5, 2, 3))
    figure = plot_sheets({"data": images, "samples": images[:2]}, columns=3)
    sheet = np.asarray(figure.axes[0].images[0].get_array().filled(np.nan))
    assert sheet.shape == (2 * 3 - 1, 3 * 4 - 1)
    for n, image in enumerate(images):
        row, column = divmod(n, 3)
        np.testing.assert_array_equal(
            sheet[3 * row : 3 * row + 2, 4 * column : 4 * column + 3], image
        )
    assert [axis.get_title() for axis in figure.axes] == ["data", "samples"]
