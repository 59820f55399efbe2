"""What models draw in training: dropout, zoneout, recurrent dropout; and what they count."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import model_oracles
import numpy as np
import oracles
import pytest
from cases import B, I, M, T, assert_close, jit, on_device, random_params, tokens, vectors
from model_cases import BY_NAME, STEPS, TLSTM, TRNN, ZONED, G, L, each, model_params
from test_model_gradients import assert_is_the_gradient, split

from tlstm_jax import TensorizedLSTM
from tlstm_jax.cells.fast_slow_lstm import FastSlowLSTM
from tlstm_jax.cells.grid_lstm import GridLSTM
from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.cells.recurrent_dropout import RecurrentDropout
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dilated import Dilated
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.residual import Residual
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.recurrence.unrolling import unroll_reference

KEY = jax.random.key(5)


@dataclasses.dataclass(frozen=True)
class Same:
    """A SequenceModel that hands on its inputs."""

    features: int = 50
    delay = 0
    causal = True

    def init(self, key, input_size):
        return {}, ()

    def init_carry(self, batch_size, dtype=jnp.float32, *, params=None):
        return ()

    def apply(self, params, state, carry, xs, **options: Any):
        return carry, xs, state, {}


def trained(model, params, xs, key=KEY, **options):
    """ys of a training step from the model's start."""
    model = as_sequence(model)
    carry = model.init_carry(xs.shape[1], jnp.float64, params=on_device(params))
    apply = functools.partial(model.apply, train=True, **options)
    return jit(apply)(on_device(params), (), carry, jnp.asarray(xs), key=key)[1]


def params_of(model, size=I):
    return random_params(lambda key: as_sequence(model).init(key, size)[0])


def masks(key=KEY, xs=None, **settings):
    """What dropout makes of ones."""
    xs = np.ones((20, 10, 50)) if xs is None else xs
    return np.asarray(trained(Dropout(Same(), **settings), {}, xs, key))


@pytest.mark.parametrize("kind", ["input_rate", "output_rate"])
def test_dropout_drops_units_at_its_rate_and_scales_the_others(kind, x64):
    drawn = masks(**{kind: 0.3})
    assert set(np.unique(drawn)) == {0, 1 / 0.7}
    assert abs((drawn == 0).mean() - 0.3) < 0.02  # of 10,000: four standard deviations
    for axis in range(3):
        assert (drawn != np.roll(drawn, 1, axis)).mean() > 0.3
    np.testing.assert_array_equal(masks(**{kind: 0.3}), drawn)
    assert (masks(jax.random.key(6), **{kind: 0.3}) != drawn).mean() > 0.3


def test_inputs_and_outputs_are_dropped_apart(x64):
    both = masks(input_rate=0.5, output_rate=0.5)
    assert set(np.unique(both)) == {0, 4} and abs((both == 4).mean() - 0.25) < 0.02
    assert (masks(input_rate=0.5) != masks(output_rate=0.5)).mean() > 0.4


@pytest.mark.parametrize("kind", ["input_rate", "output_rate"])
def test_a_variational_mask_is_one_for_all_time_steps(kind, x64):
    drawn = masks(**{kind: 0.3}, variational=True)
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:1], drawn.shape))
    assert abs((drawn == 0).mean() - 0.3) < 0.1  # of 500
    for axis in (1, 2):
        assert (drawn != np.roll(drawn, 1, axis)).mean() > 0.3


def test_a_dropped_token_is_the_zero_input_and_the_others_stay(x64):
    xs = np.random.default_rng(0).integers(0, 9, (40, 50)).astype(np.int32)
    drawn = masks(xs=xs, input_rate=0.3)
    assert drawn.dtype == np.int32 and abs((drawn == -1).mean() - 0.3) < 0.05
    np.testing.assert_array_equal(drawn, np.where(drawn == -1, -1, xs))
    whole = masks(xs=xs, input_rate=0.3, variational=True)
    assert set(np.unique((whole == -1).sum(axis=0))) == {0, 40}


@pytest.mark.parametrize("inputs", [vectors, tokens])
def test_dropout_around_a_model_is_that_of_its_inputs_and_outputs(inputs, x64):
    xs, params = inputs(steps=STEPS), model_params(BY_NAME["dropout"])
    kept_in = masks(xs=xs, input_rate=0.3)
    kept_out = masks(xs=np.ones((STEPS, B, M)), output_rate=0.4)
    ys = trained(Dropout(L, input_rate=0.3, output_rate=0.4), params, xs)
    assert_close(ys, oracles.lstm(params, kept_in).ys * kept_out)


def zoneout_masks(cell, key=KEY, steps=STEPS):
    kept, inner = cell.draw(key, steps, B)
    return kept, inner


