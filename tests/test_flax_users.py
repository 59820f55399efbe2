"""What Flax users expect: train() and eval(), rngs, reverse and keep_order, the last output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, vectors
from flax import linen as nn
from flax import nnx

from tlstm_jax import (
    GRU,
    LSTM,
    Bidirectional,
    Dropout,
    Elman,
    RecurrentDropout,
    Stacked,
    TensorizedLSTM,
    Zoneout,
    linen,
)
from tlstm_jax.nnx import Cell, Recurrent
from tlstm_jax.training.settings import TrainSettings

XS = jnp.asarray(np.swapaxes(vectors(), 0, 1), jnp.float32)
LENGTHS = [T, 2]
NOISY = [
    Stacked(Dropout(LSTM(M), input_rate=0.5), 2),
    Zoneout(LSTM(M), hidden=0.5),
    RecurrentDropout(GRU(M), rate=0.5),
]
each_noisy = pytest.mark.parametrize("model", NOISY, ids=["dropout", "zoneout", "recurrent"])


class Net(nnx.Module):
    def __init__(self, model, rngs):
        self.recurrent = Recurrent(model, I, rngs=rngs)
        self.readout = nnx.Linear(M, 2, rngs=rngs)

    def __call__(self, xs):
        return self.readout(self.recurrent(xs))


@pytest.mark.slow
@each_noisy
def test_train_and_eval_switch_the_noise(model):
    net = Net(model, nnx.Rngs(0))
    quiet = net(XS)
    net.train()
    first, second = net(XS), net(XS)
    assert jnp.abs(first - second).max() > 1e-3 and jnp.abs(first - quiet).max() > 1e-3
    compiled = nnx.jit(lambda net, xs: net(xs))
    assert jnp.abs(compiled(net, XS) - compiled(net, XS)).max() > 1e-3
    assert_close(net.recurrent(XS, train=False), net.recurrent(XS, train=False), 0)
    net.eval()
    assert_close(net(XS), quiet, 0)
    net.recurrent(XS, train=True)  # a call that says so has its way


def test_a_model_that_draws_nothing_keeps_no_stream():
    module = Recurrent(LSTM(M), I, rngs=nnx.Rngs(0))
    assert module.rngs is None and not jax.tree.leaves(nnx.state(module, nnx.RngState))


@pytest.mark.parametrize(
    "cell", [Zoneout(LSTM(M), hidden=0.5), RecurrentDropout(LSTM(M), rate=0.5)]
)
def test_cells_that_draw_are_refused_inside_flax_rnn(cell):
    message = "draws masks in training; accepted in flax's RNN are cells that draw nothing"
    with pytest.raises(ValueError, match=message):
        nn.RNN(linen.Cell(cell))
    with pytest.raises(ValueError, match=message):
        Cell(cell, I, rngs=nnx.Rngs(0))


@each_noisy
def test_init_in_training_needs_no_stream_of_its_own(model):
    module = linen.Recurrent(model)
    variables = module.init(jax.random.key(0), XS, train=True)
    assert_close(variables, module.init(jax.random.key(0), XS), 0)
    with pytest.raises(ValueError, match="draws masks in training"):
        module.apply(variables, XS, train=True)


@pytest.mark.parametrize("keep_order", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_reverse_and_keep_order_are_those_of_flax(keep_order, lengths):
    settings = {"reverse": True, "keep_order": keep_order}
    peer = nn.RNN(linen.Cell(Elman(M)), **settings)
    variables = peer.init(jax.random.key(0), XS)
    ours = {"params": variables["params"]["cell"]}
    module = Recurrent(Elman(M), I, rngs=nnx.Rngs(0), **settings)
    nnx.update(module.params, ours["params"])
    options = {"seq_lengths": None if lengths is None else jnp.array(lengths), "return_carry": True}
    carry, ys = peer.apply(variables, XS, **options)
    real = np.arange(T)[None] < np.array(lengths or [T, T])[:, None]
    expected = carry, jnp.where(jnp.asarray(real[..., None].repeat(M, -1)), ys, 0)
    options["seq_lengths"] = lengths
    for actual in (
        linen.Recurrent(Elman(M), **settings).apply(ours, XS, **options),
        linen.Recurrent(Elman(M)).apply(ours, XS, **options, **settings),
        module(XS, **options),
    ):
        assert_close(jax.tree.leaves(actual), jax.tree.leaves(expected), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [TensorizedLSTM(M, (3,)), LSTM(M), Bidirectional(LSTM(M), GRU(M))]
)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_return_last_is_the_output_that_has_seen_all(model, lengths):
    module = linen.Recurrent(model)
    variables = module.init(jax.random.key(0), XS)
    ys = np.asarray(module.apply(variables, XS, seq_lengths=lengths))
    expected = ys[np.arange(B), np.array(lengths or [T, T]) - 1]
    if isinstance(model, Bidirectional):
        expected[:, M:] = ys[:, 0, M:]
    carry, last = module.apply(
        variables, XS, seq_lengths=lengths, return_last=True, return_carry=True
    )
    assert_close(last, expected, 0)
    assert jax.tree.structure(carry) == jax.tree.structure(model.init_carry(B))
    other = Recurrent(model, I, rngs=nnx.Rngs(0))
    nnx.update(other.params, variables["params"])
    assert_close(other(XS, seq_lengths=lengths, return_last=True), expected, 1e-6)


@pytest.mark.parametrize("option", ["reverse", "return_last"])
def test_a_stream_has_no_reverse_and_no_last_output(option):
    module = linen.Recurrent(LSTM(M))
    with pytest.raises(ValueError, match="flush is False; accepted with reverse or return_last"):
        module.init(jax.random.key(0), XS, flush=False, **{option: True})
    with pytest.raises(ValueError, match="flush is False; accepted with reverse or return_last"):
        Recurrent(LSTM(M), I, rngs=nnx.Rngs(0))(XS, flush=False, **{option: True})


def test_steps_per_call_follows_the_other_numbers_of_steps():
    assert TrainSettings().steps_per_call == 10
    assert TrainSettings(eval_every=25).steps_per_call == 5
    assert TrainSettings(num_steps=7, eval_every=1).steps_per_call == 1
    with pytest.raises(ValueError, match="eval_every is 25; accepted are multiples"):
        TrainSettings(eval_every=25, steps_per_call=10)
