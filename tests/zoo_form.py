"""What a reference of the zoo computed, compared with the same model of this library.

Needs neither torch nor a reference: a run is a dict of arrays made by `peers/record_zoo.py`, live
or recorded. Weights and gradients have the names of our parameters: "params/recurrent/kernel",
"grad/recurrent/kernel"; states come in the order of our carry: "state0/0" and "grad_state0/0"
first, "stateN/0" and "wanted_stateN/0" last.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
from cases import jit

from tlstm_jax import as_sequence

HEADS = {"num_heads": 2, "key_features": 3}
# name -> (packages compared with, settings of our model)
REFERENCES = {
    "lstm_1997": (("torchrecurrent",), {}),
    "peephole_lstm": (("torchrecurrent",), {}),
    "irnn": (("torch",), {}),
    "gru_before": (("keras",), {}),
    "layer_norm_lstm": (("haste-pytorch-cpu",), {}),
    "conv_lstm": (("conv_lstm",), {"spatial_shape": (2, 3)}),
    "multiplicative_lstm": (("torchrecurrent",), {}),
    "hyper_lstm": (("labml-nn",), {"hyper_features": 3, "embedding_features": 2}),
    "rhn": (("labml-nn",), {"depth": 3}),
    "mut1": (("torchrecurrent",), {"variant": 1}),
    "mut2": (("torchrecurrent",), {"variant": 2}),
    "mut3": (("torchrecurrent",), {"variant": 3}),
    "sru_2017": (("sru",), {"version": 2017}),
    "sru_2017_square": (("sru",), {"version": 2017}),  # as many inputs as features: no fourth block
    "sru_2018": (("sru",), {"version": 2018, "scale": 1.0}),
    "sru_2018_square": (("sru",), {"version": 2018, "scale": 3**0.5}),
    "lru": (("lru-pytorch",), {"state_features": 3}),
    "min_gru": (("minGRU-pytorch",), {}),
    "min_lstm": (("minGRU-pytorch",), {}),
    "wavenet": (("wavenet-vocoder",), {"skip_features": 5, "dilations": (1, 2)}),
    "s4d": (("discretax",), {"state_features": 3}),
    "s5_square": (("discretax",), {"state_features": 3}),
    "rg_lru": (("recurrentgemma",), {"num_heads": 2}),
    "rg_lru_start": (("recurrentgemma",), {"num_heads": 2}),
    "mamba": (("mambapy",), {"state_features": 3, "step_rank": 2}),
    "mamba2": (("mamba2-jax",), HEADS),
    "slstm": (("xlstm",), {"num_heads": 2}),
    "slstm_start": (("xlstm",), {"num_heads": 2}),
    "matrix_lstm": (("xlstm",), HEADS),
    "matrix_lstm_parallel": (("xlstm",), HEADS),
    "gla": (("fla-core",), HEADS),
    "hgrn2": (("fla-core",), {**HEADS, "lower_bound": 0.25}),
    "retnet": (("fla-core",), HEADS),
    "delta_net": (("fla-core",), HEADS),
    "delta_net_gated": (("fla-core",), {**HEADS, "gated": True, "beta_range": 2.0}),
    "rwkv7": (("fla-core",), HEADS),
}
MODELS = {
    "lstm_1997": ("cells.lstm", "LSTM1997"),
    "peephole_lstm": ("cells.peephole_lstm", "PeepholeLSTM"),
    "irnn": ("cells.irnn", "IRNN"),
    "gru_before": ("cells.gru", "ResetBeforeGRU"),
    "layer_norm_lstm": ("cells.layer_norm_lstm", "LayerNormLSTM"),
    "conv_lstm": ("cells.conv_lstm", "ConvLSTM"),
    "multiplicative_lstm": ("cells.multiplicative_lstm", "MultiplicativeLSTM"),
    "hyper_lstm": ("cells.hyper_lstm", "HyperLSTM"),
    "rhn": ("cells.rhn", "RHN"),
    "mut": ("cells.mut", "MUT"),
    "sru": ("models.sru", "SRU"),
    "lru": ("models.lru", "LRU"),
    "min_gru": ("models.min_gru", "MinGRU"),
    "min_lstm": ("models.min_lstm", "MinLSTM"),
    "wavenet": ("models.wavenet", "WaveNet"),
    "s4d": ("models.s4d", "S4D"),
    "s5": ("models.s5", "S5"),
    "rg_lru": ("models.rg_lru", "RGLRU"),
    "mamba2": ("models.mamba2", "Mamba2"),  # in front of its prefix
    "mamba": ("models.mamba", "Mamba"),
    "slstm": ("cells.slstm", "SLSTM"),
    "matrix_lstm": ("models.matrix_lstm", "MatrixLSTM"),
    "gla": ("models.gla", "GLA"),
    "hgrn2": ("models.hgrn2", "HGRN2"),
    "retnet": ("models.retnet", "RetNet"),
    "delta_net": ("models.delta_net", "DeltaNet"),
    "rwkv7": ("models.rwkv7", "RWKV7"),
}
# Of float64 and float32 runs, relative to an array's largest number: how much two orders of the
# same sums differ in an array's small numbers depends on the machine.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


def make_model(name, features):
    kind = next(key for key in MODELS if name.startswith(key))
    module, model = MODELS[kind]
    make = getattr(importlib.import_module(f"tlstm_jax.{module}"), model)
    settings = dict(REFERENCES[name][1])
    if "skip_features" in settings:  # their name for the width of y
        settings["residual_features"], features = features, settings.pop("skip_features")
    return as_sequence(make(features, **settings))


def tree(arrays, prefix):
    """The arrays "<prefix>/a/b" as a tree, {"a": {"b": ..}}."""
    root = {}
    for key, value in arrays.items():
        if key.startswith(f"{prefix}/"):
            *path, leaf = key.removeprefix(f"{prefix}/").split("/")
            node = root
            for part in path:
                node = node.setdefault(part, {})
            node[leaf] = value
    return root


def states(arrays, prefix):
    """The states in the carry's order; none were recorded where the reference keeps none."""
    return [arrays[key] for key in sorted(arrays) if key.startswith(f"{prefix}/")]


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def begun(carry, first):
    """The carry with recorded states; what counts steps says that there was one before."""
    leaves, first = jax.tree.leaves(carry), iter(first)
    leaves = [next(first) if is_float(leaf) else jnp.ones_like(leaf) for leaf in leaves]
    assert next(first, None) is None
    return jax.tree.unflatten(jax.tree.structure(carry), leaves)


