import gzip
import math
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.char_lm import CharLM, char_lm
from tlstm_jax.tasks.data import text
from tlstm_jax.typing import Task

KEY = jax.random.key(0)


def _task(train, evaluated=None, batch_size=1, segment_length=1, eval_batch_size=1):
    """A task on symbols; on np.arange(N) a symbol is its own position."""
    train = np.asarray(train, np.uint8)
    evaluated = train if evaluated is None else np.asarray(evaluated, np.uint8)
    return CharLM(
        source="test",
        data={"train": train, "valid": evaluated, "test": evaluated},
        vocabulary=tuple(range(int(max(train.max(), evaluated.max())) + 1)),
        batch_size=batch_size,
        segment_length=segment_length,
        eval_batch_size=eval_batch_size,
    )


def _file(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    return path


def _train(task, delay, steps):
    return [task.train_batch(task.data, KEY, jnp.int32(step), delay) for step in range(steps)]


def _evaluation(task, delay, split="valid"):
    return [
        task.eval_batch(task.data, KEY, split, jnp.int32(index), delay)
        for index in range(task.num_eval_batches(split, delay))
    ]


def _answered(batches, delay):
    """What a model with this delay answers at each step: the input `delay` before; -2 for none."""
    late = None
    for batch in batches:
        inputs = np.asarray(batch.inputs)
        if late is None or batch.restart.all():
            late = np.full((delay, inputs.shape[1]), -2)
        joined = np.concatenate([late, inputs])
        late = joined[len(inputs) :]
        yield joined[: len(inputs)], batch


def _measure(task, delay, table, batches):
    """Metrics of a model that answers input i with logits table[i]; NaN without an input."""
    table = np.concatenate([table, np.full((2, table.shape[1]), np.nan)]).astype(np.float32)
    metrics = jax.jit(task.metrics)
    totals = {}
    for answered, batch in _answered(batches, delay):
        for name, pair in metrics(jnp.asarray(table[answered]), batch).items():
            totals[name] = totals.get(name, 0) + np.array(pair, np.float64)
    return {name: total / count for name, (total, count) in totals.items()}, totals["loss"][1]


def test_is_a_task(tmp_path):
    task = char_lm(_file(tmp_path, b"abcde " * 100), 4, 5, 3)
    for name in (*Task.__annotations__, *(m for m in vars(Task) if m[0] != "_")):
        assert hasattr(task, name)
    assert task.stream and task.tokens and not task.last_only and not task.maximize
    assert task.units_per_step == 20
    assert repr(task).startswith("CharLM(source='text: /") and "array" not in repr(task)
    assert "600 bytes" in task.source


def test_python_help_topics_where_no_file_is_given():
    task = char_lm()
    size = sum(part.size for part in task.data.values())
    assert (
        task.source == f"text: Python's help topics ({size:,} bytes), since no data_path was given"
    )
    assert text.decode(task.data["train"], task.vocabulary) == text.help_topics()[: size * 9 // 10]
    assert task.data["valid"].size >= 1000 * task.eval_batch_size
    assert task.segments_per_epoch > 10


def test_split_by_position(tmp_path):
    for size in (1000, 1013, 47):
        content = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
        task = char_lm(_file(tmp_path, content), 2, 3, 1)
        sizes = [task.data[split].size for split in ("train", "valid", "test")]
        assert sum(sizes) == size
        np.testing.assert_allclose(sizes, [0.9 * size, 0.05 * size, 0.05 * size], atol=1)
        known = set(content[: sizes[0]])
        joined = np.concatenate([task.data[split] for split in ("train", "valid", "test")])
        for symbol, byte in zip(joined, content, strict=True):
            assert symbol == (sorted(known).index(byte) if byte in known else len(known))


def test_unknown_bytes_are_counted(tmp_path):
    task = char_lm(_file(tmp_path, b"ab" * 450 + b"aXbYb" * 10 + b"abaab" * 9 + b"aaaZZ"), 2, 3, 2)
    assert task.unknown_counts == {"train": 0, "valid": 20, "test": 2}
    assert task.vocabulary == tuple(b"ab") and task.input_size == task.output_size == 3


def test_every_byte_in_training_leaves_none_unknown(tmp_path):
    task = char_lm(_file(tmp_path, bytes(range(256)) * 8), 2, 3, 2)
    assert task.output_size == 257
    assert task.unknown_counts == {"train": 0, "valid": 0, "test": 0}
    np.testing.assert_array_equal(task.data["train"][:512], np.tile(np.arange(256), 2))


def test_plain_gz_and_zip_are_the_same_task(tmp_path):
    content = b"the quick brown fox\n" * 50
    paths = [tmp_path / name for name in ("a.txt", "a.gz", "a.zip")]
    paths[0].write_bytes(content)
    paths[1].write_bytes(gzip.compress(content))
    with zipfile.ZipFile(paths[2], "w") as archive:
        archive.writestr("a", content)
    tasks = [char_lm(path, 2, 3) for path in paths]
    for task in tasks[1:]:
        assert task.vocabulary == tasks[0].vocabulary
        for split, symbols in tasks[0].data.items():
            np.testing.assert_array_equal(task.data[split], symbols)


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_streams_reproduce_the_training_text(delay):
    symbols = np.random.default_rng(1).integers(0, 99, 3 * 4 * 5 + 9)
    task = _task(symbols, batch_size=3, segment_length=5)
    assert task.segments_per_epoch == 4
    batches = _train(task, delay, 9)
    assert [bool(batch.restart.all()) for batch in batches] == [True, *[False] * 3] * 2 + [True]
    for epoch in (batches[:4], batches[4:8]):
        streams = np.concatenate([batch.inputs for batch in epoch])  # [T, B]
        np.testing.assert_array_equal(streams.T.ravel(), symbols[:60])
    assert all(not batch.restart.any() or batch.restart.all() for batch in batches)
    np.testing.assert_array_equal(batches[8].inputs, batches[0].inputs)


@pytest.mark.parametrize("size", [31, 32, 45, 46])
def test_no_full_segment_is_left_over(size):
    task = _task(np.arange(size), batch_size=3, segment_length=5)
    assert task.segments_per_epoch == {31: 2, 32: 2, 45: 2, 46: 3}[size]
    targets = _train(task, 0, task.segments_per_epoch)[-1].targets
    assert np.max(targets) == task.segments_per_epoch * 15


@pytest.mark.parametrize("delay", [0, 1, 2, 6])
def test_training_targets_follow_the_input_answered(delay):
    task = _task(np.arange(100), batch_size=3, segment_length=7)
    for answered, batch in _answered(_train(task, delay, 2 * task.segments_per_epoch), delay):
        np.testing.assert_array_equal(batch.mask, answered != -2)
        np.testing.assert_array_equal(batch.targets[batch.mask], answered[batch.mask] + 1)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_model_that_knows_the_next_character_is_always_right(delay):
    successor = np.roll(np.arange(41), -1)
    cycle = np.arange(1000) % 41
    task = _task(cycle, cycle[:333], batch_size=4, segment_length=6, eval_batch_size=5)
    table = 100 * np.eye(42)[successor]
    for batches in (_train(task, delay, 50), _evaluation(task, delay)):
        measured, _ = _measure(task, delay, table, batches)
        assert measured["accuracy"] == 1 and measured["bpc"] < 1e-6
        for wrong in (delay + 1, delay - 1):
            if wrong >= 0:
                measured, _ = _measure(task, wrong, np.nan_to_num(table), batches)
                assert measured["accuracy"] < 0.5


@pytest.mark.slow
def test_evaluation_scores_every_character_once():
    for size in (2, 3, 4, 7, 12, 13, 29):
        for streams in {1, 2, 5, size - 1} & set(range(1, size)):
            task = _task(np.arange(40), np.arange(size), segment_length=3, eval_batch_size=streams)
            for delay in (0, 1, 2, 7):
                batches = _evaluation(task, delay)
                scored = []
                for answered, batch in _answered(batches, delay):
                    mask = np.asarray(batch.mask)
                    scored += np.asarray(batch.targets)[mask].tolist()
                    np.testing.assert_array_equal(answered[mask] + 1, batch.targets[mask])
                assert sorted(scored) == list(range(task.excluded("valid"), size))
                assert batches[-1].mask.any()
                lengths = np.sum([np.sum(batch.inputs >= 0, axis=0) for batch in batches], axis=0)
                assert np.ptp(lengths) <= 1 and np.sum(lengths) == size - 1


def test_uniform_model_needs_log2_of_the_output_size():
    symbols = np.random.default_rng(2).integers(0, 30, 200)
    task = _task(symbols, batch_size=2, segment_length=8, eval_batch_size=3)
    table = np.zeros((task.input_size, task.output_size))
    measured, count = _measure(task, 2, table, _evaluation(task, 2))
    assert count == 199
    np.testing.assert_allclose(measured["bpc"], math.log2(task.output_size), rtol=1e-6)
    np.testing.assert_allclose(measured["loss"], math.log(task.output_size), rtol=1e-6)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_bigram_model_measured_by_the_task_and_directly(tmp_path, split):
    content = text.help_topics()[50_000:70_000] + b"\xfe unseen \xff"
    size = 1 + len(text.make_vocabulary(content[:18_000]))
    tasks = [char_lm(_file(tmp_path, content), 5, 20, streams) for streams in (1, 7, 64)]
    counts = np.full((size, size), 0.1)
    np.add.at(counts, (tasks[0].data["train"][:-1], tasks[0].data["train"][1:]), 1)
    logits = np.log(counts / counts.sum(1, keepdims=True))
    part = tasks[0].data[split].astype(int)
    directly = -np.mean(logits[part[:-1], part[1:]]) / math.log(2)
    assert 2 < directly < 5
    for task, delay in zip(tasks, (0, 3, 30), strict=True):
        measured, count = _measure(task, delay, logits, _evaluation(task, delay, split))
        assert count == part.size - 1
        np.testing.assert_allclose(measured["bpc"], directly, rtol=1e-6)


def test_jitted_batches_are_the_same_and_trace_once():
    task = _task(np.arange(150), np.arange(50), 3, 6, 4)
    traces = []

    @jax.jit
    def both(data, step):
        traces.append(step)
        return (
            task.train_batch(data, KEY, step, 2),
            task.eval_batch(data, KEY, "test", step % task.num_eval_batches("test", 2), 2),
        )

    for step in (0, 1, 7, 8, 2**31 - 1):
        index = step % task.num_eval_batches("test", 2)
        plain = (
            task.train_batch(task.data, KEY, step, 2),
            task.eval_batch(task.data, KEY, "test", index, 2),
        )
        jax.tree.map(np.testing.assert_array_equal, plain, both(task.data, jnp.int32(step)))
    assert len(traces) == 1
    for batch, streams in zip(both(task.data, jnp.int32(0)), (3, 4), strict=True):
        assert [leaf.shape for leaf in batch[:3]] == [(6, streams)] * 3
        assert [leaf.dtype for leaf in batch[:3]] == [jnp.int32, jnp.int32, jnp.bool_]
        assert batch.lengths is None
        assert batch.restart.shape == (streams,) and batch.restart.dtype == jnp.bool_


def test_segment_must_be_longer_than_the_delay():
    task = _task(np.arange(50), segment_length=3)
    assert task.train_batch(task.data, KEY, 0, 2).mask.any()
    message = "segment_length is 3; accepted with a model of delay 3 are integers >= 4"
    with pytest.raises(ValueError, match=message):
        task.train_batch(task.data, KEY, 0, 3)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda step: task.train_batch(task.data, KEY, step, 3), jnp.int32(0))


@pytest.mark.parametrize(
    ("size", "settings", "message"),
    [
        (
            100,
            (5, 18, 1),
            "training part has 90 bytes, .*batch_size=5 .*segment_length=18 .* 91; .*",
        ),
        (100, (1, 5, 5), "valid part has 5 bytes, but eval_batch_size=5 streams need at least 6; "),
        (30, (1, 5), "valid part has 1 bytes, but eval_batch_size=1 streams need at least 2; "),
        (1, (1, 1), "training part has 0 bytes, but batch_size=1 .* at least 2; text: .*1 bytes"),
        (100, (0, 5), "batch_size is 0; accepted are integers >= 1"),
        (100, (1, -5), "segment_length is -5; accepted are integers >= 1"),
        (100, (1, 5, 0), "eval_batch_size is 0; accepted are integers >= 1"),
    ],
)
def test_sizes_refused(tmp_path, size, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        char_lm(_file(tmp_path, b"a" * size), *settings)
    assert "\n" not in str(caught.value)


def test_the_shortest_text_accepted(tmp_path):
    task = char_lm(_file(tmp_path, b"a" * 102), 6, 15, 4)  # 91 + 5 + 6
    assert task.segments_per_epoch == 1 and task.num_eval_batches("valid", 0) == 1


def test_file_errors_come_through(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_path '.*none' does not exist"):
        char_lm(tmp_path / "none")
    with pytest.raises(ValueError, match=r"data_path '.*' is empty"):
        char_lm(_file(tmp_path, b""))


def test_unknown_split():
    task = _task(np.arange(50))
    for call in (
        lambda: task.num_eval_batches("train", 0),
        lambda: task.eval_batch(task.data, KEY, "train", 0, 0),
        lambda: task.excluded("train"),
    ):
        with pytest.raises(ValueError, match="split is 'train'; accepted are valid, test"):
            call()


def test_another_vocabulary(tmp_path):
    content = b"abcd" * 90 + b"abcx" * 10
    task = char_lm(_file(tmp_path, content), batch_size=2, segment_length=3)
    assert task.vocabulary == (*b"abcd",)
    other = task.with_vocabulary(b"abdex")
    assert other.vocabulary == (*b"abdex",) and other.input_size == 6
    train, test = (text.decode(other.data[part], other.vocabulary) for part in ("train", "test"))
    assert train == b"abcd".replace(b"c", text.REPLACEMENT) * 90
    assert test == (b"ab" + 2 * text.REPLACEMENT) * 5  # x stays unknown
    same = other.with_vocabulary(other.vocabulary)
    for part in ("train", "valid", "test"):
        np.testing.assert_array_equal(same.data[part], other.data[part])
        assert same.data[part].dtype == np.uint8
    with pytest.raises(
        ValueError, match="256 bytes; accepted for a text with unknown ones are up to 255"
    ):
        task.with_vocabulary(range(256))
