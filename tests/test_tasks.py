"""What holds for every task: of the catalogue, and of a user's own."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from task_cases import (
    CASES,
    FEW,
    KEY,
    SHORT,
    SPLITS,
    evaluation,
    joined,
    logits_of,
    part,
    totals,
    train,
    write_data,
)

from tlstm_jax import LSTM, Network
from tlstm_jax.cells.shapes import sizes_of
from tlstm_jax.network import task_sizes
from tlstm_jax.tasks import base
from tlstm_jax.tasks.base import check_task
from tlstm_jax.training.compatibility import check_fits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    write_data(path)
    return path


@pytest.fixture(scope="module", params=CASES, ids=[case.name for case in CASES])
def case(request):
    return request.param


@pytest.fixture(scope="module")
def task(case, folder):
    return case.make(folder, case.eval_batch_size)


@pytest.mark.slow(but=SHORT)
def test_has_all_that_the_programs_ask(case, task):
    check_task(task)
    assert task.name == case.name
    known = {("accuracy", True), ("loss", False)}
    assert task.target is None or (task.metric, task.maximize) in known
    notes = {split: task.notes(split) for split in SPLITS}
    assert all(isinstance(v, int | float | str) for note in notes.values() for v in note.values())
    assert isinstance(task.about, str) and "\n" not in task.about
    assert len(task.class_names) == task.output_size
    assert len(set(task.token_names)) > 1 or not task.tokens
    check_fits(Network(LSTM(2), **task_sizes(task)), task, task.data)


@pytest.mark.slow(but=["memorization", "char_lm", "digits"])
def test_shapes_and_dtypes(task):
    batches = [(train(task, step), task.batch_size) for step in (0, 1)]
    batches += [(b, task.eval_batch_size) for split in SPLITS for b in evaluation(task, split)]
    for batch, size in batches:
        T, B = batch.inputs.shape[:2]
        assert size == B
        if task.tokens:
            assert batch.inputs.dtype == np.int32 and batch.inputs.ndim == 2
            assert batch.inputs.min() >= -1 and batch.inputs.max() < task.input_size
        else:
            assert batch.inputs.dtype == np.float32
            assert batch.inputs.shape == (T, B, *sizes_of(task.input_size))
        assert batch.targets.shape[1] == B and batch.mask.shape[1] == B
        assert batch.mask.dtype == bool
        if batch.targets.ndim == 2:
            assert batch.targets.dtype == np.int32
            assert batch.targets.shape == batch.mask.shape == (1 if task.last_only else T, B)
        if batch.lengths is not None:
            assert batch.lengths.dtype == np.int32 and batch.lengths.shape == (B,)
            assert batch.lengths.min() >= 1 and batch.lengths.max() <= T
        assert (batch.restart is not None) <= task.stream
        if batch.restart is not None:
            assert batch.restart.dtype == bool and batch.restart.shape == (B,)


@pytest.mark.slow(but=["memorization", "char_lm", "digits"])
def test_a_training_batch_is_a_function_of_data_key_and_step(task):
    first, again = train(task, 5), train(task, 5)
    chex.assert_trees_all_equal(first, again)
    plain = task.train_batch(task.data, KEY, jnp.int32(5), 0)
    chex.assert_trees_all_close(first, plain, rtol=1e-6)
    assert not np.array_equal(first.inputs, train(task, 6).inputs)
    other = train(task, 5, key=jax.random.key(4))
    assert np.array_equal(first.inputs, other.inputs) == task.stream


@pytest.mark.slow(but=["memorization", "char_lm", "digits"])
def test_batches_under_vmap_are_the_same(task):
    steps = np.arange(3, dtype=np.int32)
    keys = jax.random.split(KEY, 3)

    @jax.jit
    def mapped(data):
        return jax.vmap(lambda key, step: task.train_batch(data, key, step, 0))(keys, steps)

    batches = jax.tree.map(np.asarray, mapped(task.data))
    for n in range(3):
        alone = train(task, n, key=keys[n])
        chex.assert_trees_all_close(part(batches, n), alone, rtol=1e-6)


@pytest.mark.slow(but=["memorization", "char_lm", "digits"])
def test_a_run_that_resumes_at_any_step_reads_the_same_batches(task):
    @jax.jit
    def from_the_beginning(data):
        def body(step, _):
            return step + 1, task.train_batch(data, KEY, step, 0)

        return jax.lax.scan(body, jnp.int32(0), None, length=FEW)[1]

    whole = jax.tree.map(np.asarray, from_the_beginning(task.data))
    for step in reversed(range(FEW)):
        expected = part(whole, step)
        chex.assert_trees_all_close(train(task, step), expected, rtol=1e-6)


@pytest.mark.slow(but=SHORT)
def test_an_evaluation_is_fixed_by_its_key_alone(task):
    for split in SPLITS:
        first = evaluation(task, split)
        chex.assert_trees_all_equal(first, evaluation(task, split))
        other = evaluation(task, split, key=jax.random.key(4))
        same = all(np.array_equal(a.inputs, b.inputs) for a, b in zip(first, other, strict=True))
        assert same != task.fresh
    valid, test = (evaluation(task, split)[0].inputs for split in SPLITS)
    assert valid.shape != test.shape or not np.array_equal(valid, test)


@pytest.mark.slow(but=SHORT)
def test_an_evaluation_scores_every_example_once(case, task):
    for split, number in zip(SPLITS, case.examples, strict=True):
        masks = [batch.mask for batch in evaluation(task, split)]
        scored = sum(np.sum(m) if task.stream else np.sum(m.any(axis=0)) for m in masks)
        assert scored == number
        assert masks[-1].any()  # no batch too many


@pytest.mark.slow(but=["memorization"])
def test_an_evaluation_in_parts_equals_one_at_once(task):
    batches = evaluation(task, "valid")[:5]
    whole = joined(batches)
    expected = task.metrics(logits_of(task, whole), whole)
    assert task.metric in expected and "loss" in expected
    for name, found in totals(task, batches).items():
        np.testing.assert_allclose(found, np.asarray(expected[name]), rtol=1e-4, err_msg=name)


@pytest.mark.slow(but=["memorization", "char_lm"])
def test_an_evaluation_does_not_depend_on_the_size_of_its_batches(case, task, folder):
    if task.fresh:
        pytest.skip("whose samples are drawn batch by batch")
    for split in SPLITS:
        expected = totals(task, evaluation(task, split))
        for size in (3, 13):
            found = totals(task, evaluation(case.make(folder, size), split))
            chex.assert_trees_all_close(found, expected, rtol=1e-4)


@pytest.mark.slow(but=SHORT)
def test_no_example_comes_twice_in_an_epoch(case, task):
    steps = FEW if case.epoch is None else case.epoch
    rows = [
        row.tobytes() for step in range(steps) for row in train(task, step).inputs.swapaxes(0, 1)
    ]
    if case.name in ("FirstSymbol", "memorization", "addition", "pixels_digits"):  # alike by chance
        assert len(set(rows)) > 0.9 * len(rows)
    else:
        assert len(set(rows)) == len(rows) == steps * task.batch_size
    if case.epoch is not None:
        one_more = [row.tobytes() for row in train(task, steps).inputs.swapaxes(0, 1)]
        assert set(one_more) & set(rows)


@pytest.mark.slow(but=SHORT)
def test_the_outline_stands_for_the_task_without_its_data(case, task, folder):
    outline, other = task.outline, case.make(folder, case.eval_batch_size)
    assert outline == other.outline and hash(outline) == hash(other.outline)
    assert outline.outline is outline
    assert outline != case.make(folder, case.eval_batch_size + 1).outline
    assert not any(isinstance(x, np.ndarray | jax.Array) for x in jax.tree.leaves(outline.data))
    if task.data == ():
        assert outline is task == other
    else:
        assert task != other and task != outline and len({task, other, task}) == 2
    chex.assert_trees_all_equal_shapes(
        jax.eval_shape(lambda data: outline.train_batch(data, KEY, 0, 0), outline.data),
        train(task, 0),
    )
    assert outline.num_eval_batches("test", 2) == task.num_eval_batches("test", 2)


def test_nothing_is_scored_behind_a_sequences_end(task):
    batch = train(task, 0)
    if batch.lengths is None:
        assert batch.mask.any()
        return
    behind = np.arange(len(batch.inputs))[:, None] >= batch.lengths[None]
    assert behind.any() and not behind.all()
    if len(batch.mask) > 1:
        assert not (batch.mask & behind).any()
    changed = np.where(behind.reshape(behind.shape + (1,) * (batch.inputs.ndim - 2)), 0, 1)
    other = batch._replace(inputs=batch.inputs * changed.astype(batch.inputs.dtype))
    logits = logits_of(task, batch)
    if not task.last_only:
        logits = np.where(behind[..., None], 7.0, logits).astype(np.float32)
        expected = totals(task, [batch])
        found = task.metrics(logits, other)
        for name, sums in expected.items():
            np.testing.assert_allclose(np.asarray(found[name]), sums, rtol=1e-5)


@pytest.mark.slow(but=["memorization-3", "char_lm-1", "char_lm-3"])
@pytest.mark.parametrize("delay", [1, 3])
def test_targets_of_a_stream_lag_by_the_delay_and_others_do_not(task, delay):
    if not task.stream:
        chex.assert_trees_all_equal(train(task, 1), train(task, 1, delay=delay))
        for split in SPLITS:
            chex.assert_trees_all_equal(
                evaluation(task, split), evaluation(task, split, delay=delay)
            )
        return
    steps = 0, 0, 0, 0, 0
    reads = [
        (
            [train(task, step) for step in range(FEW)],
            [train(task, step, delay=delay) for step in range(FEW)],
        ),
        *((evaluation(task, split), evaluation(task, split, delay=delay)) for split in SPLITS),
    ]
    for prompt, late in reads:
        assert all(batch.restart.all() == (n == 0) for n, batch in enumerate(late))
        prompt, late = joined(prompt, steps), joined(late, steps)
        T = min(len(prompt.mask), len(late.mask) - delay)
        np.testing.assert_array_equal(prompt.inputs[:T], late.inputs[:T])
        assert not late.mask[:delay].any()
        np.testing.assert_array_equal(late.mask[delay : delay + T], prompt.mask[:T])
        scored = prompt.mask[:T]
        np.testing.assert_array_equal(
            late.targets[delay : delay + T][scored], prompt.targets[:T][scored]
        )
        if task.autoregressive:
            nexts = prompt.mask[: T - 1] & prompt.mask[1:T]
            np.testing.assert_array_equal(prompt.targets[: T - 1][nexts], prompt.inputs[1:T][nexts])


@pytest.mark.slow(but=SHORT)
def test_what_is_read_can_be_written_and_read_again(task):
    if not task.tokens:
        with pytest.raises(ValueError, match=f"task {task.name} reads no tokens; accepted "):
            task.encode("0")
        return
    tokens = train(task, 0).inputs[:, 1]
    np.testing.assert_array_equal(task.encode(task.text(tokens)), tokens)
    assert task.encode(task.text(tokens)).dtype == np.int32


@pytest.mark.slow(but=SHORT)
def test_an_answer_is_in_the_words_of_the_task(task):
    batch = evaluation(task, "valid")[0]
    if not task.tokens or task.autoregressive:
        return
    answer = task.answer(batch.inputs[:, 0], batch.targets[:, 0])
    scored = batch.targets[batch.mask[:, 0], 0]
    assert "".join(task.class_names[i] for i in scored) == answer.replace(" ", ""), (
        "a task whose places are not all scored has its own `answer`, with spaces for those that are not"
    )


@pytest.mark.slow(but=["parity", "induction_copy"])
def test_longer_sequences_are_of_the_same_network(task):
    if task.length_setting is None:
        with pytest.raises(ValueError, match=f"task {task.name} has no length_setting; accepted"):
            task.longer(2)
        return
    longer = task.longer(3)
    steps, more = (len(evaluation(t, "test")[0].inputs) for t in (task, longer))
    assert more == 3 * steps and longer.eval_batch_size == -(-task.eval_batch_size // 3)
    assert task_sizes(longer) == task_sizes(task) and type(longer) is type(task)
    assert longer.num_examples("test") == task.num_examples("test")


def test_a_field_of_a_task_has_no_default_but_its_own():
    @dataclasses.dataclass(frozen=True)
    class Own(base.BaseTask):
        data: tuple
        name: str
        eval_batch_size: int
        batch_size: int

    task = Own((np.zeros(3),), "own", 2, 5)
    assert (task.name, task.eval_batch_size, task.units_per_step) == ("own", 2, 5)
    assert task == task != Own(*dataclasses.astuple(task))  # by their data
    assert task.outline.data[0].shape == (3,)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'batch_size'"):
        Own((), "own", 2)
    with pytest.raises(ValueError, match="eval_batch_size is 0; accepted are integers >= 1"):
        Own((), "own", 0, 5)


def test_what_a_task_lacks_is_named():
    @dataclasses.dataclass(frozen=True)
    class Own(base.BaseTask):
        data: tuple
        batch_size: int = 2
        input_size = output_size = 3

    for call, what in (
        (lambda t: t.train_batch(t.data, KEY, 0, 0), "train_batch and eval_batch"),
        (lambda t: t.num_eval_batches("valid", 0), "has data and no num_examples"),
    ):
        with pytest.raises(ValueError, match=f"^task Own (has no )?{what}"):
            call(Own((np.zeros(3),)))
    with pytest.raises(ValueError, match=r"^task Own has no draw; accepted are tasks with draw$"):
        Own(()).train_batch((), KEY, 0, 0)
    with pytest.raises(ValueError, match=r"^task object has no name, input_size, .*; accepted are"):
        check_task(object())

    class Words(Own):
        vocabulary = ("the", "cat")

    with pytest.raises(ValueError, match=r"^vocabulary of task Words is .*; accepted are None and"):
        check_task(Words(()))
