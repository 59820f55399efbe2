"""The zoo's equations once more, independently: NumPy, float64, loops over time, layers and gates.

As in `oracles`: functional parameter trees of NumPy arrays, xs [T, B, I] or tokens [T, B] -> Run.
Gates of everything like an LSTM are in the order i, f, g, o.
"""

import numpy as np
from oracles import Run, locations, project, sigmoid


def blocks(a, number):
    """The equal parts of a's last axis."""
    width = a.shape[-1] // number
    return [a[..., n * width : (n + 1) * width] for n in range(number)]


def layer_norm(norm, a, epsilon=1e-5):
    """scale (a - mean) / sqrt(variance + epsilon) + bias, over the last axis; biased variance."""
    mean = a.mean(axis=-1, keepdims=True)
    variance = ((a - mean) ** 2).mean(axis=-1, keepdims=True)
    return norm["scale"] * (a - mean) / np.sqrt(variance + epsilon) + norm["bias"]


def lstm_update(pre_activation, c):
    """c' = f c + i g, h' = o tanh(c')."""
    i, f, g, o = blocks(pre_activation, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def zeros(xs, *width):
    return np.zeros((xs.shape[1], *width))


def run(states):
    """The Run whose output is the first array of each state."""
    return Run(np.stack([state[0] for state in states]), states)


def irnn(params, xs):
    """h' = max(0, x W + h U + b)."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h, states = zeros(xs, len(U)), []
    for x in xs:
        h = np.maximum(0.0, project(params["input"], x) + h @ U + b)
        states.append((h,))
    return run(states)


def convolution(kernel, x, dilation=1):
    """y(p) = sum_k x(p + dilation (k - K // 2)) W(k), x 0 outside the map; x [B, S.., I] or [B]."""
    taps, spatial = kernel.shape[:-2], x.shape[1:-1]
    if not taps:
        return project({"kernel": kernel}, x)
    y = np.zeros((len(x), *spatial, kernel.shape[-1]))
    for p in locations(spatial):
        for k in locations(taps):
            q = tuple(p[n] + dilation * (k[n] - taps[n] // 2) for n in range(len(taps)))
            if all(0 <= q[n] < spatial[n] for n in range(len(taps))):
                y[(slice(None), *p)] += x[(slice(None), *q)] @ kernel[k]
    return y


def conv_lstm(params, xs, *, dilation=1):
    """i = s(W*x + U*h + p_i c + b), f, g likewise; c' = f c + i g; o sees p_o c'; h' = o tanh(c').

    W*x has dilation 1. Without peepholes p is 0.
    """
    W, U, b = params["input"]["kernel"], params["recurrent"]["kernel"], params["recurrent"]["bias"]
    p_i, p_f, p_o = params["peephole"]["kernel"] if "peephole" in params else (0.0, 0.0, 0.0)
    spatial = xs.shape[2:-1] if W.ndim > 2 else ()
    h = c = zeros(xs, *spatial, len(b) // 4)
    states = []
    for x in xs:
        i, f, g, o = blocks(convolution(W, x) + convolution(U, h, dilation) + b, 4)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
        h = sigmoid(o + p_o * c) * np.tanh(c)
        states.append((h, c))
    return run(states)


def row_lstm(params, xs, *, mask):
    """The LSTM of K_is * x + K_ss * h + b; K_is sees pixels before c (A), up to c (B), around c."""
    K_is, K_ss, b = (
        params[k][n]
        for k, n in [("input", "kernel"), ("recurrent", "kernel"), ("recurrent", "bias")]
    )
    taps, W = len(K_is), xs.shape[2]
    first = {"A": -taps, "B": 1 - taps, "none": -(taps // 2)}[mask]
    h = c = zeros(xs, W, len(b) // 4)
    states = []
    for x in xs:
        a = convolution(K_ss, h) + b
        for at in range(W):
            for k in range(taps):
                if 0 <= at + first + k < W:
                    a[:, at] += x[:, at + first + k] @ K_is[k]
        h, c = lstm_update(a, c)
        states.append((h, c))
    return run(states)


def lstm_1997(params, xs):
    """c' = c + i g, h' = o tanh(c'); gates in the order i, g, o."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h = c = zeros(xs, len(U))
    states = []
    for x in xs:
        i, g, o = blocks(project(params["input"], x) + h @ U + b, 3)
        c = c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append((h, c))
    return run(states)


def slstm(params, xs):
    """Without the stabilizer: c' = s(f) c + e^i tanh(z), n' = s(f) n + e^i, h' = s(o) c' / n'."""
    kernel, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    H, width, _ = kernel.shape
    M = H * width
    U = np.zeros((M, 4 * M))
    for n in range(H):
        rows = slice(n * width, (n + 1) * width)
        for gate, block in enumerate(np.split(kernel[n], 4, axis=-1)):
            U[rows, gate * M + n * width : gate * M + (n + 1) * width] = block
    h = c = n = zeros(xs, M)
    m, states = np.full_like(h, -np.inf), []
    for x in xs:
        i, f, z, o = blocks(project(params["input"], x) + h @ U + b, 4)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        m = np.maximum(np.log(sigmoid(f)) + m, i)
        h = sigmoid(o) * c / n
        states.append((h, np.concatenate([c * np.exp(-m), n * np.exp(-m), m], axis=-1)))
    return run(states)


def para_gru(params, xs):
    """A GRU, reset before, whose U are diagonal matrices."""
    U_z, U_r, U_n = map(np.diag, params["recurrent"]["kernel"])
    h, states = zeros(xs, len(U_z)), []
    for x in xs:
        z, r, n = blocks(project(params["input"], x), 3)
        z, r = sigmoid(z + h @ U_z), sigmoid(r + h @ U_r)
        h = (1 - z) * h + z * np.tanh(n + (r * h) @ U_n)
        states.append((h,))
    return run(states)


def para_lstm(params, xs):
    """f = s(.. + p_f c), c' = f c + (1 - f) g, o = s(.. + p_o c'), h' = o tanh(c'); diagonal U."""
    U_f, U_g, U_o = map(np.diag, params["recurrent"]["kernel"])
    p_f, p_o = params["peephole"]["kernel"]
    h = c = zeros(xs, len(p_f))
    states = []
    for x in xs:
        f, g, o = blocks(project(params["input"], x), 3)
        f, g = sigmoid(f + h @ U_f + p_f * c), np.tanh(g + h @ U_g)
        c = f * c + (1 - f) * g
        h = sigmoid(o + h @ U_o + p_o * c) * np.tanh(c)
        states.append((h, c))
    return run(states)


def peephole_lstm(params, xs):
    """i = s(.. + p_i c), f = s(.. + p_f c), c' = f c + i g, o = s(.. + p_o c'), h' = o tanh(c')."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    p_i, p_f, p_o = params["peephole"]["kernel"]
    h = c = zeros(xs, len(U))
    states = []
    for x in xs:
        i, f, g, o = blocks(project(params["input"], x) + h @ U + b, 4)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
        h = sigmoid(o + p_o * c) * np.tanh(c)
        states.append((h, c))
    return run(states)


def layer_norm_lstm_step(params, x, h, c):
    """a = LN(x W) + LN(h U) + b, c' = f c + i g, h' = o tanh(LN(c')); x None: no first term."""
    a = layer_norm(params["recurrent_norm"], h @ params["recurrent"]["kernel"])
    a = a + params["recurrent"]["bias"]
    if x is not None:
        a = a + layer_norm(params["input_norm"], project(params["input"], x))
    i, f, g, o = blocks(a, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(layer_norm(params["memory_norm"], c))
    return h, c


def layer_norm_lstm(params, xs):
    """`layer_norm_lstm_step` at every time."""
    h = c = zeros(xs, len(params["recurrent"]["kernel"]))
    states = []
    for x in xs:
        h, c = layer_norm_lstm_step(params, x, h, c)
        states.append((h, c))
    return run(states)


def mi_lstm(params, xs):
    """a = alpha (x W) (h U) + beta_h (h U) + beta_x (x W) + b, then the LSTM."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    alpha, beta_h, beta_x = (params["integration"][n] for n in ("alpha", "beta_h", "beta_x"))
    h = c = zeros(xs, len(U))
    states = []
    for x in xs:
        xW, hU = project(params["input"], x), h @ U
        h, c = lstm_update(alpha * xW * hU + beta_h * hU + beta_x * xW + b, c)
        states.append((h, c))
    return run(states)


def multiplicative_lstm(params, xs):
    """m = (x W_m) (h U_m), then the LSTM of x and m."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h = c = zeros(xs, len(U))
    states = []
    for x in xs:
        m = project(params["input_factor"], x) * (h @ params["recurrent_factor"]["kernel"])
        h, c = lstm_update(project(params["input"], x) + m @ U + b, c)
        states.append((h, c))
    return run(states)


def fast_weights_1992(params, xs, *, d, decay, rate):
    """F' = decay F + rate a^T b, y = tanh(q F'); q = x W_q + b_q, a and b = tanh(x W + bias)."""
    M = len(params["input"]["bias"]) - 2 * d
    F, ys, states = zeros(xs, d, M), [], []
    for x in xs:
        z = project(params["input"], x)
        q, a, b = z[:, :d], np.tanh(z[:, d : 2 * d]), np.tanh(z[:, 2 * d :])
        F = np.stack([decay * F[n] + rate * np.outer(a[n], b[n]) for n in range(len(F))])
        ys.append(np.stack([np.tanh(q[n] @ F[n]) for n in range(len(F))]))
        states.append((F,))
    return Run(np.stack(ys), states)


def train_matrix(train):
    """W[i, j] = G_1[i_1, j_1] .. G_d[i_d, j_d], entry by entry."""
    cores = [train[name]["kernel"] for name in sorted(train) if name.startswith("core_")]
    rows, columns = ([core.shape[axis] for core in cores] for axis in (1, 2))
    W = np.zeros((np.prod(rows), np.prod(columns)))
    for i, of_i in enumerate(np.ndindex(*rows)):
        for j, of_j in enumerate(np.ndindex(*columns)):
            product = np.eye(1)
            for core, i_k, j_k in zip(cores, of_i, of_j, strict=True):
                product = product @ core[:, i_k, j_k, :]
            W[i, j] = product.item()
    return W


def tt_lstm(params, xs):
    """The LSTM of the matrices that the cores make."""
    W, U, b = train_matrix(params["input"]), params["recurrent"], params["recurrent"]["bias"]
    U = U["kernel"] if "kernel" in U else train_matrix(U)
    h = c = zeros(xs, len(U))
    states = []
    for x in xs:
        h, c = lstm_update(project({"kernel": W}, x) + h @ U + b, c)
        states.append((h, c))
    return run(states)


def multiplicative_rnn(params, xs):
    """h' = tanh(x W + ((x W_m) (h U_m)) U + b)."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h, states = zeros(xs, len(b)), []
    for x in xs:
        m = project(params["input_factor"], x) * (h @ params["recurrent_factor"]["kernel"])
        h = np.tanh(project(params["input"], x) + m @ U + b)
        states.append((h,))
    return run(states)


def fast_weights(params, xs, *, inner_steps, f, decay=0.9, rate=0.5):
    """h^s = f(LN(a + attention of h^{s-1} to the past)), h^0 = f(a), a = x W + h U + b.

    Attention by scalar products, which fade: rate sum_k decay^(t-1-k) (h . h_k) h_k over past states.
    """
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h, past, states = zeros(xs, len(b)), [], []
    A = np.zeros((len(h), len(b), len(b)))  # of the states only
    for x in xs:
        past.append(h)
        A = decay * A + rate * h[:, :, None] * h[:, None, :]
        a = project(params["input"], x) + h @ U + b
        h = f(a)
        for _ in range(inner_steps):
            attended = 0.0
            for age, h_k in enumerate(reversed(past)):
                attended += rate * decay**age * np.sum(h * h_k, axis=-1, keepdims=True) * h_k
            h = f(layer_norm(params["norm"], a + attended))
        states.append((h, A))
    return run(states)


def mut(params, xs, *, variant):
    """h' = tanh((r h) U_h + x' + b_h) z + h (1 - z), x' = x W_h, or its tanh in MUT1.

    z = s(x W_z + b_z) in MUT1, s(.. + h U_z + b_z) in MUT2, s(.. + tanh(h) U_z + b_z) in MUT3.
    """
    b_z, b_r, b_h = blocks(params["recurrent"]["bias"], 3)
    if variant == 1:
        U_r, U_h = blocks(params["recurrent"]["kernel"], 2)
    else:
        U_z, U_r, U_h = blocks(params["recurrent"]["kernel"], 3)
    h, states = zeros(xs, len(U_h)), []
    for x in xs:
        x_z, x_r, x_h = blocks(project(params["input"], x), 3)
        if variant == 1:
            z = sigmoid(x_z + b_z)
            x_h = np.tanh(x_h)
        elif variant == 2:
            z = sigmoid(x_z + h @ U_z + b_z)
        elif variant == 3:
            z = sigmoid(x_z + np.tanh(h) @ U_z + b_z)
        r = sigmoid(x_r + h @ U_r + b_r)
        h = np.tanh((r * h) @ U_h + x_h + b_h) * z + h * (1 - z)
        states.append((h,))
    return run(states)


def skip_rnn(params, xs, *, skip):
    """h_t = tanh(x_t W + h_{t-1} U + h_{t-s} U_s + b); state: h_t, h_{t-1}, .., h_{t-s+1}."""
    U, b, U_s = params["recurrent"]["kernel"], params["recurrent"]["bias"], params["skip"]["kernel"]
    hs = {t: zeros(xs, len(U)) for t in range(-skip, 0)}
    states = []
    for t, x in enumerate(xs):
        hs[t] = np.tanh(project(params["input"], x) + hs[t - 1] @ U + hs[t - skip] @ U_s + b)
        states.append((np.stack([hs[t - n] for n in range(skip)], axis=1),))
    return Run(np.stack([hs[t] for t in range(len(xs))]), states)


def rhn(params, xs):
    """h <- v t + h (1 - t), D times; v = tanh(x W_H + h R_H + b), t = s(..); x the first time."""
    kernel, bias = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h, states = zeros(xs, kernel.shape[1]), []
    for x in xs:
        for l in range(len(kernel)):
            a = h @ kernel[l] + bias[l]
            if l == 0:
                a = a + project(params["input"], x)
            v, t = blocks(a, 2)
            h = np.tanh(v) * sigmoid(t) + h * (1 - sigmoid(t))
        states.append((h,))
    return run(states)


def norm_gates_update(params, pre_activations, c, epsilon=1e-5):
    """c' = f c + i g, h' = o tanh(LN(c')), after LN of i, f, g, o, each over its own values."""
    scales, biases = blocks(params["norm"]["scale"], 4), blocks(params["norm"]["bias"], 4)
    i, f, g, o = (
        layer_norm({"scale": scales[y], "bias": biases[y]}, pre_activations[y], epsilon)
        for y in range(4)
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(layer_norm(params["memory_norm"], c, epsilon)), c


def gate_norm_lstm_step(params, x, h, c):
    """a = x W + h U + b, then `norm_gates_update` with epsilon 1e-3; x None: no first term."""
    a = h @ params["recurrent"]["kernel"] + params["recurrent"]["bias"]
    if x is not None:
        a = a + project(params["input"], x)
    return norm_gates_update(params, blocks(a, 4), c, 1e-3)


def gate_norm_lstm(params, xs):
    """`gate_norm_lstm_step` at every time."""
    h = c = zeros(xs, len(params["recurrent"]["kernel"]))
    states = []
    for x in xs:
        h, c = gate_norm_lstm_step(params, x, h, c)
        states.append((h, c))
    return run(states)


def hyper_lstm(params, xs):
    """Gate y is LN((z_h D_h) (h U_y) + (z_x D_x) (x W_y) + z_b D_b + b_y); h' = o tanh(LN(c')).

    z_h, z_x, z_b = e' A + a (z_b without a), and e' is of the small LSTM, whose gate is
    LN([h, x] W_y + e U_y + b_y), and whose e' = o tanh(LN(its c')).
    """
    M = len(params["recurrent"]["kernel"])
    small = params["hyper"]
    N = len(small["recurrent"]["kernel"])
    I = len(params["input"]["kernel"])
    h = c = zeros(xs, M)
    e = small_c = zeros(xs, N)
    states = []
    for x in xs:
        both = np.concatenate([h, project({"kernel": np.eye(I)}, x)], axis=-1)  # one-hot
        a = both @ small["input"]["kernel"] + e @ small["recurrent"]["kernel"]
        a = a + small["recurrent"]["bias"]
        e, small_c = norm_gates_update(small, blocks(a, 4), small_c)
        z_h = blocks(project(params["embed_h"], e), 4)
        z_x = blocks(project(params["embed_x"], e), 4)
        z_b = blocks(e @ params["embed_b"]["kernel"], 4)
        hU = blocks(h @ params["recurrent"]["kernel"], 4)
        xW = blocks(project(params["input"], x), 4)
        b = blocks(params["recurrent"]["bias"], 4)
        gates = []
        for y in range(4):
            a = (z_h[y] @ params["scale_h"]["kernel"][y]) * hU[y]
            a = a + (z_x[y] @ params["scale_x"]["kernel"][y]) * xW[y]
            gates.append(a + z_b[y] @ params["scale_b"]["kernel"][y] + b[y])
        h, c = norm_gates_update(params, gates, c)
        states.append((h, c, e, small_c))
    return run(states)


def fast_slow_lstm(params, xs, *, num_fast, step=layer_norm_lstm_step):
    """(h, c) through F_0(x), F_1(h of S), F_2(no input), ..; S(h of F_0) has its own (h, c)."""
    h = c = zeros(xs, len(params["fast_0"]["recurrent"]["kernel"]))
    slow_h = slow_c = zeros(xs, len(params["slow"]["recurrent"]["kernel"]))
    states = []
    for x in xs:
        h, c = step(params["fast_0"], x, h, c)
        slow_h, slow_c = step(params["slow"], h, slow_h, slow_c)
        h, c = step(params["fast_1"], slow_h, h, c)
        for n in range(2, num_fast):
            h, c = step(params[f"fast_{n}"], None, h, c)
        states.append((h, c, slow_h, slow_c))
    return run(states)


def grid_lstm(params, xs, *, num_layers, tied):
    """h_t, m_t = LSTM([h_d, h_t], m_t); h_d, m_d = LSTM([h_d, h_t], m_d), layer by layer."""
    M = params["input"]["bias"].shape[0] // 2
    h_time = [zeros(xs, M) for _ in range(num_layers)]
    m_time = [zeros(xs, M) for _ in range(num_layers)]
    ys, states = [], []
    for x in xs:
        h_depth, m_depth = blocks(project(params["input"], x), 2)
        for l in range(num_layers):
            layer = params["layer"] if tied else params[f"layer_{l}"]
            H = np.concatenate([h_depth, h_time[l]], axis=-1)
            h_time[l], m_time[l] = lstm_update(project(layer["time"], H), m_time[l])
            H = np.concatenate([h_depth, h_time[l]], axis=-1)
            h_depth, m_depth = lstm_update(project(layer["depth"], H), m_depth)
        ys.append(h_depth)
        states.append((np.stack(h_time, axis=1), np.stack(m_time, axis=1)))
    return Run(np.stack(ys), states)


def gated_feedback(params, xs, *, cell, num_layers):
    """Layer j: s = sum_i sigm(below w_ij + h* u_ij + b_ij) (h_i U_ij), in place of the candidate's h U.

    Gates see below and the layer's own h; below is x or the new h of the layer below, h* all old h.
    """
    L = num_layers
    M = params["layer_0"]["feedback"]["kernel"].shape[1]
    hs = [zeros(xs, M) for _ in range(L)]
    cs = [zeros(xs, M) for _ in range(L)]
    ys, states = [], []
    for x in xs:
        old = hs
        hs, below = [], x
        for j in range(L):
            layer = params[f"layer_{j}"]
            w, u, b = (layer[of][of_] for of, of_ in GATE)
            U = layer["feedback"]["kernel"]
            s = 0.0
            for i in range(L):
                a = project({"kernel": w[:, i : i + 1]}, below) + b[i]
                for k in range(L):
                    a = a + old[k] @ u[k * M : (k + 1) * M, i : i + 1]
                s = s + sigmoid(a) * (old[i] @ U[i * M : (i + 1) * M])
            a = project(layer["input"], below)
            own = old[j] @ layer["recurrent"]["kernel"] if cell != "elman" else None
            if cell == "elman":
                h = np.tanh(a + s)
            elif cell == "lstm":
                (i_x, f_x, g_x, o_x), (i_h, f_h, o_h) = blocks(a, 4), blocks(own, 3)
                sums = np.concatenate([i_x + i_h, f_x + f_h, g_x + s, o_x + o_h], axis=-1)
                h, cs[j] = lstm_update(sums, cs[j])
            else:
                (r_x, z_x, n_x), (r_h, z_h) = blocks(a, 3), blocks(own, 2)
                z = sigmoid(z_x + z_h)
                h = z * old[j] + (1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * s)
            hs.append(h)
            below = h
        ys.append(below)
        states.append((np.stack(hs, axis=1), *([np.stack(cs, axis=1)] if cell == "lstm" else [])))
    return Run(np.stack(ys), states)


GATE = ("gate_input", "kernel"), ("gate", "kernel"), ("gate", "bias")  # w, u, b of its gates


def hm_lstm_gates(pre_activation, h, c, z, below):
    """One example: flush (z = 1) c' = i g; update (z = 0, below = 1) c' = f c + i g; else copy."""
    i, f, g, o = blocks(pre_activation, 4)
    if z == 1:
        c = sigmoid(i) * np.tanh(g)
    elif below == 1:
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    else:
        return h, c
    return sigmoid(o) * np.tanh(c), c


def hm_lstm(params, xs, *, num_layers, slope=1.0):
    """a = h U + z (h_above U_top) + z_below (h_below W) + b; z' = [hard_s(a_z) > 0.5].

    hard_s(a) = clip((slope a + 1) / 2, 0, 1), y = relu(sum_l g_l (h^l E_l)), g = s([h^l] W_gate).
    """
    L, (T, B) = num_layers, xs.shape[:2]
    M = len(params["layer_0"]["recurrent"]["kernel"])
    hidden, memory, boundary = zeros(xs, L, M), zeros(xs, L, M), zeros(xs, L - 1)
    ys, states = np.zeros((T, B, M)), []
    for t in range(T):
        old_h, old_c, old_z = hidden, memory, boundary
        hidden, memory, boundary = old_h.copy(), old_c.copy(), old_z.copy()
        for b in range(B):
            for l in range(L):
                layer = params[f"layer_{l}"]
                z = old_z[b, l] if l < L - 1 else 0.0
                z_below = boundary[b, l - 1] if l > 0 else 1.0
                below = hidden[b : b + 1, l - 1] if l > 0 else xs[t, b : b + 1]
                a = old_h[b, l] @ layer["recurrent"]["kernel"] + layer["recurrent"]["bias"]
                a = a + z_below * project(layer["bottom_up"], below)[0]
                if l < L - 1:
                    a = a + z * (old_h[b, l + 1] @ layer["top_down"]["kernel"])
                    hard = np.clip((slope * a[4 * M] + 1) / 2, 0.0, 1.0)
                    boundary[b, l] = 1.0 if hard > 0.5 else 0.0
                hidden[b, l], memory[b, l] = hm_lstm_gates(
                    a[: 4 * M], old_h[b, l], old_c[b, l], z, z_below
                )
            g = sigmoid(hidden[b].reshape(-1) @ params["output"]["gate"]["kernel"])
            for l in range(L):
                ys[t, b] += g[l] * (hidden[b, l] @ params["output"]["embed"]["kernel"][l])
        ys[t] = np.maximum(0.0, ys[t])
        states.append((hidden, memory, boundary))
    return Run(ys, states)


def mod_relu(z, bias):
    """max(|z| + b, 0) z / |z|, and 0 at z = 0."""
    size = np.abs(z)
    return np.maximum(size + bias, 0.0) * z / np.where(size == 0, 1.0, size)


def unitary_matrix(params, permutation):
    """D3 R2 F^-1 D2 P R1 F D1 as a dense matrix that multiplies columns."""
    M = len(permutation)
    n = np.arange(M)
    F = np.exp(-2j * np.pi * np.outer(n, n) / M) / np.sqrt(M)
    P = np.zeros((M, M))
    for j in range(M):
        P[j, permutation[j]] = 1.0
    D1, D2, D3 = (np.diag(np.exp(1j * w)) for w in params["phases"]["kernel"])
    vs = [re + 1j * im for re, im in params["reflections"]["kernel"]]
    R1, R2 = (np.eye(M) - 2 * np.outer(v, v.conj()) / (v.conj() @ v) for v in vs)
    return D3 @ R2 @ F.conj().T @ D2 @ P @ R1 @ F @ D1


def complex_rnn(params, xs, W):
    """h' = modReLU(h W + x V), rows; outputs and states are [Re h, Im h]."""
    h, states = zeros(xs, len(W)), []
    for x in xs:
        re, im = blocks(project(params["input"], x), 2)
        h = mod_relu(h @ W + re + 1j * im, params["modrelu"]["bias"])
        states.append((np.concatenate([h.real, h.imag], axis=-1),))
    return run(states)


def unitary_rnn(params, xs, *, permutation):
    """W is the transpose of D3 R2 F^-1 D2 P R1 F D1, because that multiplies columns."""
    return complex_rnn(params, xs, unitary_matrix(params, permutation).T)


def full_capacity_unitary_rnn(params, xs):
    """W = real + i imag, for rows."""
    return complex_rnn(params, xs, params["unitary"]["real"] + 1j * params["unitary"]["imag"])
