"""What is read out of an entire sequence: every feature where it has seen all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, assert_close, on_device, random_params, vectors

from tlstm_jax import (
    GRU,
    LSTM,
    Bidirectional,
    Chain,
    Dilated,
    Dropout,
    Elman,
    Network,
    Residual,
    Stacked,
    TensorizedLSTM,
)

V = 3
BOTH = Bidirectional(LSTM(M), GRU(M))
FORWARD, BACKWARD = range(M), range(M, 2 * M)
# (a model, the features that have seen all at the first step), in the order of BOTH's two halves.
MODELS = {
    "alone": (BOTH, BACKWARD),
    "late": (Bidirectional(TensorizedLSTM(M, (3,)), LSTM(M)), BACKWARD),
    "chain": (Chain((Elman(M), BOTH)), BACKWARD),
    "stacked": (Stacked(BOTH, 2), BACKWARD),
    "dropout": (Dropout(BOTH, input_rate=0.2), BACKWARD),
    "dilated": (Dilated(BOTH, 2), BACKWARD),
    "residual": (Chain((Elman(2 * M), Residual(BOTH))), BACKWARD),
    "below": (Chain((BOTH, LSTM(M))), ()),
    "nested": (Bidirectional(BOTH, BOTH), [*BACKWARD, *range(2 * M, 3 * M)]),
}
LENGTHS = np.array([T, 2])
each = pytest.mark.parametrize(("model", "at_first"), MODELS.values(), ids=MODELS)


def problem(model):
    network = Network(model, I, V)
    params = on_device(random_params(lambda key: network.init(key)[0]))
    return network, params, jnp.asarray(vectors())


def logits_of(network, params, xs, **options):
    carry = network.init_carry(B, jnp.float64, params=params)
    return network.apply(params, (), carry, xs, last_only=True, **options)[1]


@pytest.mark.slow(but=["alone", "chain"])
@each
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
def test_each_feature_is_read_where_it_has_seen_the_whole_example(model, at_first, lengths, x64):
    network, params, xs = problem(model)
    carry = model.init_carry(B, jnp.float64, params=params["model"])
    ys = np.asarray(model.apply(params["model"], (), carry, xs, lengths=lengths)[1])
    ends = np.full(B, T) if lengths is None else lengths
    expected = ys[ends - 1, np.arange(B)]
    expected[:, list(at_first)] = ys[0][:, list(at_first)]
    readout = jax.tree.map(np.asarray, params["readout"])
    actual = logits_of(network, params, xs, lengths=lengths)
    assert actual.shape == (1, B, V)
    assert_close(actual[0], expected @ readout["kernel"] + readout["bias"])


@pytest.mark.slow
@each
def test_every_feature_hears_of_both_ends(model, at_first, x64):
    del at_first
    network, params, xs = problem(model)
    network = Network(model, I, model.features)
    params["readout"] = {"kernel": jnp.eye(model.features), "bias": jnp.zeros(model.features)}
    gradient = jax.jacobian(lambda xs: logits_of(network, params, xs)[0, 0])(xs)[:, :, 0]
    reach = np.abs(gradient).max(-1)  # [features, T]
    assert (reach[:, T - 1] > 0).all()
    if not isinstance(model, Dilated):  # whose halves are those of the first and the last sequence
        assert (reach[:, 0] > 0).all()
