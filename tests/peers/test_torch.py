"""The same weights in torch's modules and here: the same outputs, states and gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (make test-peers)")

from cases import assert_close, floats, jit  # noqa: E402
from record_torch import run_module  # noqa: E402
from torch_form import MODULES, check, layer_params  # noqa: E402

from tlstm_jax import LSTM, unroll  # noqa: E402

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", [1, 2])
def test_float64(name, seed, x64):
    check(name, run_module(name, seed=seed, steps=9, batch=3), 1e-10)


@pytest.mark.parametrize("name", MODULES)
def test_float32(name):
    check(name, run_module(name, dtype=torch.float32), 1e-5)


def test_lengths_are_packed_sequences(x64):
    lengths, T, M = [5, 3, 1], 5, 4
    module = torch.nn.LSTM(2, M, dtype=torch.float64)
    xs = torch.randn(T, len(lengths), 2, dtype=torch.float64)
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(lengths))
    ys, last = module(packed)
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys)  # zero behind the ends, as ours
    arrays = {name: weight.detach().numpy() for name, weight in module.named_parameters()}
    params, cell = layer_params("lstm", arrays, 0, ""), LSTM(M)
    padded = xs.numpy().copy()
    for b, length in enumerate(lengths):
        padded[length:, b] = np.nan

    @jit
    def run(params, carry, xs):
        return unroll(cell, params, carry, xs, lengths=jnp.asarray(lengths))

    carry, ours = run(params, cell.init_carry(len(lengths), jnp.float64), padded)
    assert_close(ours, ys.detach().numpy(), 1e-12)
    assert_close(floats(carry), [state[0].detach().numpy() for state in last], 1e-12)
