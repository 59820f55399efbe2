"""Independent versions of the diagonal state spaces, and of RG-LRU, as in `model_oracles`."""

import numpy as np
from oracles import project, sigmoid
from zoo_oracles import zeros


def softplus(a):
    return np.log1p(np.exp(a))


def zero_order_hold(transition):
    """(e^(lambda dt), (e^(lambda dt) - 1) / lambda)."""
    rate, frequency, step = (transition[n] for n in ("log_rate", "frequency", "log_step"))
    eigenvalue = -np.exp(rate) + 1j * frequency
    step = np.exp(step) if step.shape == eigenvalue.shape else np.exp(step)[:, None]
    return np.exp(eigenvalue * step), (np.exp(eigenvalue * step) - 1) / eigenvalue


def s5(params, xs):
    """h' = e^(lambda dt) h + (e^(lambda dt) - 1) / lambda x B; y = 2 Re(h' C) + x D."""
    transition, weight = zero_order_hold(params["transition"])
    N, C = len(transition), params["output"]["kernel"]
    h, ys = 0.0, []
    for x in xs:
        xB = project(params["input"], x)
        h = transition * h + weight * (xB[:, :N] + 1j * xB[:, N:])
        ys.append(2 * (h @ (C[:N] - 1j * C[N:])).real + project(params["skip"], x))
    return np.stack(ys)


def s4d(params, xs):
    """The same of each channel of u = x W + b, with B = 1."""
    transition, weight = zero_order_hold(params["transition"])  # [M, N]
    C = params["output"]["real"] + 1j * params["output"]["imag"]
    h, ys = 0.0, []
    for x in xs:
        u = project(params["input"], x)
        h = transition * h + weight * u[:, :, None]
        ys.append(2 * (h * C).sum(-1).real + params["skip"]["scale"] * u)
    return np.stack(ys)


def mamba(params, xs):
    """h' = exp(-exp(rate) dt) h + dt B u; y = h' C + D u."""
    rate = np.exp(params["transition"]["log_rate"])  # [M, N]
    N, R = rate.shape[1], len(params["step"]["kernel"])
    h, ys = 0.0, []
    for x in xs:
        u = project(params["input"], x)
        step, B, C = np.split(project(params["selection"], u), [R, R + N], axis=-1)
        dt = softplus(project(params["step"], step))
        h = np.exp(-rate * dt[:, :, None]) * h + (dt * u)[:, :, None] * B[:, None]
        ys.append(np.einsum("bmn,bn->bm", h, C) + params["skip"]["scale"] * u)
    return np.stack(ys)


def rg_lru(params, xs, *, num_heads):
    """h' = a h + sqrt(1 - a^2) i u, at the first step a h + i u."""
    blocks = params["gates"]["kernel"]  # [H, M / H, 2 M / H]
    M = num_heads * blocks.shape[1]
    R, G = np.zeros((M, M)), np.zeros((M, M))
    for n, block in enumerate(blocks):
        at = slice(n * len(block), (n + 1) * len(block))
        R[at, at], G[at, at] = np.split(block, 2, axis=-1)
    b_r, b_i = np.split(params["gates"]["bias"], 2)
    h, ys = zeros(xs, M), []
    for t, x in enumerate(xs):
        u = project(params["input"], x)
        r, i = sigmoid(u @ R + b_r), sigmoid(u @ G + b_i)
        a = np.exp(-8 * r * softplus(params["decay"]["bias"]))
        h = a * h + (np.sqrt(1 - a**2) if t else 1.0) * i * u
        ys.append(h)
    return np.stack(ys)
