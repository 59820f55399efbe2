"""References that are written each in its own way: haste, labml, sru, minGRU and others."""

import os
import pathlib
import sys

import torch
from zoo_common import call, load, over_time, plain_shapes, reorder

IGFO = (0, 2, 1, 3)  # haste's order from ours; normalizing over all four does not mind


def norm_shapes(M, **widths):
    """The shapes of scale and bias of each norm, by its width in M."""
    return {
        f"{norm}/{part}": (width * M,)
        for norm, width in widths.items()
        for part in ("scale", "bias")
    }


def layer_norm_lstm(I, M, dtype):
    """haste has one bias where ours are three summed: of the gates and of both normalizations."""
    module = load("haste_pytorch").LayerNormLSTM(I, M).to(dtype)

    def step(p, x, states):
        scales = torch.stack([p["input_norm/scale"], p["recurrent_norm/scale"]])
        bias = p["recurrent/bias"] + p["input_norm/bias"] + p["recurrent_norm/bias"]
        weights = {
            "kernel": reorder(p["input/kernel"], IGFO),
            "recurrent_kernel": reorder(p["recurrent/kernel"], IGFO),
            "bias": reorder(bias, IGFO),
            "gamma": reorder(scales, IGFO),
            "gamma_h": p["memory_norm/scale"],
            "beta_h": p["memory_norm/bias"],
        }
        h, c = states
        _, (h, c) = call(module, weights, x[None], (h[None], c[None]))
        return h[0], c[0]

    norms = norm_shapes(M, input_norm=4, recurrent_norm=4, memory_norm=1)
    return {**plain_shapes(I, M, 4), **norms}, (M, M), over_time(step)


def labml_norms(p, prefix=""):
    """One module for each gate, and one for the memory."""
    weights = {}
    for part, name in (("scale", "weight"), ("bias", "bias")):
        weights[f"layer_norm_c.{name}"] = p[f"{prefix}memory_norm/{part}"]
        for gate, value in enumerate(p[f"{prefix}norm/{part}"].chunk(4)):
            weights[f"layer_norm.{gate}.{name}"] = value
    return weights


def hyper_lstm(I, M, dtype, hyper_features, embedding_features):
    N, E = hyper_features, embedding_features
    module = load("labml_nn.hypernetworks.hyper_lstm").HyperLSTMCell(I, M, N, E).to(dtype)

    def step(p, x, states):
        small = {
            "input_lin.weight": p["hyper/input/kernel"].T,
            "hidden_lin.weight": p["hyper/recurrent/kernel"].T,
            "hidden_lin.bias": p["hyper/recurrent/bias"],
            **labml_norms(p, "hyper/"),
        }
        weights = {f"hyper.{name}": value for name, value in small.items()}
        weights |= labml_norms(p)
        for s in "hxb":
            weights[f"z_{s}.weight"] = p[f"embed_{s}/kernel"].T
            for gate, kernel in enumerate(p[f"scale_{s}/kernel"]):
                weights[f"d_{s}.{gate}.weight"] = kernel.T
        weights |= {"z_h.bias": p["embed_h/bias"], "z_x.bias": p["embed_x/bias"]}
        for gate in range(4):
            of_gate = slice(gate * M, (gate + 1) * M)
            weights |= {
                f"w_h.{gate}": p["recurrent/kernel"][:, of_gate].T,
                f"w_x.{gate}": p["input/kernel"][:, of_gate].T,
                f"d_b.{gate}.bias": p["recurrent/bias"][of_gate],
            }
        return call(module, weights, x, *states)

    small = {"input/kernel": (M + I, 4 * N), "recurrent/kernel": (N, 4 * N)}
    small |= {"recurrent/bias": (4 * N,)}
    small |= norm_shapes(N, norm=4, memory_norm=1)
    shapes = {**plain_shapes(I, M, 4), **{f"hyper/{name}": shape for name, shape in small.items()}}
    shapes |= {"embed_h/bias": (4 * E,), "embed_x/bias": (4 * E,)}
    for s in "hxb":
        shapes |= {f"embed_{s}/kernel": (N, 4 * E), f"scale_{s}/kernel": (4, E, M)}
    shapes |= norm_shapes(M, norm=4, memory_norm=1)
    return shapes, (M, M, N, N), over_time(step)


def rhn(I, M, dtype, depth):
    module = load("labml_nn.recurrent_highway_networks").RHNCell(I, M, depth).to(dtype)

    def step(p, x, states):
        weights = {"input_lin.weight": p["input/kernel"].T}
        for d, (kernel, bias) in enumerate(
            zip(p["recurrent/kernel"], p["recurrent/bias"], strict=True)
        ):
            weights |= {f"hidden_lin.{d}.weight": kernel.T, f"hidden_lin.{d}.bias": bias}
        return (call(module, weights, x, states[0]),)

    shapes = plain_shapes(I, M, 2)
    shapes |= {"recurrent/kernel": (depth, M, 2 * M), "recurrent/bias": (depth, 2 * M)}
    return shapes, (M,), over_time(step)


