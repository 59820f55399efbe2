"""The fused engine's kernels, interpreted, against the deferred engine; and what it refuses."""

import importlib.metadata
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import assert_close, cell_params, floats, jit

from tlstm_jax import (
    GRU,
    LSTM,
    MILSTM,
    LayerNormLSTM,
    PeepholeLSTM,
    ResetBeforeGRU,
    TensorizedLSTM,
    unroll,
)

# More examples than a block has rows, and features that are no power of two.
T, B, I, M = 6, 19, 3, 5
LENGTHS = np.arange(B) % T + 1
RESET = np.zeros((T, B), bool)
RESET[2, ::3] = RESET[4, 1] = RESET[0, 2] = True
CELLS = {
    "lstm": LSTM(M),
    "gru": GRU(M),
    "mi": MILSTM(M),
    "peephole": PeepholeLSTM(M),
    "layer-norm": LayerNormLSTM(M),
    "tlstm": TensorizedLSTM(M, (4,)),
    "tlstm-m": TensorizedLSTM(M, (4,), memory_convolution=False),
    "tlstm-cn": TensorizedLSTM(M, (5,), normalization="channel"),
    "tlstm-k2": TensorizedLSTM(M, (3,), kernel_size=2),
    "tlstm-k5": TensorizedLSTM(M, (4,), kernel_size=5, normalization="channel"),
    "tlstm-2x3": TensorizedLSTM(M, (2, 3), normalization="channel"),
}


def inputs_of(cell, batch=B):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), cell_params(cell, I))
    carry = jax.tree.map(lambda leaf: leaf + 1, cell.init_carry(batch))
    xs = jax.random.normal(jax.random.key(7), (T, batch, I))
    return params, carry, xs


def derivatives(engine, cell, inputs, options):
    def loss(*inputs):
        carry, ys = unroll(cell, *inputs, engine=engine, **options)
        return sum(jnp.sum(jnp.sin(leaf + 1)) for leaf in [ys, *floats(carry)]), (carry, ys)

    def all_of_them(*inputs):
        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)(*inputs)

    return all_of_them(*inputs)


def compare(cell, options, batch=B):
    inputs = inputs_of(cell, batch)
    fused, deferred = (
        jit(lambda *inputs, name=name: derivatives(name, cell, inputs, options))(*inputs)
        for name in ("fused", "deferred")
    )
    integers = [leaf for leaf in jax.tree.leaves(fused) if leaf.dtype == jnp.int32]
    expected = [leaf for leaf in jax.tree.leaves(deferred) if leaf.dtype == jnp.int32]
    for a, b in zip(integers, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(floats(fused), floats(deferred), strict=True):
        scale = np.abs(b).max()
        assert scale > 0
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.slow(but=["lstm"])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_carry_and_gradients_equal_the_deferred_engines(name):
    compare(CELLS[name], {})


@pytest.mark.slow(but=["gru-lengths-reset"])
@pytest.mark.parametrize(
    "options",
    [
        {"lengths": LENGTHS},
        {"reset": RESET},
        {"lengths": LENGTHS, "reset": RESET},
        {"reset": RESET, "remat_every": 4, "flush": False},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("name", ["gru", "tlstm-cn"])
def test_gradients_equal_the_deferred_engines_with_each_option(name, options):
    compare(CELLS[name], options)


@pytest.mark.slow
def test_one_example_is_enough():
    compare(CELLS["tlstm-cn"], {}, batch=1)


def test_tokens_give_the_deferred_engines_gradients():
    cell = CELLS["lstm"]
    params, carry, _ = inputs_of(cell)
    tokens = jax.random.randint(jax.random.key(2), (T, B), -1, I)

    def gradient(engine):
        def loss(params):
            return jnp.sum(jnp.sin(unroll(cell, params, carry, tokens, engine=engine)[1]))

        return jit(jax.grad(loss))(params)

    assert_close(gradient("fused"), gradient("deferred"), 1e-5)


@pytest.mark.slow
def test_bfloat16_is_near_float32():
    params, carry, xs = inputs_of(CELLS["tlstm"])
    exact = unroll(CELLS["tlstm"], params, carry, xs)[1]
    cell = TensorizedLSTM(M, (4,), dtype=jnp.bfloat16)
    carry = carry._replace(hidden=carry.hidden.astype(jnp.bfloat16))
    rough = unroll(cell, params, carry, xs, engine="fused")[1]
    assert rough.dtype == jnp.bfloat16
    assert 0 < np.abs(np.float32(rough) - exact).max() < 0.05


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (ResetBeforeGRU(M), "ResetBeforeGRU has no project, mix and update"),
        (LSTM(129), "LSTM has 129 features, not 2 to 128"),
        (
            TensorizedLSTM(M, (4,), normalization="layer"),
            "TensorizedLSTM has normalization 'layer'",
        ),
        (
            TensorizedLSTM(128, (2, 2)),
            "TensorizedLSTM has 2448 KB of padded weights, over 1024",
        ),
        (TensorizedLSTM(M, (9, 9)), "TensorizedLSTM has 81 locations, over 64"),
    ],
)
def test_what_it_cannot_run_is_refused(cell, reason):
    with pytest.raises(
        ValueError, match=f"engine is 'fused', but {reason}.*; accepted are auto, deferred, scan$"
    ):
        unroll(cell, *inputs_of(cell), engine="fused")


def test_observing_is_refused():
    with pytest.raises(ValueError, match=r"engine is 'fused', .* accepted with .* deferred, scan"):
        unroll(LSTM(M), *inputs_of(LSTM(M)), engine="fused", observe=lambda carry: carry)


COMPILE = """
import json, sys, warnings
warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from tlstm_jax.devices import targets
from tlstm_jax import *

device = topologies.get_topology_desc(
    platform="cuda", target_config=targets.GPUS["h100"].description(), topology="1x1x1"
).devices[0]
on = SingleDeviceSharding(device)
cell = eval(sys.argv[1])
params = jax.eval_shape(lambda key: cell.init(key, 64), jax.random.key(0))
put = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on)
xs = put(jax.ShapeDtypeStruct((20, 15, 64), jnp.float32))

def loss(params, xs):
    return jnp.sum(unroll(cell, params, cell.init_carry(15), xs, engine="fused")[1])

with jax.default_device(device):
    lowered = jax.jit(jax.grad(loss)).lower(jax.tree.map(put, params), xs)
text = lowered.compile().as_text()
print(json.dumps([text.count("__gpu$xla.gpu.triton"), text.count(" while(")]))
"""


@pytest.mark.parametrize(
    ("cell", "kernels"),
    [("LSTM(64)", 2), ("TensorizedLSTM(64, (4,), normalization='channel')", 4)],
)
def test_the_kernels_compile_for_an_h100_and_no_loop_is_left(cell, kernels, environment):
    try:
        importlib.metadata.version("jax-cuda13-plugin")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs jax-cuda13-plugin")
    command = [sys.executable, "-c", COMPILE, cell]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [kernels, 0]
