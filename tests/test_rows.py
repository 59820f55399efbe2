"""Images row by row: the same images as pixel by pixel, read as maps."""

import jax
import numpy as np
import pytest

from tlstm_jax import LSTM, ConvLSTM, Network
from tlstm_jax.network import task_sizes
from tlstm_jax.tasks import images, rows

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", ["digits", "pdigits"])
def test_rows_hold_the_pixels_in_their_order(name):
    by_pixel = images.load(name, permutation_seed=3)
    by_row = rows.load(name.replace("digits", "rows_digits"), permutation_seed=3)
    pixels = by_pixel.eval_batch(by_pixel.data, KEY, "test", 1, 0)
    batch = by_row.eval_batch(by_row.data, KEY, "test", 1, 0)
    assert batch.inputs.shape == (8, 250, 8, 1) and by_row.steps == 8
    for b in range(0, 110, 11):
        np.testing.assert_array_equal(batch.inputs[:, b].ravel(), pixels.inputs[:, b].ravel())
        picture = by_row.picture(np.asarray(batch.inputs[:, b]))
        np.testing.assert_array_equal(picture, by_pixel.picture(np.asarray(pixels.inputs[:, b])))
    np.testing.assert_array_equal(batch.targets, pixels.targets)
    np.testing.assert_array_equal(batch.mask, pixels.mask)


def test_models_of_maps_and_of_vectors_read_the_same_rows():
    task = rows.rows_digits(batch_size=3)
    inputs = task.train_batch(task.data, KEY, 0, 0).inputs
    of_maps = Network(ConvLSTM(4, spatial_shape=(8,)), **task_sizes(task))
    of_vectors = Network(LSTM(4), **task_sizes(task))
    for network, width in ((of_maps, 1), (of_vectors, 8)):
        params, state = network.init(KEY)
        assert params["model"]["input"]["kernel"].shape[-2] == width
        logits = network.apply(params, state, network.init_carry(3), inputs, last_only=True)[1]
        assert logits.shape == (1, 3, 10)


def test_a_name_that_there_is_not():
    with pytest.raises(ValueError, match=r"^name is 'rows'; accepted are rows_mnist, "):
        rows.load("rows")
    assert repr(rows.rows_digits()).startswith("Rows(name='rows_digits', steps=8, train=1293, ")
