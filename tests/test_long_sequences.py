"""Recurrences of 2023 and later over 8,192 steps in float32: as one step after the other in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit, on_device, random_params

from tlstm_jax import zoo
from tlstm_jax.zoo.modern import MODERN

STEPS, FEATURES, INPUTS = 8192, 8, 3
NAMES = [name for name in MODERN if not hasattr(zoo.make_model(name), "step")]
# Relative to the largest value. A sum over all steps, as of an average over the past, has many roundings.
TOLERANCE = 2e-4


def model_of(name, **settings):
    return zoo.make_model(name, features=FEATURES, num_layers=1, **settings)


def at_start(model):
    return jax.tree.map(np.float64, model.init(jax.random.key(0), INPUTS)[0])


def drawn(model):
    """Parameters some of whose decays are near 0, and some near 1."""
    return random_params(lambda key: model.init(key, INPUTS)[0])


def losses(model, params, xs, wanted, step_by_step):
    """<ys, wanted>, and the outputs."""
    carry = model.init_carry(1, xs.dtype, params=params)
    if step_by_step:
        _, ys = jax.lax.scan(lambda c, x: model.token_step(params, (), c, x), carry, xs)
    else:
        ys = model.apply(params, (), carry, xs)[1]
    return jnp.sum(ys * wanted), ys


@pytest.mark.slow(but=["mamba2-at_start", "delta_net-drawn"])
@pytest.mark.parametrize("params", [at_start, drawn], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_float32_over_8192_steps_is_float64_step_by_step(name, params):
    with jax.enable_x64(True):
        model = model_of(name)
        params = params(model)
        rng = np.random.default_rng(0)
        xs, wanted = rng.normal(size=(STEPS, 1, INPUTS)), rng.normal(size=(STEPS, 1, FEATURES))

        def both(dtype, step_by_step):
            of = on_device(jax.tree.map(lambda a: np.asarray(a, dtype), (params, xs, wanted)))
            gradient = jax.value_and_grad(losses, argnums=(1, 2), has_aux=True)
            run = jit(lambda *of: gradient(model, *of, step_by_step))
            (_, ys), gradients = run(*of)
            return jax.tree.map(np.asarray, (ys, gradients))

        exact, computed = both(np.float64, True), both(np.float32, False)
    for a, b in zip(jax.tree.leaves(computed), jax.tree.leaves(exact), strict=True):
        assert a.dtype == np.float32 and np.isfinite(a).all()
        assert np.abs(a - b).max() <= TOLERANCE * max(np.abs(b).max(), 1e-3)
