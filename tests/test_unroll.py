"""Running a cell over time: sequences at once, streams, lengths, resets; against the reference."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    BY_NAME,
    CASES,
    FEW,
    ON_MAPS,
    SHORT,
    B,
    I,
    M,
    T,
    assert_close,
    cell_params,
    each,
    floats,
    inputs_for,
    jit,
    on_device,
    tokens,
    vectors,
)

from tlstm_jax import LSTM, TensorizedLSTM, unroll
from tlstm_jax.recurrence.unrolling import unroll_reference

STEPS = 4  # of the comparisons with the reference, whose loop is compiled step by step
LENGTHS = np.array([3, 2])
RESET = np.zeros((STEPS, B), bool)
RESET[2, 0] = RESET[0, 1] = RESET[3, 1] = True  # the last lies beyond the example's end

OPTIONS = {
    "whole": {},
    "stream": {"flush": False},
    "lengths": {"lengths": LENGTHS},
    "reset": {"reset": RESET},
    "remat": {"remat_every": 3},
    "stream-all": {"flush": False, "lengths": LENGTHS, "reset": RESET, "remat_every": 3},
    "all": {"lengths": LENGTHS, "reset": RESET, "remat_every": 3},
}
COMPARED = [
    *[(BY_NAME["trnn-3x2-k2"], option) for option in OPTIONS],
    *[(BY_NAME[name], "all") for name in ("elman", "lstm", "gru", "gru-before")],
    *[(BY_NAME[name], "all") for name in ("tlstm-3-k3-ln", "tlstm-5-k4-cn", "tlstm-2x1x3-k2")],
]


def carry_under_way(cell, seed=5):
    """A carry with a past: random states, the first example older than the second."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(rng.normal(size=leaf.shape))
        return jnp.asarray([cell.delay, 0], leaf.dtype)

    return jax.tree.map(draw, cell.init_carry(B, jnp.float64))


def outputs_and_gradients(run, cell, params, carry, xs, options):
    """ys, the last carry, and the gradients of a random function of both by all inputs."""

    def loss(params, carry, xs):
        last, ys = run(cell, params, carry, xs, **options)
        rng = np.random.default_rng(7)
        total = sum(jnp.sum(leaf * rng.normal(size=leaf.shape)) for leaf in [ys, *floats(last)])
        return total, (ys, last)

    gradient = jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    grads, outputs = gradient(params, carry, xs)
    return outputs, floats(grads)


@pytest.mark.slow(but=["lstm-all"])
@pytest.mark.parametrize(
    ("case", "option"), COMPARED, ids=[f"{case.name}-{option}" for case, option in COMPARED]
)
def test_equals_the_reference_in_outputs_and_gradients(case, option, x64):
    cell, options = case.cell, dict(OPTIONS[option])
    params, xs = on_device(cell_params(cell)), inputs_for(case, steps=STEPS)
    if "lengths" in options:
        xs[LENGTHS[0] :, 0] = xs[LENGTHS[1] :, 1] = np.nan
    inputs = (params, carry_under_way(cell), jnp.asarray(xs))
    fast = jit(lambda *inputs: outputs_and_gradients(unroll, cell, *inputs, options))(*inputs)
    options.pop("remat_every", None)
    slow = jit(lambda *inputs: outputs_and_gradients(unroll_reference, cell, *inputs, options))(
        *inputs
    )
    assert_close(fast, slow)


@pytest.mark.slow(but=["lstm", "gru", "trnn-4-k3", "tlstm-4-k3", "tlstm-3x3-k3-cn"])
@each(CASES)
def test_a_stream_in_segments_is_one_run(case, x64):
    # Every input of the stream is real, so that layer normalization, too, sees the same.
    cell, params = case.cell, cell_params(case.cell)
    xs = inputs_for(case, steps=T + cell.delay)
    advance = jit(functools.partial(unroll, cell, flush=False))
    carry, ys, begin = cell.init_carry(B, jnp.float64), [], 0
    for step in [2, 1, 2, 2, 1, 2, 2, 2, 2, 2]:
        segment = xs[begin : begin + min(step, len(xs) - begin)]
        begin += len(segment)
        if len(segment):
            carry, segment_ys = advance(on_device(params), carry, jnp.asarray(segment))
            ys.append(segment_ys)
    ys = np.concatenate(ys)
    expected = case.oracle(params, xs)
    assert not ys[: cell.delay].any()  # the first wave is under way
    assert_close(ys[cell.delay :], expected.ys[:T])
    assert_close(floats(carry), list(expected.states[-1]))


