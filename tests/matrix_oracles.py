"""Independent versions of the models whose state is a matrix for each head, as in `model_oracles`.

One example and one head at a time, S [K, V], after the equations of the models' docstrings.
"""

import numpy as np
from oracles import project, sigmoid


def silu(a):
    return a * sigmoid(a)


def softplus(a):
    return np.log1p(np.exp(a))


def unit(a):
    return a / np.sqrt((a**2).sum(-1, keepdims=True) + 1e-6)


def over_heads(params, xs, num_heads, size, head):
    """y_t with the heads' outputs in a row; head(h, rows) -> [T, V] of one example's rows [T, ..]."""
    T, B = len(xs), xs[0].shape[0]
    ys = np.empty((T, B, num_heads * size))
    for b in range(B):
        for h in range(num_heads):
            at = slice(h * size, (h + 1) * size)
            ys[:, b, at] = head(
                h, lambda name, b=b: np.stack([project(params[name], x)[b] for x in xs])
            )
    return ys


def part(rows, h, num_heads):
    """Columns of head h."""
    return np.split(rows, num_heads, axis=-1)[h]


def decaying(q, k, v, alpha):
    """S' = diag(alpha) S + k^T v, y = q S'; alpha [T, K] or [T, 1]."""
    S, ys = np.zeros((k.shape[1], v.shape[1])), []
    for t in range(len(q)):
        S = alpha[t][:, None] * S + np.outer(k[t], v[t])
        ys.append(q[t] @ S)
    return np.stack(ys)


def gla(params, xs, *, num_heads, size):
    def head(h, rows):
        q, k, v, a = (part(rows(n), h, num_heads) for n in ("query", "key", "value", "decay"))
        return decaying(q / np.sqrt(q.shape[1]), k, v, sigmoid(a) ** (1 / 16))

    return over_heads(params, xs, num_heads, size, head)


def retnet(params, xs, *, num_heads, size):
    def head(h, rows):
        q, k, v = (part(rows(n), h, num_heads) for n in ("query", "key", "value"))
        alpha = np.full((len(q), 1), 1 - 2.0 ** (-5 - h))
        return decaying(q / np.sqrt(q.shape[1]), k, v, alpha)

    return over_heads(params, xs, num_heads, size, head)


def hgrn2(params, xs, *, num_heads, size, lower_bound):
    def head(h, rows):
        q, v, a = (part(rows(n), h, num_heads) for n in ("query", "value", "decay"))
        alpha = lower_bound + (1 - lower_bound) * sigmoid(a)
        return decaying(silu(q), 1 - alpha, v, alpha)

    return over_heads(params, xs, num_heads, size, head)


def mamba2(params, xs, *, num_heads, size):
    def head(h, rows):
        u, dt = (part(rows(n), h, num_heads) for n in ("input", "decay"))
        B, C, dt = rows("key"), rows("query"), softplus(dt)
        alpha = np.exp(-np.exp(params["decay"]["log_a"][h]) * dt)
        return decaying(C, dt * B, u, alpha) + params["skip"]["scale"][h] * u

    return over_heads(params, xs, num_heads, size, head)


def delta_net(params, xs, *, num_heads, size, gated, beta_range):
    def head(h, rows):
        q, k, v = (silu(part(rows(n), h, num_heads)) for n in ("query", "key", "value"))
        q, k = unit(q) / np.sqrt(q.shape[1]), unit(k)
        beta = beta_range * sigmoid(part(rows("beta"), h, num_heads))
        alpha = np.ones_like(beta)
        if gated:
            step = softplus(part(rows("decay"), h, num_heads))
            alpha = np.exp(-np.exp(params["decay"]["log_a"][h]) * step)
        S, ys = np.zeros((k.shape[1], v.shape[1])), []
        for t in range(len(q)):
            S = alpha[t] * S
            S = S + beta[t] * np.outer(k[t], v[t] - k[t] @ S)
            ys.append(q[t] @ S)
        return np.stack(ys)

    return over_heads(params, xs, num_heads, size, head)


def rwkv7(params, xs, *, num_heads, size):
    def head(h, rows):
        r, k, v = (part(rows(n), h, num_heads) for n in ("query", "key", "value"))
        w, a = (sigmoid(part(rows(n), h, num_heads)) for n in ("decay", "replace"))
        xi, alpha, rho = (
            part(params[n]["scale"], h, num_heads) for n in ("removed", "written", "bonus")
        )
        w = np.exp(-np.exp(-0.5) * w)
        kappa, written = unit(k * xi), k * (1 + (a - 1) * alpha)
        S, ys = np.zeros((k.shape[1], v.shape[1])), []
        for t in range(len(r)):
            transition = np.diag(w[t]) - np.outer(kappa[t] * a[t], kappa[t])
            S = transition @ S + np.outer(written[t], v[t])
            ys.append(r[t] @ S + (r[t] @ (rho * written[t])) * v[t])
        return np.stack(ys)

    return over_heads(params, xs, num_heads, size, head)


def matrix_lstm(params, xs, *, num_heads, size):
    """Without the stabilizer: y = o (q C) / max(|q n|, 1)."""

    def head(h, rows):
        q, k, v = (part(rows(n), h, num_heads) for n in ("query", "key", "value"))
        k = k / np.sqrt(k.shape[1])
        i, f = (part(a, h, num_heads)[:, 0] for a in np.split(rows("gates"), 2, axis=-1))
        o = sigmoid(part(rows("output"), h, num_heads))
        C, n, ys = np.zeros((k.shape[1], v.shape[1])), np.zeros(k.shape[1]), []
        for t in range(len(q)):
            C = sigmoid(f[t]) * C + np.exp(i[t]) * np.outer(k[t], v[t])
            n = sigmoid(f[t]) * n + np.exp(i[t]) * k[t]
            ys.append(o[t] * (q[t] @ C) / max(abs(q[t] @ n), 1.0))
        return np.stack(ys)

    return over_heads(params, xs, num_heads, size, head)


def rms(a, scale, groups=1):
    parts = a.reshape(*a.shape[:-1], groups, -1)
    parts = parts / np.sqrt((parts**2).mean(-1, keepdims=True) + 1e-6)
    return parts.reshape(a.shape) * scale


def block(params, xs, inner, *, heads=1, conv_size=4):
    """y = x + (norm(inner(silu(conv(n W_up)))) silu(n W_gate)) W_down, n = norm(x)."""
    if "input" in params:
        xs = np.stack([project(params["input"], x) for x in xs])
    n = rms(xs, params["norm"]["scale"]) if "norm" in params else xs
    us = n @ params["up"]["kernel"]
    if "convolution" in params:
        w, b = params["convolution"]["kernel"], params["convolution"]["bias"]
        before = np.concatenate([np.zeros((conv_size - 1, *us.shape[1:])), us])
        us = silu(sum(w[d] * before[conv_size - 1 - d :][: len(us)] for d in range(conv_size)) + b)
    os = inner(params["model"], us)
    if "output_norm" in params:
        os = rms(os, params["output_norm"]["scale"], heads)
    if "gate" in params:
        os = os * silu(n @ params["gate"]["kernel"])
    return xs + os @ params["down"]["kernel"]
