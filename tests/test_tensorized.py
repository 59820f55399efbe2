"""The tensorized cells: what they are identical to, causality, size, a gradient that lasts."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    B,
    I,
    M,
    T,
    assert_close,
    cell_params,
    floats,
    jit,
    on_device,
    tokens,
    vectors,
)

from tlstm_jax import LSTM, Elman, Network, Stacked, TensorizedLSTM, TensorizedRNN, unroll
from tlstm_jax.overrides import override


def outputs(cell, params, xs):
    carry = cell.init_carry(xs.shape[1], jnp.float64)
    return jit(functools.partial(unroll, cell))(on_device(params), carry, jnp.asarray(xs))[1]


def stacked_outputs(layer, num_layers, params, xs):
    model = Stacked(layer, num_layers, shared=True)
    carry = model.init_carry(xs.shape[1], jnp.float64)
    return jit(functools.partial(model.apply, state=()))(
        on_device(params), carry=carry, xs=jnp.asarray(xs)
    )[1]


def lstm_order(array):
    """The last axis from g, i, f, o to i, f, g, o."""
    g, i, f, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, g, o], axis=-1)


def as_stacked(params, reorder):
    """Tap 0 reads the location (layer) below, tap 1 the location itself, one step before."""
    kernel = reorder(params["cross_layer"]["kernel"])
    bias = reorder(params["cross_layer"]["bias"])
    layer = {"input": {"kernel": kernel[0]}, "recurrent": {"kernel": kernel[1], "bias": bias}}
    return {"input": params["input"], "layer": layer}


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_without_feedback_and_memory_convolution_it_is_a_stacked_lstm(depth, inputs, x64):
    cell = TensorizedLSTM(M, (depth,), kernel_size=2, memory_convolution=False)
    params, xs = cell_params(cell), inputs()
    expected = stacked_outputs(LSTM(M), depth, as_stacked(params, lstm_order), xs)
    assert_close(outputs(cell, params, xs), expected, 1e-14)


def test_without_feedback_the_rnn_is_a_stacked_elman_network(x64):
    cell = TensorizedRNN(M, (4,), kernel_size=2)
    params, xs = cell_params(cell), vectors()
    expected = stacked_outputs(Elman(M), 4, as_stacked(params, lambda array: array), xs)
    assert_close(outputs(cell, params, xs), expected, 1e-14)


def test_one_location_with_feedback_is_one_lstm_layer(x64):
    cell = TensorizedLSTM(M, (1,), kernel_size=3, memory_convolution=False)
    params, xs = cell_params(cell), vectors()
    expected = stacked_outputs(LSTM(M), 1, as_stacked(params, lstm_order), xs)
    assert_close(outputs(cell, params, xs), expected, 1e-14)
    # All that the memory convolution of a single location can do is nothing.
    convolving = TensorizedLSTM(M, (1,), kernel_size=3)
    wide = cell_params(convolving)
    narrow = wide | {"cross_layer": jax.tree.map(lambda x: x[..., : 4 * M], wide["cross_layer"])}
    assert_close(outputs(convolving, wide, xs), outputs(cell, narrow, xs), 1e-14)


@pytest.mark.parametrize(("shape", "kernel_size"), [((4,), 3), ((4,), 4), ((2, 3), 3)], ids=str)
def test_memory_convolution_with_all_weight_on_the_centre_vanishes(shape, kernel_size, x64):
    with_it = TensorizedLSTM(M, shape, kernel_size=kernel_size)
    without = dataclasses.replace(with_it, memory_convolution=False)
    params = cell_params(with_it)
    centre = np.ravel_multi_index((kernel_size // 2,) * len(shape), (kernel_size,) * len(shape))
    cross_layer = params["cross_layer"]
    cross_layer["kernel"][..., 4 * M :] = 0
    cross_layer["bias"][4 * M :] = np.where(np.arange(kernel_size ** len(shape)) == centre, 900, 0)
    narrow = params | {"cross_layer": jax.tree.map(lambda x: x[..., : 4 * M], cross_layer)}
    xs = vectors()
    assert_close(outputs(with_it, params, xs), outputs(without, narrow, xs), 1e-14)


def test_normalization_is_on_the_way_to_the_output_only(x64):
    # In one step nothing of the output has returned, so that the memory is the same without it.
    normed, plain = (
        TensorizedLSTM(M, (1,), kernel_size=2, normalization="channel"),
        TensorizedLSTM(M, (1,), kernel_size=2),
    )
    params, x = cell_params(normed), jnp.asarray(vectors()[0])
    without = {name: part for name, part in params.items() if name != "norm"}
    start = plain.init_carry(B, jnp.float64)
    carry, y = jit(normed.step)(on_device(params), start, x)
    plain_carry, plain_y = jit(plain.step)(on_device(without), start, x)
    assert_close(carry.memory, plain_carry.memory)
    assert np.abs(y - plain_y).min() > 1e-3


CAUSAL = [
    TensorizedLSTM(M, (4,), kernel_size=2, normalization="channel"),
    TensorizedLSTM(M, (3,), kernel_size=3),
    TensorizedLSTM(M, (5,), kernel_size=4),
    TensorizedLSTM(M, (2,), kernel_size=5, normalization="layer"),  # depth 1
    TensorizedLSTM(M, (2, 3), kernel_size=3, normalization="channel"),
    TensorizedLSTM(M, (3, 1, 2), kernel_size=2),
    TensorizedRNN(M, (5, 2), kernel_size=5),
]


def influence(cell, steps):
    """[t, s]: the largest entry of |d y_t / d x_s|, for one example."""
    params = on_device(cell_params(cell))

    def run(xs):
        return unroll(cell, params, cell.init_carry(1, jnp.float64), xs)[1]

    jacobian = jit(jax.jacrev(run))(jnp.asarray(vectors(steps=steps, batch=1)))
    return np.abs(jacobian).max(axis=(1, 2, 4, 5))


@pytest.mark.slow(but=["(3,)-3"])
@pytest.mark.parametrize("cell", CAUSAL, ids=lambda cell: f"{cell.tensor_shape}-{cell.kernel_size}")
def test_an_output_depends_on_the_inputs_up_to_its_own_and_on_all_of_them(cell, x64):
    assert cell.causal
    matrix = influence(cell, 6)
    past = np.tril(np.ones((6, 6), bool))
    assert (matrix[past] > 1e-9).all()
    assert (matrix[~past] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "kernel_size"), [((3,), 3), ((2,), 2), ((5,), 4)], ids=str)
def test_layer_normalization_leaks_exactly_the_next_inputs_up_to_the_depth(shape, kernel_size, x64):
    cell = TensorizedLSTM(M, shape, kernel_size=kernel_size, normalization="layer")
    assert cell.depth > 1 and not cell.causal
    matrix = influence(cell, 6)
    t, s = np.indices(matrix.shape)
    leaked = s <= t + cell.depth - 1
    assert (matrix[leaked] > 1e-9).all()
    assert (matrix[~leaked] == 0).all()


def count(cell, input_size):
    shapes = jax.eval_shape(lambda key: cell.init(key, input_size), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("shape", [(1,), (4,), (2, 3), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
def test_parameter_counts(shape, kernel_size):
    taps = kernel_size ** len(shape)
    for memory_convolution, Z in [(True, 4 * M + taps), (False, 4 * M)]:
        cell = TensorizedLSTM(
            M, shape, kernel_size=kernel_size, memory_convolution=memory_convolution
        )
        plain = taps * M * Z + Z + I * M + M
        assert count(cell, I) == plain
        normed = dataclasses.replace(cell, normalization="channel")
        assert count(normed, I) == plain + 2 * math.prod(shape) * M
    assert (
        count(TensorizedRNN(M, shape, kernel_size=kernel_size), I) == taps * M * M + M + I * M + M
    )


@pytest.mark.parametrize(
    ("features", "shape", "kernel_size", "memory_convolution"),
    [(1120, (4,), 2, False), (901, (4,), 3, True), (522, (4, 4), 3, True)],
    ids=str,
)
def test_the_papers_ten_million_parameters(features, shape, kernel_size, memory_convolution):
    # With its 205 characters, in the recurrent part and the readout together.
    cell = TensorizedLSTM(
        features, shape, kernel_size=kernel_size, memory_convolution=memory_convolution
    )
    readout = features * 205 + 205
    assert abs((count(cell, 205) + readout) / 1e7 - 1) < 0.06


def test_gradients_equal_finite_differences(x64):
    cell = TensorizedLSTM(2, (2, 2), kernel_size=3, normalization="channel", epsilon=0.1)
    inputs = on_device((cell_params(cell), vectors(steps=3, batch=1)))
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), inputs)

    @jit
    @jax.value_and_grad
    def loss(inputs):
        params, xs = inputs
        ys = unroll(cell, params, cell.init_carry(1, jnp.float64), xs)[1]
        return jnp.sum(jnp.sin(3 * ys))

    def along(step):
        return loss(jax.tree.map(lambda leaf, d: leaf + step * d, inputs, direction))[0]

    slope = sum(map(jnp.vdot, *map(jax.tree.leaves, (loss(inputs)[1], direction))))
    np.testing.assert_allclose((along(1e-5) - along(-1e-5)) / 2e-5, slope, rtol=1e-7)


@pytest.fixture(scope="module")
def gradient_norms_after_zeros():
    """Global norms of a classifier's gradient after 100 zero inputs, for eight seeds."""
    network = Network(TensorizedLSTM(8, (3,), normalization="channel"), 1, 10)

    def norm(key, floats):
        params, state = override(network, floats).init(key)

        def loss(params):
            carry, xs = network.init_carry(1), jnp.zeros((100, 1, 1))
            logits = network.apply(params, state, carry, xs, last_only=True)[1]
            return -jax.nn.log_softmax(logits)[0, 0, 3]

        squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(jax.grad(loss)(params))]
        return jnp.sqrt(sum(squares))

    norms = jit(jax.vmap(norm, in_axes=(0, None)))
    keys = jax.random.split(jax.random.key(0), 8)
    return lambda scale, forget_bias=1.0: norms(
        keys, {"input_bias_scale": scale, "forget_bias": forget_bias}
    )


