"""The BN-LSTM: batch statistics in training, running ones otherwise, for each time step."""

import functools

import jax
import jax.numpy as jnp
import model_oracles
import numpy as np
import oracles
import pytest
from cases import M, T, assert_close, jit, on_device, random_params, tokens, vectors

from tlstm_jax import BatchNormLSTM

I, B = 2, 5
MODEL = BatchNormLSTM(M, max_steps=3, initial_noise=0.0)


def bn_params(seed=0):
    return on_device(random_params(lambda key: MODEL.init(key, I)[0], seed))


def running(seed=3):
    """Random running statistics, float64."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: MODEL.init(key, I)[1], jax.random.key(0))
    return {
        "mean": jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), shapes["mean"]),
        "var": jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 2, x.shape)), shapes["var"]),
    }


def run(params, state, xs, *, model=MODEL, carry=None, **options):
    carry = carry or model.init_carry(xs.shape[1], jnp.float64)
    apply = jit(functools.partial(model.apply, **options))
    return apply(params, state, carry, jnp.asarray(xs))


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_training_equals_its_independent_version(inputs, x64):
    xs, params = inputs(batch=B), bn_params()
    _, ys, _, _ = run(params, running(), xs, train=True)
    expected, _ = model_oracles.batch_norm_lstm(jax.tree.map(np.asarray, params), xs)
    assert_close(ys, expected)


def test_running_statistics_are_means_over_batches_and_the_last_is_shared(x64):
    xs, params, state = vectors(batch=B), bn_params(), running()
    _, _, new, _ = run(params, state, xs, train=True)
    _, steps = model_oracles.batch_norm_lstm(jax.tree.map(np.asarray, params), xs)
    names = {"input": "input_norm", "recurrent": "recurrent_norm", "memory": "memory_norm"}
    for n, kind in enumerate(("mean", "var")):
        for name, key in names.items():
            batch = [step[key][n] for step in steps]
            batch = [np.ravel(batch[0]), np.ravel(batch[1]), np.mean(batch[2:], axis=0).ravel()]
            expected = 0.9 * np.asarray(state[kind][name]) + 0.1 * np.stack(batch)
            assert_close(new[kind][name], expected)


def test_scales_and_biases_that_undo_the_statistics_give_the_lstm(x64):
    params, state, xs = bn_params(), running(), vectors(batch=B)
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), state)  # one for all steps
    mean, deviation = same["mean"], jax.tree.map(lambda v: jnp.sqrt(v + 1e-5), same["var"])
    undone = dict(params)
    bias = params["recurrent"]["bias"]
    for name in ("input", "recurrent"):
        undone[f"{name}_norm"] = {"scale": deviation[name][0]}
        bias = bias + mean[name][0]
    undone["memory_norm"] = {"scale": deviation["memory"][0], "bias": mean["memory"][0]}
    undone["recurrent"] = {**params["recurrent"], "bias": bias}
    _, ys, _, _ = run(undone, same, xs)
    plain = {name: params[name] for name in ("input", "recurrent")}
    assert_close(ys, oracles.lstm(jax.tree.map(np.asarray, plain), xs).ys)


def test_streams_and_tokens_know_the_step(x64):
    params, state, xs = bn_params(), running(), vectors(batch=B)
    whole_carry, whole, _, _ = run(params, state, xs)
    carry, first, _, _ = run(params, state, xs[:2], flush=False)
    carry, second, _, _ = run(params, state, xs[2:], carry=carry, flush=False)
    assert_close((carry, np.concatenate([first, second])), (whole_carry, whole))
    carry, advance = MODEL.init_token_carry(B, jnp.float64), jit(MODEL.token_step)
    for x, y in zip(xs, whole, strict=True):
        carry, now = advance(params, state, carry, jnp.asarray(x))
        assert_close(now, y)


@pytest.mark.parametrize("train", [False, True])
def test_a_reset_restarts_the_count(train, x64):
    params, state, xs = bn_params(), running(), vectors(batch=B)
    reset = np.zeros((T, B), bool)
    reset[2] = True
    _, ys, _, _ = run(params, state, xs, reset=jnp.asarray(reset), train=train)
    _, second, _, _ = run(params, state, xs[2:], train=train)
    assert_close(ys[2:], second)


def test_statistics_are_over_the_examples_that_have_not_ended(x64):
    params, state, xs = bn_params(), running(), vectors(batch=B)
    lengths = np.array([T, T, T, 2, 2])
    padded = xs.copy()
    padded[2:, 3:] = np.nan
    _, ys, new, _ = run(params, state, padded, lengths=jnp.asarray(lengths), train=True)
    assert not ys[2:, 3:].any()
    carry, first, _, _ = run(params, state, xs[:2], train=True)
    rest = jax.tree.map(lambda x: x[:3], carry)
    _, second, _, _ = run(params, state, xs[2:, :3], carry=rest, train=True)
    assert_close((ys[:2], ys[2:, :3]), (first, second))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))

    def loss(params):
        carry = MODEL.init_carry(B, jnp.float64)
        options = {"lengths": jnp.asarray(lengths), "train": True}
        return jnp.sum(MODEL.apply(params, state, carry, jnp.asarray(padded), **options)[1] ** 2)

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jit(jax.grad(loss))(params)))


@pytest.mark.slow
def test_the_gradient_goes_through_the_batch_statistics(x64):
    params, state, xs = bn_params(), running(), jnp.asarray(vectors(batch=B))

    def loss(params):
        carry = MODEL.init_carry(B, jnp.float64)
        return jnp.sum(MODEL.apply(params, state, carry, xs, train=True)[1] ** 3)

    direction = on_device(random_params(lambda key: MODEL.init(key, I)[0], 9))
    step = 1e-5
    sides = [
        loss(jax.tree.map(lambda p, d: p + sign * step * d, params, direction))  # noqa: B023
        for sign in (1, -1)
    ]
    along = sum(map(jnp.vdot, *map(jax.tree.leaves, (jax.grad(loss)(params), direction))))
    np.testing.assert_allclose(along, (sides[0] - sides[1]) / (2 * step), rtol=1e-6)


def test_noise_on_the_first_state_is_for_training_and_for_starts_only(x64):
    model = BatchNormLSTM(M, max_steps=3, initial_noise=0.5)
    params, state, xs = bn_params(), running(), vectors(batch=B)
    keys = [jax.random.key(n) for n in (0, 0, 1)]
    first, again, other = (
        run(params, state, xs, model=model, train=True, key=key)[1] for key in keys
    )
    assert_close(first, again)
    assert np.abs(first - other).max() > 1e-3
    later = model.init_carry(B, jnp.float64)._replace(age=jnp.full((B,), 4, jnp.int32))
    ys = [
        run(params, state, xs, model=model, train=True, key=key, carry=later)[1] for key in keys[1:]
    ]
    assert_close(*ys)
    with pytest.raises(ValueError, match="key is None; accepted by BatchNormLSTM"):
        model.apply(params, state, model.init_carry(B, jnp.float64), jnp.asarray(xs), train=True)


def test_bfloat16_keeps_memory_and_statistics_wide():
    model = BatchNormLSTM(M, initial_noise=0.0, dtype=jnp.bfloat16)
    params, state = jit(lambda key: model.init(key, I))(jax.random.key(0))
    xs = jnp.asarray(vectors(batch=B), jnp.float32)
    carry, ys, new, _ = jit(functools.partial(model.apply, train=True))(
        params, state, model.init_carry(B), xs
    )
    assert ys.dtype == carry.hidden.dtype == jnp.bfloat16
    assert carry.memory.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"features": 0}, "features is 0; accepted are integers >= 1"),
        ({"features": 2, "max_steps": 0}, "max_steps is 0; accepted"),
        ({"features": 2, "momentum": 0.0}, r"momentum is 0.0; accepted are numbers in \(0, 1\]"),
    ],
)
def test_refuses_settings_that_make_no_sense(settings, text):
    with pytest.raises(ValueError, match=text):
        BatchNormLSTM(**settings)
