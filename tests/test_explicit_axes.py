"""Arrays on a mesh with explicit axes, as `jax.make_mesh` makes it today."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from tlstm_jax import LSTM, TensorizedLSTM, unroll

mesh = jax.make_mesh((4,), ("data",))
xs = jax.random.normal(jax.random.key(1), (5, 8, 3))
cell, engine = {cell}, {engine!r}
params = cell.init(jax.random.key(0), 3)

def loss(params, xs):
    ys = unroll(cell, params, cell.init_carry(8), xs, engine=engine)[1]
    return jnp.sum(jnp.sin(ys)), ys

run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
alone = run(params, xs)
sharded = run(jax.device_put(params, NamedSharding(mesh, P())),
          jax.device_put(xs, NamedSharding(mesh, P(None, "data"))))
assert jax.typeof(sharded[0][1]).sharding.spec[1] == "data"
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), alone, sharded)
"""

OF_MODELS = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from tlstm_jax import Network, zoo

mesh = jax.make_mesh((4,), ("data",))
network = Network(zoo.make_model({name!r}, features=4, **{settings}), 3, 2, tokens=True)
params, state = network.init(jax.random.key(0))
given = dict(
    xs=jax.random.randint(jax.random.key(1), (5, 8), 0, 3),
    lengths=jnp.arange(8) % 5 + 1,
    reset=jax.random.bernoulli(jax.random.key(2), 0.3, (5, 8)),
)
axis = dict(xs=(None, "data"), lengths=("data",), reset=(None, "data"))

def loss(params, xs, lengths, reset):
    carry = network.init_carry(8, params=params)
    given = dict(lengths=lengths, reset=reset, key=jax.random.key(3), train=True)
    carry, logits, _, _ = network.apply(params, state, carry, xs, **given)
    return jnp.sum(jnp.sin(logits)), (carry, logits)

run = jax.jit(jax.value_and_grad(loss, has_aux=True))
alone = run(params, **given)
places = {{name: NamedSharding(mesh, P(*axes)) for name, axes in axis.items()}}
sharded = run(jax.device_put(params, NamedSharding(mesh, P())), **jax.device_put(given, places))
assert jax.typeof(sharded[0][1][1]).sharding.spec[1] == "data"
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), alone, sharded)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["scan", "deferred"])
@pytest.mark.parametrize("cell", ["LSTM(4)", "TensorizedLSTM(4, (3,))"])
def test_a_batch_sharded_on_a_mesh_with_explicit_axes(cell, engine):
    _run(PROGRAM.format(cell=cell, engine=engine))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dilated", {}),
        ("qrnn", {}),
        ("pyramid_lstm", {}),
        ("sru", {}),
        ("wavenet", {}),
        ("neural_gpu", {"relaxation": 2, "recurrent_dropout": 0.1}),
        ("md_lstm", {}),
        ("bn_lstm", {"max_steps": 5}),
        ("lstm", {"bidirectional": True, "num_layers": 2, "dropout": 0.2}),
        ("tlstm", {}),
        ("gru", {"learned_carry": True}),
        ("gru", {"skip_connections": True, "num_layers": 2, "input_dropout": 0.1}),
        ("tlstm", {"skip_connections": True, "num_layers": 2}),
        ("gru", {"max_ponder": 3, "zoneout_hidden": 0.1, "num_layers": 2}),
    ],
)
def test_the_batch_of_a_model_sharded_on_a_mesh_with_explicit_axes(name, settings):
    _run(OF_MODELS.format(name=name, settings=settings))


def _run(program):
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
