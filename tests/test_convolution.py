"""The two convolutions against loops and JAX's own gradients; normalization; waves."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import assert_close, jit
from jax import lax
from jax.test_util import check_grads

from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.cells.tensorized import memory as memory_cells

SHAPES = [
    ((4,), 2),
    ((3,), 3),
    ((1,), 3),
    ((5,), 4),
    ((2,), 5),
    ((2, 3), 2),
    ((3, 2), 3),
    ((3, 4), 4),
    ((2, 1, 3), 2),
    ((2, 2, 2), 3),
]
FEW_SHAPES = [((3,), 3), ((3,), 4), ((2, 3), 2), ((2, 2), 3)]
B, M, Z = 2, 3, 4


def by_location(tensor, shape):
    return {p: np.asarray(tensor[(slice(None), *p)]) for p in oracles.locations(shape)}


def cross_layer_inputs(shape, kernel_size, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(B, *shape, M))
    corner = rng.normal(size=(B, M))
    kernel = rng.normal(size=(*(kernel_size,) * len(shape), M, Z))
    return hidden, corner, kernel


def memory_inputs(shape, kernel_size, seed=0):
    rng = np.random.default_rng(seed)
    memory = rng.normal(size=(B, *shape, M))
    q = oracles.softmax(rng.normal(size=(B, *shape, kernel_size ** len(shape))))
    return memory, q


def plain_convolution(hidden, corner, kernel):
    """The same operation with nothing of the library in it, differentiated by JAX."""
    D, K = kernel.ndim - 2, kernel.shape[0]
    B, *shape, M = hidden.shape
    inside, first = (slice(None), *(slice(1, None),) * D), (slice(None), *(0,) * D)
    cat = jnp.zeros((B, *(n + 1 for n in shape), M), hidden.dtype)
    cat = cat.at[inside].set(hidden).at[first].set(corner)
    # Row 0 of H^cat is location -1, so that location 0 begins to read at row 1 - K // 2.
    padding = [(K // 2 - 1, K - 1 - K // 2)] * D
    spatial = "XYW"[:D]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return lax.conv_general_dilated(cat, kernel, (1,) * D, padding, dimension_numbers=layout)


@pytest.mark.parametrize(("shape", "kernel_size"), SHAPES, ids=str)
def test_cross_layer_convolution_equals_a_loop_over_taps(shape, kernel_size, x64):
    hidden, corner, kernel = cross_layer_inputs(shape, kernel_size)
    a = jit(convolution.cross_layer_convolution)(hidden, corner, kernel)
    parameters = {"kernel": kernel, "bias": np.zeros(Z)}
    expected = oracles.cross_layer_sums(
        parameters, by_location(hidden, shape), corner, shape, kernel_size
    )
    assert_close(by_location(a, shape), expected)


@pytest.mark.slow(but=["(2, 3)-2", "(2,)-5"])
@pytest.mark.parametrize(("shape", "kernel_size"), SHAPES, ids=str)
def test_cross_layer_gradient_equals_that_of_a_plain_convolution(shape, kernel_size, x64):
    inputs = cross_layer_inputs(shape, kernel_size)
    da = np.random.default_rng(1).normal(size=(B, *shape, Z))
    forms = itertools.product(convolution.FORWARDS, convolution.GRADIENTS)
    ours = [
        functools.partial(convolution.cross_layer_convolution, by=by, gradient=gradient)
        for by, gradient in forms
    ]

    def pullbacks(inputs, da):
        return [jax.vjp(convolve, *inputs)[1](da) for convolve in (plain_convolution, *ours)]

    plain, *ours = jit(pullbacks)(inputs, da)
    for gradient in ours:
        assert_close(gradient, plain)


@pytest.mark.slow(but=["(3,)-3-auto"])
@pytest.mark.parametrize("gradient", convolution.GRADIENTS)
@pytest.mark.parametrize(("shape", "kernel_size"), FEW_SHAPES, ids=str)
def test_cross_layer_derivatives_equal_finite_differences(shape, kernel_size, gradient, x64):
    def convolve(*inputs):
        return jnp.sin(convolution.cross_layer_convolution(*inputs, gradient=gradient))

    inputs = cross_layer_inputs(shape, kernel_size)
    check_grads(jax.jit(convolve), inputs, order=2, modes=("fwd", "rev"))


def test_cross_layer_gradient_under_vmap_over_kernels(x64):
    members = [cross_layer_inputs((3,), 3, seed=seed) for seed in range(2)]

    def gradients(convolve):
        def loss(inputs):
            return jnp.sum(jnp.sin(convolve(*inputs)))

        return jax.vmap(jax.grad(loss))

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *members)
    ours = jit(gradients(convolution.cross_layer_convolution))(stacked)
    assert_close(ours, jit(gradients(plain_convolution))(stacked))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_cross_layer_convolution_is_one_convolution_if_asked_for(platform):
    text = lowered_gradients(platform, (2, 3), 3, by="conv", gradient="xla")
    assert (text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")) == (3, 0)


def lowered_gradients(platform, shape, kernel_size, **settings):
    """The program of outputs and gradients for a platform."""
    inputs = [jnp.asarray(x, jnp.float32) for x in cross_layer_inputs(shape, kernel_size)]

    def gradients(*inputs):
        convolve = functools.partial(convolution.cross_layer_convolution, **settings)
        a, pull = jax.vjp(convolve, *inputs)
        return a, *pull(jnp.ones_like(a))

    return jax.jit(gradients).trace(*inputs).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("by", convolution.FORWARDS)
@pytest.mark.parametrize("gradient", convolution.GRADIENTS)
def test_cross_layer_convolution_of_bfloat16_sums_in_float32(by, gradient):
    convolve = functools.partial(convolution.cross_layer_convolution, by=by, gradient=gradient)
    inputs = [jnp.asarray(x, jnp.bfloat16) for x in cross_layer_inputs((3,), 3)]

    def gradients(*inputs):
        a, pull = jax.vjp(convolve, *inputs)
        return a, *pull(jnp.ones_like(a))

    assert [leaf.dtype for leaf in jax.eval_shape(gradients, *inputs)] == [jnp.bfloat16] * 4
    # A CPU sums in float32 unasked, so that the numbers would not tell.
    lines = jax.jit(gradients).lower(*inputs).as_text().splitlines()
    made = [x for x in lines if "stablehlo.convolution" in x or "stablehlo.dot_general" in x]
    assert len(made) >= 3
    assert all(line.endswith("xf32>") for line in made)


@pytest.mark.parametrize(
    ("platform", "shape", "convolutions", "products"),
    [  # by the kernel it is one for each tap of all axes but the last
        ("cpu", (3,), 1, 2),
        ("cpu", (2, 3), 0, 4),
        ("cuda", (3,), 0, 3),
        ("cuda", (2, 3), 0, 4),
        ("tpu", (2, 3), 3, 0),
    ],
)
def test_each_platform_gets_its_own_form(platform, shape, convolutions, products):
    text = lowered_gradients(platform, shape, 2)
    assert text.count("stablehlo.convolution") == convolutions
    assert text.count("stablehlo.dot_general") == products


@pytest.mark.parametrize("kind", ["by", "gradient"])
def test_refuses_an_unknown_form(kind):
    inputs = [jnp.asarray(x) for x in cross_layer_inputs((3,), 3)]
    name, accepted = {
        "by": ("convolution", "auto, conv, products"),
        "gradient": ("convolution_gradient", "auto, products, xla"),
    }[kind]
    with pytest.raises(ValueError, match=f"{name} is 'fast'; accepted are {accepted}"):
        convolution.cross_layer_convolution(*inputs, **{kind: "fast"})


@pytest.mark.parametrize("corner", [(1, 4), (2, 5)])
def test_refuses_an_input_of_another_batch_or_width(corner):
    hidden, kernel = jnp.zeros((2, 3, 4)), jnp.zeros((2, 4, 6))
    text = rf"shape \({corner[0]}, {corner[1]}\); accepted with .* \(2, 3, 4\) is \(2, 4\)"
    with pytest.raises(ValueError, match=text):
        convolution.cross_layer_convolution(hidden, jnp.zeros(corner), kernel)


@pytest.mark.parametrize(("shape", "kernel_size"), SHAPES, ids=str)
def test_memory_convolution_equals_a_loop_over_taps(shape, kernel_size, x64):
    memory, q = memory_inputs(shape, kernel_size)
    result = jit(memory_cells.memory_cell_convolution)(memory, q)
    expected = oracles.convolve_memory(
        by_location(memory, shape), by_location(q, shape), shape, kernel_size
    )
    assert_close(by_location(result, shape), expected)


@pytest.mark.parametrize(("shape", "kernel_size"), FEW_SHAPES, ids=str)
def test_memory_convolution_gradient_equals_finite_differences(shape, kernel_size, x64):
    inputs = memory_inputs(shape, kernel_size)
    check_grads(jax.jit(memory_cells.memory_cell_convolution), inputs, order=1, modes=("rev",))


@pytest.mark.parametrize(("shape", "kernel_size"), [((4,), 3), ((3,), 5), ((2, 3), 2)], ids=str)
def test_memory_convolution_repeats_the_border(shape, kernel_size, x64):
    # Equal memory everywhere: any kernel whose entries sum to one must keep it, also at the border.
    _, q = memory_inputs(shape, kernel_size)
    memory = np.broadcast_to(np.array([1.0, -2.0, 3.0]), (B, *shape, M))
    assert_close(jit(memory_cells.memory_cell_convolution)(memory, q), memory)


@pytest.mark.parametrize("kind", ["channel", "layer"])
def test_normalize_equals_its_independent_version(kind, x64):
    rng, shape = np.random.default_rng(0), (2, 3)
    z = rng.normal(size=(B, *shape, M))
    norm = {"scale": rng.normal(size=(*shape, M)), "bias": rng.normal(size=(*shape, M))}
    axes = (-1,) if kind == "channel" else (1, 2, 3)
    result = memory_cells.normalize(z, norm["scale"], norm["bias"], axes, 1e-3)
    expected = oracles.normalize(norm, by_location(z, shape), shape, kind, 1e-3)
    assert_close(by_location(result, shape), expected)


def test_normalize_of_a_constant_is_the_bias(x64):
    z = jnp.full((B, 2, M), 7.0)
    bias = jnp.arange(2.0 * M).reshape(2, M)
    result = memory_cells.normalize(z, jnp.ones((2, M)), bias, (-1,), 1e-5)
    assert_close(result, jnp.stack([bias] * B))


GEOMETRIES = [
    (shape, kernel_size)
    for kernel_size in range(2, 8)
    for shape in [(1,), (2,), (7,), (10,), (4, 4), (2, 5), (6, 3), (1, 1), (3, 2, 4)]
]


@pytest.mark.parametrize(("shape", "kernel_size"), GEOMETRIES, ids=str)
def test_waves_are_the_shortest_times_from_the_input(shape, kernel_size):
    u = convolution.wave_index(shape, kernel_size)
    assert u.dtype == np.int32
    searched = oracles.waves(shape, kernel_size)
    assert {p: u[p] for p in np.ndindex(shape)} == searched
    depth = convolution.depth(shape, kernel_size)
    assert depth == searched[tuple(n - 1 for n in shape)] + 1 == u.max() + 1
    assert depth == oracles.tensor_depth(shape, kernel_size)


@pytest.mark.parametrize(("shape", "kernel_size"), [((4,), 2), ((3,), 5), ((2, 3), 3)], ids=str)
def test_taps_are_what_each_location_reads(shape, kernel_size):
    taps = convolution.taps(shape, kernel_size)
    r = kernel_size // 2
    for p in np.ndindex(shape):
        offsets = itertools.product(range(-r, kernel_size - r), repeat=len(shape))
        expected = [tuple(i + j for i, j in zip(p, offset, strict=True)) for offset in offsets]
        assert [tuple(at) for at in taps[p]] == expected
