"""The convolutional LSTM and Flax's; its equations are in `zoo_oracles`, convolutions in test_maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, assert_close, cell_params, jit, on_device, random_carry, run, vectors
from flax import linen as nn

from tlstm_jax import LSTM, ConvLSTM


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 2, 2)], ids=str)
def test_equals_flaxs_cell(shape, kernel_size, x64):
    cell = ConvLSTM(M, spatial_shape=shape, kernel_size=kernel_size)
    params, xs = cell_params(cell), vectors(size=(*shape, I))
    W, U, b = (
        np.concatenate([np.split(leaf, 4, axis=-1)[n] for n in (0, 2, 1, 3)], axis=-1)  # i, g, f, o
        for leaf in (
            params["input"]["kernel"],
            *(params["recurrent"][k] for k in ("kernel", "bias")),
        )
    )
    b[2 * M : 3 * M] -= 1  # which Flax's cell adds to f
    theirs = {"params": {"ih": {"kernel": W, "bias": b}, "hh": {"kernel": U, "bias": 0 * b}}}
    flax = nn.ConvLSTMCell(M, (kernel_size,) * len(shape), param_dtype=jnp.float64)
    h, c = start = random_carry(cell)
    state, outputs, apply = (c, h), [], jit(flax.apply)
    for x in jnp.asarray(xs):
        state, y = apply(on_device(theirs), state, x)
        outputs.append(y)
    assert outputs[0].shape == (B, *shape, M)
    assert_close(run(cell, params, xs, start), ((state[1], state[0]), jnp.stack(outputs)))


def test_a_kernel_of_width_one_is_an_lstm_at_every_location(x64):
    cell = ConvLSTM(M, spatial_shape=(3, 2), kernel_size=1)
    params, xs = cell_params(cell), vectors(size=(3, 2, I))
    lstm = {
        "input": {"kernel": params["input"]["kernel"][0, 0]},
        "recurrent": params["recurrent"] | {"kernel": params["recurrent"]["kernel"][0, 0]},
    }
    _, ys = run(cell, params, xs)
    _, expected = run(LSTM(M), lstm, xs.reshape(len(xs), -1, I))
    assert_close(ys, expected.reshape(ys.shape))


def test_the_recurrent_kernel_starts_orthogonal_for_each_gate():
    kernel = ConvLSTM(8, spatial_shape=(4, 4)).init(jax.random.key(0), (4, 4, 2))["recurrent"]
    kernel = kernel["kernel"].reshape(9 * 8, 4, 8)
    product = jnp.einsum("rgm,rgn->gmn", kernel, kernel)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(8), (4, 8, 8)), atol=1e-5)
