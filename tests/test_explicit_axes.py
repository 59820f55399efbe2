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
cut = run(jax.device_put(params, NamedSharding(mesh, P())),
          jax.device_put(xs, NamedSharding(mesh, P(None, "data"))))
assert jax.typeof(cut[0][1]).sharding.spec[1] == "data"
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), alone, cut)
"""


@pytest.mark.parametrize("engine", ["scan", "deferred"])
@pytest.mark.parametrize("cell", ["LSTM(4)", "TensorizedLSTM(4, (3,))"])
def test_a_batch_cut_on_a_mesh_with_explicit_axes(cell, engine):
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(cell=cell, engine=engine)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
