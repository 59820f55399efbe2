"""Every model against its independent version: at once, in segments, with lengths and resets."""

import jax
import jax.numpy as jnp
import model_oracles
import numpy as np
import pytest
from cases import B, M, assert_close, jit, on_device, tokens, vectors
from model_cases import (
    BY_NAME,
    CAUSAL,
    MODELS,
    SHORT,
    STEPS,
    G,
    L,
    ModelCase,
    applied,
    check,
    each,
    gru,
    lstm,
    model_params,
    run,
    segment,
    start,
)

from tlstm_jax.cells.shapes import spatial_shape
from tlstm_jax.models.bidirectional import Bidirectional
from tlstm_jax.models.learned_carry import LearnedCarry


def whole(case, xs, **options):
    params, carry = on_device(model_params(case)), start(case)
    return applied(case)(params, case.state, carry, jnp.asarray(xs), **options)


@each(MODELS)
def test_equals_its_independent_version(case, x64):
    xs = vectors(steps=STEPS, size=case.size)
    carry, ys, state, aux = whole(case, xs)
    assert ys.shape == (STEPS, B, *spatial_shape(case.model), case.model.features)
    assert_close(ys, case.oracle(model_params(case), xs))
    assert jax.tree.structure(carry) == jax.tree.structure(start(case))
    assert (state, aux.keys()) == (case.state, case.costs)


@pytest.mark.slow(but=SHORT)
@each([case for case in MODELS if case.takes_tokens])
def test_equals_its_independent_version_on_tokens(case, x64):
    xs = tokens(steps=STEPS, size=case.size)
    assert_close(whole(case, xs)[1], case.oracle(model_params(case), xs))


@pytest.mark.slow(but=SHORT)
@each(CAUSAL)
def test_a_stream_may_be_split_anywhere(case, x64):
    for first_part in range(STEPS + 1):
        first = segment(case, 1, lengths=(first_part, STEPS - first_part))
        check(case, first, segment(case, 2), segment(case, 3, flush=True))


@pytest.mark.slow(but=SHORT)
@each(CAUSAL)
def test_whole_sequences_and_streams_may_follow_one_another(case, x64):
    for flush in (False, True):
        check(case, segment(case, 1, flush=True), segment(case, 2, flush=flush))
    first, second = (segment(case, n, lengths=(2, 1)) for n in (1, 2))
    check(case, first, second, segment(case, 3, lengths=(0, 3), flush=True))


@pytest.mark.slow(but=SHORT)
@each(CAUSAL)
def test_segments_of_any_size_without_options(case, x64):
    # No lengths and no resets take other paths than lengths and resets that say nothing.
    params, carry, ys = on_device(model_params(case)), start(case), []
    xs = vectors(steps=8, size=case.size)
    for begin, end in [(0, 3), (3, 4), (4, 8)]:
        options = {"reset": np.zeros((4, B), bool)} if begin == 4 else {}
        carry, some, *_ = applied(case)(
            params, case.state, carry, xs[begin:end], flush=False, **options
        )
        ys.append(some)
    delay = case.model.delay
    expected = case.oracle(model_params(case), xs)[: len(xs) - delay]
    ys = np.concatenate(ys)
    assert not ys[:delay].any()
    assert_close(ys[delay:], expected)


@pytest.mark.slow(but=SHORT)
@each(MODELS)
def test_lengths_leave_each_example_as_if_it_were_alone(case, x64):
    for lengths in [(STEPS, 3), (1, 2), (0, STEPS - 1)]:
        check(case, segment(case, 1, lengths=lengths, flush=True))


@pytest.mark.slow(but=SHORT)
@each(CAUSAL)
def test_the_carry_behind_an_end_is_that_of_the_shorter_segment(case, x64):
    long, short = segment(case, 1, lengths=(3, 3)), segment(case, 1)
    carry, _ = run(case, [long])
    params = on_device(model_params(case))
    alone, *_ = applied(case)(params, case.state, start(case), short.xs[:3], flush=False)
    assert_close(carry, alone)
    assert_close(run(case, [segment(case, 1, lengths=(0, 0))])[0], start(case))


