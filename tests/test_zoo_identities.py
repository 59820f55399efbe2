"""The zoo's cells: what they are identical to, in float64; equations are in `tests.zoo_oracles`."""

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
    jit,
    on_device,
    random_carry,
    run,
    step,
    tokens,
    vectors,
)
from zoo_oracles import blocks, layer_norm, norm_gates_update

from tlstm_jax import LSTM, Elman, ResetBeforeGRU, unroll
from tlstm_jax.cells.elman import ElmanCarry
from tlstm_jax.cells.fast_weights import FastWeights, attend
from tlstm_jax.cells.fast_weights_1992 import FastWeights1992
from tlstm_jax.cells.hyper_lstm import HyperLSTM
from tlstm_jax.cells.irnn import IRNN
from tlstm_jax.cells.layer_norm_lstm import LayerNormLSTM
from tlstm_jax.cells.lstm import LSTM1997
from tlstm_jax.cells.mi_lstm import MILSTM
from tlstm_jax.cells.multiplicative_lstm import MultiplicativeLSTM
from tlstm_jax.cells.multiplicative_rnn import MultiplicativeRNN
from tlstm_jax.cells.mut import MUT
from tlstm_jax.cells.peephole_lstm import PeepholeLSTM
from tlstm_jax.cells.rhn import RHN
from tlstm_jax.cells.skip_rnn import SkipRNN
from tlstm_jax.models.dilated import Dilated

LARGE = 900.0  # sigm of it is 1, and of its negative 0, in float64


def lstm_params(params):
    return {name: params[name] for name in ("input", "recurrent")}


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_mi_lstm_with_alpha_0_and_beta_1_is_the_lstm(inputs, x64):
    params = cell_params(MILSTM(M))
    ones = np.ones(4 * M)
    params["integration"] = {"alpha": 0 * ones, "beta_h": ones, "beta_x": ones}
    assert_close(run(MILSTM(M), params, inputs()), run(LSTM(M), lstm_params(params), inputs()))


def test_mi_lstm_under_a_constant_input_is_an_lstm_with_scaled_kernels(x64):
    params = cell_params(MILSTM(M))
    xs = np.broadcast_to(vectors(steps=1, batch=1), (T, B, I))
    p, W, U = params["integration"], params["input"]["kernel"], params["recurrent"]["kernel"]
    scaled = {
        "input": {"kernel": W * p["beta_x"]},
        "recurrent": params["recurrent"]
        | {"kernel": U * (p["alpha"] * (xs[0, 0] @ W) + p["beta_h"])},
    }
    assert_close(run(MILSTM(M), params, xs), run(LSTM(M), scaled, xs))


def test_peephole_lstm_without_peepholes_is_the_lstm(x64):
    params, carry = cell_params(PeepholeLSTM(M)), random_carry(LSTM(M))
    params["peephole"]["kernel"] *= 0
    expected = run(LSTM(M), lstm_params(params), vectors(), carry)
    assert_close(run(PeepholeLSTM(M), params, vectors(), carry), expected)


def test_a_peephole_is_a_bias_of_its_gate(x64):
    params, carry = cell_params(PeepholeLSTM(M)), random_carry(LSTM(M), batch=1)
    x = vectors(batch=1)[0]
    new, _ = step(PeepholeLSTM(M), params, carry, x)
    p_i, p_f, p_o = params["peephole"]["kernel"]
    c = carry.memory[0]
    sums = np.concatenate([p_i * c, p_f * c, np.zeros(M), p_o * new.memory[0]])  # the new c for o
    shifted = lstm_params(params)
    shifted["recurrent"] = shifted["recurrent"] | {"bias": params["recurrent"]["bias"] + sums}
    assert_close(new, step(LSTM(M), shifted, carry, x)[0])


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_the_lstm_of_1997_never_forgets(inputs, x64):
    params = cell_params(LSTM1997(M))

    def with_forget_gate(leaf, f):
        i, g, o = np.split(leaf, 3, axis=-1)
        return np.concatenate([i, np.full_like(i, f), g, o], axis=-1)

    forced = jax.tree.map(lambda leaf: with_forget_gate(leaf, 0.0), params)
    forced["recurrent"]["bias"] = with_forget_gate(params["recurrent"]["bias"], LARGE)
    assert_close(run(LSTM1997(M), params, inputs()), run(LSTM(M), forced, inputs()))


