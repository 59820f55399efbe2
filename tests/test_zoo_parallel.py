"""Models that are parallel over time: what they are identical to, and what they depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, cell_params, jit, on_device, random_params, run, vectors

from tlstm_jax import LSTM
from tlstm_jax.cells.sru import SRUCell
from tlstm_jax.models.hgrn2 import HGRN2
from tlstm_jax.models.min_gru import MinGRU
from tlstm_jax.models.min_lstm import MinLSTM
from tlstm_jax.models.qrnn import QRNN
from tlstm_jax.models.rg_lru import RGLRU, RGLRUCarry
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.wavenet import WaveNet

LARGE = 900.0  # sigm of it is 1, and of its negative 0, in float64


def model_params(model, input_size=I):
    return random_params(lambda key: model.init(key, input_size)[0])


def outputs(model, params, xs):
    """(carry, outputs) of a sequence model."""
    carry = model.init_carry(xs.shape[1], jnp.float64)
    apply = jit(lambda params, xs: model.apply(params, (), carry, xs)[:2])
    return apply(on_device(params), jnp.asarray(xs))


@pytest.mark.parametrize("width", [1, 3])
def test_qrnn_poolings_are_special_cases_of_one_another(width, x64):
    f, fo, ifo = (QRNN(M, pooling=pooling, width=width) for pooling in ("f", "fo", "ifo"))
    params, xs = model_params(fo)["input"], vectors()

    def blocks(change):
        return {"input": {name: change(*np.split(p, 3, axis=-1)) for name, p in params.items()}}

    # 1 - sigm(a) = sigm(-a)
    coupled = blocks(lambda z, f, o: np.concatenate([z, f, o, -f], axis=-1))
    (carry, ys), (other, other_ys) = outputs(fo, {"input": params}, xs), outputs(ifo, coupled, xs)
    assert_close((other_ys, other.memory), (ys, carry.memory))
    opened = blocks(lambda z, f, o: np.concatenate([z, f, 0 * o], axis=-1))
    opened["input"]["bias"][2 * M :] = LARGE
    without = blocks(lambda z, f, o: np.concatenate([z, f], axis=-1))
    assert_close(outputs(f, without, xs)[1], outputs(fo, opened, xs)[1])


@pytest.mark.parametrize("pooling", ["f", "fo", "ifo"])
def test_a_wide_qrnn_is_one_of_width_one_over_windows(pooling, x64):
    wide, narrow = QRNN(M, pooling=pooling, width=3), QRNN(M, pooling=pooling, width=1)
    params, xs = model_params(wide), vectors()
    padded = np.concatenate([np.zeros((2, B, I)), xs])
    windows = np.concatenate([padded[n : n + T] for n in range(3)], axis=-1)  # x_t is the last
    kernel = params["input"]["kernel"]
    joined = {"input": params["input"] | {"kernel": kernel.reshape(1, 3 * I, -1)}}
    expected, ys = outputs(narrow, joined, windows)
    carry, wide_ys = outputs(wide, params, xs)
    assert_close((wide_ys, carry.memory), (ys, expected.memory))


def test_ifo_pooling_of_width_one_is_the_memory_of_an_lstm_without_recurrent_matrix(x64):
    model, xs = QRNN(M, pooling="ifo", width=1), vectors()
    params = model_params(model)

    def reorder(leaf):
        z, f, o, i = np.split(leaf, 4, axis=-1)
        return np.concatenate([i, f, z, o], axis=-1)

    bias = reorder(params["input"]["bias"])
    lstm = {
        "input": {"kernel": reorder(params["input"]["kernel"][0])},
        "recurrent": {"kernel": np.zeros((M, 4 * M)), "bias": bias},
    }
    for steps in range(1, T + 1):
        expected, _ = run(LSTM(M), lstm, xs[:steps])
        assert_close(outputs(model, params, xs[:steps])[0].memory, expected.memory)


@pytest.mark.parametrize("input_size", [I, M])
def test_sru_of_2018_without_peepholes_differs_from_2017_in_its_output_only(input_size, x64):
    params, xs = model_params(SRU(M), input_size), vectors(size=input_size)
    kernel, bias = params["input"]["kernel"], params["input"]["bias"]
    new = params | {"peephole": {"kernel": np.zeros((2, M))}}
    carry, ys = outputs(SRU(M, scale=1.7), new, xs)
    old_carry, old_ys = outputs(SRU(M, version=2017), {"input": params["input"]}, xs)
    assert_close(carry, old_carry)
    # y = r c + 1.7 (1 - r) x against r tanh(c) + (1 - r) x, so that c is known from both.
    r = 1 / (1 + np.exp(-(xs @ kernel[:, 2 * M : 3 * M] + bias[M:])))
    x = xs if input_size == M else xs @ kernel[:, 3 * M :]
    c = (ys - 1.7 * (1 - r) * x) / r
    assert_close(old_ys, r * np.tanh(c) + (1 - r) * x)


def test_sru_passes_its_input_scaled_where_the_highway_is_open(x64):
    params, xs = model_params(SRU(M), M), vectors(size=M)
    params["input"]["kernel"][:, 2 * M :] = 0
    params["input"]["bias"][M:] = -LARGE
    for model, alpha in [(SRU(M), 3**0.5), (SRU(M, scale=0.4), 0.4)]:
        assert_close(outputs(model, params, xs)[1], alpha * xs)
    alpha = (1 + 2 * np.exp(-2)) ** 0.5
    assert_close(outputs(SRU(M, highway_bias=-2.0), params, xs)[1], alpha * xs)
    assert_close(outputs(SRU(M, version=2017), {"input": params["input"]}, xs)[1], xs)


@pytest.mark.parametrize("version", [2017, 2018])
def test_sru_is_its_cell(version, x64):
    params = cell_params(SRUCell(M, version=version))
    assert_close(
        outputs(SRU(M, version=version), params, vectors()),
        run(SRUCell(M, version=version), params, vectors()),
    )


@pytest.mark.parametrize("dilations", [(1,), (1, 2), (3, 1), (2, 2, 4)], ids=str)
def test_wavenet_sees_its_receptive_field_and_nothing_else(dilations, x64):
    model, steps = WaveNet(16, residual_features=M, dilations=dilations), sum(dilations) + 3
    params, field = on_device(model_params(model)), 1 + sum(dilations)

    def ys(xs):
        return model.apply(params, (), model.init_carry(1, jnp.float64), xs)[1]

    jacobian = jit(jax.jacrev(ys))(jnp.asarray(vectors(steps=steps, batch=1)))
    influence = np.abs(jacobian).max(axis=(1, 2, 4, 5))
    t, s = np.indices(influence.shape)
    taps = np.indices((2,) * len(dilations)).reshape(len(dilations), -1)
    reached = np.array(dilations) @ taps  # of each layer, the tap before or the one now
    seen = np.isin(t - s, reached)
    assert seen[-1].nonzero()[0].min() == steps - field
    assert (influence[seen] > 1e-9).all()
    assert (influence[~seen] == 0).all()


def test_wavenet_without_its_past_taps_is_a_network_of_each_input_alone(x64):
    model = WaveNet(M, dilations=(1, 2))
    params = model_params(model)
    for n in range(2):
        params[f"layer_{n}"]["dilated"]["kernel"][0] = 0
    xs = vectors()
    together = outputs(model, params, xs)[1]
    alone = outputs(model, params, xs.reshape(1, T * B, I))[1]
    assert_close(together, alone.reshape(T, B, M))


def test_wavenets_layers_commute_where_none_adds_to_the_input(x64):
    forth, back = WaveNet(M, dilations=(1, 3)), WaveNet(M, dilations=(3, 1))
    params = model_params(forth)
    for n in range(2):
        params[f"layer_{n}"]["residual"] = {"kernel": np.zeros((M, M)), "bias": np.zeros(M)}
    swapped = params | {"layer_0": params["layer_1"], "layer_1": params["layer_0"]}
    assert_close(outputs(forth, params, vectors())[1], outputs(back, swapped, vectors())[1])


def test_a_min_lstm_whose_gates_are_coupled_is_a_min_gru(x64):
    for positive in (True, False):
        gru, lstm = MinGRU(M, positive=positive), MinLSTM(M, positive=positive)
        params, xs = model_params(gru)["input"], vectors()

        def coupled(leaf):  # 1 - sigm(a) = sigm(-a)
            z, n = np.split(leaf, 2, axis=-1)
            return np.concatenate([-z, z, n], axis=-1)

        both = {"input": {name: coupled(leaf) for name, leaf in params.items()}}
        (carry, ys), (other, other_ys) = (
            outputs(gru, {"input": params}, xs),
            outputs(lstm, both, xs),
        )
        assert_close((other_ys, other.hidden), (ys, carry.hidden))


def test_a_min_lstm_whose_gates_are_both_shut_still_averages(x64):
    """f / (f + i) of numbers that are 0 in float32 would be 0 / 0."""
    model, xs = MinLSTM(M), vectors().astype(np.float32)
    params = {"input": {"kernel": np.zeros((I, 3 * M), np.float32)}}
    params["input"]["bias"] = np.repeat(np.float32([-200.0, -200.0, 1.0]), M)
    _, ys, *_ = model.apply(params, (), model.init_carry(B), jnp.asarray(xs))
    halves = 1.5 * (1 - 0.5 ** np.arange(1, T + 1))
    assert_close(ys, np.broadcast_to(halves[:, None, None], (T, B, M)), 1e-6)


def test_an_rg_lru_whose_gate_is_shut_keeps_its_state_and_can_learn_to_open_it():
    model, xs = RGLRU(M), jnp.asarray(vectors(), jnp.float32)
    params = jax.tree.map(jnp.float32, model_params(model))
    params["gates"]["bias"] = params["gates"]["bias"].at[:M].set(-25.0)  # a is 1 in float32
    first = RGLRUCarry(jnp.ones((B, M)), jnp.ones((B,), jnp.int32))

    def total(bias):
        gates = params["gates"] | {"bias": bias}
        ys = model.apply(params | {"gates": gates}, (), first, xs)[1]
        return jnp.sum(ys), ys

    grad, ys = jit(jax.grad(total, has_aux=True))(params["gates"]["bias"])
    np.testing.assert_array_equal(ys, np.ones((T, B, M)))
    assert np.isfinite(grad).all()
    assert np.abs(grad[:M]).min() > 0


@pytest.mark.parametrize("lower", [0.0, 0.25])
def test_an_hgrn2_whose_decay_is_shut_keeps_its_lower_bound(lower):
    """Its pre-activation's exponential is infinite in float32."""
    model, xs = HGRN2(M, num_heads=1, lower_bound=lower), jnp.asarray(vectors(), jnp.float32)
    params = jax.tree.map(jnp.float32, model_params(model))
    params["decay"] = {"kernel": jnp.zeros((I, M)), "bias": jnp.full((M,), -200.0)}

    def total(params):
        ys = model.apply(params, (), model.init_carry(B), xs)[1]
        return jnp.sum(ys), ys

    grads, ys = jit(jax.grad(total, has_aux=True))(params)
    assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))
    q, v = (np.asarray(xs @ params[name]["kernel"]) for name in ("query", "value"))
    q, S, expected = q / (1 + np.exp(-q)), 0.0, []
    for t in range(T):
        S = lower * S + (1 - lower) * v[t]  # the same for each key
        expected.append(q[t].sum(-1, keepdims=True) * S)
    assert_close(ys, np.stack(expected), 1e-5)
