"""References of the models of 2023 and later: recurrentgemma, mambapy, xlstm and fla-core.

Of packages whose layers have more around the recurrence than ours, the recurrence is called, and
the linear maps and activations in front of it are written here. fla's are the loops that its
kernels are tested with.
"""

import math

import torch
from zoo_common import call, heads, kernels, linear, load, load_alone, together


def _unit(a):
    return a * torch.rsqrt(a.square().sum(-1, keepdim=True) + 1e-6)


def rg_lru(I, M, dtype, num_heads, begun=True):
    """With `begun`, the sequence has begun before; else at its first step there is no root."""
    H = num_heads
    module = load_alone("recurrentgemma.torch.layers").RGLRU(M, H, dtype=dtype)

    def run(p, xs, states):
        a_kernel, input_kernel = p["gates/kernel"].chunk(2, -1)
        a_bias, input_bias = p["gates/bias"].unflatten(-1, (2, H, -1))
        weights = {
            "a_param": p["decay/bias"],
            "a_gate.w": a_kernel,
            "a_gate.b": a_bias,
            "input_gate.w": input_kernel,
            "input_gate.b": input_bias,
        }
        T, B, _ = xs.shape
        positions = (torch.arange(T) + begun).expand(B, T)
        u = linear(p, "input", xs).transpose(0, 1)
        ys, h = call(module, weights, u, positions, *states)
        return ys.transpose(0, 1), (h,) if begun else ()

    shapes = kernels(I, biased=["input"], input=M)
    shapes |= {"gates/kernel": (H, M // H, 2 * M // H), "gates/bias": (2 * M,)}
    return shapes | {"decay/bias": (M,)}, (M,) if begun else (), run


def mamba(I, M, dtype, state_features, step_rank):
    """The state space of the package's block, which reads u_t."""
    N, R = state_features, step_rank
    package = load("mambapy.mamba")
    config = package.MambaConfig(M, 1, dt_rank=R, d_state=N, expand_factor=1)
    module = package.MambaBlock(config).to(dtype)
    del module.in_proj, module.conv1d, module.out_proj
    module.forward = module.ssm_step

    def run(p, xs, states):
        weights = {
            "x_proj.weight": p["selection/kernel"].T,
            "dt_proj.weight": p["step/kernel"].T,
            "dt_proj.bias": p["step/bias"],
            "A_log": p["transition/log_rate"],
            "D": p["skip/scale"],
        }
        h, ys = states[0].unflatten(-1, (M, N)), []
        for u in linear(p, "input", xs):
            y, h = call(module, weights, u, h)
            ys.append(y)
        return torch.stack(ys), (h.flatten(1),)

    shapes = {"input/kernel": (I, M), "selection/kernel": (M, R + 2 * N), "step/kernel": (R, M)}
    shapes |= {"step/bias": (M,), "transition/log_rate": (M, N), "skip/scale": (M,)}
    return shapes, (M * N,), run


def slstm(I, M, dtype, num_heads, begun=True):
    """Without `begun`, from the package's own first state, in which nothing is stored."""
    H = num_heads
    package = load("xlstm.blocks.slstm.cell")
    config = package.sLSTMCellConfig(
        M, H, backend="vanilla", input_shape="SBGNH", output_shape="SBH"
    )
    module = package.sLSTMCell(config)

    def run(p, xs, states):
        kernel = p["recurrent/kernel"].unflatten(-1, (4, M // H))
        bias = p["recurrent/bias"].unflatten(-1, (4, H, M // H)).transpose(0, 1)
        weights = {
            "_recurrent_kernel_": module._recurrent_kernel_ext2int(kernel),
            "_bias_": module._bias_ext2int(bias),
        }
        first = None
        if begun:
            h, memory = states
            first = torch.stack([h, *memory.chunk(3, -1)])
        ys, last = call(module, weights, linear(p, "input", xs), first)
        h, *memory = last
        return ys, (h, torch.cat(memory, -1)) if begun else ()

    shapes = {"input/kernel": (I, 4 * M), "recurrent/kernel": (H, M // H, 4 * M // H)}
    return shapes | {"recurrent/bias": (4 * M,)}, (M, 3 * M) if begun else (), run


def matrix_lstm(I, M, dtype, num_heads, key_features, parallel=False):
    """Step by step, or all at once from a memory of zeros; without their epsilon of 1e-6."""
    H, K, V = num_heads, key_features, M // num_heads
    package = load("xlstm.blocks.mlstm.backends")

    def run(p, xs, states):
        q, k, v, gates = (
            heads(p, name, xs, n).transpose(1, 2)
            for name, n in (("query", H), ("key", H), ("value", H), ("gates", 2 * H))
        )
        i, f = gates.chunk(2, 1)  # [B, H, T, 1]
        if parallel:
            o, last = package.parallel_stabilized_simple(q, k, v, i, f, eps=0.0), ()
        else:
            memory, m = states
            of_state = memory[..., :V], memory[..., V:], m[..., None, None]
            os = []
            for at in zip(*(a.split(1, 2) for a in (q, k, v, i, f)), strict=True):
                each = (a.clone() for a in at)  # which it reshapes in place
                o, of_state = package.recurrent_step_stabilized_simple(*of_state, *each, eps=0.0)
                os.append(o)
            o, (C, n, m) = torch.cat(os, 2), of_state
            last = torch.cat([C, n], -1), m[..., 0, 0]
        return linear(p, "output", xs).sigmoid() * together(o.transpose(1, 2)), last

    shapes = kernels(
        I, biased=["gates", "output"], query=H * K, key=H * K, value=M, gates=2 * H, output=M
    )
    return shapes, () if parallel else ((H, K, V + 1), (H,)), run


def _fla(name, function):
    return getattr(load_alone(f"fla.ops.{name}.naive"), function)


def gla(I, M, dtype, num_heads, key_features):
    H, HK = num_heads, num_heads * key_features
    recurrence = _fla("gla", "naive_recurrent_gla")

    def run(p, xs, states):
        q, k, v, a = (heads(p, name, xs, H) for name in ("query", "key", "value", "decay"))
        gk = torch.nn.functional.logsigmoid(a) / 16
        o, S = recurrence(q, k, v, gk, states[0], output_final_state=True)
        return together(o), (S,)

    shapes = kernels(I, biased=["decay"], query=HK, key=HK, value=M, decay=HK)
    return shapes, ((H, key_features, M // H),), run


def hgrn2(I, M, dtype, num_heads, key_features, lower_bound):
    """By the recurrence of gated linear attention, which divides q by sqrt(K)."""
    H, HK = num_heads, num_heads * key_features
    recurrence = _fla("gla", "naive_recurrent_gla")

    def run(p, xs, states):
        q, v, a = (heads(p, name, xs, H) for name in ("query", "value", "decay"))
        q = torch.nn.functional.silu(q) * key_features**0.5
        alpha = lower_bound + (1 - lower_bound) * a.sigmoid()
        o, S = recurrence(q, 1 - alpha, v, alpha.log(), states[0], output_final_state=True)
        return together(o), (S,)

    shapes = kernels(I, biased=["decay"], query=HK, value=M, decay=HK)
    return shapes, ((H, key_features, M // H),), run


def retnet(I, M, dtype, num_heads, key_features):
    """All steps at once, from a memory of zeros."""
    H, HK = num_heads, num_heads * key_features
    retention = _fla("retention", "naive_retention")

    def run(p, xs, states):
        each = (heads(p, name, xs, H).transpose(1, 2) for name in ("query", "key", "value"))
        return together(retention(*each).transpose(1, 2)), states

    return kernels(I, query=HK, key=HK, value=M), (), run


def delta_net(I, M, dtype, num_heads, key_features, gated=False, beta_range=1.0):
    H, HK = num_heads, num_heads * key_features
    if gated:
        recurrence = _fla("gated_delta_rule", "naive_recurrent_gated_delta_rule")
    else:
        recurrence = _fla("delta_rule", "delta_rule_recurrence")

    def run(p, xs, states):
        q, k, v = (
            torch.nn.functional.silu(heads(p, name, xs, H)) for name in ("query", "key", "value")
        )
        q, k, beta = _unit(q), _unit(k), beta_range * heads(p, "beta", xs, H)[..., 0].sigmoid()
        settings = {"initial_state": states[0], "output_final_state": True}
        if gated:
            step = torch.nn.functional.softplus(heads(p, "decay", xs, H)[..., 0])
            o, S = recurrence(q, k, v, beta, -p["decay/log_a"].exp() * step, **settings)
        else:
            o, S = recurrence(*(a.transpose(1, 2) for a in (q, k, v, beta)), **settings)
            o = o.transpose(1, 2)
        return together(o), (S,)

    shapes = kernels(I, biased=["beta"], query=HK, key=HK, value=M, beta=H)
    if gated:
        shapes |= {**kernels(I, biased=["decay"], decay=H), "decay/log_a": (H,)}
    return shapes, ((H, key_features, M // H),), run


def rwkv7(I, M, dtype, num_heads, key_features):
    """The recurrence divides q by sqrt(K); the last term of y_t is none of it."""
    H, K = num_heads, key_features
    recurrence = _fla("generalized_delta_rule.dplr", "dplr_recurrence")

    def run(p, xs, states):
        names = ("query", "key", "value", "decay", "replace")
        q, k, v, decay, a = (heads(p, name, xs, H).transpose(1, 2) for name in names)
        xi, alpha, rho = (
            p[f"{name}/scale"].reshape(H, 1, K) for name in ("removed", "written", "bonus")
        )
        gk, a = -math.exp(-0.5) * decay.sigmoid(), a.sigmoid()
        kappa, written = _unit(k * xi), k * (1 + (a - 1) * alpha)
        o, S = recurrence(q * K**0.5, written, v, kappa, -kappa * a, gk, states[0])
        o = o + (q * rho * written).sum(-1, keepdim=True) * v
        return together(o.transpose(1, 2)), (S,)

    widths = dict.fromkeys(("query", "key", "decay", "replace"), H * K)
    shapes = kernels(I, biased=["decay", "replace"], value=M, **widths)
    shapes |= {f"{name}/scale": (H * K,) for name in ("removed", "written", "bonus")}
    return shapes, ((H, K, M // H),), run