@each(["lstm", "tlstm-3-k2"])
def test_a_stream_may_be_split_anywhere(case, x64):
    params, xs = on_device(cell_params(case.cell)), jnp.asarray(inputs_for(case))
    advance = jit(functools.partial(unroll, case.cell, flush=False))
    start = carry_under_way(case.cell)
    carry, ys = advance(params, start, xs)
    for at in range(1, T):
        middle, first = advance(params, start, xs[:at])
        last, second = advance(params, middle, xs[at:])
        assert_close((last, np.concatenate([first, second])), (carry, ys))


@each(["trnn-3x2-k2"])
def test_a_whole_sequence_may_begin_as_a_stream(case, x64):
    cell, params, xs = case.cell, on_device(cell_params(case.cell)), jnp.asarray(inputs_for(case))
    start = cell.init_carry(B, jnp.float64)
    run = jit(functools.partial(unroll, cell), static_argnames="flush")
    carry, ys = run(params, start, xs)
    middle, first = run(params, start, xs[:4], flush=False)
    last, second = run(params, middle, xs[4:])
    assert_close(last, carry)
    # The flush answers the last input only; the ones before it are answered in the stream.
    assert_close(first[cell.delay :], ys[: 4 - cell.delay])
    assert_close(second, ys[4:])


@pytest.mark.slow(but=["lstm", "tlstm-4-k3", "tlstm-5-k4-cn"])
@each([*FEW, "tlstm-5-k4-cn", *ON_MAPS])
@pytest.mark.parametrize("inputs", ["vectors", "tokens"])
def test_lengths_leave_each_example_as_if_it_were_alone(case, inputs, x64):
    if inputs == "tokens" and case.name in ON_MAPS:
        pytest.skip("maps are not tokens")
    cell, params, lengths = case.cell, cell_params(case.cell), np.array([T, 3, 1, 0])
    xs = tokens(batch=4) if inputs == "tokens" else inputs_for(case, batch=4)
    padded = xs.copy()
    for b, length in enumerate(lengths):
        padded[length:, b] = 99 if inputs == "tokens" else np.nan
    start = cell.init_carry(4, jnp.float64)
    carry, ys = jit(functools.partial(unroll, cell))(
        on_device(params), start, jnp.asarray(padded), lengths=lengths
    )
    for b, length in enumerate(lengths[:3]):
        alone = case.oracle(params, xs[:length, b : b + 1])
        assert_close(ys[:length, b], alone.ys[:, 0])
        assert_close([leaf[b] for leaf in floats(carry)], [leaf[0] for leaf in alone.states[-1]])
        assert not ys[length:, b].any()
    assert not ys[:, 3].any()
    assert not any(leaf[3].any() for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize("order", [1, -1])
def test_lengths_are_clipped_to_the_steps(order, x64):
    cell = BY_NAME["tlstm-4-k3"].cell
    inputs = on_device(cell_params(cell)), cell.init_carry(B, jnp.float64), jnp.asarray(vectors())
    run = jit(functools.partial(unroll, cell))
    expected = unroll_reference(cell, *inputs, lengths=np.array([0, T])[::order])
    assert_close(run(*inputs, lengths=np.array([-1, T + 2])[::order]), expected)
    assert_close(unroll_reference(cell, *inputs, lengths=np.array([-1, T + 2])[::order]), expected)


@pytest.mark.slow(but=SHORT)
@each([*FEW, *ON_MAPS])
def test_a_reset_resets_one_example_and_leaves_the_other(case, x64):
    cell, params, at = case.cell, cell_params(case.cell), 3
    xs = inputs_for(case, steps=at + T)
    reset = np.zeros(xs.shape[:2], bool)
    reset[at, 0] = True
    carry, ys = jit(functools.partial(unroll, cell))(
        on_device(params), cell.init_carry(B, jnp.float64), jnp.asarray(xs), reset=reset
    )
    before, restarted, other = (case.oracle(params, x) for x in (xs[:at], xs[at:, :1], xs[:, 1:]))
    kept = max(at - cell.delay, 0)
    assert_close(ys[:kept, 0], before.ys[:kept, 0])
    assert not ys[kept:at, 0].any()  # still under way: dropped
    assert_close(ys[at:, 0], restarted.ys[:, 0])
    assert_close(ys[:, 1:], other.ys)
    assert_close([leaf[:1] for leaf in floats(carry)], list(restarted.states[-1]))


def test_observe_shows_every_step_and_stands_still_behind_an_end(x64):
    cell = TensorizedLSTM(M, (3,), kernel_size=2)
    params, xs = on_device(cell_params(cell)), jnp.asarray(vectors())
    start = cell.init_carry(B, jnp.float64)

    def run(**options):
        return jit(functools.partial(unroll, cell, **options))(params, start, xs)

    carry, _, memory = run(observe=lambda carry: carry.memory, lengths=LENGTHS)
    assert memory.shape == (T + cell.delay, B, 3, M)
    for b, length in enumerate(LENGTHS):
        for t in range(length - 1, T):
            assert_close(memory[t, b], carry.memory[b])
    carry, _, age = run(observe=lambda carry: carry.age, flush=False)
    np.testing.assert_array_equal(age[:, 0], [1, 2, 2, 2, 2])


def test_remat_recomputes_and_saves_less():
    cell, xs = LSTM(4), jnp.ones((16, B, I))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), cell_params(cell))

    def saved(remat_every):
        """The floats that the backward pass finds saved."""

        def pull(params):
            def loss(params):
                carry = cell.init_carry(B)
                return jnp.sum(unroll(cell, params, carry, xs, remat_every=remat_every)[1])

            return jax.vjp(loss, params)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(pull, params)))

    assert saved(4) < 0.6 * saved(None)


