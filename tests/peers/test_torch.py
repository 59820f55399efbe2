"""The same weights in torch's modules and here: the same outputs, states and gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (make test-peers)")

from cases import assert_close, floats, jit  # noqa: E402
from record_torch import TORCH, run_module  # noqa: E402
from torch_form import CELLS, MODULES, check  # noqa: E402

from tlstm_jax import LSTM, unroll  # noqa: E402
from tlstm_jax.convert import from_torch, to_torch  # noqa: E402

pytestmark = pytest.mark.peers

I, M = 2, 4
LAYOUTS = pytest.mark.parametrize(
    ("num_layers", "bidirectional"), [(1, False), (2, False), (1, True), (3, True)]
)


def arrays_of(module):
    return {name: weight.numpy() for name, weight in module.state_dict().items()}


def run(kind, params, xs):
    """[T, B, I] to [T, B, M] or, of two directions, [T, B, 2M]; layer by layer."""
    cell = CELLS[kind](M)

    def direction(params, xs):
        return unroll(cell, params, cell.init_carry(xs.shape[1], xs.dtype), xs)[1]

    layers = [params[f"layer_{n}"] for n in range(len(params))] if "layer_0" in params else [params]
    for layer in layers:
        if "forward" in layer:
            backward = direction(layer["backward"], xs[::-1])[::-1]
            xs = jnp.concatenate([direction(layer["forward"], xs), backward], axis=-1)
        else:
            xs = direction(layer, xs)
    return xs


def assert_same_outputs(kind, params, module):
    xs = torch.randn(5, 3, I, dtype=torch.float64)
    ours = jit(lambda params, xs: run(kind, params, xs))(params, xs.numpy())
    assert_close(ours, module(xs)[0].detach().numpy(), 1e-12)


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
    params, cell = from_torch("lstm", arrays_of(module)), LSTM(M)
    padded = xs.numpy().copy()
    for b, length in enumerate(lengths):
        padded[length:, b] = np.nan

    @jit
    def run(params, carry, xs):
        return unroll(cell, params, carry, xs, lengths=jnp.asarray(lengths))

    carry, ours = run(params, cell.init_carry(len(lengths), jnp.float64), padded)
    assert_close(ours, ys.detach().numpy(), 1e-12)
    assert_close(floats(carry), [state[0].detach().numpy() for state in last], 1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
@LAYOUTS
def test_weights_from_torch(kind, num_layers, bidirectional, bias, x64):
    settings = {"bias": bias, "bidirectional": bidirectional, "dtype": torch.float64}
    module = TORCH[kind](I, M, num_layers, **settings)
    assert_same_outputs(kind, from_torch(kind, arrays_of(module)), module)


@pytest.mark.parametrize("kind", CELLS)
@LAYOUTS
def test_weights_to_torch(kind, num_layers, bidirectional, x64):
    settings = {"bidirectional": bidirectional, "dtype": torch.float64}
    source, module = (TORCH[kind](I, M, num_layers, **settings) for _ in range(2))
    params = from_torch(kind, arrays_of(source))
    arrays = to_torch(kind, params)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    assert_same_outputs(kind, params, module)
    assert_close(from_torch(kind, arrays_of(module)), params, 0)


@pytest.mark.parametrize("kind", CELLS)
def test_weights_of_one_step_modules(kind, x64):
    step = getattr(torch.nn, f"{kind.upper()}Cell")(I, M, dtype=torch.float64)
    params = from_torch(kind, arrays_of(step))
    arrays = {name.removesuffix("_l0"): array for name, array in to_torch(kind, params).items()}
    step.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x = torch.randn(1, 3, I, dtype=torch.float64)
    y = step(x[0])[0] if kind == "lstm" else step(x[0])
    assert_close(run(kind, params, jnp.asarray(x))[0], y.detach().numpy(), 1e-12)


def test_params_do_not_follow_the_module_that_they_came_from():
    module = torch.nn.GRU(I, M)
    params = from_torch("gru", arrays_of(module))
    before = params["recurrent"]["bias"].copy(), params["input"]["kernel"].copy()
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    assert_close((params["recurrent"]["bias"], params["input"]["kernel"]), before, 0)


def test_projections_are_refused():
    arrays = arrays_of(torch.nn.LSTM(I, M, proj_size=2))
    with pytest.raises(ValueError, match=r"unexpected weight_hr_l0; .* without proj_size"):
        from_torch("lstm", arrays)
