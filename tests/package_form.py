"""What a layer of a package computed, compared with what its weights were converted to.

Needs no package: a run of a layer is a dict of arrays, made by `peers/record_packages.py`, live or
recorded.

    weights/..      the layer's, under its own names
    xs, ys          what our model reads and what is to come of it, [T, B, ..]
"""

import functools

import jax
import jax.numpy as jnp
from cases import assert_close, jit

from tlstm_jax import as_sequence
from tlstm_jax.convert import from_mambapy, from_recurrentgemma, from_xlstm

CONVERTERS = {
    "rglru": from_recurrentgemma,
    "mamba": from_mambapy,
    "mamba without bias": from_mambapy,
    "slstm_cell": functools.partial(from_xlstm, "sLSTMCell"),
    "slstm_layer": functools.partial(from_xlstm, "sLSTMLayer"),
    "slstm_layer without convolution": functools.partial(from_xlstm, "sLSTMLayer"),
    "mlstm_cell": functools.partial(from_xlstm, "mLSTMCell"),
    "mlstm_layer": functools.partial(from_xlstm, "mLSTMLayer"),
}
# Tolerances where the package adds 1e-6 to a divisor, which may be small.
DIVISOR = {"mlstm_cell": 1e-4, "mlstm_layer": 1e-4}


def weights_of(arrays):
    """The layer's, from a run of it."""
    start = "weights/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def outputs(model, params, xs):
    model, params, xs = as_sequence(model), jax.tree.map(jnp.asarray, params), jnp.asarray(xs)

    @jit
    def run(params, xs):
        carry = model.init_carry(xs.shape[1], xs.dtype, params=params)
        return model.apply(params, (), carry, xs)[1]

    return run(params, xs)


def check(name, arrays, tolerance):
    """Outputs; and the shapes of the parameters are those that the model gives itself."""
    model, params = CONVERTERS[name](weights_of(arrays))
    xs = jnp.asarray(arrays["xs"])
    own = jax.eval_shape(
        lambda key: as_sequence(model).init(key, xs.shape[2])[0], jax.random.key(0)
    )
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, own)
    ys = outputs(model, params, xs)
    assert ys.dtype == arrays["ys"].dtype
    assert_close(ys, arrays["ys"], tolerance)
