"""The curriculum of drawn tasks: sizes that grow with the training step."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from task_cases import KEY, evaluation, train

from tlstm_jax import Network, NeuralGPU, TrainSettings, fit
from tlstm_jax.tasks.addition import addition
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.tasks.transduction import duplication, reversal

SIZE, B = 5, 60


def _memorization(**settings):
    return memorization(num_symbols=SIZE, alphabet_size=11, batch_size=B, **settings)


def _addition(**settings):
    return addition(num_digits=SIZE, batch_size=B, **settings)


def _duplication(**settings):
    return duplication(num_symbols=SIZE, batch_size=B, **settings)


def _reversal(**settings):
    return reversal(num_symbols=SIZE, batch_size=B, **settings)


MAKERS = [_memorization, _addition, _duplication, _reversal]
TASKS = pytest.mark.parametrize("make", MAKERS)


def _sizes(batch, task):
    """The sizes of a batch's samples, from their lengths."""
    per = 2 if task.name in ("memorization", "reversal") else 3
    more = 4 if task.name == "addition" else 2
    sizes, rest = np.divmod(batch.lengths - more, per)
    assert not rest.any()
    return sizes


@TASKS
def test_without_a_curriculum_batches_are_what_they_were(make):
    task = make()
    for step in (0, 7):
        key = jax.random.fold_in(KEY, step)
        drawn = task.sample(key, B, SIZE, len(task.alphabet) - 1)
        chex.assert_trees_all_equal(train(task, step), jax.tree.map(np.asarray, drawn))
        assert train(task, step).lengths is None


@pytest.mark.slow(but=["_memorization"])
@TASKS
def test_evaluations_are_of_the_full_size_with_and_without_one(make):
    plain, grown = make(), make(curriculum_steps=10)
    chex.assert_trees_all_equal(evaluation(plain, "valid"), evaluation(grown, "valid"))


@TASKS
def test_samples_of_the_full_size_are_those_of_a_task_without(make):
    task = make()
    blank = len(task.alphabet) - 1
    whole = task.sample(KEY, B, SIZE, blank)
    of_sizes = task.sample_of_sizes(KEY, jnp.full((B,), SIZE, jnp.int32), SIZE, blank)
    chex.assert_trees_all_equal(of_sizes._replace(lengths=None), whole)
    np.testing.assert_array_equal(of_sizes.lengths, np.full(B, len(whole.inputs)))


@pytest.mark.slow(but=["3-_addition", "1-_reversal"])
@TASKS
@pytest.mark.parametrize("start", [1, 3])
def test_the_longest_size_grows_with_the_step_and_all_below_are_drawn(make, start):
    task = make(curriculum_start=start, curriculum_steps=20)
    for step in (0, 5, 19, 20, 1000):
        sizes = _sizes(train(task, step), task)
        longest = start + (SIZE - start) * min(step, 20) // 20
        assert set(sizes) == set(range(1, longest + 1))


@pytest.mark.slow(but=["2"])
@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_a_smaller_sample_is_one_of_the_smaller_task_and_padded(size):
    for task in (make() for make in MAKERS):
        blank, small = len(task.alphabet) - 1, dataclasses.replace(task, size=size)
        batch = task.sample_of_sizes(KEY, jnp.full((B,), size, jnp.int32), SIZE, blank)
        length = int(batch.lengths[0])
        assert (batch.lengths == length).all()
        inputs, targets, mask = (np.asarray(x) for x in batch[:3])
        assert (inputs[length:] == blank).all() and not mask[length:].any()
        assert (targets[length:] == blank).all()
        small.encode(task.text(inputs[:length, 0]))  # which refuses another form
        blanks = inputs == blank
        np.testing.assert_array_equal(blanks, np.broadcast_to(blanks[:, :1], blanks.shape))
        for b in range(B):
            given = task.text(inputs[:length, b])
            scored = task.text(targets[mask[:, b], b])
            if task.name != "addition":
                asked = given[1 : size + 1]
                answers = {"memorization": asked, "duplication": 2 * asked, "reversal": asked[::-1]}
                assert scored == answers[task.name]
                places = size + 1 + np.arange(len(scored))
                np.testing.assert_array_equal(np.flatnonzero(mask[:, b]), places)
            else:
                _, x, y, *_ = given.split("-")
                assert len(x) == len(y) == size and scored == f"{int(x) + int(y)}-"
                assert np.flatnonzero(mask[:, b])[0] == 2 * size + 2


@pytest.mark.slow(but=["_memorization"])
@TASKS
def test_batches_under_vmap_and_at_any_step_are_the_same(make):
    task = make(curriculum_steps=20)
    steps = jnp.arange(3, 9, dtype=jnp.int32)
    many = jax.jit(jax.vmap(lambda step: task.train_batch((), KEY, step, 0)))(steps)
    for n, step in enumerate(steps):
        chex.assert_trees_all_equal(jax.tree.map(lambda x: x[n], many), train(task, step))  # noqa: B023


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"curriculum_start": 6, "curriculum_steps": 9},
            "curriculum_start is 6; accepted for {} of size 5 are 1 to 5",
        ),
        ({"curriculum_start": 6}, "curriculum_start is 6; accepted for {} of size 5 are 1 to 5"),
        (
            {"curriculum_start": 0, "curriculum_steps": 9},
            "curriculum_start is 0; accepted for {} of size 5 are 1 to 5",
        ),
        ({"curriculum_start": 2}, "curriculum_start is 2; accepted without curriculum_steps is 1"),
        ({"curriculum_steps": -1}, "curriculum_steps is -1; accepted are integers >= 0"),
    ],
)
@TASKS
def test_a_curriculum_longer_than_the_sequence_is_refused_by_name(make, settings, text):
    with pytest.raises(ValueError) as error:
        make(**settings)
    assert str(error.value) == text.format(make().name)


def test_a_task_whose_samples_have_one_size_has_no_curriculum():
    with pytest.raises(ValueError, match=r"^curriculum_steps is 3; accepted for memorization, wh"):
        dataclasses.replace(_memorization(), sample_of_sizes=None, curriculum_steps=3)


@pytest.mark.slow(but=["_memorization"])
@TASKS
def test_prompts_are_read_whatever_the_curriculum(make):
    task = make(curriculum_start=SIZE, curriculum_steps=9)
    text = task.text(train(make(), 0).inputs[:, 0])
    np.testing.assert_array_equal(task.encode(text), make().encode(text))


@pytest.mark.slow
def test_a_model_over_whole_sequences_trains_on_it():
    task = _memorization(curriculum_steps=4)
    network = Network(NeuralGPU(4), task.input_size, task.output_size, tokens=True)
    train_settings = TrainSettings(num_steps=4, steps_per_call=2, eval_every=4, checkpoint_every=4)
    *_, report = fit(network, task, train_settings)
    assert report.progress.step == 4 and np.isfinite(report.valid["loss"])
