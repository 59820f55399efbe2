"""Runs torch's recurrent modules on random weights and inputs, and records what they computed.

    python -m tests.peers.record_torch

writes tests/data/torch_recurrent.npz, with which tests/test_torch_recorded.py compares where torch
is not installed.
"""

import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from torch_form import MODULES, STATES

DATA = pathlib.Path(__file__).parent.parent / "data" / "torch_recurrent.npz"
TORCH = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def run_module(name, *, steps=6, batch=2, inputs=3, features=4, dtype=torch.float64, seed=0):
    """Weights, inputs, outputs, and the gradients of <ys, wanted_ys> + <hn, wanted_hn> + ..."""
    kind, num_layers = MODULES[name]
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator, dtype=dtype)

    module = TORCH[kind](inputs, features, num_layers, dtype=dtype)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(draw(*weight.shape, scale=0.5))
    xs = draw(steps, batch, inputs).requires_grad_()
    state = (num_layers, batch, features)
    first = [draw(*state).requires_grad_() for _ in STATES[kind]]
    ys, last = module(xs, tuple(first) if kind == "lstm" else first[0])
    last = last if kind == "lstm" else (last,)

    wanted_ys, wanted = draw(*ys.shape), [draw(*state) for _ in last]
    loss = (ys * wanted_ys).sum() + sum((a * b).sum() for a, b in zip(last, wanted, strict=True))
    loss.backward()

    arrays = {"xs": xs, "grad_xs": xs.grad, "ys": ys, "wanted_ys": wanted_ys}
    for weight_name, weight in module.named_parameters():
        arrays |= {weight_name: weight, f"grad_{weight_name}": weight.grad}
    for s, start, end, want in zip(STATES[kind], first, last, wanted, strict=True):
        arrays |= {f"{s}0": start, f"grad_{s}0": start.grad, f"{s}n": end, f"wanted_{s}n": want}
    return {key: value.detach().numpy() for key, value in arrays.items()}


def main():
    recorded = {
        f"{name}/{key}": value for name in MODULES for key, value in run_module(name).items()
    }
    DATA.parent.mkdir(exist_ok=True)
    np.savez_compressed(DATA, torch_version=np.array(str(torch.__version__)), **recorded)
    print(f"{DATA}: {DATA.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
