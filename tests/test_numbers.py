"""What the kind of random keys, of floats and of checks that JAX is set to do to results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_close
from flax import linen as nn
from flax import nnx as flax_nnx

from tlstm_jax import GRU, LSTM, TensorizedLSTM, linen, nnx, unroll
from tlstm_jax.generation import sample
from tlstm_jax.models.learned_carry import LearnedCarry
from tlstm_jax.network import Network
from tlstm_jax.recurrence import cudnn
from tlstm_jax.sweeps.members import fit_members
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import NO_OVERRIDES, fit
from tlstm_jax.training.settings import TrainSettings

CELLS = [LSTM(3), GRU(3), TensorizedLSTM(3, (2,))]


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_a_member_is_the_run_alone_whatever_jax_draws_with(impl):
    task = memorization(2, 3, batch_size=4, eval_samples=4, eval_batch_size=4)
    network = Network(LSTM(3), task.input_size, task.output_size, tokens=True)
    settings = TrainSettings(num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=2)
    with jax.default_prng_impl(impl):
        *_, members = fit_members(network, task, settings, seeds=(0, 1), overrides=NO_OVERRIDES)
        *_, alone = fit(network, task, TrainSettings(**{**vars(settings), "seed": 1}))
    assert_close(members[1].state.params, alone.state.params, 1e-6)


def test_a_run_is_the_same_whatever_jax_draws_with():
    task = memorization(2, 3, batch_size=4, eval_samples=4, eval_batch_size=4)
    network = Network(LSTM(3), task.input_size, task.output_size, tokens=True)
    settings = TrainSettings(num_steps=1, eval_every=1, checkpoint_every=1, steps_per_call=1)
    *_, expected = fit(network, task, settings)
    with jax.default_prng_impl("rbg"):
        *_, other = fit(network, task, settings)
    assert_close(other.state.params, expected.state.params, 0)


@pytest.mark.slow
@pytest.mark.parametrize("model", [*CELLS, LearnedCarry(GRU(3))], ids=lambda m: type(m).__name__)
def test_recurrent_keeps_to_double_precision(model, x64):
    module, xs = linen.Recurrent(model), jnp.ones((2, 4, 3))
    variables = jax.tree.map(jnp.float64, module.init(jax.random.key(0), xs))
    carry, ys = module.apply(variables, xs, return_carry=True)
    floats = [x for x in jax.tree.leaves((carry, ys)) if jnp.issubdtype(x.dtype, jnp.inexact)]
    assert {x.dtype for x in floats} == {jnp.dtype("float64")}
    module = nnx.Recurrent(model, 3, rngs=flax_nnx.Rngs(0))
    flax_nnx.update(module.params, jax.tree.map(jnp.float64, flax_nnx.as_pure(module.params)))
    carry, ys = module(xs, return_carry=True)
    floats = [x for x in jax.tree.leaves((carry, ys)) if jnp.issubdtype(x.dtype, jnp.inexact)]
    assert {x.dtype for x in floats} == {jnp.dtype("float64")}


@pytest.mark.parametrize("cell", CELLS[:2], ids=lambda m: type(m).__name__)
def test_flax_rnn_keeps_to_double_precision_as_over_its_own_cells(cell, x64):
    module, xs = nn.RNN(linen.Cell(cell), return_carry=True), jnp.ones((2, 4, 3))
    variables = jax.tree.map(jnp.float64, module.init(jax.random.key(0), xs))
    own = linen.Recurrent(cell).apply({"params": variables["params"]["cell"]}, xs)
    carry, ys = module.apply(variables, xs)
    assert {x.dtype for x in jax.tree.leaves((carry, ys))} == {jnp.dtype("float64")}
    assert_close(ys, own)
    peer = nnx.Cell(cell, 3, rngs=flax_nnx.Rngs(0))
    flax_nnx.update(peer.params, variables["params"]["cell"])
    assert_close(flax_nnx.RNN(peer)(xs), own)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda m: type(m).__name__)
def test_the_zero_input_makes_no_nan_on_its_way(cell):
    params, tokens = cell.init(jax.random.key(0), 4), jnp.array([[-1, 2], [3, -1]])
    with jax.debug_nans(True):
        z = cell.project(params, tokens)
        unroll(cell, params, cell.init_carry(2), tokens, lengths=jnp.array([2, 1]))
        vectors = cudnn._one_hot(tokens, 4)
    assert jnp.isfinite(z).all()
    assert vectors.sum() == 2
    assert jnp.isnan(cell.project(params, jnp.array([4, -2]))).all()
    assert jnp.isnan(cudnn._one_hot(jnp.array([4, -2]), 4)).all()


@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("temperature", [1e-45, 1e-39, 1e-37, 1e-20])
def test_a_temperature_near_zero_is_the_likeliest(temperature, top_k):
    logits = jax.random.normal(jax.random.key(0), (50, 7)) * 30 + 5
    drawn = sample(jax.random.key(1), logits, temperature=temperature, top_k=top_k)
    np.testing.assert_array_equal(drawn, jnp.argmax(logits, axis=-1))


def test_equally_likely_symbols_stay_so_at_a_temperature_near_zero():
    logits = jnp.broadcast_to(jnp.array([1.0, 0.0, 1.0]), (200, 3))
    drawn = sample(jax.random.key(1), logits, temperature=1e-39)
    assert set(drawn.tolist()) == {0, 2}