@pytest.mark.parametrize("token", [-1, *range(I)])
def test_mlstm_has_a_transition_of_its_own_for_every_token(token, x64):
    params, carry = cell_params(MultiplicativeLSTM(M)), random_carry(LSTM(M))
    x = np.full(B, token, np.int32)
    row = params["input_factor"]["kernel"][token] if token >= 0 else np.zeros(M)
    U = params["recurrent_factor"]["kernel"] * row @ params["recurrent"]["kernel"]
    of_token = lstm_params(params)
    of_token["recurrent"] = of_token["recurrent"] | {"kernel": U}
    expected = step(LSTM(M), of_token, carry, x)
    assert_close(step(MultiplicativeLSTM(M), params, carry, x), expected)


@pytest.mark.parametrize("token", [-1, *range(I)])
def test_a_multiplicative_rnn_has_a_matrix_of_its_own_for_every_token(token, x64):
    cell = MultiplicativeRNN(M, factors=M + 2)
    params, carry = cell_params(cell), random_carry(Elman(M))
    x = np.full(B, token, np.int32)
    row = params["input_factor"]["kernel"][token] if token >= 0 else np.zeros(M + 2)
    U = params["recurrent_factor"]["kernel"] * row @ params["recurrent"]["kernel"]
    of_token = {
        "input": params["input"],
        "recurrent": {"kernel": U, "bias": params["recurrent"]["bias"]},
    }
    assert_close(step(cell, params, carry, x), step(Elman(M), of_token, carry, x))


def test_fast_weights_that_are_not_written_leave_a_layer_normalized_elman_network(x64):
    cell = FastWeights(M, rate=0.0, activation="tanh")
    params, h = cell_params(cell), np.asarray(random_carry(Elman(M)).hidden)
    x = vectors()[0]
    a = x @ params["input"]["kernel"] + h @ params["recurrent"]["kernel"]
    expected = np.tanh(layer_norm(params["norm"], a + params["recurrent"]["bias"]))
    started = cell.init_carry(B, jnp.float64)._replace(hidden=jnp.asarray(h))
    assert_close(step(cell, params, started, x)[1], expected)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_fast_weights_are_attention_to_all_past_states(activation, x64):
    cell = FastWeights(M, inner_steps=2, activation=activation, decay=0.8, rate=0.7)
    params, xs = cell_params(cell), vectors(steps=20)
    hs = np.asarray(run(cell, params, xs)[1])
    before = np.concatenate([np.zeros((1, B, M)), hs[:-1]])
    f = {"relu": lambda a: np.maximum(a, 0), "tanh": np.tanh}[activation]
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    a = xs @ params["input"]["kernel"] + before @ U + b
    h = f(a)
    for _ in range(2):  # of all time steps at once
        attended = attend(*map(jnp.asarray, (h, before, before)), decay=0.8, rate=0.7)
        h = f(layer_norm(params["norm"], a + np.asarray(attended)))
    assert_close(hs, h, 1e-10)


@pytest.mark.parametrize("inputs", [vectors, tokens])
@pytest.mark.parametrize("settings", [{}, {"decay": 0.9, "rate": 0.5, "query_features": M + 2}])
def test_fast_weights_of_1992_are_linear_attention_to_all_past_patterns(inputs, settings, x64):
    cell = FastWeights1992(M, **settings)
    params, xs = cell_params(cell), inputs(steps=20)
    attended = jit(cell.attention)(on_device(params), jnp.asarray(xs))
    assert_close(run(cell, params, xs)[1], attended, 1e-10)


def test_attention_of_fast_weights_is_computed_in_float32_at_least():
    cell = FastWeights1992(M, dtype=jnp.bfloat16)
    params = jax.tree.map(jnp.float32, cell_params(cell))
    xs = jnp.float32(vectors(steps=20))
    ys = unroll(cell, params, cell.init_carry(B), xs)[1]
    attended = cell.attention(params, xs)
    assert attended.dtype == jnp.bfloat16
    assert_close(jnp.float32(ys), jnp.float32(attended), 1e-2)  # of which rounding makes 4e-3


