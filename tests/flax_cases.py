"""What the tests of Linen and NNX modules share: models, one problem, its functional answer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, floats, random_params, vectors

from tlstm_jax.cells.elman import Elman
from tlstm_jax.cells.gru import GRU, ResetBeforeGRU
from tlstm_jax.cells.lstm import LSTM
from tlstm_jax.cells.tensorized.lstm import TensorizedLSTM
from tlstm_jax.cells.tensorized.rnn import TensorizedRNN
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.models.stacked import Stacked

CELLS = [Elman(M), LSTM(M), GRU(M), ResetBeforeGRU(M)]  # delay 0
TLSTM = TensorizedLSTM(M, (3,), kernel_size=2, normalization="channel")  # delay 2
TRNN = TensorizedRNN(M, (3,), kernel_size=2)  # delay 2
MODELS = [*CELLS, TLSTM, TRNN, Stacked(LSTM(M), 2)]
LENGTHS = np.array([T, 2])
TOLERANCE = 1e-6
DELAY_REFUSED = (
    "TensorizedLSTM has a delay of 2; accepted in flax's RNN are cells "
    r"without delay \(others in Recurrent\)"
)


def each(models):
    return pytest.mark.parametrize("model", models, ids=lambda model: type(model).__name__)


def problem(model, inputs=vectors):
    """Random parameters, a random carry, and inputs [B, T, ..]."""
    model = as_sequence(model)
    params = random_params(lambda key: model.init(key, I)[0])
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    rng = np.random.default_rng(2)
    carry = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0, 2, leaf.shape), leaf.dtype), model.init_carry(B)
    )
    return params, carry, jnp.swapaxes(jnp.asarray(inputs()), 0, 1)


def functional(model, params, carry, xs, **settings):
    """The functional form on inputs [B, T, ..]: carry and ys [B, T, M]."""
    xs = jnp.swapaxes(xs, 0, 1)
    carry, ys, _, _ = as_sequence(model).apply(params, (), carry, xs, **settings)
    return carry, jnp.swapaxes(ys, 0, 1)


def answer(model, run):
    """(carry, ys) of run(params, carry, xs, lengths), and the gradients of a cost of all of it."""
    params, carry, xs = problem(model)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(B, T, M)), jnp.float32)

    def cost(params, carry):
        carry, ys = run(params, carry, xs, jnp.asarray(LENGTHS))
        score = jnp.sum(weights * ys) + sum(jnp.sum(jnp.sin(leaf)) for leaf in floats(carry))
        return score, (carry, ys)

    grad = jax.jit(jax.grad(cost, argnums=(0, 1), has_aux=True, allow_int=True))
    (params_gradient, carry_gradient), outputs = grad(params, carry)
    return outputs, params_gradient, floats(carry_gradient)


@functools.cache
def functional_answer(model):
    def run(params, carry, xs, lengths):
        return functional(model, params, carry, xs, lengths=lengths)

    return answer(model, run)


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert_close(actual, expected, TOLERANCE)


def real_only(ys):
    """ys [B, T, M] with zeros after each example's end, where flax's RNN leaves its outputs."""
    real = np.broadcast_to((np.arange(T)[None] < LENGTHS[:, None])[..., None], ys.shape)
    return jnp.where(real, ys, 0.0)


@dataclasses.dataclass(frozen=True)
class Running:
    """A SequenceModel with a learned carry, running statistics, noise in training, and a cost."""

    features = I
    delay = 0
    causal = True

    def init(self, key, input_size):
        return {"start": {"bias": jnp.ones((input_size,))}}, {"sum": jnp.zeros((input_size,))}

    def init_carry(self, batch_size, dtype=jnp.float32, *, params=None):
        return params["start"]["bias"]

    def apply(self, params, state, carry, xs, *, key=None, train=False, **_):
        ys = xs + jnp.broadcast_to(carry + state["sum"], xs.shape)
        if key is not None:
            ys = ys + jax.random.normal(key, xs.shape)
        if train:
            state = {"sum": state["sum"] + xs.sum((0, 1))}
        return carry, ys, state, {"cost": ys.mean()}
