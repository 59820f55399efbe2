"""Gradients of every model; and what compilation, vmap and narrow dtypes make of it."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, M, assert_close, assert_narrow, floats, jit, on_device, vectors
from model_cases import (
    BY_NAME,
    MODELS,
    STEPS,
    applied,
    each,
    model_params,
    run,
    segment,
    start,
)

from tlstm_jax.cells.hm_lstm import HMLSTM
from tlstm_jax.models.annealed_hm_lstm import AnnealedHMLSTM
from tlstm_jax.models.sequence import as_sequence
from tlstm_jax.overrides import override
from tlstm_jax.typing import SequenceModel

TRUE_GRADIENT = [case for case in MODELS if case.name != "annealed-hm"]  # it is straight-through


def cost(case, s, params, carry, xs):
    """A random function of outputs and of the last carry."""
    carry, ys, *_ = case.model.apply(
        params, case.state, carry, xs, flush=s.flush, lengths=s.lengths, reset=s.reset
    )
    rng = np.random.default_rng(7)
    return sum(jnp.sum(leaf * rng.normal(size=leaf.shape)) for leaf in [ys, *floats(carry)])


def split(tree):
    """The float leaves of a tree, and how to put others in their place."""
    leaves, structure = jax.tree.flatten(tree)
    moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def put(values):
        values = iter(values)
        pairs = zip(leaves, moving, strict=True)
        return structure.unflatten([next(values) if moves else leaf for leaf, moves in pairs])

    return [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves], put


def assert_is_the_gradient(value_and_grad, inputs, directions):
    """The derivative along a direction, against the difference of two values."""
    _, grads = value_and_grad(inputs)
    assert all(np.isfinite(grad).all() for grad in grads)
    step = 1e-5
    ahead, back = (
        value_and_grad([x + sign * step * v for x, v in zip(inputs, directions, strict=True)])[0]
        for sign in (1, -1)
    )
    derivative = sum(np.vdot(grad, v) for grad, v in zip(grads, directions, strict=True))
    assert abs(derivative) > 1e-3
    np.testing.assert_allclose((ahead - back) / (2 * step), derivative, rtol=1e-6, atol=1e-8)
    return grads


@pytest.mark.slow(but=["residual-trnn", "qrnn-fo-2", "md-2-all"])
@each(TRUE_GRADIENT)
def test_gradient_is_the_derivative_and_sees_nothing_behind_an_end(case, x64):
    # Of parameters, the carry and inputs, with a past and with NaN behind the second example's end.
    s = segment(case, 2, lengths=(STEPS, 4), resets=[(3, 0)], flush=True)
    past, _ = run(case, [segment(case, 1)]) if case.model.causal else (start(case), None)
    inputs, put = split((on_device(model_params(case)), past, jnp.asarray(s.xs)))
    rng = np.random.default_rng(3)
    directions = [rng.normal(size=leaf.shape) for leaf in inputs]
    directions[-1][s.lengths[1] :, 1] = 0
    value_and_grad = jit(jax.value_and_grad(lambda inputs: cost(case, s, *put(inputs))))
    grads = assert_is_the_gradient(value_and_grad, inputs, directions)
    assert not grads[-1][s.lengths[1] :, 1].any()


@pytest.mark.slow
@each(["stacked", "learned-gru", "sru-2018-2", "md-vectors-below", "md-3-leaky", "md-2-all"])
def test_engines_and_recomputation_give_the_same_gradients(case, x64):
    s, params = segment(case, 2, lengths=(STEPS, 4), resets=[(3, 0)]), on_device(model_params(case))
    gradients = []
    for settings in ({}, {"engine": "scan"}, {"remat_every": 4}):
        other = dataclasses.replace(case, model=dataclasses.replace(case.model, **settings))
        gradient = jit(jax.grad(functools.partial(cost, other, s), argnums=(0, 1)))
        gradients.append(gradient(params, start(case), s.xs))
    assert_close(gradients[1], gradients[0])
    assert_close(gradients[2], gradients[0])


@pytest.mark.parametrize("steps", [5000, 20_000])
def test_annealing_gives_the_gradient_of_the_cell_with_that_slope(steps, x64):
    cell = HMLSTM(M, num_layers=2)
    case = dataclasses.replace(
        BY_NAME["annealed-hm"],
        model=AnnealedHMLSTM(cell, anneal_steps=10_000, limit=5.0),
        state={"steps": np.float32(steps)},
    )
    s = segment(case, 1)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.1 * leaf), model_params(case))  # not clipped
    of_model, of_cell = (
        case,
        dataclasses.replace(
            case,
            model=as_sequence(dataclasses.replace(cell, slope=min(5.0, 1 + steps * 4 / 10_000))),
            state=(),
        ),
    )
    gradients = [
        jit(jax.grad(functools.partial(cost, c, s)))(params, start(case), s.xs)
        for c in (of_model, of_cell)
    ]
    assert_close(*gradients)
    bottom_up = gradients[0]["layer_0"]["recurrent"]["kernel"]
    assert bottom_up[:, -1].any()  # the boundary's column, which the slope scales


VMAPPED = ["chain", "residual-trnn", "learned-lstm", "dilated-tlstm", "bidirectional", "sru-2018-2"]
VMAPPED += ["annealed-hm", "qrnn-fo-2", "wavenet", "late", "adaptive", "skip-late"]
VMAPPED += ["neural-gpu", "neural-gpu-relaxed", "extended-neural-gpu"]
VMAPPED += ["md-3-all-leaky"]


def whole(case, params, xs):
    carry = case.model.init_carry(B, xs.dtype, params=params)
    return case.model.apply(params, case.state, carry, xs)[1]


@pytest.mark.slow(but=["chain", "neural-gpu", "qrnn-fo-2"])
@each(VMAPPED)
def test_vmap_over_members_equals_a_loop(case, x64):
    members = [on_device(model_params(case, seed)) for seed in (0, 1)]
    xs = jnp.stack([vectors(steps=STEPS, size=case.size, seed=seed) for seed in (0, 1)])
    together = jit(jax.vmap(functools.partial(whole, case)))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *members), xs
    )
    for params, x, ys in zip(members, xs, together, strict=True):
        carry = case.model.init_carry(B, np.float64, params=params)
        assert_close(ys, applied(case)(params, case.state, carry, x)[1])


@pytest.mark.slow(but=["bidirectional"])
@each(["residual-trnn", "bidirectional", "qrnn-fo-2"])
def test_jit_equals_no_jit(case, x64):
    params, xs = on_device(model_params(case)), jnp.asarray(vectors(steps=3, size=case.size))
    compiled = jit(functools.partial(whole, case))(params, xs)
    with jax.disable_jit():
        assert_close(whole(case, params, xs), compiled, 1e-14)


@each(MODELS)
def test_a_model_is_a_hashable_sequence_model(case):
    copied = dataclasses.replace(case.model)
    assert isinstance(case.model, SequenceModel)
    assert copied == case.model and hash(copied) == hash(case.model)
    assert case.model != Elsewhere() and isinstance(case.model.delay, int)


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Something else."""