def test_fast_weights_of_1992_read_the_input_itself_where_its_map_is_the_identity(x64):
    cell = FastWeights1992(M, query_features=I, rate=1.0)
    params, xs = cell_params(cell), vectors()
    params["input"]["kernel"][:, :I] = np.eye(I)
    params["input"]["bias"][:I] = 0.0
    W, b = params["input"]["kernel"], params["input"]["bias"]
    patterns = np.tanh(xs @ W + b)
    F = np.cumsum(np.einsum("tba,tbm->tbam", patterns[..., I : 2 * I], patterns[..., 2 * I :]), 0)
    carry, ys = run(cell, params, xs)
    assert_close(carry.memory, F[-1])
    assert_close(ys, np.tanh(np.einsum("tbi,tbim->tbm", xs, F)))


def test_fast_weights_of_1992_that_do_not_fade_know_no_order(x64):
    params, xs = cell_params(FastWeights1992(M)), vectors()
    other = xs[[2, 0, 3, 1, 4]]
    ordered, shuffled = (run(FastWeights1992(M), params, x)[1][-1] for x in (xs, other))
    assert_close(ordered, shuffled)
    fading = FastWeights1992(M, decay=0.9)
    ordered, shuffled = (run(fading, params, x)[1][-1] for x in (xs, other))
    assert np.abs(ordered - shuffled).max() > 1e-3


@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_fast_weights_of_1992_stay_finite_over_a_thousand_steps(decay):
    cell = FastWeights1992(16, decay=decay)
    params, xs = cell.init(jax.random.key(0), I), jnp.float32(vectors(steps=1000))

    def loss(params):
        carry, ys = unroll(cell, params, cell.init_carry(B), xs)
        return jnp.mean(jnp.square(ys - 0.1)), (carry, ys)

    gradient, (carry, ys) = jit(jax.grad(loss, has_aux=True))(params)
    finite = jax.tree.map(lambda x: bool(jnp.isfinite(x).all()), (gradient, ys, carry))
    assert all(jax.tree.leaves(finite))
    assert jnp.abs(gradient["input"]["kernel"]).max() > 1e-4
    if decay < 1:  # the sum of a geometric series bounds what is written
        assert jnp.abs(carry.memory).max() < 1 / 16 / (1 - decay)


def test_layer_normalization_forgets_the_scale_of_each_product(x64):
    cell = LayerNormLSTM(M, epsilon=1e-30)
    params, carry = cell_params(cell), random_carry(cell)
    scaled = lstm_params(params)
    scaled["input"] = {"kernel": 3 * params["input"]["kernel"]}
    scaled["recurrent"] = params["recurrent"] | {"kernel": 0.2 * params["recurrent"]["kernel"]}
    expected = run(cell, params, vectors(), carry)
    assert_close(run(cell, params | scaled, vectors(), carry), expected, 1e-11)


def mut_params(variant):
    """Those of MUT2 and MUT3; of MUT1, with U_z = 0 for them."""
    params = cell_params(MUT(M, variant=variant))
    if variant > 1:
        return params, params
    U = np.concatenate([np.zeros((M, M)), params["recurrent"]["kernel"]], axis=1)
    return params, params | {"recurrent": params["recurrent"] | {"kernel": U}}


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_mut2_is_the_gru_with_its_update_gate_turned_round(inputs, x64):
    params = cell_params(MUT(M, variant=2))

    def reorder(leaf):
        z, r, n = np.split(leaf, 3, axis=-1)
        return np.concatenate([r, -z, n], axis=-1)

    W, U, b = map(
        reorder, (params["input"]["kernel"], *map(params["recurrent"].get, ("kernel", "bias")))
    )
    gru = {"input": {"kernel": W, "bias": b}, "recurrent": {"kernel": U}}
    assert_close(run(MUT(M, variant=2), params, inputs()), run(ResetBeforeGRU(M), gru, inputs()))


def test_mut1_on_tokens_is_mut2_whose_update_gate_reads_the_input_alone(x64):
    params, wide = mut_params(1)
    W = wide["input"]["kernel"].copy()
    W[:, 2 * M :] = np.tanh(W[:, 2 * M :])  # of one-hot vectors, tanh(x W) = x tanh(W)
    expected = run(MUT(M, variant=2), wide | {"input": {"kernel": W}}, tokens())
    assert_close(run(MUT(M, variant=1), params, tokens()), expected)


