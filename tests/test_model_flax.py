"""Every model inside the Linen and NNX modules: the functional numbers, trees, state and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SHORT as CELLS
from cases import ZOO, B, M, assert_close, jit, vectors
from flax import nnx
from model_cases import BY_NAME, MODELS, SHORT, STEPS, L, ModelCase, each, model_params

from tlstm_jax import BatchNormLSTM, Stacked, as_sequence, linen
from tlstm_jax.models.chain import Chain
from tlstm_jax.nnx import Recurrent, arrays

BATCH_NORM = BatchNormLSTM(M, max_steps=3)
ALL = [
    *MODELS,
    *(ModelCase(case.name, as_sequence(case.cell), None) for case in ZOO),
    ModelCase("batch-norm", BATCH_NORM, None, state=BATCH_NORM.init(jax.random.key(0), 1)[1]),
]
LENGTHS = np.array([STEPS, 3])
KEY = jax.random.key(0)


def problem(case):
    """Parameters, the model's state, and inputs [B, T, I], all float32."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model_params(case))
    xs = jnp.asarray(vectors(steps=STEPS, size=case.size), jnp.float32)
    return params, jax.tree.map(jnp.asarray, case.state), jnp.swapaxes(xs, 0, 1)


def variables_of(params, state):
    return {"params": params} | ({"state": {"model": state}} if jax.tree.leaves(state) else {})


def module_of(case, params, state):
    module = Recurrent(case.model, case.size, rngs=nnx.Rngs(0))
    nnx.update(module.params, params)
    variables = jax.tree.leaves(module.state, is_leaf=lambda x: isinstance(x, nnx.Variable))
    for variable, value in zip(variables, jax.tree.leaves(state), strict=True):
        variable.set_value(value)
    return module


@pytest.mark.slow(but=["qrnn-fo-2", "residual-trnn"])
@each(ALL)
def test_both_equal_the_functional_form(case):
    options = {"seq_lengths": LENGTHS, "return_carry": True}

    def functional(params, state, xs):
        carry = case.model.init_carry(B, params=params)
        xs = jnp.swapaxes(xs, 0, 1)
        carry, ys, *_ = case.model.apply(params, state, carry, xs, lengths=LENGTHS)
        return carry, jnp.swapaxes(ys, 0, 1)

    def of_linen(params, state, xs):
        return linen.Recurrent(case.model).apply(variables_of(params, state), xs, **options)

    def of_nnx(params, state, xs):
        return module_of(case, params, state)(xs, **options)

    expected, *actual = jit(lambda *x: [f(*x) for f in (functional, of_linen, of_nnx)])(
        *problem(case)
    )
    for result in actual:
        assert jax.tree.structure(result) == jax.tree.structure(expected)
        assert_close(result, expected, 1e-6)


@pytest.mark.slow(but=[*CELLS, *SHORT])
@each(ALL)
def test_init_makes_the_functional_trees(case):
    params, state = jax.eval_shape(lambda key: case.model.init(key, case.size), KEY)
    xs = jnp.zeros((B, STEPS, *case.sizes))
    variables = jax.eval_shape(linen.Recurrent(case.model).init, KEY, xs)
    assert variables == variables_of(params, state)
    module = nnx.eval_shape(lambda: Recurrent(case.model, case.size, rngs=nnx.Rngs(0)))
    assert arrays(module.params) == params
    assert arrays(module.state) == state


ANNEALED = BY_NAME["annealed-hm"].model
COUNTED = {"steps": np.float32(7)}


@pytest.mark.parametrize(
    ("model", "state", "after"),
    [
        (ANNEALED, COUNTED, {"steps": 8}),
        (Chain((ANNEALED, L)), (COUNTED, ()), ({"steps": 8}, ())),
        (Stacked(ANNEALED, 2), (COUNTED, COUNTED), ({"steps": 8}, {"steps": 8})),
    ],
    ids=["alone", "chain", "stacked"],
)
def test_training_steps_are_kept_and_counted(model, state, after):
    case = ModelCase("counting", model, None, state=state)
    params, state, xs = problem(case)
    after = jax.tree.map(jnp.float32, after)

    @jit
    def of_linen(params, state, xs):
        variables = variables_of(params, state)
        module = linen.Recurrent(case.model)
        return module.apply(variables, xs, train=True, mutable=["state"])[1]["state"]["model"]

    @jit
    def of_nnx(params, state, xs):
        module = module_of(case, params, state)
        module(xs)
        evaluated = arrays(module.state)
        module(xs, train=True)
        return evaluated, arrays(module.state)

    counted = of_linen(params, state, xs)
    assert jax.tree.structure(counted) == jax.tree.structure(after)
    assert_close(counted, after)
    before, counted = of_nnx(params, state, xs)
    assert jax.tree.structure(counted) == jax.tree.structure(after)
    assert_close((before, counted), (state, after))


def test_masks_are_drawn_from_the_stream_dropout():
    case = BY_NAME["regularized"]
    params, state, xs = problem(case)
    module = linen.Recurrent(case.model)

    def of_linen(key, train):
        rngs = {} if key is None else {"dropout": key}
        return module.apply(variables_of(params, state), xs, train=train, rngs=rngs)

    def of_nnx(key, train):
        rngs = None if key is None else nnx.Rngs(dropout=key)
        return module_of(case, params, state)(xs, train=train, rngs=rngs)

    for form in (of_linen, of_nnx):
        apply = jit(form, static_argnames="train")
        first, again, other = (apply(jax.random.key(n), train=True) for n in (1, 1, 2))
        assert_close(first, again)
        assert jnp.abs(first - other).max() > 0.01
        assert_close(apply(KEY, train=False), apply(None, train=False))
    with pytest.raises(ValueError, match="key is None; accepted by Dropout"):
        of_linen(None, train=True)
