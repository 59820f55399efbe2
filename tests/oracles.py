"""A second, independent version of the equations: NumPy, float64, loops over locations and taps.

Nothing here uses the library, a convolution or any trick; every function takes the functional
parameter tree as NumPy arrays and complete sequences, xs [T, B, I] or tokens [T, B].
"""

import itertools
import math
from typing import NamedTuple

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def softmax(a):
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def project(dense, x):
    """x W + b for vectors; row x of W, plus b, for a token; b (or 0) for the token -1."""
    kernel, bias = dense["kernel"], dense.get("bias", 0.0)
    if x.ndim >= 2:
        return x @ kernel + bias
    rows = np.zeros((len(x), kernel.shape[1]))
    for b, token in enumerate(x):
        if token != -1:
            rows[b] = kernel[token]
    return rows + bias


def locations(shape):
    return list(itertools.product(*[range(n) for n in shape]))


def reach(kernel_size):
    """How many locations a step carries information towards the output corner."""
    return kernel_size // 2


def waves(shape, kernel_size):
    """u(p), by searching: the fewest steps in which a signal from outside the corner reaches p."""
    taps = locations((kernel_size,) * len(shape))
    arrival, frontier, step = {}, {tuple([-1] * len(shape))}, 0
    while frontier:
        arrived = {
            p
            for p in locations(shape)
            if p not in arrival
            for k in taps
            if tuple(i - reach(kernel_size) + j for i, j in zip(p, k, strict=True)) in frontier
        }
        arrival.update(dict.fromkeys(arrived, step))
        frontier, step = arrived, step + 1
    return arrival


def tensor_depth(shape, kernel_size):
    return max(math.ceil(2 * n / (kernel_size - kernel_size % 2)) for n in shape)


def cross_layer_sums(cross_layer, hidden, projected, shape, kernel_size):
    """A_t(p) for every location: reads outside the tensor are 0, but for the input corner."""
    kernel, bias = cross_layer["kernel"], cross_layer["bias"]
    corner = tuple([-1] * len(shape))
    sums = {}
    for p in locations(shape):
        total = np.zeros((len(projected), kernel.shape[-1])) + bias
        for k in locations((kernel_size,) * len(shape)):
            q = tuple(i - reach(kernel_size) + j for i, j in zip(p, k, strict=True))
            if q == corner:
                total += projected @ kernel[k]
            elif all(0 <= i < n for i, n in zip(q, shape, strict=True)):
                total += hidden[q] @ kernel[k]
        sums[p] = total
    return sums


def convolve_memory(memory, weights, shape, kernel_size):
    """C^conv: a kernel per location, shared by its channels; the border value is repeated."""
    result = {}
    for p in locations(shape):
        total = np.zeros_like(memory[p])
        for n, k in enumerate(locations((kernel_size,) * len(shape))):
            q = tuple(
                min(max(i - reach(kernel_size) + j, 0), size - 1)
                for i, j, size in zip(p, k, shape, strict=True)
            )
            total += weights[p][:, n : n + 1] * memory[q]
        result[p] = total
    return result


def normalize(norm, memory, shape, kind, epsilon):
    if kind is None:
        return memory
    whole = np.stack([memory[p] for p in locations(shape)], axis=1)  # [B, locations, M]
    result = {}
    for n, p in enumerate(locations(shape)):
        for_statistics = whole[:, n] if kind == "channel" else whole.reshape(len(whole), -1)
        mean = for_statistics.mean(axis=-1, keepdims=True)
        variance = ((for_statistics - mean) ** 2).mean(axis=-1, keepdims=True)
        z = (memory[p] - mean) / np.sqrt(variance + epsilon)
        result[p] = z * norm["scale"][p] + norm["bias"][p]
    return result


class Run(NamedTuple):
    """The result for a sequence."""

    ys: np.ndarray  # [T, B, M]
    states: list  # the state after each real input, as a tuple of arrays