def test_mut3_is_mut2_whose_update_gate_reads_tanh_h(x64):
    params, carry = cell_params(MUT(M, variant=3)), random_carry(MUT(M), batch=1)
    U, b = params["recurrent"]["kernel"].copy(), params["recurrent"]["bias"].copy()
    b[:M] += np.tanh(carry.hidden[0]) @ U[:, :M]
    U[:, :M] = 0
    moved = params | {"recurrent": {"kernel": U, "bias": b}}
    x = vectors(batch=1)[0]
    assert_close(
        step(MUT(M, variant=3), params, carry, x), step(MUT(M, variant=2), moved, carry, x)
    )


@pytest.mark.parametrize("inputs", [vectors, tokens])
@pytest.mark.parametrize("skip", [2, 3, T + 1])
def test_skip_rnn_without_one_of_its_matrices(skip, inputs, x64):
    cell = SkipRNN(M, skip=skip)
    params, xs = cell_params(cell), inputs()
    elman = lstm_params(params)
    without = params | {"skip": {"kernel": np.zeros((M, M))}}
    assert_close(run(cell, without, xs)[1], run(Elman(M), elman, xs)[1])
    U = {"kernel": params["skip"]["kernel"], "bias": params["recurrent"]["bias"]}
    alone = params | {"recurrent": U | {"kernel": np.zeros((M, M))}}
    model, dilated = Dilated(Elman(M), skip), elman | {"recurrent": U}
    expected = jit(model.apply)(
        on_device(dilated), (), model.init_carry(B, jnp.float64), jnp.asarray(xs)
    )[1]
    assert_close(run(cell, alone, xs)[1], expected)


def test_rhn_of_depth_one_is_mut2_that_never_resets(x64):
    params = cell_params(RHN(M, depth=1))

    def with_reset(leaf, r):
        n, t = np.split(leaf, 2, axis=-1)
        return np.concatenate([t, np.full_like(t, r), n], axis=-1)

    W, U, b = params["input"]["kernel"], *(params["recurrent"][k][0] for k in ("kernel", "bias"))
    mut = {
        "input": {"kernel": with_reset(W, 0.0)},
        "recurrent": {"kernel": with_reset(U, 0.0), "bias": with_reset(b, LARGE)},
    }
    assert_close(run(RHN(M, depth=1), params, vectors()), run(MUT(M, variant=2), mut, vectors()))


def test_rhn_of_depth_three_is_three_of_depth_one_and_only_the_first_sees_the_input(x64):
    params, carry, x = cell_params(RHN(M, depth=3)), random_carry(RHN(M)), vectors()[0]
    kernel, bias = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    expected = carry
    for n in range(3):
        layer = params | {"recurrent": {"kernel": kernel[n : n + 1], "bias": bias[n : n + 1]}}
        expected, y = step(RHN(M, depth=1), layer, expected, x if n == 0 else 0 * x)
    assert_close(step(RHN(M, depth=3), params, carry, x), (expected, y))


def test_irnn_copies_its_state_at_the_start():
    cell = IRNN(M)
    start = ElmanCarry(jnp.asarray(np.abs(vectors(steps=1, size=M)[0]), jnp.float32))
    xs = jnp.zeros((20, B, I))
    carry, ys = run(cell, jit(cell.init, static_argnums=1)(jax.random.key(0), I), xs, start)
    np.testing.assert_array_equal(carry.hidden, start.hidden)
    assert (ys == start.hidden[None]).all()


def test_hyper_lstm_with_its_initial_embeddings_scales_by_a_tenth(x64):
    # (e A + a) D = 0.1 for A = 0, a = 1, D = 0.1 / E, whatever e is; and z_b D_b = 0.
    E = 5
    cell = HyperLSTM(M, hyper_features=4, embedding_features=E)
    params = cell_params(cell)
    for of in "hx":
        params[f"embed_{of}"] = {"kernel": np.zeros((4, 4 * E)), "bias": np.ones(4 * E)}
        params[f"scale_{of}"] = {"kernel": np.full((4, E, M), 0.1 / E)}
    params["scale_b"] = {"kernel": np.zeros((4, E, M))}
    xs, h, c, expected = vectors(), np.zeros((B, M)), np.zeros((B, M)), []
    for x in xs:
        a = 0.1 * (x @ params["input"]["kernel"] + h @ params["recurrent"]["kernel"])
        h, c = norm_gates_update(params, blocks(a + params["recurrent"]["bias"], 4), c)
        expected.append(h)
    assert_close(run(cell, params, xs)[1], np.stack(expected))