@pytest.mark.parametrize("remat_every", [1, T + 3])
def test_remat_of_any_size_gives_the_same_outputs(remat_every, x64):
    cell = LSTM(M)
    params, xs = on_device(cell_params(cell)), jnp.asarray(vectors())
    start = cell.init_carry(B, jnp.float64)
    run = jit(functools.partial(unroll, cell), static_argnames="remat_every")
    expected = run(params, start, xs)
    assert_close(run(params, start, xs, remat_every=remat_every), expected)


REFUSED = [
    ({"xs": np.zeros((T, B, I, 1))}, "input_shape is (2, 1); accepted by LSTM, which reads"),
    ({"xs": np.zeros((T, B, I), np.int32)}, "xs has shape (5, 2, 2); accepted are"),
    ({"xs": np.zeros((T, B))}, "xs has shape (5, 2); accepted are"),
    ({"xs": np.zeros((0, B, I))}, "xs has shape (0, 2, 2); accepted are T >= 1 steps"),
    ({"lengths": np.zeros((3,), np.int32)}, "lengths has shape (3,); accepted is [B] = (2,)"),
    ({"reset": np.zeros((B,), bool)}, "reset has shape (2,); accepted is [T, B] = (5, 2)"),
    ({"remat_every": 0}, "remat_every is 0; accepted are None and integers >= 1"),
]


@pytest.mark.parametrize(("changed", "text"), REFUSED)
def test_refuses_what_does_not_fit(changed, text):
    cell = LSTM(M)
    params = cell_params(cell)
    inputs = {"xs": np.zeros((T, B, I), np.float32)} | changed
    with pytest.raises(ValueError, match=re.escape(text)):
        unroll(cell, params, cell.init_carry(B), **inputs)