def tensorized(
    params,
    xs,
    *,
    tensor_shape,
    kernel_size,
    gated,
    memory_convolution=False,
    normalization=None,
    epsilon=1e-5,
):
    """Tensorized LSTM (gated) or RNN; states are (hidden, memory) or (hidden,), [B, *P, M]."""
    M = params["input"]["bias"].shape[0]
    T, B = xs.shape[:2]
    delay = tensor_depth(tensor_shape, kernel_size) - 1
    wave = waves(tensor_shape, kernel_size)
    where = locations(tensor_shape)
    corner = where[-1]
    hidden = {p: np.zeros((B, M)) for p in where}
    memory = {p: np.zeros((B, M)) for p in where}

    def gather(tensor):
        return np.stack([tensor[p] for p in where], axis=1).reshape(B, *tensor_shape, M)

    ys, states = [], []
    for s in range(T + delay):
        x = xs[s] if s < T else (np.full(B, -1) if xs.ndim == 2 else np.zeros_like(xs[0]))
        sums = cross_layer_sums(
            params["cross_layer"], hidden, project(params["input"], x), tensor_shape, kernel_size
        )
        live = {p: float(s >= wave[p]) for p in where}
        if gated:
            g, i, f, o = ({p: sums[p][:, n * M : (n + 1) * M] for p in where} for n in range(4))
            if memory_convolution:
                weights = {p: softmax(sums[p][:, 4 * M :]) for p in where}
                memory = convolve_memory(memory, weights, tensor_shape, kernel_size)
            memory = {
                p: live[p] * (np.tanh(g[p]) * sigmoid(i[p]) + memory[p] * sigmoid(f[p]))
                for p in where
            }
            shown = normalize(params.get("norm"), memory, tensor_shape, normalization, epsilon)
            hidden = {p: live[p] * np.tanh(shown[p]) * sigmoid(o[p]) for p in where}
        else:
            hidden = {p: live[p] * np.tanh(sums[p]) for p in where}
        if s < T:
            states.append((gather(hidden), gather(memory)) if gated else (gather(hidden),))
        if s >= delay:
            ys.append(hidden[corner])
    return Run(np.stack(ys), states)


def elman(params, xs):
    """h' = tanh(x W + h U + b)."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h, states = np.zeros((xs.shape[1], len(U))), []
    for x in xs:
        h = np.tanh(project(params["input"], x) + h @ U + b)
        states.append((h,))
    return Run(np.stack([h for (h,) in states]), states)


def lstm(params, xs):
    """c' = f c + i g, h' = o tanh(c'); gates in the order i, f, g, o."""
    U, bias = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    M = len(U)
    h = c = np.zeros((xs.shape[1], M))
    states = []
    for x in xs:
        a = project(params["input"], x) + h @ U + bias
        i, f, g, o = (a[:, n * M : (n + 1) * M] for n in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append((h, c))
    return Run(np.stack([h for h, _ in states]), states)


def gru(params, xs, *, reset_after):
    """h' = z h + (1 - z) n; gates in the order r, z, n."""
    U = params["recurrent"]["kernel"]
    M = len(U)
    U_r, U_z, U_n = U[:, :M], U[:, M : 2 * M], U[:, 2 * M :]
    h, states = np.zeros((xs.shape[1], M)), []
    for x in xs:
        a = project(params["input"], x)
        r = sigmoid(a[:, :M] + h @ U_r)
        z = sigmoid(a[:, M : 2 * M] + h @ U_z)
        recurrent = r * (h @ U_n + params["recurrent"]["bias"]) if reset_after else (r * h) @ U_n
        h = z * h + (1 - z) * np.tanh(a[:, 2 * M :] + recurrent)
        states.append((h,))
    return Run(np.stack([h for (h,) in states]), states)


def stacked(params, xs, layer, *, num_layers, shared):
    """`layer` (one of the above) num_layers times; states hold one tuple for each layer."""
    if shared:
        xs = np.stack([project(params["input"], x) for x in xs])
    runs = []
    for n in range(num_layers):
        runs.append(layer(params["layer" if shared else f"layer_{n}"], xs))
        xs = runs[-1].ys
    return Run(xs, list(zip(*[run.states for run in runs], strict=True)))
