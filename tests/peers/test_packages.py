"""Layers of recurrentgemma, mambapy and xlstm with random weights, and what these convert to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (make test-peers)")

from cases import assert_close  # noqa: E402
from package_form import CONVERTERS, DIVISOR, check, outputs  # noqa: E402
from record_packages import H, M, run_package  # noqa: E402
from zoo_common import UnavailableError, load  # noqa: E402

from tlstm_jax.convert import from_recurrentgemma, from_xlstm, load_safetensors  # noqa: E402

pytestmark = pytest.mark.peers
each = pytest.mark.parametrize("name", CONVERTERS)


def run_or_skip(name, **settings):
    try:
        return run_package(name, **settings)
    except UnavailableError as error:
        pytest.skip(str(error))


def load_or_skip(module):
    try:
        return load(module)
    except UnavailableError as error:
        pytest.skip(str(error))


@each
def test_float32(name):
    check(name, run_or_skip(name), DIVISOR.get(name, 1e-5))


@each
def test_float64(name, x64, monkeypatch):
    """Without what keeps a package from it: numbers made float32, and a divisor's 1e-6."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    for module, function, settings in (
        ("recurrentgemma.torch.layers", "rnn_scan", {"acc_dtype": torch.float64}),
        ("xlstm.blocks.mlstm.cell", "parallel_stabilized_simple", {"eps": 0.0}),
    ):
        try:
            there = load(module)
        except UnavailableError:
            continue
        wide = functools.partial(getattr(there, function), **settings)
        monkeypatch.setattr(there, function, wide)
    check(name, run_or_skip(name, seed=1, steps=9, batch=3, dtype=torch.float64), 1e-10)


def test_the_linen_module_of_recurrentgemma():
    module = load_or_skip("recurrentgemma.jax.layers").RGLRU(M, H)
    xs = jax.random.normal(jax.random.key(0), (2, 7, M))
    positions = jnp.broadcast_to(jnp.arange(7)[None], (2, 7))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        weights = module.init(jax.random.key(1), xs, positions)
        weights = jax.tree.map(
            lambda w: w + 0.5 * jax.random.normal(jax.random.key(2), w.shape), weights
        )
        expected, _ = module.apply(weights, xs, positions)
    model, params = from_recurrentgemma(weights["params"])
    assert_close(outputs(model, params, xs.swapaxes(0, 1)), expected.swapaxes(0, 1), 1e-5)


def test_both_backends_of_an_slstm_have_the_same_weights():
    cell = load_or_skip("xlstm.blocks.slstm.cell")
    own = cell.sLSTMCell(cell.sLSTMCellConfig(M, H, backend="vanilla"))
    cuda = cell.sLSTMCell(cell.sLSTMCellConfig(M, H, backend="cuda"), skip_backend_init=True)
    with torch.no_grad():
        for weight in own.parameters():
            weight.normal_()
    cuda.recurrent_kernel[:], cuda.bias[:] = own.recurrent_kernel[:], own.bias[:]
    own, cuda = (
        {name: weight.numpy() for name, weight in module.state_dict().items()}
        for module in (own, cuda)
    )
    assert own["_recurrent_kernel_"].shape != cuda["_recurrent_kernel_"].shape
    assert_close(from_xlstm("sLSTMCell", own)[1], from_xlstm("sLSTMCell", cuda)[1], 0)


def test_files_of_safetensors(tmp_path):
    safetensors = load_or_skip("safetensors.torch")
    weights = {
        f"layer.{dtype}": (10 * torch.rand(3, 2)).to(getattr(torch, dtype))
        for dtype in ("float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool")
    }
    weights |= {"layer.float8": torch.rand(5).to(torch.float8_e4m3fn), "none": torch.zeros(0, 3)}
    path = tmp_path / "model.safetensors"
    safetensors.save_file(weights, path, metadata={"format": "pt"})
    found = load_safetensors(path)
    assert found.keys() == weights.keys()
    for name, array in found.items():
        wide = np.asarray(array, np.float64)
        np.testing.assert_array_equal(wide, weights[name].to(torch.float64).numpy())
        assert array.dtype.name.startswith(name.removeprefix("layer.")) or name == "none"
    layer = load_safetensors(path, "layer.")
    assert layer.keys() == {name.removeprefix("layer.") for name in weights} - {"none"}
