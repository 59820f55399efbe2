"""Stacks of one cell, with separate and with shared weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import (
    BY_NAME,
    B,
    I,
    M,
    T,
    assert_close,
    each,
    floats,
    jit,
    on_device,
    random_params,
    tokens,
    vectors,
)

from tlstm_jax import LSTM, Elman, Stacked
from tlstm_jax.models.chain import Chain
from tlstm_jax.overrides import override
from tlstm_jax.typing import SequenceModel

KINDS = pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])


def stack_params(model, seed=0):
    return random_params(lambda key: model.init(key, I)[0], seed)


def run(model, params, xs, **options):
    carry = model.init_carry(xs.shape[1], jnp.float64)
    apply = jit(functools.partial(model.apply, state=(), **options))
    carry, ys, state, aux = apply(on_device(params), carry=carry, xs=jnp.asarray(xs))
    assert (state, aux) == ((), {})
    return carry, ys


@KINDS
@each(["elman", "lstm", "gru", "gru-before"])
def test_equals_its_independent_version(case, shared, x64):
    model = Stacked(case.cell, 3, shared=shared)
    for xs in (vectors(), tokens()):
        params = stack_params(model)
        carry, ys = run(model, params, xs)
        expected = oracles.stacked(params, xs, case.oracle, num_layers=3, shared=shared)
        assert_close(ys, expected.ys)
        assert_close(floats(carry), floats(expected.states[-1]))


@KINDS
def test_a_stream_and_its_tokens_are_one_whole_run(shared, x64):
    model, xs = Stacked(LSTM(M), 2, shared=shared), vectors()
    params = stack_params(model)
    whole_carry, whole = run(model, params, xs)
    apply = jit(functools.partial(model.apply, flush=False))
    carry, first, *_ = apply(
        on_device(params), (), model.init_carry(B, jnp.float64), jnp.asarray(xs[:2])
    )
    carry, second, *_ = apply(on_device(params), (), carry, jnp.asarray(xs[2:]))
    assert_close((carry, np.concatenate([first, second])), (whole_carry, whole))
    carry, advance = model.init_token_carry(B, jnp.float64), jit(model.token_step)
    for x, y in zip(xs, whole, strict=True):
        carry, now = advance(on_device(params), (), carry, jnp.asarray(x))
        assert_close(now, y)


@KINDS
def test_what_lies_behind_an_end_changes_nothing_even_if_it_is_nan(shared, x64):
    model, lengths = Stacked(LSTM(M), 2, shared=shared), np.array([T, 2])
    params, xs = stack_params(model), vectors()
    padded = xs.copy()
    padded[2:, 1] = np.nan

    def loss(params, xs, lengths=None):
        carry = model.init_carry(xs.shape[1], jnp.float64)
        carry, ys, *_ = model.apply(params, (), carry, xs, lengths=lengths)
        return jnp.sum(jnp.sin(ys)) + sum(map(jnp.sum, floats(carry))), (carry, ys)

    gradient = jit(jax.grad(loss, has_aux=True))
    grads, (carry, ys) = gradient(on_device(params), jnp.asarray(padded), lengths)
    one, (one_carry, one_ys) = gradient(on_device(params), jnp.asarray(xs[:, :1]))
    two, (two_carry, two_ys) = gradient(on_device(params), jnp.asarray(xs[:2, 1:]))
    assert_close((ys[:, :1], ys[:2, 1:]), (one_ys, two_ys))
    assert not ys[2:, 1].any()
    assert_close(carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one_carry, two_carry))
    assert_close(grads, jax.tree.map(jnp.add, one, two))


def test_reset_reaches_every_layer(x64):
    model, xs = Stacked(LSTM(M), 2), vectors()
    params, reset = stack_params(model), np.zeros((T, B), bool)
    reset[3, 1] = True
    _, ys = run(model, params, xs, reset=reset)
    expected = functools.partial(
        oracles.stacked, params, layer=BY_NAME["lstm"].oracle, num_layers=2, shared=False
    )
    assert_close(ys[:, :1], expected(xs[:, :1]).ys)
    assert_close(ys[3:, 1:], expected(xs[3:, 1:]).ys)


def test_parameter_trees_and_starts():
    separate, shared = Stacked(LSTM(4), 3), Stacked(LSTM(4), 3, shared=True)
    params, state = jit(lambda key: separate.init(key, I))(jax.random.key(0))
    assert state == () and sorted(params) == ["layer_0", "layer_1", "layer_2"]
    assert params["layer_0"]["input"]["kernel"].shape == (I, 16)
    assert params["layer_1"]["input"]["kernel"].shape == (4, 16)
    assert not np.array_equal(
        params["layer_1"]["recurrent"]["kernel"], params["layer_2"]["recurrent"]["kernel"]
    )
    params, _ = jit(lambda key: shared.init(key, I))(jax.random.key(0))
    assert sorted(params) == ["input", "layer"]
    assert params["input"]["kernel"].shape == (I, 4) and params["input"]["bias"].shape == (4,)
    assert isinstance(separate, SequenceModel) and hash(separate) == hash(Stacked(LSTM(4), 3))
    assert (separate.features, separate.delay, separate.causal) == (4, 0, True)


@KINDS
def test_overrides_reach_every_layer_but_scales_only_the_first_input(shared):
    model, key = Stacked(LSTM(30), 2, shared=shared), jax.random.key(0)
    scaled = {"forget_bias": jnp.float32(3), "input_scale": jnp.float32(5)}
    params, _ = jit(lambda floats: override(model, floats).init(key, 30))(scaled)
    layers = [params["layer"]] if shared else [params["layer_0"], params["layer_1"]]
    for layer in layers:
        assert (layer["recurrent"]["bias"][30:60] == 3).all()
    first = params["input"] if shared else params["layer_0"]["input"]
    assert abs(first["kernel"].std() / 5 - 1) < 0.1
    assert abs(layers[-1]["input"]["kernel"].std() / 30**-0.5 - 1) < 0.1


def test_bfloat16_keeps_memories_wide():
    model = Stacked(LSTM(M, dtype=jnp.bfloat16), 2, shared=True)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), stack_params(model))
    xs = jnp.asarray(vectors(), jnp.float32)
    carry, ys, *_ = jit(model.apply)(params, (), model.init_carry(B), xs)
    assert ys.dtype == jnp.bfloat16
    for layer in carry:
        assert (layer.hidden.dtype, layer.memory.dtype) == (jnp.bfloat16, jnp.float32)
    wide = dataclasses.replace(model, cell=LSTM(M))
    _, expected, *_ = jit(wide.apply)(params, (), wide.init_carry(B), xs)
    np.testing.assert_allclose(ys.astype(jnp.float32), expected, atol=0.03)


@KINDS
@each(["trnn-3x2-k2", "tlstm-3-k2"])
def test_delays_add_up(case, shared, x64):
    model = Stacked(case.cell, 2, shared=shared)
    assert model.delay == 2 * case.cell.delay
    params, xs = stack_params(model), vectors(steps=T + model.delay)
    expected = oracles.stacked(params, xs, case.oracle, num_layers=2, shared=shared).ys
    assert_close(run(model, params, xs)[1], expected)
    _, late = run(model, params, xs, flush=False)
    assert not late[: model.delay].any()
    assert_close(late[model.delay :], expected[:T])


@each(["tlstm-3-k2"])
def test_a_layer_above_a_delay_starts_with_its_first_input(case, x64):
    # Before, it hears what the layer below says of nothing: its state would not be the first one.
    model, params = Stacked(case.cell, 2), stack_params(Stacked(case.cell, 2))
    carry, _ = run(model, params, vectors(steps=case.cell.delay), flush=False)
    np.testing.assert_array_equal(carry.age, case.cell.delay)
    first, _ = run(model, params, vectors(steps=case.cell.delay + 1), flush=False)
    np.testing.assert_array_equal(first.layers[1].age, 1)


def test_a_chain_of_equal_layers_is_a_stack(x64):
    chain, stack = Chain((LSTM(M), LSTM(M))), Stacked(LSTM(M), 2)
    start, same = (jit(lambda key, m=m: m.init(key, I))(jax.random.key(0)) for m in (chain, stack))
    assert_close(start, same)
    params = stack_params(stack)
    assert_close(run(chain, params, vectors()), run(stack, params, vectors()))


def test_refuses_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="num_layers is 0; accepted are integers >= 1"):
        Stacked(Elman(M), 0)
