"""The multidimensional LSTM: what it is identical to, what it sees, and how many steps it takes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import B, I, M, assert_close, jit, on_device, random_params, tokens, vectors

from tlstm_jax import LSTM, MultidimensionalLSTM, last_output, unroll
from tlstm_jax.models.multidimensional_lstm import skew, unskew

LARGE = 900.0  # sigm of it is 1, and of its negative 0, in float64
T, W = 5, 4


def params_of(model, seed=0):
    shape = (*model.spatial_shape, I) if model.spatial_shape else I
    return random_params(lambda key: model.init(key, shape)[0], seed)


def outputs(model, params, xs, carry=None, **options):
    """(carry, ys)."""
    carry = model.init_carry(B, jnp.float64) if carry is None else carry
    apply = jit(lambda params, carry, xs: model.apply(params, (), carry, xs, **options)[:2])
    return apply(on_device(params), carry, jnp.asarray(xs))


def as_lstm(params):
    """The LSTM's parameters of a direction with one column: what its left neighbour has is zero."""

    def blocks(leaf):
        i, f, _, g, o = np.split(leaf, 5, axis=-1)
        return np.concatenate([i, f, g, o], axis=-1)

    kernel, bias = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    recurrent = {"kernel": blocks(kernel[: len(kernel) // 2]), "bias": blocks(bias)}
    return {"input": {"kernel": blocks(params["input"]["kernel"])}, "recurrent": recurrent}


@pytest.mark.slow(but=["lstm-1", "stable-None"])
@pytest.mark.parametrize("columns", [None, 1])
@pytest.mark.parametrize("form", ["lstm", "stable"])
def test_a_single_column_is_an_lstm(form, columns, x64):
    spatial = () if columns is None else (columns,)
    model = MultidimensionalLSTM(M, spatial_shape=spatial, cell=form, directions=1)
    params, xs = params_of(model), vectors()
    if form == "stable":  # its mixing gate is open to what is above
        params["down_right"]["recurrent"]["bias"][2 * M : 3 * M] = LARGE
    carry, ys = outputs(model, params, xs if columns is None else xs[:, :, None])
    cell, own = LSTM(M), on_device(as_lstm(params["down_right"]))
    expected, expected_ys = unroll(cell, own, cell.init_carry(B, jnp.float64), jnp.asarray(xs))
    assert_close(ys.reshape(expected_ys.shape), expected_ys)
    assert_close(carry.memory.reshape(B, M), expected.memory)
    assert_close(carry.hidden.reshape(B, M), expected.hidden)


def test_a_single_column_of_the_leaky_cell_leaks_what_it_does_not_keep(x64):
    # With o' = 0 it is an LSTM whose input gate is 1 - f and whose gate mixes nothing.
    model = MultidimensionalLSTM(M, cell="leaky", directions=1)
    params, xs = params_of(model), vectors()
    bias = params["down_right"]["recurrent"]["bias"]
    bias[:M], bias[2 * M : 3 * M], bias[4 * M :] = -LARGE, LARGE, LARGE  # o' = 0, l = 1, o = 1
    lstm = as_lstm(params["down_right"])
    for leaf in (lstm["input"]["kernel"], lstm["recurrent"]["kernel"], lstm["recurrent"]["bias"]):
        leaf[..., :M] = -leaf[..., M : 2 * M]  # 1 - sigm(a) = sigm(-a)
    assert_close(outputs(model, params, xs)[1], oracles.lstm(lstm, xs).ys)


def test_the_stable_cell_is_the_first_one_with_its_gates_multiplied(x64):
    first, stable = (
        MultidimensionalLSTM(M, spatial_shape=(W,), cell=form, directions=1)
        for form in ("lstm", "stable")
    )
    params, xs = params_of(first), vectors(steps=T, size=(W, I))
    for leaf in jax.tree.leaves(params):  # constant gates f, f'
        leaf[..., M : 3 * M] = 0.0
    f, mixing = 0.7, 0.4

    def bias(*values):
        logits = [np.log(value / (1 - value)) for value in values]
        params["down_right"]["recurrent"]["bias"][M : 3 * M] = np.repeat(logits, M)
        return params

    expected = outputs(first, bias(f * mixing, f * (1 - mixing)), xs)
    assert_close(outputs(stable, bias(f, mixing), xs), expected)


def test_memory_is_bounded_in_the_stable_and_the_leaky_cell_only(x64):
    def memory(form, forget):
        model = MultidimensionalLSTM(1, spatial_shape=(9,), cell=form, directions=1)
        params = jax.tree.map(np.zeros_like, params_of(model))
        bias = params["down_right"]["recurrent"]["bias"]
        bias[:] = [LARGE, forget, 0.0, LARGE, 0.0]  # i = 1, g = 1
        if form == "lstm":
            bias[2] = forget
        carry, _ = outputs(model, params, np.zeros((9, B, 9, I)))
        return float(carry.memory[0, 0, -1, 0])

    assert memory("lstm", LARGE) > 10_000  # the paths to a corner
    assert memory("lstm", 0.0) < memory("lstm", 1.0) / 10
    assert 10 < memory("stable", LARGE) <= 17  # the locations of one path
    assert memory("leaky", 0.0) <= 1 and memory("leaky", LARGE) == 0


def scans(jaxpr):
    """The lengths of all loops in a jaxpr."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            found.append(equation.params["length"])
        assert equation.primitive.name != "while"
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            found += scans(getattr(part, "jaxpr", part)) if _is_jaxpr(part) else []
    return found


def _is_jaxpr(value):
    return hasattr(getattr(value, "jaxpr", value), "eqns")


@pytest.mark.slow(but=["scan-4", "auto-1"])
@pytest.mark.parametrize("directions", [1, 2, 4])
@pytest.mark.parametrize("engine", ["scan", "auto"])
def test_an_image_takes_as_many_steps_as_it_has_diagonals(engine, directions):
    model = MultidimensionalLSTM(M, spatial_shape=(W,), directions=directions, engine=engine)
    params, _ = model.init(jax.random.key(0), (W, I))

    def apply(xs):
        return model.apply(params, (), model.init_carry(B), xs)[1]

    found = scans(jax.make_jaxpr(apply)(jnp.zeros((T, B, W, I))).jaxpr)
    assert set(found) == {T + W - 1}  # one loop, once for each platform
    assert len(found) == 1 or engine == "auto"


def test_skewed_images_have_their_diagonals_as_rows():
    xs = np.arange(T * B * W * I).reshape(T, B, W, I)
    skewed = np.asarray(skew(jnp.asarray(xs)))
    assert skewed.shape == (T + W - 1, B, W, I)
    for t in range(T):
        for j in range(W):
            np.testing.assert_array_equal(skewed[t + j, :, j], xs[t, :, j])
    assert skewed.sum() == xs.sum()
    np.testing.assert_array_equal(unskew(jnp.asarray(skewed)), xs)


# What y of row 2 and column 1 depends on, of 4 rows and 3 columns.
SEEN = {
    1: lambda t, j: t <= 2 and j <= 1,
    2: lambda t, j: t <= 2,
    4: lambda t, j: True,
}


@pytest.mark.slow(but=["2", "4"])
@pytest.mark.parametrize("directions", SEEN)
def test_what_an_output_depends_on(directions, x64):
    model = MultidimensionalLSTM(M, spatial_shape=(3,), directions=directions)
    params, xs = params_of(model), vectors(steps=4, size=(3, I))

    def y(xs):
        carry = model.init_carry(B, jnp.float64)
        return jnp.sum(model.apply(on_device(params), (), carry, xs)[1][2, :, 1])

    slopes = np.abs(jit(jax.grad(y))(jnp.asarray(xs))).max(axis=(1, 3))
    for t, j in np.ndindex(4, 3):
        assert (slopes[t, j] > 1e-9) == SEEN[directions](t, j), (t, j)
    assert model.causal == (directions < 4)


def test_directions_from_below_start_with_every_segment_of_a_stream(x64):
    model = MultidimensionalLSTM(8, spatial_shape=(W,), merge="concatenate")
    above = dataclasses.replace(model, features=4, directions=2)
    params = params_of(model)
    of_above = {name: params[name] for name in ("down_right", "down_left")}
    xs, lengths = vectors(steps=2 * T, size=(W, I)), np.array([T, 3])
    first, second = xs[:T], xs[T:]
    carry, ys = outputs(model, params, first, flush=False, lengths=lengths)
    _, more = outputs(model, params, second, carry, flush=False)
    kept, expected = outputs(above, of_above, first, flush=False, lengths=lengths)
    _, continued = outputs(above, of_above, second, kept, flush=False)
    assert_close(ys[..., :4], expected)
    assert_close(more[..., :4], continued)
    assert_close(more[..., 4:], outputs(model, params, second)[1][..., 4:])  # as if it were first
    _, after_flush = outputs(model, params, second, carry)  # whole images go on from their carry
    assert np.abs(after_flush - more)[..., 4:].max() > 1e-3


def test_the_last_output_of_each_direction_is_complete(x64):
    model = MultidimensionalLSTM(4, spatial_shape=(W,), merge="concatenate")
    assert model.finished_first == (False, False, True, True)
    params, xs, lengths = params_of(model), vectors(steps=T, size=(W, I)), np.array([T, 2])
    carry, ys = outputs(model, params, xs, lengths=lengths)
    last = last_output(model, ys, jnp.asarray(lengths))
    for n, hidden in enumerate(jnp.moveaxis(carry.hidden, 1, 0)):
        turned = hidden[:, ::-1] if n % 2 else hidden  # columns of the two that go left
        assert_close(last[..., n], turned[..., 0])
    assert not any(MultidimensionalLSTM(4).finished_first)
    assert not any(dataclasses.replace(model, directions=2).finished_first)


@pytest.mark.slow
def test_tokens_are_images_of_one_column(x64):
    model = MultidimensionalLSTM(M, cell="leaky")
    params, xs = params_of(model), tokens()
    vectors_ = (xs[..., None] == np.arange(I)).astype(np.float64)
    assert_close(outputs(model, params, xs), outputs(model, params, vectors_))


@pytest.mark.slow
@pytest.mark.parametrize("spatial", [(), (W,)])
def test_training_and_a_key_change_nothing(spatial, x64):
    model = MultidimensionalLSTM(M, spatial_shape=spatial)
    params, xs = params_of(model), vectors(size=(*spatial, I))
    run = functools.partial(outputs, model, params, xs)
    assert_close(run(train=True, key=jax.random.key(0)), run(), 0)
