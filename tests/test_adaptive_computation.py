"""Adaptive computation time: its identities, its cost, what it draws, and what it refuses."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import model_oracles
import numpy as np
import pytest
from cases import BY_NAME, B, M, assert_close, jit, on_device, random_params, vectors
from model_cases import STEPS, TRNN, ZONED, G, L, R
from test_model_gradients import assert_is_the_gradient, split

from tlstm_jax import (
    AdaptiveComputation,
    Network,
    RecurrentDropout,
    TensorizedLSTM,
    TrainSettings,
    Zoneout,
    fit,
    unroll,
    zoo,
)
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.overrides import initial, override
from tlstm_jax.sweeps.groups import plan
from tlstm_jax.sweeps.members import fit_members
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import Overrides

KEY = jax.random.key(0)


def params_of(model, seed=0, halting_bias=None):
    params = random_params(lambda key: model.init(key, 2)[0], seed)
    if halting_bias is not None:
        params["halting"]["bias"] = np.array([halting_bias])
    return on_device(params)


def applied(model, params, xs, **options):
    """(the last carry, ys, aux)."""
    carry = model.init_carry(xs.shape[1], jnp.float64)
    carry, ys, _, aux = jit(functools.partial(model.apply, **options))(params, (), carry, xs)
    return carry, ys, aux


def flagged(xs, flag=1.0):
    return jnp.concatenate([xs, jnp.full((*xs.shape[:2], 1), flag)], axis=-1)


def cell_named(name):
    return next(case.cell for known, case in BY_NAME.items() if known.startswith(name))


@pytest.mark.parametrize("cell", ["lstm", "gru", "grid", "mlstm", "rhn"])
def test_one_inner_step_is_the_cell_with_the_flag_set(cell, x64):
    cell, xs = cell_named(cell), vectors(steps=STEPS)
    model = AdaptiveComputation(cell, max_ponder=1)
    params = params_of(model)
    carry, ys, _ = applied(model, params, xs)
    plain = cell.init_carry(B, jnp.float64)
    expected = unroll(cell, params["cell"], plain, flagged(jnp.asarray(xs)))
    assert_close((carry, ys), expected)


def test_a_large_halting_bias_halts_at_once(x64):
    xs = vectors(steps=STEPS)
    one = AdaptiveComputation(L, max_ponder=1)
    many = AdaptiveComputation(L, max_ponder=7)
    params = params_of(many, halting_bias=50.0)
    assert_close(applied(many, params, xs), applied(one, params, xs))
    pondered = many.ponder(params, many.init_carry(B, jnp.float64), xs)
    assert (pondered.steps == 1).all() and (pondered.remainders == 1).all()


def test_a_halting_bias_far_below_zero_takes_the_state_of_the_last_inner_step(x64):
    P, xs = 4, jnp.asarray(vectors(steps=STEPS))
    model = AdaptiveComputation(L, max_ponder=P)
    params = params_of(model, halting_bias=-50.0)
    carry = L.init_carry(B, jnp.float64)
    last, ys, aux = applied(model, params, xs)
    for x, y in zip(xs, ys, strict=True):  # nothing halts, so all weight is on the last
        for flag in (1.0, 0.0, 0.0, 0.0):
            carry, out = L.step(params["cell"], carry, flagged(x[None], flag)[0])
        assert_close(y, out)
    assert_close(last, carry)
    np.testing.assert_allclose(aux["ponder"], 0.01 * (P + 1))


def test_weights_follow_from_the_probabilities_alone(x64):
    # With kernel 0 every p is sigm(bias). It halts in the step whose p completes the sum, not before.
    for p, epsilon, steps in [(0.4, 0.01, 3), (0.5, 0.01, 2), (0.98, 0.01, 2), (0.995, 0.01, 1)]:
        model = AdaptiveComputation(L, max_ponder=6, epsilon=epsilon, ponder_cost=1.0)
        params = params_of(model, halting_bias=float(np.log(p / (1 - p))))
        params["halting"]["kernel"] = jnp.zeros_like(params["halting"]["kernel"])
        xs, carry = jnp.asarray(vectors(steps=1)), L.init_carry(B, jnp.float64)
        pondered = model.ponder(params, carry, xs)
        assert (pondered.steps == steps).all(), p
        assert_close(pondered.remainders, np.full((1, B), 1 - (steps - 1) * p))
        expected, s = 0.0, carry
        for n in range(steps):
            s, y = L.step(params["cell"], s, flagged(xs, float(n == 0))[0])
            expected = expected + (p if n < steps - 1 else 1 - (steps - 1) * p) * y
        assert_close(pondered.ys[0], expected)


def problem(max_ponder=5, **settings):
    model = AdaptiveComputation(L, max_ponder=max_ponder, ponder_cost=0.3, **settings)
    params = params_of(model, halting_bias=-0.5)
    params["halting"]["kernel"] *= 10  # so that N differs from input to input
    return model, params, vectors(steps=STEPS, batch=3)


def test_examples_halt_on_their_own_and_the_cost_is_the_mean_of_real_steps(x64):
    model, params, xs = problem()
    lengths = np.array([STEPS, 2, 0])
    oracle = functools.partial(model_oracles.adaptive_computation, step=model_oracles.lstm_step)
    ys, numbers, remainders = oracle(params, xs, max_ponder=5)
    assert {2, 3, 5} <= {*numbers.flat}
    real = np.arange(STEPS)[:, None] < lengths
    pondered = model.ponder(params, L.init_carry(3, jnp.float64), xs, lengths=lengths)
    assert pondered.steps.dtype == jnp.int32
    np.testing.assert_array_equal(pondered.steps, np.where(real, numbers, 0))
    assert_close(pondered.remainders, np.where(real, remainders, 0))
    assert_close(pondered.ys, np.where(real[..., None], ys, 0))
    xs[~real] = np.nan
    cost = 0.3 * (numbers + remainders)[real].mean()
    np.testing.assert_allclose(applied(model, params, xs, lengths=lengths)[2]["ponder"], cost)
    assert applied(model, params, xs, lengths=np.zeros(3, int))[2] == {"ponder": 0}


def test_an_example_is_the_same_beside_any_other(x64):
    model, params, xs = problem()
    together = model.ponder(params, L.init_carry(3, jnp.float64), xs)
    for b in range(3):
        alone = model.ponder(params, L.init_carry(1, jnp.float64), xs[:, b : b + 1])
        assert_close(alone, jax.tree.map(lambda leaf, b=b: leaf[:, b : b + 1], together))


def test_the_gradient_of_cost_and_outputs_is_the_derivative(x64):
    # Differences in 1e-5 change no N here, so that the derivative of N is 0 as in the paper.
    model, params, xs = problem()
    inputs, put = split((params, jnp.asarray(xs)))

    def loss(inputs):
        params, xs = put(inputs)
        carry = L.init_carry(3, jnp.float64)
        lengths, reset = np.array([STEPS, 4, 1]), np.zeros((STEPS, 3), bool)
        reset[2, 0] = True
        _, ys, _, aux = model.apply(params, (), carry, xs, lengths=lengths, reset=reset)
        return jnp.sum(jnp.sin(ys)) + aux["ponder"]

    rng = np.random.default_rng(3)
    directions = [rng.normal(size=leaf.shape) for leaf in inputs]
    assert_is_the_gradient(jit(jax.value_and_grad(loss)), inputs, directions)


def test_a_cost_teaches_to_halt_sooner(x64):
    model, params, xs = problem()

    def cost(params):
        return model.apply(params, (), L.init_carry(3, jnp.float64), xs)[3]["ponder"]

    bias = jit(jax.grad(cost))(params)["halting"]["bias"]
    assert bias[0] < 0  # along which R, and so the cost, goes down


def test_recomputation_gives_the_same_gradients(x64):
    gradients = []
    for remat_every in (None, 4):
        model, params, xs = problem(remat_every=remat_every)

        def loss(params, model=model, xs=xs):
            _, ys, _, aux = model.apply(params, (), L.init_carry(3, jnp.float64), xs)
            return jnp.sum(jnp.sin(ys)) + aux["ponder"]

        gradients.append(jit(jax.value_and_grad(loss))(params))
    assert_close(*gradients)


def test_vmap_over_members_and_costs_equals_a_loop(x64):
    model, _, xs = problem()
    members = [params_of(model, seed) for seed in (0, 1)]
    costs = jnp.array([0.1, 0.7])

    def outputs(params, cost):
        changed = override(model, {"ponder_cost": cost})
        return changed.apply(params, (), L.init_carry(3, jnp.float64), xs)

    together = jit(jax.vmap(outputs))(jax.tree.map(lambda *x: jnp.stack(x), *members), costs)
    alone = [outputs(*given) for given in zip(members, costs, strict=True)]
    assert_close(together, jax.tree.map(lambda *x: jnp.stack(x), *alone))


def test_a_cost_is_no_setting_of_the_start_but_a_halting_bias_is():
    model = AdaptiveComputation(L, halting_bias=2.5)
    assert "halting_bias" in (known := initial(Network(model, 2, 2))) and "ponder_cost" not in known
    halting = model.init(KEY, 2)[0]["halting"]
    assert halting["kernel"].shape == (M, 1) and halting["bias"].tolist() == [2.5]


def test_every_inner_step_draws_its_own_noise(x64):
    P, xs = 3, jnp.asarray(vectors(steps=2))
    for cell in (ZONED, Zoneout(RecurrentDropout(L, rate=0.3), hidden=0.4)):
        model = AdaptiveComputation(cell, max_ponder=P)
        params = params_of(model, halting_bias=-50.0)
        _, ys, _ = applied(model, params, xs, train=True, key=KEY)
        noise = cell.draw(KEY, 2 * P, B)
        inputs = jnp.stack([flagged(x[None], float(n == 0))[0] for x in xs for n in range(P)])
        carry = cell.init_carry(B, jnp.float64)
        _, expected = unroll(cell, params["cell"], carry, inputs, noise=noise)
        assert_close(ys, expected[P - 1 :: P])


def test_bfloat16_sums_probabilities_in_float32():
    # 200 times 0.005 is 1; in bfloat16 the sum would stay below, where p is no longer added.
    cell = type(L)(M, dtype=jnp.bfloat16)
    model = AdaptiveComputation(cell, max_ponder=300)
    params = model.init(KEY, 2)[0]
    params["halting"]["kernel"] = jnp.zeros_like(params["halting"]["kernel"])
    params["halting"]["bias"] = jnp.log(jnp.array([0.005 / 0.995]))
    pondered = model.ponder(params, model.init_carry(B), jnp.ones((1, B, 2)))
    assert pondered.ys.dtype == jnp.bfloat16 and pondered.remainders.dtype == jnp.float32
    assert ((pondered.steps >= 197) & (pondered.steps <= 199)).all()


REFUSED = [
    (
        lambda: AdaptiveComputation(TRNN),
        "TensorizedRNN has a delay of 1; accepted with adaptive computation are cells without delay",
    ),
    (
        lambda: AdaptiveComputation(TensorizedLSTM(M, (1,))),
        "the carry of TensorizedLSTM has integers; accepted with adaptive computation, which takes "
        "means of it, are floats",
    ),
    (lambda: AdaptiveComputation(LearnedCarry(G)), "accepted are cells of tlstm_jax"),
    (lambda: AdaptiveComputation(R, max_ponder=0), "max_ponder is 0; accepted are integers >= 1"),
    (lambda: AdaptiveComputation(R, epsilon=1.0), "epsilon is 1.0; accepted are numbers in [0, 1)"),
    (lambda: AdaptiveComputation(R, ponder_cost=-1.0), "ponder_cost is -1.0; accepted are numbers"),
    (
        lambda: AdaptiveComputation(R, halting_bias=float("nan")),
        "halting_bias is nan; accepted are finite numbers",
    ),
    (lambda: AdaptiveComputation(R, remat_every=0), "remat_every is 0; accepted are None and"),
    (
        lambda: AdaptiveComputation(ZONED).apply(
            params_of(AdaptiveComputation(ZONED)), (), L.init_carry(B), vectors(), train=True
        ),
        "key is None; accepted by Zoneout, which draws masks in training, is a PRNG key",
    ),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refuses_what_makes_no_sense(call, text):
    with pytest.raises(ValueError, match=re.escape(text)) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.slow(but=["lstm", "wavenet", "tlstm"])
@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_model_of_the_zoo_ponders_or_says_why_not(name):
    around = {"max_ponder": 3} | {k: False for k in ("learned_carry",) if "urnn" in name}
    size = zoo.example_input_size(name, 2)
    sizes = {"input_size": size, "output_size": 3, "tokens": size == 2}
    try:
        network = zoo.make_network(name, **sizes, features=4, **around)
    except ValueError as error:
        assert str(error).startswith("max_ponder is 3; ") and "accepted" in str(error)
        return

    def loss(params):
        carry = network.init_carry(B, params=params)
        xs = jnp.array([[0, 1], [1, -1]])
        options = {"key": KEY, "train": True}
        _, logits, _, aux = network.apply(params, state, carry, xs, **options)
        return jnp.sum(jnp.sin(logits)) + aux["ponder"]

    params, state = network.init(KEY)
    _, grads = jit(jax.value_and_grad(loss))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert np.abs(grads["model"]["halting"]["bias"]).max() > 0


def tiny():
    task = memorization(2, 3, batch_size=4, eval_samples=8, eval_batch_size=4)
    return task, TrainSettings(num_steps=4, eval_every=2, steps_per_call=2)


@pytest.mark.slow
def test_members_of_a_sweep_over_costs_are_the_runs_alone():
    (task, settings), costs = tiny(), [0.1, 10.0]
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    make = functools.partial(zoo.make_network, "lstm", features=4, max_ponder=3, **sizes)
    overrides = Overrides(apply={"ponder_cost": costs})
    *_, last = fit_members(make(), task, settings, seeds=[0, 0], overrides=overrides)
    biases = []
    for n, cost in enumerate(costs):
        *_, alone = fit(make(ponder_cost=cost), task, settings)
        chex.assert_trees_all_close(last[n].state.params, alone.state.params, rtol=1e-4, atol=1e-6)
        biases.append(float(alone.state.params["model"]["halting"]["bias"][0]))
    assert abs(biases[0] - biases[1]) > 1e-4


def test_a_sweep_over_costs_is_one_program():
    points = [{"ponder_cost": cost} for cost in (0.1, 1.0, 0.0, None)]
    task, settings = tiny()
    made = task, None, settings
    groups = plan(points, lambda n: made, lambda n: zoo.traced_settings("lstm"))
    assert [group.members for group in groups] == [(0, 1), (2,), (3,)]
