"""What the zoo's references share: importing a package, running a cell, torch's weights.

A reference is a function of the sizes that returns the shapes of our parameters (names joined by
"/"), the widths of the states, and `run(params, xs, states) -> (ys, states)`. `run` makes the
package's weights out of ours by operations that torch differentiates, so that gradients by our
parameters need no conversion of their own. Where a package has two biases in one role, the second
is zero.
"""

import importlib
import importlib.util
import pathlib
import sys
import types
import warnings
from unittest import mock

import torch
from torch.func import functional_call


class UnavailableError(Exception):
    """A package is not installed, or what is installed cannot be imported."""


def load(module):
    """Imports a reference's module, without the warnings that old packages give."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return importlib.import_module(module)
        except Exception as error:  # a package that compiles itself may raise anything
            text = str(error).strip().splitlines()
            raise UnavailableError(f"{module}: {text[-1] if text else repr(error)}") from error


def load_alone(module):
    """As `load`, but nothing that the packages around the module import when they are imported."""
    parents = module.split(".")[:-1]
    spec = importlib.util.find_spec(parents[0])
    if spec is None:
        raise UnavailableError(f"{parents[0]} is not installed")
    folder = pathlib.Path(spec.submodule_search_locations[0])
    empty = {}
    for n in range(len(parents)):
        name = ".".join(parents[: n + 1])
        empty[name] = types.ModuleType(name)
        empty[name].__path__ = [str(folder.joinpath(*parents[1 : n + 1]))]
    with mock.patch.dict(sys.modules, empty):
        return load(module)


def call(module, weights, *inputs):
    """The module with `weights`, which must be all that it has; without warnings, as in `load`."""
    with warnings.catch_warnings(action="ignore"):
        return functional_call(module, weights, inputs, strict=True)


def over_time(step):
    """`run` of a cell, from `step(params, x, states) -> states`; its output is the first state."""

    def run(params, xs, states):
        ys = []
        for x in xs:
            states = step(params, x, states)
            ys.append(states[0])
        return torch.stack(ys), states

    return run


def reorder(a, blocks):
    """Blocks of equal size along the last axis, in another order."""
    parts = a.chunk(len(blocks), -1)
    return torch.cat([parts[block] for block in blocks], -1)


def plain_shapes(I, M, gates):
    G = gates * M
    return {"input/kernel": (I, G), "recurrent/kernel": (M, G), "recurrent/bias": (G,)}


def plain_weights(p):
    """The names of torch's cells, which torchrecurrent shares."""
    bias = p["recurrent/bias"]
    return {
        "weight_ih": p["input/kernel"].T,
        "weight_hh": p["recurrent/kernel"].T,
        "bias_ih": bias,
        "bias_hh": torch.zeros_like(bias),
    }


def kernels(I, biased=(), **widths):
    """The shapes of kernels [I, width] and, of those that are `biased`, of their biases."""
    shapes = {f"{name}/kernel": (I, width) for name, width in widths.items()}
    return shapes | {f"{name}/bias": (widths[name],) for name in biased}


def linear(p, name, xs):
    """x W + b of the parameters `name`, where there is a b."""
    return xs @ p[f"{name}/kernel"] + p.get(f"{name}/bias", 0)


def heads(p, name, xs, H):
    """The same for each head: [B, T, H, n], of xs [T, B, I]."""
    return linear(p, name, xs).transpose(0, 1).unflatten(-1, (H, -1))


def together(o):
    """[B, T, H, V] to [T, B, H V]."""
    return o.transpose(0, 1).flatten(2)