def test_the_gradient_of_channel_normalization_is_small_after_a_hundred_zero_inputs(
    gradient_norms_after_zeros,
):
    norms = gradient_norms_after_zeros(TensorizedLSTM(8, (3,)).input_bias_scale)
    assert jnp.isfinite(norms).all(), norms
    # Not of every start: some are chaotic, after random inputs no less than after zeros.
    assert jnp.median(norms) < 100, norms
    # With the forget bias of the image tasks, where such runs are, none is.
    norms = gradient_norms_after_zeros(TensorizedLSTM(8, (3,)).input_bias_scale, 4.0)
    assert (norms < 100).all(), norms


def test_without_a_bias_of_the_input_that_gradient_explodes(gradient_norms_after_zeros):
    norms = gradient_norms_after_zeros(0.0)
    assert not jnp.isfinite(norms).any(), norms


def test_waiting_locations_stay_zero_and_age_saturates(x64):
    cell = TensorizedLSTM(M, (3, 2), kernel_size=2, normalization="channel")
    params, carry = on_device(cell_params(cell)), cell.init_carry(B, jnp.float64)
    advance = jit(cell.step)
    for step, x in enumerate(vectors(steps=T)):
        carry, y = advance(params, carry, x)
        assert (carry.age == min(step + 1, cell.delay)).all() and carry.age.dtype == jnp.int32
        for p in np.ndindex(3, 2):
            waits = step < max(p)
            for leaf in floats(carry):
                assert (leaf[(slice(None), *p)] == 0).all() == waits
        assert_close(y, carry.hidden[:, -1, -1])
