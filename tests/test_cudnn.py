"""cuDNN's LSTM against the deferred engine: with JAX's reference in the place of the call, and on a device.

On a machine with an NVIDIA device, what needs one runs with

    JAX_PLATFORMS=cuda,cpu XLA_FLAGS= python -m pytest tests/test_cudnn.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import B, I, M, T, floats, jit, random_params, tokens, vectors
from jax.experimental import rnn

from tlstm_jax import GRU, LSTM, Bidirectional, LearnedCarry, Stacked, as_sequence, unroll
from tlstm_jax.models.chain import Chain
from tlstm_jax.recurrence import alternatives, cudnn

LENGTHS = np.array([0, 1, T, T + 3, 3], np.int32)
NVIDIA = pytest.mark.skipif(not cudnn.is_available(), reason="no NVIDIA device with cuDNN")


def reference(x, h, c, weights, ends, *sizes):
    """`jax.experimental.rnn.lstm` in plain JAX, by that module's own reference and unpacking.

    An example of no steps makes everything NaN.
    """
    *sizes, dropout, bidirectional, _ = sizes
    each = rnn.unpack_lstm_weights(weights, *sizes, bidirectional)
    with jax.numpy_rank_promotion("allow"):
        y, h, c = rnn.lstm_ref(x, h, c, *each, ends, *sizes, dropout, bidirectional)
    return jnp.where(jnp.any(ends < 1), jnp.nan, y), h, c


@pytest.fixture
def stand_in(monkeypatch):
    """The CPU passes for an NVIDIA device with cuDNN; the fixture's value counts calls that were traced."""
    if cudnn.is_available():
        pytest.skip("cuDNN itself is here")
    calls = []

    def forward(*args, **settings):
        calls.append("forward")
        sizes = settings.values()
        args = *args, *sizes
        return reference(*args), (args[:5], jnp.zeros(7))

    def backward(*args):
        calls.append("backward")
        sizes, (inputs, _), cotangents = args[:6], *args[6:]
        moving, ends = inputs[:4], inputs[4]
        pull = jax.vjp(lambda *x: reference(*x, ends, *sizes), *moving)[1]
        return *pull(cotangents), jnp.zeros_like(ends)

    monkeypatch.setattr(rnn, "lstm", lambda *args, **settings: forward(*args, **settings)[0])
    monkeypatch.setattr(rnn, "lstm_fwd", forward)
    monkeypatch.setattr(rnn, "lstm_bwd", backward)
    monkeypatch.setattr(alternatives, "PLATFORM", "cpu")
    monkeypatch.setattr(cudnn, "is_available", lambda: True)
    return calls


def lift(name):
    return {
        "one": lambda engine: as_sequence(LSTM(M), engine=engine),
        "learned carry": lambda engine: LearnedCarry(LSTM(M), engine=engine),
        "stacked": lambda engine: Stacked(LSTM(M), 3, engine=engine),
        "shared": lambda engine: Stacked(LSTM(M), 3, shared=True, engine=engine),
        "bidirectional": lambda engine: Bidirectional(*[as_sequence(LSTM(M), engine=engine)] * 2),
        "layers of two directions": lambda engine: Chain(
            (Bidirectional(*[as_sequence(LSTM(M), engine=engine)] * 2),) * 2
        ),
    }[name]


MODELS = ("one", "learned carry", "stacked", "shared", "bidirectional", "layers of two directions")


def inputs_of(model, xs):
    """Float32 parameters, a carry that is not zero, and inputs."""
    params = random_params(lambda key: model.init(key, I)[0])
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    carry = model.init_carry(xs.shape[1], params=params)
    rng = np.random.default_rng(5)
    carry = jax.tree.map(lambda x: jnp.asarray(np.tanh(rng.normal(size=x.shape)), x.dtype), carry)
    return params, carry, jnp.asarray(xs, jnp.int32 if xs.dtype == np.int32 else jnp.float32)


