"""References that are written in JAX, differentiated by it, as functions of torch's tensors."""

import contextlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from zoo_common import heads, kernels, linear, load, together


def from_jax(function, *inputs):
    """The outputs, a tuple, of a function of JAX arrays, in the dtype of its inputs."""
    wide = inputs[0].dtype == torch.float64

    def to_jax(tensors):
        return tuple(jnp.asarray(tensor.detach().numpy()) for tensor in tensors)

    def to_torch(arrays):
        return tuple(torch.from_numpy(np.array(array)) for array in arrays)

    @contextlib.contextmanager
    def as_by_default():  # our tests are stricter
        ranks, dtypes = jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard")
        with jax.enable_x64(wide), ranks, dtypes:
            yield

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            with as_by_default():
                outputs, ctx.pullback = jax.vjp(function, *to_jax(inputs))
            return to_torch(outputs)

        @staticmethod
        def backward(ctx, *cotangents):
            with as_by_default():
                return to_torch(ctx.pullback(to_jax(cotangents)))

    return Function.apply(*inputs)


def mamba2(I, M, dtype, num_heads, key_features):
    """The package's recurrence, in chunks of 4 steps."""
    H, K = num_heads, key_features
    ssd = load("mamba2_jax").ssd_forward

    def in_jax(u, dt, A, k, q, D, bias, S):
        return ssd(u, dt, A, k, q, 4, D, bias, 0.0, math.inf, S[:, None], True)

    def run(p, xs, states):
        T, B, _ = xs.shape
        k, q = (heads(p, name, xs, 1).expand(B, T, H, K) for name in ("key", "query"))
        u, dt = heads(p, "input", xs, H), (xs @ p["decay/kernel"]).transpose(0, 1)
        A, bias, D = -p["decay/log_a"].exp(), p["decay/bias"], p["skip/scale"]
        o, S = from_jax(in_jax, u, dt, A, k, q, D, bias, states[0].mT)
        return together(o), (S.mT,)

    shapes = kernels(I, biased=["decay"], input=M, key=K, query=K, decay=H)
    return shapes | {"decay/log_a": (H,), "skip/scale": (H,)}, ((H, K, M // H),), run


def s4d(I, M, dtype, state_features):
    """The package's convolution, from a state of zeros; it has no D."""
    N = state_features
    make = load("discretax.sequence_mixers.s4d").S4DSequenceMixer

    def in_jax(us, log_rate, frequency, log_step, real, imag):
        mixer = make(M, jax.random.key(0), state_dim=2 * N)
        fields = {"log_a_real": log_rate, "A_imag": frequency, "log_dt": log_step}
        fields |= {"C": real + 1j * imag}
        return (_of_examples(_replaced(mixer, kernel=_replaced(mixer.kernel, **fields)), us),)

    def run(p, xs, states):
        us = linear(p, "input", xs)
        names = (*(f"transition/{name}" for name in transition), "output/real", "output/imag")
        (ys,) = from_jax(in_jax, us, *(p[name] for name in names))
        return ys + p["skip/scale"] * us, states

    transition = {"log_rate": (M, N), "frequency": (M, N), "log_step": (M,)}
    shapes = kernels(I, biased=["input"], input=M)
    shapes |= {f"transition/{name}": shape for name, shape in transition.items()}
    shapes |= {"output/real": (M, N), "output/imag": (M, N), "skip/scale": (M,)}
    return shapes, (), run


def s5(I, M, dtype, state_features):
    """The package's scan, from a state of zeros; its D is diagonal, and 0 here."""
    N = state_features
    make = load("discretax.sequence_mixers.s5").S5SequenceMixer

    def in_jax(xs, log_rate, frequency, log_step, B, C):
        mixer = make(M, jax.random.key(0), state_dim=2 * N, clip_eigs=False)
        fields = {"Lambda_re": -jnp.exp(log_rate), "Lambda_im": frequency, "B": B, "C": C}
        fields |= {"log_step": log_step[:, None], "D": jnp.zeros_like(mixer.D)}
        return (_of_examples(_replaced(mixer, **fields), xs),)

    def run(p, xs, states):
        transition = (p[f"transition/{name}"] for name in names)
        B = torch.stack(p["input/kernel"].T.split(N), -1)  # [N, I, 2]
        real, imag = p["output/kernel"].T.split(N, -1)
        (ys,) = from_jax(in_jax, xs, *transition, B, torch.stack([real, -imag], -1))
        return ys + linear(p, "skip", xs), states

    names = ("log_rate", "frequency", "log_step")
    shapes = {f"transition/{name}": (N,) for name in names}
    shapes |= {"input/kernel": (I, 2 * N), "output/kernel": (2 * N, M), "skip/kernel": (I, M)}
    return shapes, (), run


def _replaced(module, **fields):
    """An Equinox module with other arrays."""
    names, arrays = fields.keys(), tuple(fields.values())
    tree_at = load("equinox").tree_at
    return tree_at(lambda module: tuple(getattr(module, name) for name in names), module, arrays)


def _of_examples(mixer, xs):
    """[T, B, ..], of a mixer of [T, ..]."""
    return jax.vmap(lambda x: mixer(x, None), in_axes=1, out_axes=1)(xs)
