"""What platforms compute differently is equal: each platform's choices, run on this one."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import VARIED, B, M, T, assert_close, cell_params, each, inputs_for, jit, vectors
from jax.test_util import check_grads
from test_engine import OPTIONS, compare, inputs_of, jaxpr_of_gradient, loops

from tlstm_jax import GRU, LSTM, TensorizedLSTM, unroll
from tlstm_jax.cells.tensorized import memory as memory_cells
from tlstm_jax.devices import platforms
from tlstm_jax.recurrence.linear_scan import linear_recurrence
from tlstm_jax.recurrence.packing import pack, unpack

CHOICES = {
    "cpu": (platforms.CPU, platforms.PLAIN_LOOP),
    "cuda": (platforms.CUDA, platforms.CUDA_LOOP),
    "tpu": (platforms.TPU, platforms.PLAIN_LOOP),
}
SMALL = dataclasses.replace(platforms.CUDA_LOOP, unroll=2, weight_rows=2 * B)


@pytest.fixture
def pretend(monkeypatch):
    """Makes this platform compute with the choices of another."""

    def pretend(choices, loop):
        for name, chosen in (("choose", choices), ("choose_loop", loop)):
            monkeypatch.setattr(platforms, name, lambda f, *args, c=chosen: f(c, *args))

    return pretend


@pytest.mark.slow(but=["lstm"])
@pytest.mark.parametrize("name", ["cuda", "tpu"])
@each(VARIED)
def test_gradients_equal_the_scans_with_the_choices_of(case, name, x64, pretend):
    pretend(*CHOICES[name])
    compare(case.cell, inputs_of(case.cell, jnp.float64, inputs_for(case)), OPTIONS, 1e-12)


@pytest.mark.slow(but=["lstm"])
@each(["lstm", "gru", "tlstm-4-k3", "tlstm-3x3-k3-cn", "layer-norm", "mi", "urnn"])
def test_gradients_with_unrolled_loops_and_several_products(case, x64, pretend):
    pretend(platforms.CUDA, SMALL)
    xs = inputs_for(case, steps=16)
    compare(case.cell, inputs_of(case.cell, jnp.float64, xs), {}, 1e-12)


@pytest.mark.parametrize("name", ["cuda", "tpu"])
@each(["lstm", "tlstm-5-k4-cn"])
def test_bfloat16_is_computed_with_the_choices_of(case, name, pretend):
    cell = dataclasses.replace(case.cell, dtype=jnp.bfloat16)
    params, _, xs = inputs_of(cell, jnp.float32, inputs_for(case))
    expected = jit(lambda *x: unroll(cell, *x)[1])(params, cell.init_carry(B), xs)
    pretend(*CHOICES[name])
    ys = jit(lambda *x: jax.vjp(lambda *x: unroll(cell, *x)[1], *x)[0])(
        params, cell.init_carry(B), xs
    )
    assert ys.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(ys), np.float32(expected), atol=0.05)


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3)], ids=str)
def test_memory_cell_convolution_has_one_result(shape, kernel_size, x64, pretend):
    rng = np.random.default_rng(0)
    memory = jnp.asarray(rng.normal(size=(B, *shape, M)))
    q = jnp.asarray(rng.uniform(size=(B, *shape, kernel_size ** len(shape))))
    results = []
    for choices in CHOICES.values():
        pretend(*choices)
        results.append(jit(lambda *x: memory_cells.memory_cell_convolution(*x))(memory, q))
    for a, b in itertools.pairwise(results):
        assert_close(a, b)


@pytest.mark.parametrize("name", CHOICES)
def test_softmax_over_taps_is_the_softmax(name, x64, pretend):
    pretend(*CHOICES[name])
    q = jnp.asarray(30 * np.random.default_rng(0).normal(size=(B, 3, 9)))
    softmax = lambda q: memory_cells.softmax_over_taps(q)  # noqa: E731
    assert_close(jit(softmax)(q), jax.nn.softmax(q))
    check_grads(softmax, (q / 30,), order=2, modes=("fwd", "rev"))
    same = jnp.full((1, 4), 1e4)  # exp of which is no number
    assert_close(softmax(same), jnp.full((1, 4), 0.25))


@pytest.mark.parametrize(
    "cell", [LSTM(7), GRU(7), TensorizedLSTM(7, (3,), normalization="channel")], ids=str
)
def test_a_gpus_forward_loop_stores_one_array(cell, pretend):
    pretend(*CHOICES["cuda"])
    forward = next(loops(jaxpr_of_gradient(cell, "deferred")))
    carries = len(jax.tree.leaves(cell.init_carry(B)))
    assert len(forward.outvars) == carries + 1


def test_choices_are_made_for_the_platform_that_a_program_is_lowered_for():
    cell = TensorizedLSTM(M, (3,))
    params, xs = cell_params(cell), jnp.asarray(vectors(), jnp.float32)

    def loss(params):
        return jnp.sum(unroll(cell, params, cell.init_carry(B), xs)[1])

    traced = jax.jit(jax.grad(loss)).trace(params)
    convolutions = {
        name: traced.lower(lowering_platforms=(name,)).as_text().count("stablehlo.convolution")
        for name in CHOICES
    }
    assert convolutions["cuda"] == 0 < convolutions["cpu"] < convolutions["tpu"]


def test_what_was_packed_is_unpacked():
    tree = {
        "a": jnp.arange(6.0).reshape(2, 3),
        "age": jnp.array([-1, 2**30], jnp.int32),
        "half": jnp.ones((2, 2, 2), jnp.bfloat16),
        "none": None,
        "b": jnp.full((2, 1), jnp.nan),
    }
    packed = pack(tree)
    assert {k: v.shape for k, v in packed.arrays.items()} == {"float32": (2, 5), "bfloat16": (2, 4)}
    jax.tree.map(np.testing.assert_array_equal, unpack(packed), tree)
    over_time = jax.lax.scan(lambda c, _: (c, packed), 0, None, length=T)[1]
    assert unpack(over_time)["half"].shape == (T, 2, 2, 2)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), unpack(over_time), tree)


def test_integers_alone_are_packed_as_they_are():
    tree = (jnp.array([3, -4], jnp.int32), jnp.zeros((2, 1), jnp.bfloat16))
    assert set(pack(tree).arrays) == {"int32", "bfloat16"}
    assert_close(unpack(pack(tree))[0], tree[0])


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_linear_recurrence_is_the_same_as_a_loop_and_as_a_scan(restarts, pairs, x64, monkeypatch):
    rng = np.random.default_rng(0)
    f, u = (jnp.asarray(rng.normal(size=(17, B, 2 * M))) for _ in range(2))
    c = jnp.asarray(rng.normal(size=(B, 2 * M)))
    lengths = jnp.asarray(rng.integers(0, 18, B)) if restarts else None
    reset = jnp.asarray(rng.random((17, B)) < 0.2) if restarts else None

    def computed(in_parallel):
        monkeypatch.setattr(platforms, "choose_linear", lambda run, *args: run(in_parallel, *args))

        def loss(f, u, c):
            last, cs = linear_recurrence(f, u, c, lengths, reset, pairs=pairs)
            return jnp.sum(jnp.sin(cs)) + jnp.sum(last**2), (last, cs)

        run = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
        return jit(run)(f, u, c), jax.make_jaxpr(run)(f, u, c)

    (scan, of_scan), (loop, of_loop) = computed(True), computed(False)
    assert_close(scan, loop)
    assert ("scan[" in str(of_loop), "scan[" in str(of_scan)) == (True, False)