@each(["chain", "bidirectional-stack"])
def test_one_trace_per_configuration(case):
    chex.clear_trace_counter()
    params, xs = single(model_params(case)), jnp.ones((STEPS, B, *case.sizes))

    @functools.partial(jit, static_argnames="model")
    @chex.assert_max_traces(n=1)
    def apply(model, params, carry, xs):
        return model.apply(params, (), carry, xs)[:2]

    carry = case.model.init_carry(B)
    for _ in range(2):
        carry, _ = apply(dataclasses.replace(case.model), params, carry, xs)


def single(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


@each(MODELS)
def test_starts_in_float32(case, x64):
    params, state = jax.eval_shape(lambda key: case.model.init(key, case.size), jax.random.key(0))
    assert jax.tree.structure(state) == jax.tree.structure(case.state)
    for leaf in [
        *jax.tree.leaves(params),
        *floats(case.model.init_carry(B, params=single(model_params(case)))),
    ]:
        assert leaf.dtype == jnp.float32


def narrow(model):
    """The same model, all cells computing in bfloat16."""
    if isinstance(model, tuple):
        return tuple(map(narrow, model))
    if not dataclasses.is_dataclass(model):
        return model
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    fields = {name: narrow(value) for name, value in fields.items()}
    return type(model)(**fields | ({"dtype": jnp.bfloat16} if "dtype" in fields else {}))


DRAWING = ["dropout-trnn", "zoneout", "recurrent-dropout", "regularized"]


@pytest.mark.slow(but=["chain", "stacked", "qrnn-fo-2", "wavenet", "maps", "neural-gpu"])
@pytest.mark.parametrize(
    ("case", "train"),
    [(case, False) for case in MODELS] + [(BY_NAME[name], True) for name in DRAWING],
    ids=lambda value: getattr(value, "name", f"trained-{value}"),
)
def test_bfloat16_comes_out_and_carries_keep_their_dtypes(case, train):
    model, params = narrow(case.model), single(model_params(case))
    xs = jnp.asarray(vectors(steps=STEPS, size=case.size), jnp.float32)
    reset = np.zeros((STEPS, B), bool) if case.resets else None
    options = {"lengths": np.full(B, 3), "reset": reset}
    options |= {"train": train, "key": jax.random.key(0)}
    carry = model.init_carry(B, params=params)
    apply = functools.partial(model.apply, **options)
    last, ys, *_ = jax.eval_shape(apply, params, case.state, carry, xs)
    assert ys.dtype == jnp.bfloat16
    same = jax.tree.map(lambda a, b: (a.dtype, a.shape) == (b.dtype, b.shape), last, carry)
    assert all(jax.tree.leaves(same))
    assert_narrow(carry)


NARROW = ["chain", "residual-trnn", "dilated", "bidirectional", "sru-2017-2", "qrnn-ifo-3"]
NARROW += ["wavenet", "neural-gpu", "md-2-all", "md-3-leaky"]


@each(NARROW)
def test_bfloat16_is_near(case):
    model, params = narrow(case.model), single(model_params(case))
    xs = jnp.asarray(vectors(steps=STEPS, size=case.size), jnp.float32)
    _, ys, *_ = jit(model.apply)(params, (), model.init_carry(B, params=params), xs)
    expected = case.oracle(model_params(case), vectors(steps=STEPS, size=case.size))
    assert np.abs(ys.astype(jnp.float32) - expected).max() < 0.05 * np.abs(expected).max()


def with_scale(model, scale):
    """The same model, its bottom layer's input_scale set."""
    for name in ("model", "cell", "layers"):
        if hasattr(model, name) and name in [f.name for f in dataclasses.fields(model)]:
            inner = getattr(model, name)
            inner = (with_scale(inner[0], scale), *inner[1:]) if name == "layers" else inner
            inner = inner if name == "layers" else with_scale(inner, scale)
            return dataclasses.replace(model, **{name: inner})
    return dataclasses.replace(model, input_scale=scale)


@each(["chain", "learned-lstm", "dilated", "sru-2018-2"])
def test_an_override_scales_the_first_input(case):
    key = jax.random.key(0)
    init = jit(lambda key, scale: override(case.model, {"input_scale": scale}).init(key, case.size))
    expected = jit(lambda key: with_scale(case.model, 2.0).init(key, case.size))
    assert_close(init(key, jnp.float32(2)), expected(key), 1e-6)


def test_an_override_reaches_both_directions():
    model = BY_NAME["bidirectional"].model
    init = jit(lambda floats: override(model, floats).init(jax.random.key(0), 2)[0])
    params, plain = init({"input_scale": jnp.float32(2)}), init({})
    for name in ("forward", "backward"):
        ratio = params[name]["input"]["kernel"] / plain[name]["input"]["kernel"]
        np.testing.assert_allclose(ratio, 2 * 2**0.5, rtol=1e-5)