def everything(model, lengths, *inputs):
    """Outputs, last carry, and the gradients of a function of both by parameters, carry and inputs."""

    def loss(*inputs):
        params, carry, xs = inputs
        carry, ys, _, _ = model.apply(params, (), carry, xs, lengths=lengths)
        return sum(jnp.sum(jnp.sin(leaf + 1)) for leaf in floats((ys, carry))), (ys, carry)

    gradient = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    (_, outputs), gradients = gradient(*inputs)
    return floats(outputs), floats(gradients)


def assert_same(actual, expected, tolerance=1e-5):
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    for a, b in zip(actual, expected, strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=False)


def compare(name, xs, lengths, engine, tolerance=1e-5):
    model, ours = lift(name)(engine), lift(name)("deferred")
    inputs = inputs_of(model, xs)
    if lengths is not None and xs.dtype != np.int32:
        beyond = np.arange(T)[:, None] >= lengths[None]
        inputs = *inputs[:2], jnp.where(beyond[..., None], jnp.nan, inputs[2])
    actual = jit(functools.partial(everything, model, lengths))(*inputs)
    expected = jit(functools.partial(everything, ours, lengths))(*inputs)
    assert any(leaf.any() for leaf in expected[1])
    assert_same(actual, expected, tolerance)


CASES = [
    pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"]),
    pytest.mark.parametrize("kind", [vectors, tokens]),
    pytest.mark.parametrize("name", MODELS),
]


def over_cases(test):
    return functools.reduce(lambda test, mark: mark(test), CASES, test)


@over_cases
def test_the_conversion_gives_the_deferred_engines_numbers(name, kind, lengths, stand_in):
    compare(name, kind(batch=len(LENGTHS)), lengths, "cudnn")
    assert "forward" in stand_in
    assert "backward" in stand_in


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


def loss_of(engine, model="one", **options):
    """A function of params, carry and xs, and its inputs."""
    model = lift(model)(engine)

    def loss(params, carry, xs):
        carry, ys, _, _ = model.apply(params, (), carry, xs, **options)
        return sum(jnp.sum(jnp.sin(leaf + 1)) for leaf in floats((ys, carry)))

    return loss, inputs_of(model, vectors())


@pytest.mark.parametrize("name", ["stacked", "shared", "bidirectional"])
def test_layers_and_directions_are_one_call(name, stand_in):
    loss, inputs = loss_of("cudnn", name)
    jax.make_jaxpr(jax.grad(loss))(*inputs)
    assert stand_in == ["forward", "backward"]


def members(inputs, number=3):
    """Inputs that differ in parameters, carries and xs."""
    return jax.tree.map(lambda x: jnp.stack([x * (1 + n / 8) for n in range(number)]), inputs)


def over_members(loss):
    return jax.vmap(jax.value_and_grad(loss, argnums=(0, 1, 2)))


def over_examples(loss):
    """The gradient of each example for itself, with shared parameters."""

    def one(params, carry, x):
        expand = functools.partial(jax.tree.map, lambda leaf: leaf[None])
        return loss(params, expand(carry), x[:, None])

    return lambda params, carry, xs: jax.vmap(jax.grad(one), (None, 0, 1))(params, carry, xs)


def with_cotangents(loss):
    """Several backward passes after one forward pass."""

    def both(*inputs):
        value, pull = jax.vjp(loss, *inputs)
        return jax.vmap(pull)(value * jnp.arange(1.0, 4.0))

    return both


def with_cotangents_of_members(loss):
    return jax.vmap(with_cotangents(loss))


def over_members_twice(loss):
    return jax.vmap(over_members(loss), (None, None, 0))


def of_a_loop(loss):
    """A gradient through a loop over time, and one made again in the backward pass."""

    def looped(params, carry, xs):
        def body(total, x):
            return total + jax.checkpoint(loss)(params, carry, x * total), None

        return jax.lax.scan(body, 0.1, jnp.stack([xs, 2 * xs]))[0]

    return jax.value_and_grad(looped, argnums=(0, 1, 2))


def of_steps(loss):
    """Steps of a training in one compiled loop, vmapped."""

    def train(params, carry, xs):
        def step(params, x):
            gradient = jax.grad(loss)(params, carry, x)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), None

        return jax.lax.scan(step, params, jnp.stack([xs, 2 * xs]))[0]

    return jax.vmap(train)


