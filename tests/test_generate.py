"""Generation: waves against sequences at once, greedy and sampled continuations, refusals."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import (
    CASES,
    FEW,
    SHORT,
    B,
    I,
    M,
    assert_close,
    cell_params,
    each,
    inputs_for,
    jit,
    on_device,
    random_params,
    tokens,
    vectors,
)

from tlstm_jax import LSTM, Network, Stacked, TensorizedLSTM, TensorizedRNN, generate
from tlstm_jax.cells.tensorized import waves
from tlstm_jax.generation import read, sample

V = 5
NETWORKS = [
    Network(TensorizedLSTM(8, (3,), normalization="channel"), V, V, tokens=True),
    Network(TensorizedLSTM(6, (2, 2), kernel_size=2), V, V, tokens=True),
    Network(Stacked(LSTM(8), 2, shared=True), V, V, tokens=True),
]
PROMPT = np.array([[0, 3], [1, 2], [4, 4]], np.int32)


def token_outputs(cell, params, xs):
    def body(carry, x):
        return cell.token_step(params, carry, x)

    carry = cell.init_token_carry(xs.shape[1], jnp.float64)
    return jit(lambda carry, xs: jax.lax.scan(body, carry, xs)[1])(carry, jnp.asarray(xs))


@pytest.mark.slow(but=["lstm", "tlstm-4-k3", "tlstm-3x3-k3-cn", "trnn-4-k3"])
@each([case for case in CASES if case.cell.causal])
def test_token_steps_equal_the_whole_sequence(case, x64):
    params, xs = cell_params(case.cell), inputs_for(case)
    ys = token_outputs(case.cell, on_device(params), xs)
    assert_close(ys, case.oracle(params, xs).ys)


@pytest.mark.slow(but=SHORT)
@each(FEW)
def test_token_steps_on_tokens_equal_the_whole_sequence(case, x64):
    params, xs = cell_params(case.cell), tokens()
    ys = token_outputs(case.cell, on_device(params), xs)
    assert_close(ys, case.oracle(params, xs).ys)


@pytest.mark.parametrize(
    ("shape", "kernel_size"),
    [((4,), 2), ((1,), 3), ((7,), 5), ((3, 3), 3), ((5, 2), 4), ((2, 3, 4), 3)],
    ids=str,
)
def test_each_location_is_computed_once_and_reads_only_what_is_there(shape, kernel_size):
    N, taps = math.prod(shape), kernel_size ** len(shape)
    schedule = waves.schedule(shape, kernel_size)
    computed = np.concatenate([wave.locations for wave in schedule])
    assert sorted(computed) == list(range(N))
    cell = TensorizedRNN(M, shape, kernel_size=kernel_size)
    assert len(schedule) == cell.depth
    known = set(range(N, 3 * N + 2))  # the tokens before this one, the input and the zero
    for wave in schedule:
        assert wave.reads.shape == wave.neighbours.shape == (len(wave.locations), taps)
        assert set(np.concatenate([wave.reads, wave.neighbours], axis=1).flat) <= known
        known |= set(wave.locations.tolist())


def float32_params(network):
    """Large kernels and small biases, so that the likeliest token depends on those before it."""
    params = random_params(lambda key: network.init(key)[0], seed=2)
    return jax.tree.map(
        lambda leaf: jnp.asarray((3 if leaf.ndim > 1 else 0.2) * leaf, jnp.float32), params
    )


@pytest.mark.parametrize("network", NETWORKS, ids=["tlstm-3", "tlstm-2x2", "stacked"])
def test_greedy_continues_as_runs_over_the_whole_sequence_do(network):
    params = float32_params(network)
    continuation = generate(network, params, (), PROMPT, 6, temperature=0)
    assert continuation.shape == (6, 2) and continuation.dtype == jnp.int32

    @jit
    def likeliest(sequence, length):
        carry, lengths = network.init_carry(2), jnp.full((2,), length)
        logits = network.apply(params, (), carry, sequence, lengths=lengths, last_only=True)[1]
        return logits[0].argmax(-1)

    sequence = np.concatenate([PROMPT, np.full((6, 2), -1, np.int32)])
    for n, token in enumerate(continuation, start=len(PROMPT)):
        np.testing.assert_array_equal(token, likeliest(sequence, n))
        sequence[n] = token
    assert len(np.unique(continuation)) > 2  # else a token too few or too many would not show


def test_read_continues_from_its_carry():
    network = NETWORKS[0]
    params, xs = float32_params(network), np.concatenate([PROMPT, PROMPT])
    start = network.init_token_carry(2, params=params)
    _, logits = read(network, params, (), start, xs)
    carry, first = read(network, params, (), start, xs[:4])
    _, second = read(network, params, (), carry, xs[4:])
    assert_close(jnp.concatenate([first, second]), logits, 1e-5)
    whole = jit(network.apply)(params, (), network.init_carry(2), xs)[1]
    assert_close(logits, whole, 1e-5)


def test_sampling_stays_among_the_likeliest_and_follows_its_key():
    network = NETWORKS[0]
    params = float32_params(network)
    draw = functools.partial(generate, network, params, (), np.repeat(PROMPT, 8, axis=1), 12)
    drawn = draw(key=jax.random.key(0), top_k=2)
    np.testing.assert_array_equal(drawn, draw(key=jax.random.key(0), top_k=2))
    assert (drawn != draw(key=jax.random.key(1), top_k=2)).any()
    sequence = np.concatenate([np.repeat(PROMPT, 8, axis=1), drawn])
    logits = jit(network.apply)(params, (), network.init_carry(16), sequence)[1]
    likeliest = np.argsort(logits, axis=-1)[len(PROMPT) - 1 : -1, :, -2:]
    among = (likeliest == np.asarray(drawn)[..., None]).any(axis=-1)
    assert among.all()
    greedy = likeliest[..., -1] == np.asarray(drawn)
    assert 0.3 < greedy.mean() < 1  # and not always the first


LOGITS = np.array([0.0, 1.0, 2.5, -1.0, 2.0], np.float32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 5])
def test_samples_follow_the_tempered_distribution(temperature, top_k):
    draws = 20_000
    logits = jnp.broadcast_to(LOGITS, (draws, V))
    drawn = sample(jax.random.key(0), logits, temperature=temperature, top_k=top_k)
    allowed = np.sort(LOGITS)[-(top_k or V)] <= LOGITS
    weights = np.where(allowed, np.exp(LOGITS / temperature), 0)
    frequencies = np.bincount(drawn, minlength=V) / draws
    np.testing.assert_allclose(frequencies, weights / weights.sum(), atol=0.015)
    assert not frequencies[~allowed].any()


def test_rows_are_sampled_apart():
    logits = jnp.zeros((64, V))
    assert len(np.unique(sample(jax.random.key(0), logits, temperature=1.0))) == V


def test_top_k_of_equal_logits_takes_k_of_them():
    tokens = sample(jax.random.key(0), jnp.zeros((64, V)), temperature=1.0, top_k=2)
    assert len(np.unique(tokens)) == 2


def test_temperature_zero_is_the_likeliest():
    logits = jnp.stack([jnp.asarray(LOGITS), jnp.asarray(LOGITS[::-1])])
    np.testing.assert_array_equal(sample(jax.random.key(0), logits, temperature=0), [2, 2])


def tiny(**settings):
    return Network(
        **({"model": LSTM(M), "input_size": V, "output_size": V, "tokens": True} | settings)
    )


REFUSED = [
    (
        tiny(model=TensorizedLSTM(M, (3,), normalization="layer")),
        {},
        "TensorizedLSTM is not causal",
    ),
    (tiny(tokens=False), {}, "the network reads 5 features and writes 5 classes; accepted is one"),
    (tiny(input_size=7), {}, "the network reads 7 tokens and writes 5 classes; accepted is one"),
    (tiny(), {"prompt": np.zeros((0, 2), np.int32)}, "prompt has shape (0, 2); accepted is [T, B]"),
    (tiny(), {"prompt": np.zeros((3,), np.int32)}, "prompt has shape (3,); accepted is [T, B]"),
    (tiny(), {"prompt": np.zeros((3, 2))}, "prompt has dtype float64; accepted are integers"),
    (tiny(), {"prompt": np.array([[1, 5]])}, "prompt has tokens 1 to 5; accepted are 0 to 4"),
    (tiny(), {"prompt": np.array([[-1, 4]])}, "prompt has tokens -1 to 4; accepted"),
    (tiny(), {"num_tokens": 0}, "num_tokens is 0; accepted are integers >= 1"),
    (tiny(), {"temperature": -1.0}, "temperature is -1.0; accepted are numbers >= 0"),
    (tiny(), {"temperature": math.nan}, "temperature is nan; accepted are numbers >= 0"),
    (tiny(), {"top_k": 0}, "top_k is 0; accepted are None and 1 to 5"),
    (tiny(), {"top_k": 6}, "top_k is 6; accepted are None and 1 to 5"),
    (tiny(), {"key": None}, "key is None; accepted with a temperature > 0 is a PRNG key"),
]


@pytest.mark.parametrize(("network", "changed", "text"), REFUSED, ids=[r[2] for r in REFUSED])
def test_refuses_what_cannot_be_generated(network, changed, text):
    options = {"prompt": PROMPT, "num_tokens": 2, "key": jax.random.key(0)} | changed
    with pytest.raises(ValueError, match=re.escape(text)):
        generate(network, network.init(jax.random.key(1))[0], (), **options)


def test_a_token_step_through_layer_normalization_is_refused():
    cell = TensorizedLSTM(M, (3,), normalization="layer")
    with pytest.raises(
        ValueError, match="normalization is 'layer', which is not causal at depth > 1"
    ):
        cell.token_step({}, cell.init_token_carry(B), jnp.zeros((B, I)))


def test_token_steps_in_bfloat16_keep_their_dtypes():
    cell = TensorizedLSTM(M, (3,), normalization="channel", dtype=jnp.bfloat16)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), cell_params(cell))
    carry, advance = cell.init_token_carry(B), jit(cell.token_step)
    ys = []
    for x in vectors():
        carry, y = advance(params, carry, jnp.asarray(x, jnp.float32))
        assert (y.dtype, carry.hidden.dtype, carry.memory.dtype) == (
            jnp.bfloat16,
            jnp.bfloat16,
            jnp.float32,
        )
        ys.append(y.astype(jnp.float32))
    expected = oracles.tensorized(
        cell_params(cell),
        vectors(),
        gated=True,
        tensor_shape=(3,),
        kernel_size=3,
        memory_convolution=True,
        normalization="channel",
    ).ys
    np.testing.assert_allclose(np.stack(ys), expected, atol=0.05)
