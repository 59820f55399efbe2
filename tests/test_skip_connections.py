"""Skip connections: a chain where they weigh nothing, what they reach, and what is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, assert_close, jit, on_device, random_params, tokens, vectors
from model_cases import STEPS, TLSTM, TRNN, G, L, R

from tlstm_jax import (
    Bidirectional,
    Chain,
    Dropout,
    Network,
    Residual,
    SkipConnections,
    generate,
    last_output,
    zoo,
)

KEY = jax.random.key(0)


def params_of(model, size=I, seed=0):
    return on_device(random_params(lambda key: model.init(key, size)[0], seed))


def applied(model, params, xs, **options):
    carry = model.init_carry(xs.shape[1], jnp.float64, params=params)
    return jit(functools.partial(model.apply, **options))(params, (), carry, xs)[1]


def without_skips(params):
    """A chain's parameters with zero rows for x in all layers above the first."""

    def padded(layer):
        kernel = layer["input"]["kernel"]
        kernel = jnp.concatenate([jnp.zeros((I, kernel.shape[1])), kernel])
        return {**layer, "input": {**layer["input"], "kernel": kernel}}

    return {name: p if name == "layer_0" else padded(p) for name, p in params.items()}


STACKS = [(L, G, R), (L, L), (R, TLSTM, G), (TRNN, TLSTM), (Bidirectional(R, G), TRNN, R)]


@pytest.mark.slow(but=["three-vectors"])
@pytest.mark.parametrize("inputs", [vectors, tokens])
@pytest.mark.parametrize(
    "layers", STACKS, ids=["three", "two", "late", "both-late", "bidirectional"]
)
def test_zero_skip_weights_give_the_chain(layers, inputs, x64):
    chain, skipping = Chain(layers), SkipConnections(layers)
    params, xs = params_of(chain), jnp.asarray(inputs(steps=STEPS))
    lengths, reset = np.array([STEPS, 4]), np.zeros((STEPS, B), bool)
    reset[3, 0] = True
    for options in ({}, {"flush": False}, {"lengths": lengths, "reset": reset}):
        expected = applied(chain, params, xs, **options)
        ys = applied(skipping, without_skips(params), xs, **options)
        assert_close(ys[..., -layers[-1].features :], expected)


def test_lower_layers_are_read_out_as_they_are_alone(x64):
    params = params_of(SkipConnections((L, TLSTM, TRNN)))
    xs = jnp.asarray(vectors(steps=STEPS))

    def outputs(*layers):
        some = {f"layer_{n}": params[f"layer_{n}"] for n in range(len(layers))}
        return applied(SkipConnections(layers), some, xs)

    ys = outputs(L, TLSTM, TRNN)
    assert_close(ys[..., :M], outputs(L))
    assert_close(ys[..., : 2 * M], outputs(L, TLSTM))


def test_every_layer_sees_the_input(x64):
    # Where the layer below is silent, the layers above still see x, each from its own weights.
    model = SkipConnections((L, TLSTM, G))
    params, xs = params_of(model), jnp.asarray(vectors(steps=STEPS))
    params["layer_0"] = jax.tree.map(jnp.zeros_like, params["layer_0"])
    ys = applied(model, params, xs)
    assert not ys[..., :M].any()
    of_x = params["layer_1"]["input"]["kernel"][:I]
    alone = {**params["layer_1"], "input": {**params["layer_1"]["input"], "kernel": of_x}}
    assert_close(ys[..., M : 2 * M], applied(Chain((TLSTM,)), {"layer_0": alone}, xs))


def test_features_that_run_backwards_are_complete_first(x64):
    model = SkipConnections((Bidirectional(R, G), L))
    assert model.finished_first == (False,) * M + (True,) * M + (False,) * M
    params, xs = params_of(model), jnp.asarray(vectors(steps=STEPS))
    ys = applied(model, params, xs)
    last = last_output(model, ys)
    assert_close(last, jnp.concatenate([ys[-1, :, :M], ys[0, :, M : 2 * M], ys[-1, :, 2 * M :]], 1))


def test_by_name_all_layers_see_the_same_dropped_inputs(x64):
    settings = {"features": M, "num_layers": 2, "skip_connections": True}
    model = zoo.make_model("gru", input_dropout=0.5, dropout=0.2, **settings)
    assert isinstance(model, Dropout) and model.output_rate == 0
    assert isinstance(model.model, SkipConnections) and model.features == 2 * M
    assert [(l.input_rate, l.output_rate) for l in model.model.layers] == [(0, 0.2)] * 2
    with_delay = zoo.make_model("tlstm", tensor_shape=(3,), **settings)
    assert with_delay.delay == 2 * zoo.make_model("tlstm", tensor_shape=(3,)).delay > 0


def test_a_network_writes_what_it_would_read():
    model = zoo.make_model("lstm", features=4, num_layers=3, skip_connections=True)
    network = Network(model, 5, 5, tokens=True)
    params, state = network.init(KEY)
    xs = jnp.array([[0, 1], [2, 4], [3, 3]])
    carry = network.init_carry(2, params=params)
    logits = network.apply(params, state, carry, xs)[1]
    assert params["readout"]["kernel"].shape == (12, 5)
    written = generate(network, params, state, xs, 1, temperature=0.0)
    np.testing.assert_array_equal(written[-1], jnp.argmax(logits[-1], axis=-1))


REFUSED = [
    (lambda: SkipConnections(()), "layers is (); accepted are one or more cells or models"),
    (lambda: SkipConnections((L, 3)), "layers[1] is 3; accepted are cells and models"),
    (
        lambda: SkipConnections((TRNN, Bidirectional(R, R))),
        "Bidirectional is not causal, and its inputs are 1 steps late; accepted above layers with a "
        "delay are causal ones",
    ),
    (
        lambda: SkipConnections((TRNN, L)).init_carry(B),
        "params is None; accepted by SkipConnections around layers with a delay, which hold inputs "
        "back, are the parameters",
    ),
    (
        lambda: SkipConnections((L, Residual(L))).init(KEY, I),
        "a residual connection around 3 features has 5 inputs; accepted are as many as features",
    ),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refuses_what_does_not_go_together(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


def test_what_is_no_token_gives_no_number():
    model = SkipConnections((L, G))
    params = model.init(KEY, 5)[0]
    carry, xs = model.init_carry(1), jnp.array([[3], [7]])
    ys = model.apply(params, (), carry, xs)[1]
    assert np.isfinite(ys[0]).all() and np.isnan(ys[1]).all()
