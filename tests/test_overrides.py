import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit

from tlstm_jax import zoo
from tlstm_jax.cells.gru import GRU
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.zoneout import Zoneout
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.dropout import Dropout
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.models.sru import SRU
from tlstm_jax.models.stacked import Stacked
from tlstm_jax.network import Network
from tlstm_jax.overrides import initial, overridable, override
from tlstm_jax.sweeps.sweeping import sweep
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

L = LSTM(4)


def with_bias(value, cell=L):
    return dataclasses.replace(cell, forget_bias=value)


@pytest.mark.parametrize(
    ("model", "floats", "expected"),
    [
        (L, {"forget_bias": 2.0}, with_bias(2.0)),
        (Zoneout(L, hidden=0.1), {"forget_bias": 2.0}, Zoneout(with_bias(2.0), hidden=0.1)),
        (Network(L, 2, 3), {"forget_bias": 2.0}, Network(with_bias(2.0), 2, 3)),
        (
            Chain((L, GRU(4), L)), {"forget_bias": 2.0},
            Chain((with_bias(2.0), GRU(4), with_bias(2.0))),
        ),
        (Chain((L, L)), {"input_scale": 2.0}, Chain((LSTM(4, input_scale=2.0), L))),
        (Stacked(L, 2), {"input_scale": 2.0}, Stacked(L, 2, input_scale=2.0)),
        (Bidirectional(L, L), {"input_scale": 2.0}, Bidirectional(*[LSTM(4, input_scale=2.0)] * 2)),
        (
            Chain((
                Dropout(L, input_rate=0.3, output_rate=0.2),
                Dropout(L, input_rate=0.0, output_rate=0.1),
            )),
            {"input_rate": 0.5, "output_rate": 0.4},
            Chain((
                Dropout(L, input_rate=0.5, output_rate=0.4),
                Dropout(L, input_rate=0.0, output_rate=0.4),
            )),
        ),
    ],
)  # fmt: skip
def test_a_copy_has_the_floats_where_the_model_has_settings_of_their_names(model, floats, expected):
    before = hash(model)
    assert override(model, floats) == expected
    assert hash(model) == before and override(model, None) is model


def test_what_is_not_changed_is_not_copied():
    chain = Chain((LSTM(4), GRU(4)))
    changed = override(chain, {"forget_bias": 3.0})
    assert changed.layers[0] is not chain.layers[0] and changed.layers[1] is chain.layers[1]


@pytest.mark.parametrize(
    ("model", "name", "text"),
    [
        (GRU(4), "forget_bias", "override names forget_bias; accepted for GRU are input_scale"),
        (
            Dropout(L, input_rate=0.0, output_rate=0.2),
            "input_rate",
            "accepted for Dropout are output_rate, forget_bias",
        ),
        (
            LearnedCarry(L, scale=0.2),
            "scale",
            "accepted for LearnedCarry are forget_bias, input_scale",
        ),
        (Stacked(GRU(4), 2), "forget_bias", "accepted for Stacked are input_scale"),
    ],
)
def test_refuses_names_that_no_part_has(model, name, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        override(model, {name: 1.0})


def test_layers_with_weights_of_their_own_scale_the_first_input():
    key = jax.random.key(0)
    init = jit(lambda model: model.init(key, 3)[0], static_argnums=0)
    scaled, plain = init(Stacked(L, 2, input_scale=5.0)), init(Stacked(L, 2))
    kernels = [p["layer_0"]["input"]["kernel"] for p in (scaled, plain)]
    np.testing.assert_allclose(kernels[0], kernels[1] * 5 * 3**0.5, rtol=1e-6)
    np.testing.assert_array_equal(*(p["layer_1"]["input"]["kernel"] for p in (scaled, plain)))


def test_traced_floats_make_a_copy_that_cannot_be_hashed():
    @jax.jit
    def apply(rate):
        network = override(
            Network(Dropout(L, input_rate=0.0, output_rate=0.2), 2, 3), {"output_rate": rate}
        )
        with pytest.raises(TypeError):
            hash(network)
        params, state = network.init(jax.random.key(0))
        xs, key = jnp.ones((5, 2, 2)), jax.random.key(1)
        return network.apply(params, state, network.init_carry(2), xs, key=key, train=True)[1]

    assert jnp.isfinite(apply(jnp.float32(0.5))).all()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["deferred", "scan"])
def test_a_gradient_of_a_model_with_traced_floats_is_that_of_its_settings(engine):
    # The step does not read them; the gradient of the deferred engine keeps the entire cell.
    def gradient(model):
        params, state = model.init(jax.random.key(0), 2)

        def loss(params):
            carry = model.init_carry(1)
            return jnp.sum(model.apply(params, state, carry, jnp.ones((5, 1, 2)))[1])

        return jax.grad(loss)(params)

    model = Stacked(L, 2, engine=engine)
    biases = jnp.array([0.5, 3.0])
    swept = jit(jax.vmap(lambda b: gradient(override(model, {"forget_bias": b}))))(biases)
    for n, bias in enumerate([0.5, 3.0]):
        alone = jit(gradient, static_argnums=0)(Stacked(with_bias(bias), 2, engine=engine))
        for a, b in zip(*map(jax.tree.leaves, (swept, alone)), strict=True):
            np.testing.assert_allclose(a[n], b, rtol=1e-5, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Plain:
    """A user's own cell, with floats of the initialization, of its steps, and of both."""

    features: int
    at_start: float = 1.0
    in_steps: float = 1.0
    in_both: float = 1.0
    in_python: float = 1.0
    idle: float = 1.0
    delay = 0
    causal = True

    def init(self, key, input_size):
        shape = (self.features, self.features)
        scale = self.at_start * self.in_both * (2.0 if self.in_python > 0 else 1.0)
        return {"kernel": scale * jax.random.normal(key, shape)}

    def init_carry(self, batch_size, dtype=jnp.float32):
        return jnp.zeros((batch_size, self.features), dtype)

    def step(self, params, h, x):
        h = jnp.tanh((h + x * self.in_steps) @ params["kernel"] / self.in_both)
        return h, h

    init_token_carry, token_step = init_carry, step


def test_what_can_be_traced_at_the_start_alone_is_found_in_any_cell():
    network = Network(Plain(2), 2, 3)
    names = ("at_start", "in_steps", "in_both", "in_python", "idle")
    assert overridable(network) == names
    assert initial(network) == {"at_start"}
    assert initial(Network(SRU(4), 4, 3)) == {"input_scale"}


@pytest.mark.slow
def test_the_highway_bias_of_an_sru_is_swept_run_by_run():
    # x is multiplied by what follows from it, at every step.
    assert "highway_bias" not in zoo.traced_settings("sru")
    task = memorization(2, 3, batch_size=4, eval_samples=8, eval_batch_size=8)
    settings = TrainSettings(num_steps=4, eval_every=2, checkpoint_every=4, steps_per_call=2)
    biases, fixed = [-3.0, 0.0], {"features": 4}
    both = sweep(task, "sru", {"highway_bias": biases}, settings=settings, model_settings=fixed)
    for n, bias in enumerate(biases):
        alone = sweep(
            task, "sru", {"highway_bias": [bias]}, settings=settings, model_settings=fixed
        )
        np.testing.assert_allclose(both.curves[n], alone.curves[0], rtol=1e-6)