@pytest.mark.parametrize(("hidden", "memory"), [(0.2, 0.3), (0.0, 0.5), (0.5, 0.0)])
def test_zoneout_keeps_the_units_that_it_draws(hidden, memory, x64):
    cell, xs, params = Zoneout(L, hidden=hidden, memory=memory), vectors(steps=STEPS), params_of(L)
    kept = zoneout_masks(cell)[0]
    shown = [
        np.asarray(m, float) if m.ndim == 3 else np.zeros((STEPS, 1, 1))
        for m in (kept.hidden, kept.memory)
    ]
    ys = trained(cell, params, xs)
    assert_close(ys, model_oracles.zoneout_lstm(params, xs, *shown))
    mean = [np.full((STEPS, 1, 1), rate) for rate in (hidden, memory)]
    ys = jit(as_sequence(cell).apply)(on_device(params), (), cell.init_carry(B, jnp.float64), xs)[1]
    assert_close(ys, model_oracles.zoneout_lstm(params, xs, *mean))


def test_zoneout_draws_at_its_rates_for_every_unit_and_step():
    kept, inner = Zoneout(L, hidden=0.2, memory=0.4).draw(KEY, 2000, B)
    assert inner is None
    for mask, rate in ((kept.hidden, 0.2), (kept.memory, 0.4)):
        assert mask.shape == (2000, B, M) and mask.dtype == bool
        np.testing.assert_allclose(mask.mean(axis=0), rate, atol=0.05)
    np.testing.assert_allclose((kept.hidden & kept.memory).mean(), 0.08, atol=0.02)
    other = Zoneout(L, hidden=0.2, memory=0.4).draw(jax.random.key(6), 2000, B)[0]
    assert (other.hidden != kept.hidden).mean() > 0.2


def test_recurrent_dropout_draws_once_for_all_steps_and_scales_what_it_keeps(x64):
    cell, xs, params = RecurrentDropout(L, rate=0.3), vectors(steps=STEPS), params_of(L)
    kept, inner = cell.draw(KEY, STEPS, B)
    assert inner is None and kept.shape == (STEPS, B, M)
    np.testing.assert_array_equal(kept, np.broadcast_to(kept[:1], kept.shape))
    none = np.zeros((STEPS, 1, 1))
    drops = np.asarray(kept, float) / 0.7
    expected = model_oracles.noisy_lstm(params, xs, drops, none, none)
    assert_close(trained(cell, params, xs), expected)
    assert np.abs(trained(cell, params, xs, jax.random.key(8)) - expected).max() > 1e-3
    many = cell.draw(KEY, 1, 5000)[0]
    assert abs(many.mean() - 0.7) < 0.02


@pytest.mark.parametrize("order", ["zoneout outside", "zoneout inside", "both"])
def test_zoneout_and_recurrent_dropout_compose(order, x64):
    xs, params = vectors(steps=STEPS), params_of(L)
    if order == "zoneout outside":
        cell = Zoneout(RecurrentDropout(L, rate=0.3), hidden=0.2, memory=0.3)
        zoned, (kept, inner) = cell.draw(KEY, STEPS, B)
        hidden, memory = zoned
    elif order == "zoneout inside":
        cell = RecurrentDropout(ZONED, rate=0.3)
        kept, ((hidden, memory), inner) = cell.draw(KEY, STEPS, B)
    else:
        cell = Zoneout(
            RecurrentDropout(Zoneout(L, hidden=0.0, memory=0.3), rate=0.3), hidden=0.2, memory=0.0
        )
        (hidden, _), (kept, ((_, memory), inner)) = cell.draw(KEY, STEPS, B)
    assert inner is None
    drops, *zoned = (np.asarray(mask, float) for mask in (kept, hidden, memory))
    expected = model_oracles.noisy_lstm(params, xs, drops / 0.7, *zoned)
    assert_close(trained(cell, params, xs), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        RecurrentDropout(TLSTM, rate=0.3),
        RecurrentDropout(GridLSTM(M, num_layers=2), rate=0.3),
        Zoneout(G, hidden=0.3),
        Zoneout(HMLSTM(M, num_layers=2), hidden=0.3, memory=0.3),
        Zoneout(
            FastSlowLSTM(M, slow_features=2, num_fast=2, zoneout_hidden=0.3, zoneout_memory=0.3),
            hidden=0.3,
            memory=0.3,
        ),
        Zoneout(RecurrentDropout(GridLSTM(M, num_layers=2), rate=0.3), hidden=0.3, memory=0.3),
    ],
    ids=["delayed", "grid", "gru", "hm", "fast-slow", "both"],
)
def test_every_step_gets_its_own_noise_whatever_lengths_and_resets(cell, x64):
    params, xs = on_device(params_of(cell)), vectors(steps=4)
    reset, lengths = np.zeros((4, B), bool), np.array([4, 2])
    reset[1, 0] = True
    carry = cell.init_carry(B, jnp.float64)
    noise = cell.draw(KEY, 4 + cell.delay, B)
    options = {"lengths": lengths, "reset": reset, "noise": noise}
    expected = jit(
        lambda params, carry, xs: unroll_reference(cell, params, carry, xs, **options)[1]
    )(params, carry, jnp.asarray(xs))
    actual = trained(cell, params, xs, lengths=lengths, reset=reset)
    assert_close(actual, expected)
    plain = jit(as_sequence(cell).apply)(params, (), carry, xs, lengths=lengths, reset=reset)[1]
    assert np.abs(plain - expected).max() > 1e-3


