"""The deferred gradient against JAX's own of the plain scan, for every cell; and what it saves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    BY_NAME,
    CASES,
    VARIED,
    B,
    M,
    T,
    assert_close,
    cell_params,
    each,
    floats,
    inputs_for,
    jit,
    tokens,
    vectors,
)

from tlstm_jax import GRU, LSTM, TensorizedLSTM, unroll
from tlstm_jax.cells.tensorized.convolution import sum_dtype
from tlstm_jax.devices import platforms
from tlstm_jax.recurrence.deferred_backward import steps_of_a_product
from tlstm_jax.recurrence.pullbacks import Pullbacks

LENGTHS = np.array([T, 3])
RESET = np.zeros((T, B), bool)
RESET[2, 0] = RESET[1, 1] = True
BOTH = ("deferred", "scan")
OPTIONS = {"lengths": LENGTHS, "reset": RESET, "remat_every": 2}


def derivatives(cell, inputs, options, name):
    """Outputs, and the gradient by parameters, carry and inputs of a function of all outputs."""

    def loss(*inputs):
        carry, ys = unroll(cell, *inputs, engine=name, **options)
        return sum(
            jnp.sum(jnp.sin(leaf.astype(sum_dtype(leaf.dtype)) + 1))
            for leaf in [ys, *floats(carry)]
        )

    return floats(jax.value_and_grad(loss, argnums=(0, 1, 2), allow_int=True)(*inputs))


def compare(cell, inputs, options, tolerance):
    def both(*inputs):
        return [derivatives(cell, inputs, options, name) for name in BOTH]

    ours, plain = jit(both)(*inputs)
    assert any(leaf.any() for leaf in plain[1:])
    for a, b in zip(ours, plain, strict=True):
        scale = np.abs(b).max()  # an entry that nearly cancels is as exact as its neighbours
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=False)


def inputs_of(cell, dtype, xs):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), cell_params(cell))
    carry = jax.tree.map(lambda leaf: leaf + 1, cell.init_carry(B, dtype))
    return params, carry, jnp.asarray(xs, dtype) if xs.dtype == np.float64 else jnp.asarray(xs)


@pytest.mark.slow(but=["lstm-1997", "gru"])
@each(CASES)
def test_gradients_equal_the_scans_in_float64(case, x64):
    compare(case.cell, inputs_of(case.cell, jnp.float64, inputs_for(case)), OPTIONS, 1e-12)


@pytest.mark.slow(but=["lstm"])
@pytest.mark.parametrize("option", OPTIONS)
@each(["lstm", "gru", "tlstm-3x3-k3-cn", "layer-norm", "mi", "peephole", "urnn", "full-urnn"])
def test_gradients_equal_the_scans_with_each_option(case, option, x64):
    inputs = inputs_of(case.cell, jnp.float64, inputs_for(case))
    compare(case.cell, inputs, {option: OPTIONS[option], "flush": False}, 1e-12)


@pytest.mark.slow(but=["tlstm-4-k3", "lstm"])
@each(VARIED)
def test_gradients_equal_the_scans_in_float32(case):
    inputs = inputs_of(case.cell, jnp.float32, inputs_for(case))
    compare(case.cell, inputs, {"flush": False}, 1e-5)


@pytest.mark.slow(but=["lstm", "tlstm-4-k3"])
@each(["elman", "lstm", "gru", "tlstm-4-k3", "layer-norm", "mi", "urnn"])
def test_gradients_equal_the_scans_on_tokens(case, x64):
    def of_params(name, params, carry, xs):
        return derivatives(case.cell, (params, carry, xs), {}, name)

    inputs = inputs_of(case.cell, jnp.float64, tokens())
    ours, plain = (jit(functools.partial(of_params, name))(*inputs) for name in BOTH)
    assert_close(ours, plain)


@pytest.mark.slow(but=["lstm"])
@each(["lstm", "tlstm-5-k4-cn"])
def test_gradients_in_bfloat16_are_near_those_in_float32(case):
    inputs = inputs_of(case.cell, jnp.float32, inputs_for(case))
    cells = [dataclasses.replace(case.cell, dtype=dtype) for dtype in (jnp.bfloat16, None)]
    rough, exact = (
        jit(functools.partial(derivatives, options=OPTIONS, name="deferred"), static_argnums=0)(
            cell, (inputs[0], cell.init_carry(B), inputs[2])
        )
        for cell in cells
    )
    for a, b in zip(rough, exact, strict=True):
        assert np.linalg.norm(np.float32(a) - b) < 0.05 * np.linalg.norm(b) + 0.01


@pytest.mark.slow(but=["lstm"])
@each(["lstm", "tlstm-4-k3"])
def test_gradients_under_vmap_over_members(case, x64):
    members = [inputs_of(case.cell, jnp.float64, inputs_for(case, seed=seed)) for seed in range(2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *members)

    def gradients(*inputs):
        return derivatives(case.cell, inputs, OPTIONS, "deferred")

    together = jit(jax.vmap(gradients))(*stacked)
    alone = jit(gradients)
    for n, member in enumerate(members):
        assert_close([leaf[n] for leaf in together], alone(*member))


def test_gradients_of_a_vmap_with_a_scan_in_it(x64):
    cell = LSTM(M)
    members = [inputs_of(cell, jnp.float64, vectors(seed=seed)) for seed in range(2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *members)

    def loss(name, *inputs):
        return jnp.sum(unroll(cell, *inputs, engine=name, remat_every=2)[1])

    def gradients(name):
        each = jax.vmap(functools.partial(loss, name))
        return jit(jax.grad(lambda *inputs: jnp.sum(each(*inputs))))(*stacked)

    assert_close(gradients("deferred"), gradients("scan"))


@pytest.mark.slow(but=["lstm-vectors-options"])
@pytest.mark.parametrize("options", [{}, OPTIONS | {"remat_every": 4}], ids=["plain", "options"])
@pytest.mark.parametrize("kind", ["vectors", "tokens"])
@each(["lstm", "gru", "tlstm-3x3-k3-cn"])
def test_gradients_with_several_products_over_time(case, kind, options, x64, monkeypatch):
    xs = {"vectors": vectors, "tokens": tokens}[kind](steps=6)
    inputs = inputs_of(case.cell, jnp.float64, xs)
    if options:
        reset = np.zeros((6, B), bool)
        reset[2, 0] = reset[1, 1] = True
        options = options | {"reset": reset}
    rows = B * int(np.prod(getattr(case.cell, "tensor_shape", ())))
    choices = dataclasses.replace(platforms.PLAIN_LOOP, weight_rows=2 * rows)
    monkeypatch.setattr(platforms, "PLAIN_LOOP", choices)
    assert steps_of_a_product(6, jnp.zeros((rows, 7)), choices) == 2
    compare(case.cell, inputs, options, 1e-12)


def test_a_product_spans_a_divisor_of_the_steps():
    a = jnp.zeros((64, 4, 400))  # 256 rows a step, 16 of them in 4,096
    steps = functools.partial(steps_of_a_product, a=a)
    cpu, gpu = platforms.PLAIN_LOOP, platforms.CUDA_LOOP
    assert [steps(T, choices=cpu) for T in (8, 48, 52, 784)] == [8, 16, 13, 16]
    assert steps(1009, choices=cpu) == 1009  # a prime: in one piece
    assert [steps(T, choices=gpu) for T in (8, 784, 8000)] == [8, 784, 1000]


@dataclasses.dataclass(frozen=True)
class Curved(LSTM):
    """An LSTM whose mix is not linear in the state, and whose update reads a parameter."""

    def init(self, key, input_size):
        params = super().init(key, input_size)
        return params | {"norm": {"scale": jnp.ones((self.features,), jnp.float32)}}

    def mix(self, params, carry, z):
        return super().mix(params, carry._replace(hidden=jnp.sin(carry.hidden)), z)

    def update(self, params, carry, a):
        new, y = super().update(params, carry, a)
        scale = jnp.exp(params["norm"]["scale"]).astype(y.dtype)
        return new, y * jnp.broadcast_to(scale, y.shape)


def test_a_mix_that_is_not_linear_in_the_state(x64):
    cell = Curved(M)
    inputs = inputs_of(cell, jnp.float64, vectors())
    assert pullbacks_of(cell, inputs).mix_varies
    compare(cell, inputs, OPTIONS, 1e-12)


def pullbacks_of(cell, inputs):
    params, carry, xs = inputs
    return Pullbacks(cell, params, carry, xs[0])


@pytest.mark.parametrize(
    ("cell", "sizes"),
    [
        (LSTM(M), [M] * 5),  # i, f, g, o, tanh(c); c itself is in the carry
        (Curved(M), [M] * 5),  # exp(scale) follows from the parameters
        (GRU(M), [M] * 3 + [4 * M]),  # r, z, n, and a, since h's part of n is a slice of it
        (TensorizedLSTM(M, (2,)), [2 * M] * 5 + [2 * 3]),  # G, I, F, O, tanh(C), Q
    ],
    ids=["lstm", "curved", "gru", "tlstm"],
)
def test_what_is_saved_of_a_step(cell, sizes):
    inputs = inputs_of(cell, jnp.float32, vectors())
    pullbacks = pullbacks_of(cell, inputs)
    a = jnp.zeros(pullbacks.a.shape)
    pull = jax.eval_shape(lambda *x: pullbacks.update(*x)[2], *inputs[:2], a)
    saved = [leaf.size // B for leaf in pullbacks.saved(pull)]
    assert sorted(saved) == sorted(sizes)


def jaxpr_of_gradient(cell, name):
    params, carry, xs = inputs_of(cell, jnp.float32, vectors())

    def loss(params):
        return jnp.sum(unroll(cell, params, carry, xs, flush=False, engine=name)[1])

    return jax.make_jaxpr(jax.grad(loss))(params).jaxpr


def loops(jaxpr):
    """The bodies of the loops of a jaxpr, nested ones too."""
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None and equation.primitive.name == "scan":
                yield inner
            yield from loops(inner) if inner is not None else ()


@pytest.mark.parametrize("cell", [LSTM(7), GRU(7)], ids=["lstm", "gru"])
def test_no_weight_gradient_is_made_within_the_loop(cell):
    shape = (7, 7 * (4 if isinstance(cell, LSTM) else 3))

    def made(name):
        equations = [e for body in loops(jaxpr_of_gradient(cell, name)) for e in body.eqns]
        return [
            e
            for e in equations
            if e.primitive.name == "add_any" and e.outvars[0].aval.shape == shape
        ]

    assert made("scan") and not made("deferred")


def test_observed_states_have_gradients_too(x64):
    cell = TensorizedLSTM(M, (3,), kernel_size=3)
    params, carry, xs = inputs_of(cell, jnp.float64, vectors())

    def loss(name, params):
        observe = lambda carry: carry.memory  # noqa: E731
        return jnp.sum(jnp.sin(unroll(cell, params, carry, xs, observe=observe, engine=name)[2]))

    ours, plain = (jit(jax.grad(functools.partial(loss, name)))(params) for name in BOTH)
    assert_close(ours, plain)


@pytest.mark.parametrize("cell", [LSTM(M), TensorizedLSTM(M, (3,))], ids=["lstm", "tlstm"])
def test_the_scan_engine_has_forward_mode_and_second_derivatives(cell, x64):
    params, carry, xs = inputs_of(cell, jnp.float64, vectors())
    v, step = jnp.asarray(vectors(seed=9)), 1e-5

    def loss(xs):
        return jnp.sum(jnp.sin(unroll(cell, params, carry, xs, engine="scan")[1]))

    gradient = jit(jax.grad(loss))
    forward_over_reverse = jit(lambda xs, v: jax.jvp(jax.grad(loss), (xs,), (v,))[1])(xs, v)
    differences = (gradient(xs + step * v) - gradient(xs - step * v)) / (2 * step)
    assert_close(forward_over_reverse, differences, 1e-8)


def test_the_deferred_engine_has_neither():
    cell = LSTM(M)
    params, carry, xs = inputs_of(cell, jnp.float32, vectors())
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda xs: unroll(cell, params, carry, xs)[1], (xs,), (xs,))


@dataclasses.dataclass(frozen=True)
class Centred(LSTM):
    """An LSTM whose pre-activations are centred over the batch."""

    couples_examples = True

    def mix(self, params, carry, z):
        a = super().mix(params, carry, z)
        return a - jnp.mean(a, axis=0, keepdims=True)


def test_a_cell_that_couples_examples_takes_the_plain_scan(x64):
    cell = Centred(M)
    inputs = inputs_of(cell, jnp.float64, vectors())
    compare(cell, inputs, {}, 1e-12)


def test_refuses_an_unknown_engine():
    cell = BY_NAME["lstm"].cell
    inputs = inputs_of(cell, jnp.float32, vectors())
    with pytest.raises(
        ValueError,
        match="engine is 'fast'; accepted are auto, deferred, cudnn, fused, parallel, scan",
    ):
        unroll(cell, *inputs, engine="fast")