@pytest.mark.slow(but=SHORT)
@each([case for case in MODELS if case.resets and case.name != "bidirectional-late"])
def test_resets_start_examples_again_with_flushing(case, x64):
    for at in range(STEPS):
        check(case, segment(case, 1, resets=[(at, 0), (STEPS - 1 - at, 1)], flush=True))
    resets = [(1, 0), (2, 0), (5, 0), (0, 1), (4, 1)]
    check(case, segment(case, 1, resets=resets, flush=True))
    check(case, segment(case, 1, resets=resets, lengths=(4, 5), flush=True))


@pytest.mark.slow(but=SHORT)
@each(CAUSAL)
def test_resets_of_a_stream_are_known_to_the_next_segment(case, x64):
    for at in range(STEPS):
        resets = [(at, 0), (STEPS - 1 - at, 1)]
        check(case, segment(case, 1, resets=resets), segment(case, 2))
    first = segment(case, 1, resets=[(4, 0), (5, 1)], lengths=(5, 5))  # the last is no input
    second = segment(case, 2, resets=[(0, 0), (1, 1)], lengths=(1, 2))
    check(case, first, second, segment(case, 3, resets=[(1, 0)]), segment(case, 4, flush=True))


@each(CAUSAL)
def test_any_cuts_and_resets(case, x64):
    rng = np.random.default_rng(0)
    for seed in range(3):
        segments = []
        for n in range(4):
            resets = np.argwhere(rng.random((STEPS, B)) < 0.2)
            flush = n > 1 and rng.random() < 0.5
            lengths = rng.integers(0, STEPS + 1, B)
            segments.append(
                segment(case, seed + n, lengths=lengths, resets=resets, flush=bool(flush))
            )
        check(case, *segments)


@pytest.mark.slow(but=SHORT)
@each(CAUSAL)
def test_token_by_token_gives_the_sequence(case, x64):
    params = on_device(model_params(case))
    carry, ys = case.model.init_token_carry(B, np.float64, params=params), []
    advance = jit(case.model.token_step)
    xs = vectors(steps=STEPS, size=case.size)
    for x in xs:
        carry, y = advance(params, case.state, carry, jnp.asarray(x))
        ys.append(y)
    assert_close(np.stack(ys), case.oracle(model_params(case), xs))


def test_a_reset_drops_what_is_under_way_in_either_direction(x64):
    case = BY_NAME["bidirectional-late"]
    model, params = case.model, model_params(case)
    ahead, back = model.forward.delay, model.backward.delay
    for at in range(1, STEPS):
        s = segment(case, 1, resets=[(at, 0)], flush=True)
        first, second = (case.oracle(params, xs) for xs in (s.xs[:at, :1], s.xs[at:, :1]))
        first[max(at - ahead, 0) :, :, :M] = 0  # the forward direction comes from the first part,
        second[:back, :, M:] = 0  # the backward one from the second
        _, (ys,) = run(case, [s])
        assert_close(ys[:, :1], np.concatenate([first, second]))
        assert_close(ys[:, 1:], case.oracle(params, s.xs[:, 1:]))


@pytest.mark.parametrize("learned", [False, True])
def test_the_backward_direction_is_reset_with_every_segment(learned, x64):
    model = Bidirectional(L, LearnedCarry(G) if learned else G)
    backward = model_oracles.learned_carry_gru if learned else gru
    case = ModelCase("segments", model, None)
    params = model_params(case)
    first, second = (segment(case, n, lengths=lengths) for n, lengths in [(1, (6, 2)), (2, (3, 6))])
    _, outputs = run(case, [first, second])
    for b in range(B):
        real = [s.xs[: s.lengths[b], b : b + 1] for s in (first, second)]
        forward = lstm(params["forward"], np.concatenate(real))
        for xs, ys in zip(real, outputs, strict=True):
            now, forward = forward[: len(xs)], forward[len(xs) :]
            reversed_ = backward(params["backward"], xs[::-1])[::-1]
            assert_close(ys[: len(xs), b : b + 1], np.concatenate([now, reversed_], axis=-1))
            assert not ys[len(xs) :, b].any()


@each([case for case in MODELS if not case.model.causal])
def test_what_is_not_causal_does_not_go_token_by_token(case):
    params = model_params(case)
    text = r"^\w+ is not causal; accepted token by token are causal models$"
    with pytest.raises(ValueError, match=text):
        case.model.init_token_carry(B, params=params)
    with pytest.raises(ValueError, match=text):
        case.model.token_step(params, (), ((), (), ()), jnp.zeros((B, *case.sizes)))
