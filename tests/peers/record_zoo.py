"""Runs the zoo's references on random weights and inputs, and records what they computed.

    python -m tests.peers.record_zoo

writes tests/data/zoo_references.npz, with which tests/test_zoo_recorded.py compares where no
reference is installed. The names of the arrays are explained in tests/zoo_form.py.
"""

import functools
import importlib.metadata
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import zoo_jax  # noqa: E402
import zoo_modern  # noqa: E402
import zoo_plain  # noqa: E402
import zoo_special  # noqa: E402
from zoo_form import REFERENCES  # noqa: E402

DATA = HERE.parent / "data" / "zoo_references.npz"
FUNCTIONS = {
    "lstm_1997": zoo_plain.lstm_1997,
    "peephole_lstm": zoo_plain.peephole_lstm,
    "irnn": zoo_plain.irnn,
    "gru_before": zoo_plain.gru_before,
    "layer_norm_lstm": zoo_special.layer_norm_lstm,
    "conv_lstm": zoo_plain.conv_lstm,
    "multiplicative_lstm": zoo_plain.multiplicative_lstm,
    "hyper_lstm": zoo_special.hyper_lstm,
    "rhn": zoo_special.rhn,
    "mut1": zoo_plain.mut,
    "mut2": zoo_plain.mut,
    "mut3": zoo_plain.mut,
    "sru_2017": zoo_special.sru,
    "sru_2017_square": zoo_special.sru,
    "sru_2018": zoo_special.sru,
    "sru_2018_square": zoo_special.sru,
    "lru": zoo_special.lru,
    "min_gru": zoo_special.min_gru,
    "min_lstm": zoo_special.min_lstm,
    "wavenet": zoo_special.wavenet,
    "s4d": zoo_jax.s4d,
    "s5_square": zoo_jax.s5,
    "rg_lru": zoo_modern.rg_lru,
    "rg_lru_start": functools.partial(zoo_modern.rg_lru, begun=False),
    "mamba": zoo_modern.mamba,
    "mamba2": zoo_jax.mamba2,
    "slstm": zoo_modern.slstm,
    "slstm_start": functools.partial(zoo_modern.slstm, begun=False),
    "matrix_lstm": zoo_modern.matrix_lstm,
    "matrix_lstm_parallel": functools.partial(zoo_modern.matrix_lstm, parallel=True),
    "gla": zoo_modern.gla,
    "hgrn2": zoo_modern.hgrn2,
    "retnet": zoo_modern.retnet,
    "delta_net": zoo_modern.delta_net,
    "delta_net_gated": zoo_modern.delta_net,
    "rwkv7": zoo_modern.rwkv7,
}
# Biases that keep most units in front of wavenet's rectifiers alive, but not all.
BEFORE_RELU = ("skip/bias", "post/bias")
# Keras' matmul makes float32 of float64; lru-pytorch keeps its outputs in float32, recurrentgemma
# its states, mambapy A and D, and fla's loops everything.
FLOAT32_ONLY = ("gru_before", "lru", "rg_lru", "rg_lru_start", "mamba", "gla", "hgrn2", "retnet")
FLOAT32_ONLY += ("delta_net", "delta_net_gated", "rwkv7")
POSITIVE_STATES = ("slstm",)  # it divides by one


def run_reference(name, *, steps=6, batch=2, inputs=3, features=4, dtype=torch.float64, seed=0):
    """Weights, inputs, outputs, and the gradients of <ys, wanted_ys> + <last states, wanted>.

    In float32 where a package computes in nothing wider. Raises UnavailableError where one is
    missing.
    """
    dtype = torch.float32 if name in FLOAT32_ONLY else dtype
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0, mean=0.0):  # in float64, so that dtypes differ by rounding only
        value = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return (mean + scale * value).to(dtype)

    def draw_parameter(key, shape):
        if key.endswith("scale"):
            return draw(*shape, scale=0.3, mean=1.0).requires_grad_()
        mean = 0.5 if key.endswith(BEFORE_RELU) else 0.0
        return draw(*shape, scale=0.5, mean=mean).requires_grad_()

    inputs = features if name.endswith("square") else inputs
    shapes, widths, run = FUNCTIONS[name](inputs, features, dtype, **REFERENCES[name][1])
    params = {key: draw_parameter(key, shape) for key, shape in shapes.items()}
    spatial = REFERENCES[name][1].get("spatial_shape", ())
    xs = draw(steps, batch, *spatial, inputs).requires_grad_()
    first = [draw(batch, *spatial, *np.atleast_1d(width).tolist()) for width in widths]
    first = [state.abs() if name in POSITIVE_STATES else state for state in first]
    first = tuple(state.requires_grad_() for state in first)
    ys, last = run(params, xs, first)

    wanted_ys, wanted = draw(*ys.shape), [draw(*state.shape) for state in last]
    loss = (ys * wanted_ys).sum() + sum((a * b).sum() for a, b in zip(last, wanted, strict=True))
    loss.backward()

    arrays = {"xs": xs, "grad_xs": xs.grad, "ys": ys, "wanted_ys": wanted_ys}
    for key, value in params.items():
        grad = torch.zeros_like(value) if value.grad is None else value.grad
        arrays |= {f"params/{key}": value, f"grad/{key}": grad}
    for n, (start, end, want) in enumerate(zip(first, last, wanted, strict=True)):
        arrays |= {f"state0/{n}": start, f"grad_state0/{n}": start.grad}
        arrays |= {f"stateN/{n}": end, f"wanted_stateN/{n}": want}
    arrays = {key: value.detach().numpy() for key, value in arrays.items()}
    return {"features": np.array(features), **arrays}


def main():
    recorded = {
        f"{name}/{key}": value for name in REFERENCES for key, value in run_reference(name).items()
    }
    packages = sorted({package for packages, _ in REFERENCES.values() for package in packages})
    versions = [f"{package}=={importlib.metadata.version(package)}" for package in packages]
    DATA.parent.mkdir(exist_ok=True)
    np.savez_compressed(DATA, versions=np.array(versions), **recorded)
    print(f"{DATA}: {DATA.stat().st_size} bytes, {', '.join(versions)}")


if __name__ == "__main__":
    main()
