"""Lowers a model's training step and `token_step` for a device that need not be there."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from tlstm_jax.devices import targets


def skip_without(target):
    """Leaves a test out, with the reason, where there is no compiler for a target."""
    try:
        targets.check(target)
    except ValueError as e:
        pytest.skip(str(e))


def abstract(tree, device):
    """The shapes of arrays, on a device that nothing can be put on."""
    place = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def training_step(model, size, device, *, steps, batch):
    """Lowered: value and gradient of a loss over [steps, batch, size], with any dropout."""

    def loss(params, state, key, xs):
        carry = model.init_carry(xs.shape[1], params=params)
        _, ys, _, aux = model.apply(params, state, carry, xs, key=key, train=True)
        return jnp.mean(jnp.square(ys)) + sum(aux.values())

    params, state, key = _arguments(model, size, device)
    xs = abstract(jax.ShapeDtypeStruct((steps, batch, size), jnp.float32), device)
    return jax.jit(jax.value_and_grad(loss)).lower(params, state, key, xs)


def token_step(model, size, device, *, batch):
    """Lowered: one step of generation.

    Raises:
      ValueError: the model is not causal.
    """

    def step(params, state, carry, x):
        return model.token_step(params, state, carry, x)

    params, state, _ = _arguments(model, size, device)
    carry = jax.eval_shape(lambda params: model.init_token_carry(batch, params=params), params)
    x = abstract(jax.ShapeDtypeStruct((batch, size), jnp.float32), device)
    return jax.jit(step).lower(params, state, abstract(carry, device), x)


def _arguments(model, size, device):
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(functools.partial(model.init, input_shape=size), key)
    return abstract((params, state, key), device)
