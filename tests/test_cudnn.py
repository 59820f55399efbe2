"""cuDNN's LSTM against the deferred engine: with JAX's reference for the call, and on a device.

On a machine with an NVIDIA device, what needs one runs with

    JAX_PLATFORMS=cuda,cpu XLA_FLAGS= python -m pytest tests/test_cudnn.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, jit, tokens, vectors
from cudnn_cases import (
    LENGTHS,
    MODELS,
    NVIDIA,
    assert_same,
    compare,
    inputs_of,
    loss_of,
    over_cases,
    replace_cudnn,
)
from jax.experimental import rnn

from tlstm_jax import GRU, LSTM, as_sequence, unroll
from tlstm_jax.models.chain import Chain
from tlstm_jax.recurrence import cudnn


@pytest.fixture
def stand_in(monkeypatch):
    return replace_cudnn(monkeypatch)


@pytest.mark.slow(but=["one"])
@over_cases
def test_the_conversion_gives_the_deferred_engines_numbers(name, kind, lengths, stand_in):
    compare(name, kind(batch=len(LENGTHS)), lengths, "cudnn")
    assert "forward" in stand_in
    assert "backward" in stand_in


@pytest.mark.slow(but=["one", "stacked"])
@pytest.mark.parametrize("kind", [vectors, tokens])
@pytest.mark.parametrize("name", MODELS)
def test_auto_gives_the_deferred_engines_numbers(name, kind, stand_in):
    compare(name, kind(batch=len(LENGTHS)), LENGTHS, "auto")
    assert "forward" in stand_in


@over_cases
@NVIDIA
def test_on_a_device_its_numbers_are_the_deferred_engines(name, kind, lengths):
    with jax.default_matmul_precision("highest"):
        compare(name, kind(batch=len(LENGTHS)), lengths, "cudnn", 1e-4)


@pytest.mark.parametrize("name", ["stacked", "shared", "bidirectional"])
def test_layers_and_directions_are_one_call(name, stand_in):
    loss, inputs = loss_of("cudnn", name)
    jax.make_jaxpr(jax.grad(loss))(*inputs)
    assert stand_in == ["forward", "backward"]


def test_without_a_device_auto_is_the_deferred_engine():
    deferred, auto = (
        jax.jit(jax.grad(loss)).lower(*inputs).as_text()
        for loss, inputs in map(loss_of, ("deferred", "auto"))
    )
    if cudnn.is_available():
        pytest.skip("there is one")
    assert auto == deferred


def test_a_token_that_there_is_not_gives_nan(stand_in):
    cell = LSTM(M)
    params = cell.init(jax.random.key(0), I)
    xs = jnp.array([[0, 0], [I, -1]])
    for engine in ("deferred", "cudnn"):
        ys = unroll(cell, params, cell.init_carry(2), xs, engine=engine)[1]
        assert np.isnan(ys[1, 0]).all()
        assert np.isfinite(ys[:, 1]).all()


NO = "engine is 'cudnn', but "
ACCEPTED = "; accepted are auto, deferred, scan"
F32, RESET = jnp.float32, np.zeros((T, B), bool)


@pytest.mark.parametrize(
    ("cell", "options", "dtype", "why"),
    [
        (GRU(M), {}, F32, "the cell is GRU, and cuDNN has LSTM"),
        (LSTM(M, dtype=jnp.bfloat16), {}, F32, "a dtype is bfloat16, and cuDNN has float32"),
        (LSTM(M), {}, jnp.float16, "a dtype is float16, and cuDNN has float32"),
        (LSTM(M), {"reset": RESET}, F32, "cuDNN has no reset"),
        (LSTM(M), {"remat_every": 2}, F32, "cuDNN has no remat_every"),
        (LSTM(M), {"observe": lambda carry: carry}, F32, "cuDNN has no observe"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name_and_left_by_auto(cell, options, dtype, why, stand_in):
    params, carry = cell.init(jax.random.key(0), I), cell.init_carry(B)
    xs = jnp.asarray(vectors(), dtype)
    with pytest.raises(ValueError) as error:
        unroll(cell, params, carry, xs, engine="cudnn", **options)
    assert str(error.value) == NO + why + ACCEPTED
    with jax.numpy_dtype_promotion("standard"):
        ours, theirs = (
            unroll(cell, params, carry, xs, engine=e, **options) for e in ("deferred", "auto")
        )
    assert_same(theirs, ours)
    assert not stand_in


def test_other_reasons_are_named(stand_in, monkeypatch):
    cell = LSTM(M)
    carry = cell.init_carry(B)

    def reason(xs, size=I, carry=carry):
        params = cell.init(jax.random.key(0), size)
        return cudnn.why_not((cell,), (params,), (carry,), xs)

    assert reason(jnp.zeros((T, B, I))) is None
    assert "those of an LSTM" in reason(jnp.zeros((T, B, I + 1)))
    assert "those of an LSTM" in reason(jnp.zeros((T, B, I)), carry=cell.init_carry(B + 1))
    assert "nothing in it" in reason(jnp.zeros((T, 0, I)), carry=cell.init_carry(0))
    many = cudnn.MOST_TOKENS + 1
    assert f"there are {many} kinds" in reason(jnp.zeros((T, B), int), many)
    params, xs = cell.init(jax.random.key(0), I), jnp.zeros((T, B, I))
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("batch",))):
        assert "a mesh of devices" in cudnn.why_not((cell,), (params,), (carry,), xs)
    mesh = jax.make_mesh((1,), ("batch",), (jax.sharding.AxisType.Auto,))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    assert "a mesh of devices" in reason(jax.device_put(xs, whole))
    monkeypatch.setattr(cudnn, "is_available", lambda: False)
    assert reason(jnp.zeros((T, B, I))) == "JAX finds no NVIDIA device with cuDNN, only cpu"


def test_layers_of_other_widths_are_calls_of_their_own(stand_in):
    model = Chain(tuple(as_sequence(LSTM(m), engine="cudnn") for m in (M, M + 1)))
    params, carry, xs = inputs_of(model, vectors())
    model.apply(params, (), carry, xs)
    assert stand_in == ["forward"] * 2


@pytest.mark.skipif(cudnn.is_available(), reason="there is a device")
@pytest.mark.parametrize("name", MODELS)
def test_by_name_without_a_device_it_is_an_error(name):
    loss, inputs = loss_of("cudnn", name)
    with pytest.raises(ValueError, match="JAX finds no NVIDIA device with cuDNN, only") as error:
        loss(*inputs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("precision", "rounds"),
    [(None, True), ("high", True), ("bfloat16", True), ("highest", False), ("F32_F32_F32", False)],
)
def test_products_are_rounded_as_jax_says(precision, rounds, stand_in, monkeypatch):
    seen = []
    forward = rnn.lstm
    monkeypatch.setattr(
        rnn, "lstm", lambda *a, **s: (seen.append(s["precision"]), forward(*a, **s))[1]
    )
    loss, inputs = loss_of("cudnn")
    with jax.default_matmul_precision(precision):
        jax.eval_shape(loss, *inputs)
    assert seen == [jax.lax.Precision.HIGH if rounds else jax.lax.Precision.HIGHEST]


@NVIDIA
def test_on_a_device_a_program_for_the_cpu_has_the_deferred_engine():
    loss, inputs = loss_of("auto")
    inputs = jax.device_put(inputs, jax.devices("cpu")[0])
    assert_same(jit(jax.grad(loss))(*inputs), jit(jax.grad(loss_of("deferred")[0]))(*inputs))
