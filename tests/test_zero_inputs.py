"""Gradients where inputs are zero: blanks, padding, dropped inputs, black pixels.

A normalization divides by sqrt(variance + epsilon): by sqrt(epsilon) where all that it sees is
equal, as a state and an input of zero make it. The loss is linear in y, since one of y^2 has no
gradient at y = 0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import zoo

T, B, I = 24, 4, 3
NORMALIZED = {
    "tlstm, channel": ("tlstm", {"tensor_shape": (3,), "normalization": "channel"}),
    "tlstm, channel, 3D": ("tlstm", {"tensor_shape": (2, 2), "normalization": "channel"}),
    "tlstm, layer": ("tlstm", {"tensor_shape": (3,), "normalization": "layer"}),
    "layer_norm_lstm": ("layer_norm_lstm", {}),
    "layer_norm_lstm, 2 layers": ("layer_norm_lstm", {"num_layers": 2}),
    "hyper_lstm": ("hyper_lstm", {"hyper_features": 8}),
    "fs_lstm": ("fs_lstm", {"num_fast": 3}),
    "fs_lstm, gates": ("fs_lstm", {"num_fast": 3, "normalization": "gates"}),
    "fs_lstm, zoneout": ("fs_lstm", {"zoneout_hidden": 0.1, "zoneout_memory": 0.3}),
    "bn_lstm": ("bn_lstm", {"max_steps": T}),
}
CASES = {
    name: (name, {})
    for name, entry in zoo.MODELS.items()
    if not entry.axes and name not in dict(NORMALIZED.values())
}
CASES |= NORMALIZED


@functools.cache
def program(case):
    """(parameters, the norm of the loss's gradient by them, for inputs 0 outside a mask)."""
    name, settings = CASES[case]
    channels = 64 if name == "fs_lstm" else 16  # narrow, its gradients grow with any input
    model = zoo.make_model(name, features=channels, **settings)
    params, state = model.init(jax.random.key(0), I)
    xs, weights = (
        jax.random.normal(jax.random.key(n), (T, B, w)) for n, w in ((1, I), (2, channels))
    )

    def loss(params, mask):
        carry = model.init_carry(B, params=params)
        inputs = xs * mask[..., None]
        _, ys, _, _ = model.apply(params, state, carry, inputs, key=jax.random.key(3), train=True)
        return jnp.mean(ys * weights)

    @jax.jit
    def norm(params, mask):
        leaves = jax.tree.leaves(jax.grad(loss)(params, mask))
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in leaves))

    return params, norm


def masks(where, blanks, examples):
    mask = np.ones((T, B), np.float32)
    first = {"start": 0, "middle": (T - blanks) // 2, "end": T - blanks}[where]
    mask[first : first + blanks, :examples] = 0
    return jnp.asarray(mask)


@pytest.mark.slow(but=["lstm"])
@pytest.mark.parametrize("case", CASES)
def test_gradients_stay_flat_however_many_inputs_are_zero(case):
    params, norm = program(case)
    usual = norm(params, masks("start", 0, B))
    assert usual > 0
    for where in ("start", "middle", "end"):
        for examples in (1, B):
            norms = [norm(params, masks(where, k, examples)) for k in (1, 2, 4, 8, 16, T)]
            print(case, where, examples, float(usual), [float(n) for n in norms])
            assert max(norms) < 30 * usual, (where, examples, usual, norms)


@pytest.mark.slow(but=["layer_norm_lstm"])
@pytest.mark.parametrize("case", CASES)
def test_parameters_that_are_all_zero_give_finite_gradients(case):
    params, norm = program(case)
    zeros = jax.tree.map(jnp.zeros_like, params)
    for blanks in (0, T):
        assert jnp.isfinite(norm(zeros, masks("start", blanks, B)))
