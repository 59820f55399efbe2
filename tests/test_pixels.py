"""Binarized images, pixel by pixel and row by row, and what may read them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from task_cases import evaluation, logits_of, totals

from tlstm_jax import (
    LSTM,
    Bidirectional,
    Chain,
    ConvLSTM,
    Dropout,
    Network,
    Residual,
    RowLSTM,
    SkipConnections,
    Stacked,
    Zoneout,
    as_sequence,
)
from tlstm_jax.cells.shapes import row_mask
from tlstm_jax.network import task_sizes
from tlstm_jax.scripts.generated import generated
from tlstm_jax.tasks import images
from tlstm_jax.tasks.pixels import load, pixels_digits
from tlstm_jax.training.compatibility import check_fits

KEY = jax.random.key(0)


def test_both_forms_have_the_same_images_and_the_same_likelihood():
    pixels, rows = pixels_digits(), pixels_digits(by="rows")
    token = pixels.eval_batch(pixels.data, KEY, "test", 1, 0)
    row = rows.eval_batch(rows.data, KEY, "test", 1, 0)
    assert token.inputs.shape == token.targets.shape == token.mask.shape == (64, 250)
    assert row.targets.shape == row.mask.shape == (8, 250, 8)
    assert row.inputs.shape == (8, 250, 8, 1) and row.inputs.dtype == jnp.float32
    np.testing.assert_array_equal(row.inputs[..., 0], row.targets)
    np.testing.assert_array_equal(token.inputs[1:], token.targets[:-1])
    assert (token.inputs[0] == -1).all()
    for b in (0, 7, 109):
        image = pixels.sample_picture(np.asarray(token.targets[:, b]))
        np.testing.assert_array_equal(image, rows.sample_picture(np.asarray(row.targets[:, b])))
        np.testing.assert_array_equal(image, rows.picture(np.asarray(row.inputs[:, b])))
        np.testing.assert_array_equal(image.ravel(), pixels.data["test"][250 + b])
    logits = np.random.default_rng(0).normal(size=(8, 250, 8, 2)).astype(np.float32)
    of_tokens = logits.swapaxes(1, 2).reshape(64, 250, 2)
    found, expected = rows.metrics(logits, row), pixels.metrics(of_tokens, token)
    for name in ("loss", "nats_per_image"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_nats_per_image_are_summed_over_its_pixels():
    task = pixels_digits(eval_batch_size=100)
    batches = evaluation(task, "test")  # 360 images, the last batch is filled up
    nll = images_ = 0.0
    for batch in batches:
        logits = logits_of(task, batch).astype(np.float64)
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        chosen = np.take_along_axis(p, batch.targets[..., None], -1)[..., 0]
        nll -= np.log(chosen)[:, batch.mask[0]].sum()
        images_ += batch.mask[0].sum()
    found = totals(task, batches)
    assert set(found) == {"loss", "nats_per_image"}
    np.testing.assert_allclose(found["nats_per_image"], [nll, 360], rtol=1e-5)
    np.testing.assert_allclose(found["loss"], [nll, 360 * 64], rtol=1e-5)
    assert (task.metric, task.maximize) == ("nats_per_image", False)


def test_binarization_is_a_draw_by_brightness_that_never_changes():
    task, digits = pixels_digits(), images.digits()
    grey = digits.data["train"]["images"] / 16
    drawn = task.data["train"]
    assert drawn.dtype == np.uint8 and set(np.unique(drawn)) == {0, 1}
    assert not drawn[grey == 0].any() and drawn[grey == 1].all()
    half = (grey > 0.3) & (grey < 0.7)
    assert abs(drawn[half].mean() - grey[half].mean()) < 5 * 0.5 / half.sum() ** 0.5
    other = pixels_digits(valid_fraction=0.3, batch_size=7)
    np.testing.assert_array_equal(other.data["test"], task.data["test"])
    both = [np.concatenate([t.data["valid"], t.data["train"]]) for t in (task, other)]
    np.testing.assert_array_equal(*both)


def test_a_text_is_its_pixels_and_begins_at_the_zero_input():
    task = pixels_digits()
    np.testing.assert_array_equal(task.encode("0110"), [-1, 0, 1, 1, 0])
    assert task.text(np.array([-1, 0, 1, 1, 0])) == "0110"
    with pytest.raises(ValueError, match="prompt holds '2'; accepted are 01"):
        task.encode("02")


def rows_network(model, task):
    return Network(model, **task_sizes(task))


BARE, MASKED = ConvLSTM(1, spatial_shape=(8,)), RowLSTM(1, spatial_shape=(8,), mask="A")
WITH_ITSELF = RowLSTM(1, spatial_shape=(8,), mask="B")


@pytest.mark.parametrize(
    ("model", "mask"),
    [
        (MASKED, "A"),
        (as_sequence(MASKED), "A"),
        (Dropout(MASKED, input_rate=0.1), "A"),
        (Zoneout(MASKED, hidden=0.1), "A"),
        (Stacked(MASKED, 2), "A"),
        (Chain((MASKED, Residual(WITH_ITSELF))), "A"),
        (Chain((WITH_ITSELF, MASKED)), "A"),
        (SkipConnections((MASKED, MASKED)), "A"),
        (SkipConnections((MASKED, WITH_ITSELF)), "B"),
        (WITH_ITSELF, "B"),
        (Residual(MASKED), "B"),
        (Chain((WITH_ITSELF, WITH_ITSELF)), "B"),
        (BARE, "none"),
        (RowLSTM(1, spatial_shape=(8,), mask="none"), "none"),
        (Residual(BARE), "none"),
        (Chain((MASKED, BARE)), "none"),
        (Bidirectional(MASKED, MASKED), "none"),
        (LSTM(3), "none"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_models_that_see_nothing_of_a_pixel_and_those_behind_it_read_rows(model, mask):
    task = pixels_digits(by="rows", batch_size=2)
    assert row_mask(model) == mask
    if mask == "A":
        check_fits(rows_network(model, task), task, task.data)
        return
    message = "^the inputs of pixels_digits are its targets, which a [A-Za-z]+ would see; accepted "
    with pytest.raises(ValueError, match=message + "are models with row_mask A$"):
        check_fits(rows_network(model, task), task, task.data)


def test_a_model_that_would_see_its_targets_is_named():
    task = pixels_digits(by="rows")
    for model, name in ((LSTM(3), "LSTM"), (Dropout(Stacked(BARE, 2)), "ConvLSTM")):
        with pytest.raises(ValueError, match=f"which a {name} would see"):
            check_fits(rows_network(model, task), task, task.data)


@pytest.mark.parametrize("by", ["pixels", "rows"])
def test_samples_are_drawn_beside_the_data(by):
    task = pixels_digits(by=by, eval_batch_size=70)
    network = rows_network(LSTM(3) if by == "pixels" else MASKED, task)
    params, state = network.init(KEY)
    params["readout"]["bias"] = jnp.array([0.0, 30.0])  # then all is white
    batch = task.eval_batch(task.data, KEY, "test", 0, 0)
    found = generated(task, network, params, state, batch, example=0, what="a run")
    assert list(found) == ["samples"]
    data, samples = (axis.images[0].get_array() for axis in found["samples"].figure.axes)
    assert data.shape == samples.shape == (8 * 9 - 1, 8 * 9 - 1)
    np.testing.assert_array_equal(data[9:17, 18:26].ravel(), task.data["test"][8 + 2])
    assert samples.count() == 64 * 64 and (samples == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "columns"}, "by is 'columns'; accepted are pixels, rows"),
        ({"batch_size": 1294}, "batch_size is 1294; accepted are 1 to 1293, the training images"),
        ({"batch_size": 0}, "batch_size is 0; accepted are integers >= 1"),
        ({"name": "pixels"}, "name is 'pixels'; accepted are pixels_mnist, pixels_digits"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        load(**{"name": "pixels_digits"} | settings)