def test_recurrent_dropout_changes_the_products_only(x64):
    # In cells with and without project / mix / update: where nothing is kept, the state goes on.
    for cell in (L, G, TensorizedLSTM(M, (2,), kernel_size=2), GridLSTM(M, num_layers=2)):
        dropped = RecurrentDropout(cell, rate=0.5)
        params = jax.tree.map(jnp.zeros_like, on_device(params_of(cell)))
        carry = jax.tree.map(lambda leaf: leaf + 1, cell.init_carry(B, jnp.float64))
        kept = jnp.zeros(carry.hidden.shape, bool)
        x = jnp.asarray(vectors()[0])
        assert_close(dropped.step(params, carry, x, (kept, None)), cell.step(params, carry, x))


def test_layers_and_directions_draw_apart(x64):
    xs = np.ones((20, 10, 50))
    stacked = np.asarray(
        trained(Stacked(Dropout(Same(), input_rate=0.5), 2), {"layer_0": {}, "layer_1": {}}, xs)
    )
    assert set(np.unique(stacked)) == {0, 4} and abs((stacked == 4).mean() - 0.25) < 0.02
    model = Bidirectional(Dropout(Same(), input_rate=0.5), Dropout(Same(), input_rate=0.5))
    both = np.asarray(trained(model, {"forward": {}, "backward": {}}, xs))
    assert (both[..., :50] != both[::-1, ..., 50:]).mean() > 0.4


def test_a_learned_carry_takes_noise_too(x64):
    cell, xs = RecurrentDropout(L, rate=0.3), vectors(steps=STEPS)
    params = params_of(LearnedCarry(cell))
    params["carry"] = jax.tree.map(np.zeros_like, params["carry"])
    actual = trained(LearnedCarry(cell), params, xs)
    assert_close(actual, trained(cell, params["cell"], xs))


@each(["chain", "residual-chain", "bidirectional", "qrnn-fo-2", "sru-2018-2", "wavenet"])
def test_what_draws_nothing_is_trained_as_it_is_evaluated(case, x64):
    xs = vectors(steps=STEPS, size=case.size)
    expected = case.oracle(model_params(case), xs)
    assert_close(trained(case.model, model_params(case), xs, None), expected)


@each(["dropout-trnn", "regularized", "recurrent-dropout"])
def test_gradient_with_noise_is_the_derivative(case, x64):
    xs = vectors(steps=STEPS, size=case.size)
    inputs, put = split((on_device(model_params(case)), jnp.asarray(xs)))
    directions = [np.random.default_rng(3).normal(size=leaf.shape) for leaf in inputs]

    def cost(inputs):
        params, xs = put(inputs)
        carry = case.model.init_carry(B, jnp.float64)
        options = {"key": KEY, "train": True, "lengths": np.array([STEPS, 3])}
        return jnp.sum(jnp.sin(case.model.apply(params, (), carry, xs, **options)[1]))

    assert_is_the_gradient(jit(jax.value_and_grad(cost)), inputs, directions)


ANNEALED = AnnealedHMLSTM(HMLSTM(I, num_layers=2))
COUNTING = [
    ANNEALED,
    Stacked(ANNEALED, 2),
    Chain((TRNN, ANNEALED, L)),
    Bidirectional(ANNEALED, L),
    Dilated(ANNEALED, 2),
    Residual(Dropout(ANNEALED, input_rate=0.1)),
]


@pytest.mark.parametrize("model", COUNTING, ids=lambda model: type(model).__name__)
def test_training_steps_are_counted_once_wherever_the_counter_is(model):
    params, state = jax.eval_shape(lambda key: model.init(key, I), KEY)
    params, state = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), (params, state))
    assert jax.tree.leaves(state)
    carry, xs = model.init_carry(B), jnp.ones((T, B, I))
    apply = jit(model.apply, static_argnames="train")
    counted = apply(params, state, carry, xs, key=KEY, train=True)[2]
    assert_close(counted, jax.tree.map(lambda leaf: leaf + 1, state))
    assert_close(apply(params, state, carry, xs, key=KEY, train=False)[2], state)
