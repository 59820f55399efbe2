"""Runs layers of recurrentgemma, mambapy and xlstm on random weights, and records what they computed.

    python -m tests.peers.record_packages

writes tests/data/packages.npz, with which tests/test_convert_packages.py compares where no package
is installed. The names of the arrays are explained in tests/package_form.py.
"""

import importlib.metadata
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from package_form import CONVERTERS  # noqa: E402
from zoo_common import load  # noqa: E402

DATA = HERE.parent / "data" / "packages.npz"
PACKAGES = ("recurrentgemma", "mambapy", "xlstm")
M, H = 6, 2  # features, heads


def turned(x):
    """[T, B, ..] from [B, T, ..], or back."""
    return x.transpose(0, 1)


def rglru(steps):
    module = load("recurrentgemma.torch.layers").RGLRU(M, H)

    def run(x):
        positions = torch.arange(steps).expand(len(x), steps)
        return x, module(x, positions)[0]

    return module, M, run


def mamba(steps, **settings):
    mamba = load("mambapy.mamba")
    config = mamba.MambaConfig(M, n_layers=1, dt_rank=2, d_state=3, **settings)
    module = mamba.MambaBlock(config)
    return module, M, lambda x: (x, x + module(x))


def slstm_cell(steps):
    cell = load("xlstm.blocks.slstm.cell")
    module = cell.sLSTMCell(cell.sLSTMCellConfig(M, H, backend="vanilla"))
    return module, 4 * M, lambda x: (x, _heads(module(x)[0]))


def slstm_layer(steps, conv1d_kernel_size=4):
    layer = load("xlstm.blocks.slstm.layer")
    settings = {"embedding_dim": M, "num_heads": H, "conv1d_kernel_size": conv1d_kernel_size}
    module = layer.sLSTMLayer(layer.sLSTMLayerConfig(backend="vanilla", **settings))
    kept = {}
    module.slstm_cell.register_forward_hook(lambda _, x, y: kept.update(ys=_heads(y[0])))

    def run(x):
        module(x)
        return _with_convolved(module, x) if conv1d_kernel_size else x, kept["ys"]

    return module, M, run


def mlstm_cell(steps):
    cell = load("xlstm.blocks.mlstm.cell")
    module = cell.mLSTMCell(cell.mLSTMCellConfig(steps, M, H))
    kept = _before_norm(module)

    def run(x):
        module(*x.chunk(3, -1))
        return x, kept["ys"]

    return module, 3 * M, run


def mlstm_layer(steps):
    layer = load("xlstm.blocks.mlstm.layer")
    settings = {"embedding_dim": M // 2, "num_heads": H, "qkv_proj_blocksize": M // 3}
    settings |= {"round_proj_up_to_multiple_of": 1, "context_length": steps}
    module = layer.mLSTMLayer(layer.mLSTMLayerConfig(**settings))
    kept = _before_norm(module.mlstm_cell)

    def run(x):
        module(x)
        return _with_convolved(module, module.proj_up(x).chunk(2, -1)[0]), kept["ys"]

    return module, M // 2, run


def _heads(y):
    """[B, T, M] from [B, H, T, M / H]."""
    return y.transpose(1, 2).flatten(2)


def _with_convolved(module, x):
    return torch.cat([torch.nn.functional.silu(module.conv1d(x)), x], -1)


def _before_norm(cell):
    kept = {}
    cell.outnorm.register_forward_hook(lambda _, x, y: kept.update(ys=_heads(x[0])))
    return kept


FUNCTIONS = {
    "rglru": rglru,
    "mamba": mamba,
    "mamba without bias": lambda steps: mamba(steps, conv_bias=False, d_conv=3),
    "slstm_cell": slstm_cell,
    "slstm_layer": slstm_layer,
    "slstm_layer without convolution": lambda steps: slstm_layer(steps, 0),
    "mlstm_cell": mlstm_cell,
    "mlstm_layer": mlstm_layer,
}
assert FUNCTIONS.keys() == CONVERTERS.keys()


@torch.no_grad()
def run_package(name, *, steps=7, batch=2, dtype=torch.float32, seed=0):
    """Weights, inputs and outputs. Raises UnavailableError where a package is missing."""
    module, width, run = FUNCTIONS[name](steps)
    module = module.to(dtype)
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):  # in float64, so that dtypes differ by rounding only
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    for weight in module.parameters():
        weight.copy_(0.5 * draw(*weight.shape))
    weights = {f"weights/{key}": weight for key, weight in module.state_dict().items()}
    xs, ys = run(draw(batch, steps, width))
    arrays = {**weights, "xs": turned(xs), "ys": turned(ys)}
    return {key: value.numpy().copy() for key, value in arrays.items()}


def main():
    recorded = {
        f"{name}/{key}": value for name in FUNCTIONS for key, value in run_package(name).items()
    }
    versions = [f"{package}=={importlib.metadata.version(package)}" for package in PACKAGES]
    np.savez_compressed(DATA, versions=np.array(versions), **recorded)
    print(f"{DATA}: {DATA.stat().st_size} bytes, {', '.join(versions)}")


if __name__ == "__main__":
    main()
