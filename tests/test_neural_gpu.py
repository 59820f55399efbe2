"""Neural GPUs: what they are identical to, their cutoff, relaxation and dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import B, I, M, assert_close, jit, on_device, random_params, vectors
from model_oracles import cgru, convolved, neural_gpu

from tlstm_jax import ExtendedNeuralGPU, NeuralGPU
from tlstm_jax.models.cgru import cut_sigmoid

STEPS = 7
KEY = jax.random.key(3)


def params_of(model, seed=0):
    return random_params(lambda key: model.init(key, I)[0], seed)


def applied(model, params, xs, state=(), **options):
    """(ys, state, aux)"""
    names = {name: options.pop(name) for name in ("train",) if name in options}

    def apply(params, state, xs, options):
        return model.apply(params, state, (), xs, **options, **names)[1:]

    return jit(apply)(on_device(params), state, jnp.asarray(xs), options)


def test_kernels_of_one_tap_leave_each_position_to_itself(x64):
    # With one row, each is a gated unit without inputs, whose first state is its embedded input.
    model, xs = NeuralGPU(M, width=1, num_layers=1, kernel_size=1, cutoff=1.0), vectors(steps=STEPS)
    params = params_of(model)
    gates, candidate = (params["layer_0"][name] for name in ("gates", "candidate"))
    h = xs @ params["input"]["kernel"]
    for _ in range(STEPS):
        a = oracles.sigmoid(h @ gates["kernel"][0, 0] + gates["bias"])
        u, r = a[..., :M], a[..., M:]
        h = u * h + (1 - u) * np.tanh((r * h) @ candidate["kernel"][0, 0] + candidate["bias"])
    assert_close(applied(model, params, xs)[0], h)


def test_one_position_of_one_row_sees_the_middle_tap_alone(x64):
    wide, narrow = (NeuralGPU(M, width=1, kernel_size=k) for k in (5, 1))
    params, xs = params_of(wide), vectors(steps=1)
    middle = jax.tree.map(lambda p: p[2:3, 2:3] if p.ndim == 4 else p, params)
    assert_close(applied(wide, params, xs)[0], applied(narrow, middle, xs)[0])


def test_what_is_further_away_than_all_steps_reach_is_not_seen(x64):
    model, xs = NeuralGPU(M, num_layers=1, width=1, kernel_size=3), vectors(steps=STEPS)
    lengths, reset = np.full(B, STEPS), np.zeros((STEPS, B), bool)
    reset[3] = True
    params = params_of(model)
    ys = applied(model, params, xs, lengths=lengths, reset=reset)[0]
    for t in (2, 3):  # of the first and of the second sequence
        other = xs.copy()
        other[t] += 1.0
        moved = applied(model, params, other, lengths=lengths, reset=reset)[0] != ys
        same = (np.arange(STEPS) < 3) == (t < 3)
        np.testing.assert_array_equal(np.asarray(moved).any(axis=(1, 2)), same)


@pytest.mark.parametrize("cutoff", [1.0, 1.2, 2.0])
def test_the_cutoff_makes_gates_exactly_zero_or_one(cutoff, x64):
    a = jnp.linspace(-8.0, 8.0, 101)
    s = np.asarray(cut_sigmoid(a, cutoff))
    assert_close(s, np.clip(cutoff / (1 + np.exp(-a)) - (cutoff - 1) / 2, 0, 1))
    assert_close(s + s[::-1], np.ones(101))
    ends = (s == 0).any() and (s == 1).any()
    assert ends == (cutoff > 1)


def test_closed_update_gates_keep_the_embedding(x64):
    model, xs = NeuralGPU(M), vectors(steps=STEPS)
    params = params_of(model)
    for n in range(2):
        params[f"layer_{n}"]["gates"]["kernel"] *= 0
        params[f"layer_{n}"]["gates"]["bias"][:M] = 2.5  # beyond the cutoff, so that u is 1
    ys = applied(model, params, xs)[0]
    np.testing.assert_array_equal(ys, xs @ params["input"]["kernel"])


RELAXED = NeuralGPU(M, width=2, relaxation=3, relaxation_steps=100, relaxation_growth=4.0)


def test_equal_copies_are_one_without_a_pull(x64):
    plain, xs = dataclasses.replace(RELAXED, relaxation=1), vectors(steps=STEPS)
    params = params_of(plain)
    copies = {
        name: part if name == "input" else jax.tree.map(lambda p: np.stack([p] * 3), part)
        for name, part in params.items()
    }
    ys, state, aux = applied(RELAXED, copies, xs, {"steps": jnp.float32(0)}, train=True)
    assert_close(ys, applied(plain, params, xs)[0])
    assert float(state["steps"]) == 1 and float(aux["relaxation"]) < 1e-20
    assert applied(plain, params, xs, train=True)[1:] == ((), {})


@pytest.mark.parametrize("steps", [0, 50, 99, 100, 1000])
def test_the_pull_grows_until_the_copies_become_their_mean(steps, x64):
    params, xs = params_of(RELAXED), vectors(steps=STEPS)
    layers = {name: part for name, part in params.items() if name != "input"}
    distance = sum(np.sum((p - p.mean(axis=0)) ** 2) for p in jax.tree.leaves(layers))
    state = {"steps": jnp.float32(steps)}
    ys, _, aux = applied(RELAXED, params, xs, state, train=True)
    assert_close(applied(RELAXED, params, xs, state)[0], ys)  # outside training, too
    if steps < 100:
        np.testing.assert_allclose(
            aux["relaxation"], 0.0005 * 4 ** (steps / 100) * distance, rtol=1e-6
        )
        assert_close(ys, neural_gpu(params, xs, width=2, num_layers=2, copies=3))
    else:
        assert float(aux["relaxation"]) == 0
        mean = params | jax.tree.map(lambda p: p.mean(axis=0), layers)
        assert_close(ys, neural_gpu(mean, xs, width=2, num_layers=2))


def test_the_pull_is_what_gradients_of_a_training_descend(x64):
    params, xs, state = on_device(params_of(RELAXED)), vectors(steps=2), {"steps": jnp.float32(0)}

    def cost(params):
        return RELAXED.apply(params, state, (), jnp.asarray(xs), train=True)[3]["relaxation"]

    grads = jit(jax.grad(cost))(params)
    kernel = params["layer_1"]["candidate"]["kernel"]
    expected = 2 * 0.0005 * (kernel - kernel.mean(axis=0, keepdims=True))
    assert_close(grads["layer_1"]["candidate"]["kernel"], expected, 1e-7)
    assert not grads["input"]["kernel"].any()


def test_dropout_is_at_the_rate_of_the_length_and_keeps_means():
    # One tap, no weights, u = 1: what is left of a constant after all steps shows what was dropped.
    model = NeuralGPU(50, width=1, num_layers=1, kernel_size=1, recurrent_dropout=0.2)
    params = jax.tree.map(jnp.zeros_like, model.init(KEY, 50)[0])
    params["input"]["kernel"] = jnp.eye(50)
    params["layer_0"]["gates"]["bias"] = jnp.full((100,), 2.5)
    lengths = np.array([4, 16] * 50)
    xs = jnp.ones((16, 100, 50))
    ys = np.asarray(applied(model, params, xs, lengths=lengths, key=KEY, train=True)[0])
    for b, length, rate in ((0, 4, 0.2), (1, 16, 0.1)):
        some = ys[:length, b::2]
        np.testing.assert_allclose(np.unique(some), [0, (1 - rate) ** -length], rtol=1e-5)
        assert abs((some > 0).mean() - (1 - rate) ** length) < 0.02
        assert not ys[length:, b::2].any()
    other = applied(model, params, xs, lengths=lengths, key=jax.random.key(4), train=True)[0]
    assert (np.asarray(other) != ys).mean() > 0.1
    assert (applied(model, params, xs)[0] == 1).all()


def test_dropout_is_of_the_entire_state_before_each_step(x64):
    model, xs = NeuralGPU(M, width=2, num_layers=1, recurrent_dropout=0.4), vectors(steps=2)
    params, layer = params_of(model), params_of(model)["layer_0"]
    ys = applied(model, params, xs, key=KEY, train=True)[0]
    S = np.zeros((2, B, 2 * M))
    S[..., :M] = xs @ params["input"]["kernel"]
    for k in range(2):
        kept = jax.random.bernoulli(jax.random.fold_in(KEY, k), jnp.full(S.shape, 0.6))
        S = np.asarray(kept) * S / 0.6
        for b in range(B):
            rows = S[:, b].reshape(2, 2, M).swapaxes(0, 1)
            a = convolved(layer["gates"]["kernel"], rows) + layer["gates"]["bias"]
            u, r = (np.clip(1.2 * oracles.sigmoid(part) - 0.1, 0, 1) for part in np.split(a, 2, -1))
            c = convolved(layer["candidate"]["kernel"], r * rows) + layer["candidate"]["bias"]
            S[:, b] = (u * rows + (1 - u) * np.tanh(c)).swapaxes(0, 1).reshape(2, -1)
    assert_close(ys, S[..., :M])


def test_a_training_with_dropout_needs_a_key():
    model = NeuralGPU(M, recurrent_dropout=0.1)
    params, state = model.init(KEY, I)
    with pytest.raises(ValueError, match=r"^key is None; accepted by NeuralGPU, which draws masks"):
        model.apply(params, state, (), jnp.ones((3, B, I)), train=True)


EXTENDED = ExtendedNeuralGPU(M, width=2, num_outputs=4)


def test_a_tape_that_is_not_read_leaves_a_neural_gpu_of_more_steps(x64):
    # Output k is then the first row after n + k + 1 steps, of decoder and encoder alike.
    xs, params = vectors(steps=STEPS), params_of(EXTENDED)
    encoder = {name: part for name, part in params.items() if name.startswith("layer")}
    for name, layer in encoder.items():
        kernel = params["decoder"][name]["tape"]["kernel"]
        params["decoder"][name] = layer | {"tape": {"kernel": np.zeros_like(kernel)}}
    ys = applied(EXTENDED, params, xs)[0]
    for b in range(B):
        S = np.zeros((2, STEPS, M))
        S[0] = xs[:, b] @ params["input"]["kernel"]
        for step in range(2 * STEPS):
            for layer in encoder.values():
                S = cgru(layer, S, cutoff=1.2)
            if step >= STEPS:
                k = step - STEPS
                assert_close(ys[k, b], S[0, k])


def test_an_output_is_read_by_those_after_it_alone(x64):
    # Another readout changes what is on the tape, so all outputs but the first.
    xs, params = vectors(steps=STEPS), params_of(EXTENDED)
    other = params | {
        "readout": jax.tree.map(lambda p: p + np.sin(np.arange(4)), params["readout"])
    }
    moved = np.asarray(applied(EXTENDED, params, xs)[0] != applied(EXTENDED, other, xs)[0])
    assert moved[1:].any(axis=-1).all() and not moved[0].any()


def test_the_pull_and_dropout_reach_the_decoder(x64):
    model = dataclasses.replace(EXTENDED, relaxation=2, recurrent_dropout=0.3)
    params, xs, state = params_of(model), vectors(steps=3), {"steps": np.float32(0)}

    def cost(params):
        return model.apply(params, state, (), jnp.asarray(xs), key=KEY, train=True)[3]["relaxation"]

    grads = jit(jax.grad(cost))(on_device(params))
    pulled = {name: np.any(jax.tree.leaves(part)[0]) for name, part in grads.items()}
    assert pulled == {name: name not in ("input", "readout", "embedding") for name in params}
    encoded = params | {"decoder": jax.tree.map(np.zeros_like, params["decoder"])}
    encoded["decoder"]["layer_0"]["gates"]["bias"] += 2.5  # u = 1: the decoder keeps what it drops
    encoded["decoder"]["layer_1"]["gates"]["bias"] += 2.5
    ys = applied(model, encoded, xs, state, key=KEY, train=True)[0]
    assert (ys == 0).any() and (ys != 0).any()
    assert (applied(model, encoded, xs, state)[0] != 0).all()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"kernel_size": 2}, "kernel_size is 2; accepted are odd integers >= 1"),
        ({"kernel_size": 0}, "kernel_size is 0; accepted are odd integers >= 1"),
        ({"width": 0}, "width is 0; accepted are integers >= 1"),
        ({"num_layers": 0}, "num_layers is 0; accepted are integers >= 1"),
        ({"relaxation": 0}, "relaxation is 0; accepted are integers >= 1"),
        ({"relaxation_steps": 0}, "relaxation_steps is 0; accepted are integers >= 1"),
        ({"relaxation_pull": -0.1}, "relaxation_pull is -0.1; accepted are numbers >= 0"),
        ({"relaxation_growth": 0.5}, "relaxation_growth is 0.5; accepted are numbers >= 1"),
        ({"cutoff": 0.9}, "cutoff is 0.9; accepted are numbers >= 1"),
        ({"recurrent_dropout": 1.0}, "recurrent_dropout is 1.0; accepted are rates in [0, 1)"),
        ({"remat_every": 0}, "remat_every is 0; accepted are None and integers >= 1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting, text):
    with pytest.raises(ValueError) as error:
        NeuralGPU(M, **setting)
    assert str(error.value) == text


def test_a_tape_needs_symbols():
    with pytest.raises(ValueError, match=r"^num_outputs is 0; accepted are integers >= 1$"):
        ExtendedNeuralGPU(M, num_outputs=0)
