"""Independent versions of the models that are not cells: NumPy, float64, loops over time.

As in `oracles`: functional parameter trees of NumPy arrays, xs [T, B, I] or tokens [T, B]; what
comes back is the outputs ys [T, B, ..] alone.
"""

import numpy as np
from oracles import project, sigmoid
from zoo_oracles import blocks, conv_lstm, lstm_update, zeros


def qrnn(params, xs, *, pooling, width):
    """z, f, o, i of x_{t-k+1} .. x_t; c' = f c + (1 - f) z, in ifo f c + i z; y = c', or o c'."""
    kernel, bias = params["input"]["kernel"], params["input"]["bias"]
    c, ys = zeros(xs, len(bias) // (len(pooling) + 1)), []
    for t in range(len(xs)):
        a = zeros(xs, len(bias)) + bias
        for k in range(width):
            s = t - (width - 1) + k
            if s >= 0:
                a = a + project({"kernel": kernel[k]}, xs[s])
        gates = blocks(a, len(pooling) + 1)
        z, f = np.tanh(gates[0]), sigmoid(gates[1])
        i = sigmoid(gates[3]) if pooling == "ifo" else 1 - f
        c = f * c + i * z
        ys.append(c if pooling == "f" else sigmoid(gates[2]) * c)
    return np.stack(ys)


def pyramid_lstm(params, xs):
    """y = tanh(h W + b), h the sum of a ConvLSTM along every axis but B, forwards and backwards."""
    total = 0.0
    for n in range(len(params) - 1):
        axis, sweeps = n + (n > 0), params[f"axis_{n}"]  # T, S_1, S_2, ..; B is axis 1
        along = xs if n == 0 else np.moveaxis(xs, (axis, 1), (0, 1))
        h = conv_lstm(sweeps["forward"], along).ys
        h = h + conv_lstm(sweeps["backward"], along[::-1]).ys[::-1]
        total = total + (h if n == 0 else np.moveaxis(h, (0, 1), (axis, 1)))
    return np.tanh(total @ params["dense"]["kernel"] + params["dense"]["bias"])


def sru(params, xs, *, version=2017, alpha=1.0):
    """c' = f c + (1 - f) x W; 2017: y = r tanh(c') + (1 - r) x; 2018: y = r c' + (1 - r) alpha x.

    f, r = s(x W + b), in 2018 s(x W + v c + b). With a fourth block, x in y is x times that block.
    """
    kernel = params["input"]["kernel"]
    b_f, b_r = blocks(params["input"]["bias"], 2)
    M = len(b_f)
    c, ys = zeros(xs, M), []
    for x in xs:
        a = project({"kernel": kernel}, x)
        candidate, f, r = (a[:, n * M : (n + 1) * M] for n in range(3))
        highway = a[:, 3 * M :] if kernel.shape[1] == 4 * M else x
        if version == 2018:
            v_f, v_r = params["peephole"]["kernel"]
            f, r = f + v_f * c, r + v_r * c
        f, r = sigmoid(f + b_f), sigmoid(r + b_r)
        c = f * c + (1 - f) * candidate
        if version == 2018:
            ys.append(r * c + (1 - r) * alpha * highway)
        else:
            ys.append(r * np.tanh(c) + (1 - r) * highway)
    return np.stack(ys)


def min_rnn(params, xs, *, gates=1, positive=True):
    """h' = (1 - z) h + z n, one gate; h' = (f h + i n) / (f + i), two; n = g(x W_n)."""
    M = len(params["input"]["bias"]) // (gates + 1)
    h, ys = zeros(xs, M), []
    for x in xs:
        *sums, n = blocks(project(params["input"], x), gates + 1)
        if positive:
            n = np.where(n >= 0, n + 0.5, sigmoid(n))
        sums = [sigmoid(a) for a in sums]
        keep, new = sums if gates == 2 else (1 - sums[0], sums[0])
        h = (keep * h + new * n) / (keep + new)
        ys.append(h)
    return np.stack(ys)


def lru(params, xs):
    """h' = e^(-e^nu + i e^theta) h + e^log_gamma x B, complex; y = Re(h' C) + x D."""
    at = params["transition"]
    transition = np.exp(-np.exp(at["nu"]) + 1j * np.exp(at["theta"]))
    N, C = len(transition), params["output"]["kernel"]
    h, ys = 0.0, []
    for x in xs:
        xB = project(params["input"], x)
        h = transition * h + np.exp(at["log_gamma"]) * (xB[:, :N] + 1j * xB[:, N:])
        ys.append((h @ (C[:N] - 1j * C[N:])).real + project(params["skip"], x))
    return np.stack(ys)


def wavenet(params, xs, *, dilations):
    """z_t = tanh(F) s(G), both of x_{t-d} and x_t; x' = x + z W_res + b.

    y = relu(relu(sum of the layers' z W_skip + b) W_post + b_post).
    """
    stream = [project(params["input"], x) for x in xs]
    total = [0.0 for _ in xs]
    for l, dilation in enumerate(dilations):
        layer = params[f"layer_{l}"]
        past, present = layer["dilated"]["kernel"]
        after = []
        for t in range(len(xs)):
            a = stream[t] @ present + layer["dilated"]["bias"]
            if t >= dilation:
                a = a + stream[t - dilation] @ past
            F, G = blocks(a, 2)
            z = np.tanh(F) * sigmoid(G)
            total[t] = total[t] + project(layer["skip"], z)
            after.append(stream[t] + project(layer["residual"], z))
        stream = after
    return np.stack([np.maximum(0, project(params["post"], np.maximum(0, s))) for s in total])


def dilated(params, xs, cell_oracle, dilation):
    """h_t from x_t and h_{t-d}: the cell over each of the d sequences x_j, x_{j+d}, .."""
    ys = [None for _ in xs]
    for j in range(min(dilation, len(xs))):
        for n, y in enumerate(cell_oracle(params, xs[j::dilation]).ys):
            ys[j + n * dilation] = y
    return np.stack(ys)


def reverse(xs, lengths):
    """Every example's first `length` steps backwards; the rest stays."""
    result = xs.copy()
    for b, length in enumerate(lengths):
        for t in range(length):
            result[t, b] = xs[length - 1 - t, b]
    return result


def bidirectional(params, xs, cell_oracle, lengths=None):
    """y_t = [forward, backward]; backward begins at each example's end; 0 beyond its length."""
    T, B = xs.shape[:2]
    lengths = [T] * B if lengths is None else lengths
    forward = cell_oracle(params["forward"], xs).ys
    backward = reverse(cell_oracle(params["backward"], reverse(xs, lengths)).ys, lengths)
    ys = np.concatenate([forward, backward], axis=-1)
    for b, length in enumerate(lengths):
        ys[length:, b] = 0.0
    return ys


def _one_direction(params, images, form):
    """h of images [T, B, W, I] from their upper left corner on: row by row, column by column."""
    M = params["recurrent"]["bias"].size // 5
    (T, B, W), of_h = images.shape[:3], params["recurrent"]["kernel"]
    nothing = np.zeros((B, M))
    h, c = {}, {}
    for t in range(T):
        for j in range(W):
            up, left = (t - 1, j), (t, j - 1)
            a = project(params["input"], images[t, :, j]) + params["recurrent"]["bias"]
            a = a + h.get(up, nothing) @ of_h[:M] + h.get(left, nothing) @ of_h[M:]
            i, f, second, g, o = blocks(a, 5)
            i, f, second, o, g = *(sigmoid(gate) for gate in (i, f, second, o)), np.tanh(g)
            c_up, c_left = c.get(up, nothing), c.get(left, nothing)
            mixed = second * c_up + (1 - second) * c_left
            match form:
                case "lstm":
                    c[t, j] = i * g + f * c_up + second * c_left
                case "stable":
                    c[t, j] = i * g + f * mixed
                case "leaky":
                    c[t, j] = (1 - f) * g + f * mixed
            h[t, j] = o * np.tanh(c[t, j])
            if form == "leaky":
                h[t, j] = np.tanh(o * c[t, j] + i * mixed)
    return np.stack([np.stack([h[t, j] for j in range(W)], axis=1) for t in range(T)])


def multidimensional_lstm(params, xs, *, form="lstm", merge="sum"):
    """i, f, f', o = s(a), g = th(a), a = x W + h_up U + h_left U' + b, from each corner.

    lstm c' = i g + f c_up + f' c_left, h' = o th(c'); with s = l c_up + (1 - l) c_left, stable
    c' = i g + f s, leaky c' = (1 - f) g + f s and h' = th(o c' + o' s).
    """
    if np.issubdtype(xs.dtype, np.integer) != (xs.ndim == 3):  # one column
        return multidimensional_lstm(params, xs[:, :, None], form=form, merge=merge)[:, :, 0]
    ys = []
    for name in ("down_right", "down_left", "up_right", "up_left"):
        if name in params:
            flips = slice(None, None, -1 if "up" in name else 1), slice(None)
            flips += (slice(None, None, -1 if "left" in name else 1),)
            ys.append(_one_direction(params[name], xs[flips], form)[flips])
    return sum(ys) if merge == "sum" else np.concatenate(ys, axis=-1)


def residual(ys_of_inner, xs):
    """y = inner(x) + x."""
    return ys_of_inner + xs


def skip_connections(params, xs, layers, size):
    """h^l = layer^l([x, h^{l-1}]), y = [h^1, .., h^L]; tokens, of which there are `size`, one-hot."""
    x = xs if xs.ndim > 2 else (xs[..., None] == np.arange(size)).astype(float)
    ys = []
    for n, layer in enumerate(layers):
        inputs = np.concatenate([x, ys[-1]], axis=-1) if n else xs
        ys.append(layer(params[f"layer_{n}"], inputs))
    return np.concatenate(ys, axis=-1)


def batch_norm(norm, a, epsilon=1e-5):
    """scale (a - mean) / sqrt(variance + epsilon) + bias over the batch; and (mean, variance)."""
    mean = a.mean(axis=0)
    variance = ((a - mean) ** 2).mean(axis=0)
    z = (a - mean) / np.sqrt(variance + epsilon)
    return norm["scale"] * z + norm.get("bias", 0.0), (mean, variance)


def batch_norm_lstm(params, xs):
    """a = BN(x W) + BN(h U) + b, c' = f c + i g, h' = o tanh(BN(c')), each step's own statistics.

    Also returns, for each step, {name of the norm: (mean, biased variance)}.
    """
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h = c = zeros(xs, len(U))
    ys, statistics = [], []
    for x in xs:
        seen = {}
        xW, seen["input_norm"] = batch_norm(params["input_norm"], project(params["input"], x))
        hU, seen["recurrent_norm"] = batch_norm(params["recurrent_norm"], h @ U)
        i, f, g, o = blocks(xW + hU + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        shown, seen["memory_norm"] = batch_norm(params["memory_norm"], c)
        h = sigmoid(o) * np.tanh(shown)
        ys.append(h)
        statistics.append(seen)
    return np.stack(ys), statistics


def zoneout_lstm(params, xs, masks_h, masks_c):
    """(h', c') = LSTM(x, h, c); then h = mask_h h + (1 - mask_h) h', and c likewise."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h = c = zeros(xs, len(U))
    ys = []
    for x, keep_h, keep_c in zip(xs, masks_h, masks_c, strict=True):
        new_h, new_c = lstm_update(project(params["input"], x) + h @ U + b, c)
        h = keep_h * h + (1 - keep_h) * new_h
        c = keep_c * c + (1 - keep_c) * new_c
        ys.append(h)
    return np.stack(ys)


def learned_carry_lstm(params, xs):
    """The LSTM from a learned (h, c), the same for every example."""
    U, b = params["cell"]["recurrent"]["kernel"], params["cell"]["recurrent"]["bias"]
    h = zeros(xs, len(U)) + params["carry"]["hidden"]
    c = zeros(xs, len(U)) + params["carry"]["memory"]
    ys = []
    for x in xs:
        h, c = lstm_update(project(params["cell"]["input"], x) + h @ U + b, c)
        ys.append(h)
    return np.stack(ys)


def learned_carry_gru(params, xs):
    """The GRU (reset after the product) from a learned h, the same for every example."""
    U, b = params["cell"]["recurrent"]["kernel"], params["cell"]["recurrent"]["bias"]
    h, ys = zeros(xs, len(U)) + params["carry"]["hidden"], []
    for x in xs:
        xr, xz, xn = blocks(project(params["cell"]["input"], x), 3)
        hr, hz, hn = blocks(h @ U, 3)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        h = z * h + (1 - z) * np.tanh(xn + r * (hn + b))
        ys.append(h)
    return np.stack(ys)


def noisy_lstm(params, xs, drops, masks_h, masks_c):
    """zoneout_lstm whose product with the state sees drop * h instead of h."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h = c = zeros(xs, len(U))
    ys = []
    for x, drop, keep_h, keep_c in zip(xs, drops, masks_h, masks_c, strict=True):
        new_h, new_c = lstm_update(project(params["input"], x) + (drop * h) @ U + b, c)
        h = keep_h * h + (1 - keep_h) * new_h
        c = keep_c * c + (1 - keep_c) * new_c
        ys.append(h)
    return np.stack(ys)


def adaptive_computation(params, xs, step, *, max_ponder, epsilon=0.01):
    """(ys, N, R): for each example and x, s' and y are the means over inner steps, as in the paper.

    step(params, x, state) -> (state, y) is the cell for one example; its first state is None.
    """
    (T, B), unit = xs.shape[:2], params["halting"]
    size, M = len(params["cell"]["input"]["kernel"]) - 1, len(unit["kernel"])
    ys, numbers, remainders = np.zeros((T, B, M)), np.zeros((T, B), int), np.zeros((T, B))
    for b in range(B):
        state = None
        for t in range(T):
            x = xs[t, b] if xs.ndim == 3 else (xs[t, b] == np.arange(size)).astype(float)
            states, outputs, p = [], [], []
            while not p or (sum(p) < 1 - epsilon and len(p) < max_ponder):
                flag = 0.0 if p else 1.0
                after, y = step(params["cell"], np.append(x, flag), states[-1] if p else state)
                states.append(after)
                outputs.append(y)
                p.append(sigmoid(y @ unit["kernel"][:, 0] + unit["bias"][0]))
            remainder = 1 - sum(p[:-1])
            weights = [*p[:-1], remainder]
            state = sum(w * s for w, s in zip(weights, states, strict=True))
            ys[t, b] = sum(w * y for w, y in zip(weights, outputs, strict=True))
            numbers[t, b], remainders[t, b] = len(p), remainder
    return ys, numbers, remainders


def lstm_step(params, x, state):
    """One step of one example's LSTM; its state is [h, c]."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h, c = np.zeros((2, len(U))) if state is None else state
    h, c = lstm_update(x @ params["input"]["kernel"] + h @ U + b, c)
    return np.stack([h, c]), h


def elman_step(params, x, state):
    """One step of one example's Elman network; its state is h."""
    U, b = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    h = np.zeros(len(U)) if state is None else state
    h = np.tanh(x @ params["input"]["kernel"] + h @ U + b)
    return h, h


def cut_sigmoid(a, cutoff):
    """The gates of Neural GPUs: c s(a) - (c - 1) / 2, cut to [0, 1]."""
    return np.minimum(1, np.maximum(0, cutoff * sigmoid(a) - (cutoff - 1) / 2))


def convolved(kernel, S):
    """A convolution of S [w, n, M] over rows and positions, tap by tap, zero outside."""
    k, (w, n, _) = kernel.shape[0], S.shape
    out = np.zeros((w, n, kernel.shape[-1]))
    for i in range(w):
        for t in range(n):
            for di in range(k):
                for dt in range(k):
                    row, place = i + di - k // 2, t + dt - k // 2
                    if 0 <= row < w and 0 <= place < n:
                        out[i, t] += S[row, place] @ kernel[di, dt]
    return out


def cgru(layer, S, *, cutoff, tape=None):
    """u S + (1 - u) tanh(K_c * (r S) + b), u, r = s'(K * S + b); a tape [w, n, M] adds to each."""
    M = S.shape[-1]
    a = convolved(layer["gates"]["kernel"], S) + layer["gates"]["bias"]
    of_tape = np.zeros((*S.shape[:2], 3 * M))
    if tape is not None:
        of_tape = convolved(layer["tape"]["kernel"], tape)
    u = cut_sigmoid(a[..., :M] + of_tape[..., :M], cutoff)
    r = cut_sigmoid(a[..., M:] + of_tape[..., M : 2 * M], cutoff)
    c = convolved(layer["candidate"]["kernel"], r * S) + layer["candidate"]["bias"]
    return u * S + (1 - u) * np.tanh(c + of_tape[..., 2 * M :])


def copy_of(params, n, copies):
    """Copy n of parameters with an axis of copies; there is none if copies == 1."""
    if isinstance(params, dict):
        return {name: copy_of(part, n, copies) for name, part in params.items()}
    return params if copies == 1 else params[n]


def encoded(params, xs, *, width, num_layers, cutoff, copies):
    """S_n of one example xs [n, I], or tokens [n]: its embedding in the first row, n steps."""
    M = params["input"]["kernel"].shape[1]
    S = np.zeros((width, len(xs), M))
    for t in range(len(xs)):
        S[0, t] = project(params["input"], xs[t : t + 1])[0]
    for k in range(len(xs)):
        for l in range(num_layers):
            S = cgru(copy_of(params[f"layer_{l}"], k % copies, copies), S, cutoff=cutoff)
    return S


def neural_gpu(params, xs, *, width, num_layers, cutoff=1.2, copies=1):
    """The first row of S_n, example by example."""
    settings = {"width": width, "num_layers": num_layers, "cutoff": cutoff, "copies": copies}
    ys = [encoded(params, xs[:, b], **settings)[0] for b in range(xs.shape[1])]
    return np.stack(ys, axis=1)


def extended_neural_gpu(params, xs, *, width, num_layers, cutoff=1.2, copies=1):
    """After the encoder, n steps d' = CGRU(d, tape): y_k = d'[0, k], whose symbol goes on the tape."""
    settings = {"width": width, "num_layers": num_layers, "cutoff": cutoff, "copies": copies}
    E, ys = params["embedding"]["kernel"], []
    for b in range(xs.shape[1]):
        d = encoded(params, xs[:, b], **settings)
        tape, of_example = np.zeros_like(d), []
        for k in range(len(xs)):
            for l in range(num_layers):
                layer = copy_of(params["decoder"][f"layer_{l}"], k % copies, copies)
                d = cgru(layer, d, cutoff=cutoff, tape=tape)
            of_example.append(d[0, k])
            odds = np.exp(project(params["readout"], d[0, k][None])[0])
            tape[0, k] = (odds / odds.sum()) @ E
        ys.append(np.stack(of_example))
    return np.stack(ys, axis=1)
