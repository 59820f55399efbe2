"""Programs exported with a symbolic batch, forwards and with their gradients."""

import jax
import jax.numpy as jnp
import model_cases
import pytest
from cases import BY_NAME, FEW, assert_close, on_device
from jax import export

from tlstm_jax.models.sequence import as_sequence

T, I = 6, 2
MODELS = ["stacked", "stacked-tlstm", "bidirectional-late", "dilated", "qrnn-fo-2", "wavenet"]
MODELS += ["adaptive", "skip", "skip-late"]
MODELS += ["neural-gpu"]


def check(model, size, steps=T, **options):
    """Exported with a symbolic batch, loss and gradient are those of the program for this batch."""
    model = as_sequence(model)
    params, state = model.init(jax.random.key(0), size)

    def loss(params, xs):
        carry = model.init_carry(xs.shape[1], params=params)
        return jnp.sum(jnp.sin(model.apply(params, state, carry, xs, **options)[1]))

    function = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    (batch,) = export.symbolic_shape("b")
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    xs = jax.ShapeDtypeStruct((steps, batch, size), jnp.float32)
    exported = export.export(function)(shapes, xs)
    xs = jax.random.normal(jax.random.key(1), (T, 3, size))
    assert_close(exported.call(on_device(params), xs), function(params, xs), 1e-4)


@pytest.mark.slow(but=["lstm-1997"])
@pytest.mark.parametrize("name", FEW)
def test_a_cell_with_a_symbolic_batch(name):
    check(BY_NAME[name].cell, I)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_a_symbolic_batch(name):
    case = model_cases.BY_NAME[name]
    check(case.model, case.size)