def shapes(params):
    return jax.tree.map(lambda leaf: tuple(leaf.shape), params)


def assert_near(actual, expected):
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        tolerance = TOLERANCES[str(b.dtype)] * max(1, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, equal_nan=False)


def check(name, arrays):
    """Outputs, last states, and the gradients by weights, inputs and first states."""
    xs, params, first = arrays["xs"], tree(arrays, "params"), states(arrays, "state0")
    model = make_model(name, arrays["features"].item())
    ours, _ = jax.eval_shape(lambda: model.init(jax.random.key(0), xs.shape[2:]))
    assert shapes(ours) == shapes(params)

    def loss(params, first, xs):
        carry = model.init_carry(xs.shape[1], xs.dtype)
        if first:
            carry = begun(carry, first)
        carry, ys, *_ = model.apply(params, (), carry, xs)
        last = list(filter(is_float, jax.tree.leaves(carry))) if first else []
        total = jnp.sum(ys * arrays["wanted_ys"])
        total += sum(map(jnp.vdot, last, states(arrays, "wanted_stateN")))
        return total, (last, ys)

    inputs = jax.tree.map(jnp.asarray, (params, first, xs))
    grads, (last, ys) = jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*inputs)
    assert ys.dtype == arrays["ys"].dtype
    assert_near(ys, arrays["ys"])
    assert_near(last, states(arrays, "stateN"))
    expected = (tree(arrays, "grad"), states(arrays, "grad_state0"), arrays["grad_xs"])
    assert_near(grads, expected)