def sru(I, M, dtype, version, scale=1.0):
    """The 2017 form is v1 with tanh; its columns are interleaved: xt, f, r, .. of each feature.

    With I != M the package multiplies the fourth block by the scale when it is initialized, not
    when it computes; so this comparison is made with a scale of 1.
    """
    # Importing it compiles, by ninja, which is beside the interpreter if pip installed it; what
    # comes of that belongs to this environment, and is made once.
    beside = str(pathlib.Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] += os.pathsep + beside
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(pathlib.Path(sys.prefix, "torch_extensions")))
    old = version == 2017
    module = load("sru").SRUCell(I, M, use_tanh=old, v1=old, rescale=scale != 1).to(dtype)
    blocks = 3 if I == M else 4

    def run(p, xs, states):
        columns = p["input/kernel"].reshape(I, blocks, M).transpose(1, 2)
        weights = {
            "weight": columns.reshape(I, M * blocks),
            "bias": p["input/bias"],
            "weight_c": xs.new_zeros(2 * M) if old else p["peephole/kernel"].reshape(-1),
            "scale_x": xs.new_tensor([scale]),
        }
        ys, c = call(module, weights, xs, states[0])
        return ys, (c,)

    shapes = {"input/kernel": (I, blocks * M), "input/bias": (2 * M,)}
    if not old:
        shapes["peephole/kernel"] = (2, M)
    return shapes, (M,), run


def lru(I, M, dtype, state_features):
    """It returns outputs alone; states are read by one that has them as its outputs."""
    N, module = state_features, load("LRU_pytorch.LRU").LRU

    def run(p, xs, states):
        weights = {
            "nu_log": p["transition/nu"],
            "theta_log": p["transition/theta"],
            "gamma_log": p["transition/log_gamma"],
            "B": torch.complex(*p["input/kernel"].T.reshape(2, N, I)),
        }
        C, unit = p["output/kernel"], torch.eye(N, dtype=dtype)
        zero = torch.zeros_like(unit)
        reads = torch.complex(torch.cat([unit, zero]), torch.cat([zero, -unit]))  # Re h, Im h
        of_y = weights | {"C": torch.complex(C[:N].T, -C[N:].T), "D": p["skip/kernel"].T}
        of_h = weights | {"C": reads, "D": torch.zeros(2 * N, I, dtype=dtype)}

        def of_example(module, weights):
            each = zip(xs.unbind(1), states[0], strict=True)  # it resets between examples
            return torch.stack(
                [call(module, weights, x, torch.complex(*h.chunk(2))) for x, h in each], 1
            )

        ys, hs = (
            of_example(module(I, size, N), weights) for size, weights in ((M, of_y), (2 * N, of_h))
        )
        return ys, (hs[-1],)

    transition = {f"transition/{name}": (N,) for name in ("nu", "theta", "log_gamma")}
    kernels = {"input/kernel": (I, 2 * N), "output/kernel": (2 * N, M), "skip/kernel": (I, M)}
    return transition | kernels, (2 * N,), run


def min_gru(I, M, dtype):
    return _minimal("minGRU", "to_hidden_and_gate", (1, 0), I, M, dtype)


def min_lstm(I, M, dtype):
    return _minimal("minLSTM", "to_hidden_and_f_i_gate", (2, 0, 1), I, M, dtype)


def _minimal(name, layer, order, I, M, dtype):
    """One step a call, since in several the package takes logarithms of states: positive ones only.

    Its linear layer has no bias, and gets one here.
    """
    made = getattr(load(f"minGRU_pytorch.{name}"), name)
    module = made(I, expansion_factor=M / I, proj_out=False)
    setattr(module, layer, torch.nn.Linear(I, len(order) * M))
    module = module.to(dtype)

    def step(p, x, states):
        weights = {
            f"{layer}.weight": reorder(p["input/kernel"], order).T,
            f"{layer}.bias": reorder(p["input/bias"], order),
        }
        return (call(module, weights, x[:, None], states[0][:, None])[:, 0],)

    G = len(order) * M
    return {"input/kernel": (I, G), "input/bias": (G,)}, (M,), over_time(step)


def wavenet(I, M, dtype, skip_features, dilations):
    """The package's residual layers, between linear maps written here.

    Its layer returns sqrt(1/2) (x + residual): what layer l reads is sqrt(1/2)^l times what ours
    does. The kernels that read it are therefore multiplied by the inverse, and the residuals by the
    factor.
    """
    S, linear = skip_features, torch.nn.functional.linear
    layer = load("wavenet_vocoder.modules").ResidualConv1dGLU
    settings = {"skip_out_channels": S, "dropout": 0.0, "weight_normalization": False}
    layers = [layer(M, 2 * M, 2, dilation=d, **settings).to(dtype) for d in dilations]

    def run(p, xs, states):
        x = linear(xs, p["input/kernel"].T, p["input/bias"]).permute(1, 2, 0)  # [B, M, T]
        total = 0.0
        for l, module in enumerate(layers):
            factor = 0.5 ** (l / 2)
            weights = {
                "conv.weight": p[f"layer_{l}/dilated/kernel"].permute(2, 1, 0) / factor,
                "conv.bias": p[f"layer_{l}/dilated/bias"],
                "conv1x1_out.weight": p[f"layer_{l}/residual/kernel"].T[..., None] * factor,
                "conv1x1_out.bias": p[f"layer_{l}/residual/bias"] * factor,
                "conv1x1_skip.weight": p[f"layer_{l}/skip/kernel"].T[..., None],
                "conv1x1_skip.bias": p[f"layer_{l}/skip/bias"],
            }
            x, skip = call(module, weights, x)
            total = total + skip
        ys = linear(total.relu().permute(2, 0, 1), p["post/kernel"].T, p["post/bias"]).relu()
        return ys, states

    shapes = {"input/kernel": (I, M), "input/bias": (M,), "post/kernel": (S, S), "post/bias": (S,)}
    for l in range(len(dilations)):
        sizes = {"dilated": (2, M, 2 * M), "residual": (M, M), "skip": (M, S)}
        for part, size in sizes.items():
            shapes |= {f"layer_{l}/{part}/kernel": size, f"layer_{l}/{part}/bias": size[-1:]}
    return shapes, (), run