ALONE = (with_cotangents, of_a_loop)  # what is left takes a leading axis of members
SHARED = (over_examples,)


@pytest.mark.parametrize("engine", ["auto", "cudnn"])
@pytest.mark.parametrize(
    "transform",
    [over_members, over_examples, with_cotangents, with_cotangents_of_members, of_a_loop, of_steps],
)
def test_transformations_give_the_deferred_engines_numbers(transform, engine, stand_in):
    ours, inputs = loss_of("deferred")
    if transform not in (*ALONE, *SHARED):
        inputs = members(inputs)
    theirs, _ = loss_of(engine)
    assert_same(jit(transform(theirs))(*inputs), jit(transform(ours))(*inputs), 2e-5)


def test_under_two_vmaps(stand_in):
    inputs = members(loss_of("deferred")[1])
    inputs = *inputs[:2], members(inputs[2], 2)
    ours, theirs = (jit(over_members_twice(loss_of(e)[0]))(*inputs) for e in ("deferred", "auto"))
    assert_same(theirs, ours, 2e-5)


def test_without_jit(stand_in):
    ours, theirs = (jax.grad(loss)(*inputs) for loss, inputs in map(loss_of, ("deferred", "auto")))
    assert_same(theirs, ours)


def test_auto_runs_cudnn_on_its_platform_alone(stand_in, monkeypatch):
    monkeypatch.setattr(rnn, "lstm_ref", lambda x, h, c, *_: (jnp.zeros((*x.shape[:2], M)), h, c))
    loss, inputs = loss_of("auto")
    expected = loss_of("deferred")[0](*inputs)
    assert not np.allclose(jit(loss)(*inputs), expected, rtol=1e-3)
    assert_same(jit(jax.vmap(loss))(*members(inputs, 1)), expected[None])
    monkeypatch.setattr(alternatives, "PLATFORM", "cuda")
    jax.clear_caches()
    loss, _ = loss_of("auto")
    assert_same(jit(loss)(*inputs), expected)
    assert_same(loss(*inputs), expected)
    assert_same(jit(jax.grad(loss))(*inputs), jit(jax.grad(loss_of("deferred")[0]))(*inputs))


@pytest.mark.parametrize(
    ("transform", "platform", "like"),
    [(jax.grad, "cpu", "cudnn"), (jax.grad, "cuda", "deferred"), (over_members, "cpu", "deferred")],
    ids=["cuDNN runs", "it does not", "under vmap"],
)
def test_a_program_holds_nothing_of_the_function_that_does_not_run(
    transform, platform, like, stand_in, monkeypatch
):
    monkeypatch.setattr(alternatives, "PLATFORM", platform)
    cell, xs = LSTM(16), jnp.zeros((2000, 3, 16))
    params, carry = cell.init(jax.random.key(0), 16), cell.init_carry(3)

    def needed(engine):
        def loss(params, carry, xs):
            return jnp.sum(unroll(cell, params, carry, xs, engine=engine)[1] ** 2)

        inputs = params, carry, xs
        inputs = members(inputs) if transform is over_members else inputs
        lowered = jax.jit(transform(loss)).lower(*inputs)
        program = lowered.compile({"xla_backend_optimization_level": 3})
        return program.memory_analysis().temp_size_in_bytes, program.as_text().count(
            " conditional("
        )

    memory, conditionals = needed("auto")
    assert memory < 1.02 * needed(like)[0]
    assert not conditionals


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
def test_on_a_device_auto_runs_under_vmap_and_jit():
    for transform in (over_members, with_cotangents_of_members):
        inputs = members(loss_of("deferred")[1])
        with jax.default_matmul_precision("highest"):
            ours, theirs = (jit(transform(loss_of(e)[0]))(*inputs) for e in ("deferred", "auto"))
        assert_same(theirs, ours, 1e-4)


@NVIDIA
def test_on_a_device_a_program_for_the_cpu_has_the_deferred_engine():
    loss, inputs = loss_of("auto")
    inputs = jax.device_put(inputs, jax.devices("cpu")[0])
    assert_same(jit(jax.grad(loss))(*inputs), jit(jax.grad(loss_of("deferred")[0]))(*inputs))
