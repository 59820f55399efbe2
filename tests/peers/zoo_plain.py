"""References of torch's own form, weights [out, in] and two biases, and Keras."""

import os
import pathlib
import sys

import torch
from zoo_common import UnavailableError, call, load, over_time, plain_shapes, plain_weights, reorder


def irnn(I, M, dtype):
    module = torch.nn.RNNCell(I, M, nonlinearity="relu", dtype=dtype)

    def step(p, x, states):
        return (call(module, plain_weights(p), x, states[0]),)

    return plain_shapes(I, M, 1), (M,), over_time(step)


def lstm_1997(I, M, dtype):
    module = load("torchrecurrent").OriginalLSTMCell(I, M, dtype=dtype)

    def step(p, x, states):
        return call(module, plain_weights(p), x, states)

    return plain_shapes(I, M, 3), (M, M), over_time(step)


def peephole_lstm(I, M, dtype):
    module = load("torchrecurrent").PeepholeLSTMCell(I, M, dtype=dtype)

    def step(p, x, states):
        weights = {**plain_weights(p), "weight_ph": p["peephole/kernel"].reshape(-1)}
        return call(module, weights, x, states)

    return {**plain_shapes(I, M, 4), "peephole/kernel": (3, M)}, (M, M), over_time(step)


def conv_lstm(I, M, dtype, spatial_shape):
    """One convolution of [x, h], channels first; its gates are i, f, o, g where ours are i, f, g, o."""
    K, axes = 3, len(spatial_shape)
    module = load("conv_lstm").ConvLSTMCell(I, M, K, bias=True).to(dtype)

    def channels_first(a):
        return a.movedim(-1, 1)

    def step(p, x, states):
        kernel = torch.cat([p["input/kernel"], p["recurrent/kernel"]], axes)
        kernel, bias = (reorder(a, (0, 1, 3, 2)) for a in (kernel, p["recurrent/bias"]))
        weights = {"conv.weight": kernel.movedim((-1, -2), (0, 1)), "conv.bias": bias}
        new = call(module, weights, channels_first(x), [channels_first(s) for s in states])
        return tuple(state.movedim(1, -1) for state in new)

    taps = (K,) * axes
    kernels = {"input/kernel": (*taps, I, 4 * M), "recurrent/kernel": (*taps, M, 4 * M)}
    return {**kernels, "recurrent/bias": (4 * M,)}, (M, M), over_time(step)


def multiplicative_lstm(I, M, dtype):
    module = load("torchrecurrent").MultiplicativeLSTMCell(I, M, dtype=dtype)

    def step(p, x, states):
        none = torch.zeros_like(p["recurrent_factor/kernel"][0])  # the factors have no biases
        bias = p["recurrent/bias"]
        weights = {
            "weight_ih": torch.cat([p["input_factor/kernel"].T, p["input/kernel"].T]),
            "weight_hh": p["recurrent_factor/kernel"].T,
            "weight_mh": p["recurrent/kernel"].T,
            "bias_ih": torch.cat([none, bias]),
            "bias_hh": none,
            "bias_mh": torch.zeros_like(bias),
        }
        return call(module, weights, x, states)

    factors = {"input_factor/kernel": (I, M), "recurrent_factor/kernel": (M, M)}
    return {**plain_shapes(I, M, 4), **factors}, (M, M), over_time(step)


def mut(I, M, dtype, variant):
    module = getattr(load("torchrecurrent"), f"MUT{variant}Cell")(I, M, dtype=dtype)

    def step(p, x, states):
        weights = plain_weights(p)
        if variant == 1:  # its input bias of h is inside the inner tanh, where the paper has none
            z, r, h = p["recurrent/bias"].chunk(3)
            none = torch.zeros_like(h)
            weights |= {"bias_ih": torch.cat([z, r, none]), "bias_hh": torch.cat([none, h])}
        return (call(module, weights, x, states[0]),)

    shapes = plain_shapes(I, M, 3)
    if variant == 1:  # z does not see h
        shapes["recurrent/kernel"] = (M, 2 * M)
    return shapes, (M,), over_time(step)


def gru_before(I, M, dtype):
    """Keras' gates are z, r, n where ours are r, z, n."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault(
        "KERAS_HOME", str(pathlib.Path(sys.prefix, "keras"))
    )  # no user's settings
    keras = load("keras")
    if keras.config.backend() != "torch":
        raise UnavailableError("keras: imported with another backend than torch")
    module = keras.layers.GRUCell(M, reset_after=False, dtype=str(dtype).removeprefix("torch."))
    with torch.device("cpu"):
        module.build((None, I))
    frozen = [variable.value for variable in module.non_trainable_variables]

    def step(p, x, states):
        names = ("input/kernel", "recurrent/kernel", "input/bias")
        weights = [reorder(p[name], (1, 0, 2)) for name in names]
        (h, _), _ = module.stateless_call(weights, frozen, x, states[0])
        return (h,)

    G = 3 * M
    kernels = {"input/kernel": (I, G), "input/bias": (G,), "recurrent/kernel": (M, G)}
    return kernels, (M,), over_time(step)
