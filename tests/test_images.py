import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks import images
from tlstm_jax.typing import Batch, Task

KEY = jax.random.key(3)


def arrays(count, start, side=(4, 5)):
    """Images that can be told apart: number start + i stands in the first two pixels."""
    rng = np.random.default_rng(start)
    x = rng.integers(0, 256, (count, *side), dtype=np.uint8)
    numbers = np.arange(start, start + count)
    x[:, 0, 0], x[:, 0, 1] = numbers // 256, numbers % 256
    return x, (numbers % 10).astype(np.int32)


TRAIN, TEST = arrays(103, 0), arrays(31, 1000)


def make(**settings):
    settings = {"batch_size": 8, "eval_batch_size": 10, **settings}
    return images.from_arrays("toy", TRAIN, TEST, **settings)


def pixels_of(task, batch):
    """[B, T] uint8: the standardization undone with the task's own numbers."""
    values = np.asarray(batch.inputs)[:, :, 0].T * task.data["std"] + task.data["mean"]
    return np.rint(values).astype(np.uint8)


def numbers_of(pixels):
    return pixels[:, 0].astype(int) * 256 + pixels[:, 1]


def test_has_every_attribute_of_the_protocol():
    task = make()
    for name in [*Task.__annotations__, *(n for n in vars(Task) if n[0] != "_")]:
        assert hasattr(task, name), name
    assert (task.tokens, task.stream, task.last_only, task.target) == (False, False, True, None)
    assert (task.metric, task.maximize, task.unit) == ("accuracy", True, "samples")
    assert (task.input_size, task.output_size, task.units_per_step, task.steps) == (1, 10, 8, 20)


def test_is_hashed_by_identity_and_shows_no_arrays():
    first, second = make(), make(permutation_seed=3)
    assert first != make() and len({first, second, first}) == 2
    assert repr(second) == (
        "Images(name='toy', steps=20, train=93, valid=10, test=31, batch_size=8, "
        "eval_batch_size=10, permutation_seed=3)"
    )


def test_parts_are_disjoint_and_together_everything():
    task = make(valid_fraction=0.25)
    parts = {split: task.data[split] for split in ("train", "valid", "test")}
    numbers = {split: numbers_of(part["images"]) for split, part in parts.items()}
    assert len(numbers["valid"]) == 26
    assert sorted([*numbers["train"], *numbers["valid"]]) == list(range(103))
    assert not set(numbers["train"]) & set(numbers["valid"])
    assert list(numbers["test"]) == list(range(1000, 1031))
    for split, part in parts.items():
        assert part["images"].dtype == np.uint8 and part["labels"].dtype == np.int32
        np.testing.assert_array_equal(part["labels"], numbers[split] % 10)
    assert list(numbers["valid"]) != sorted(numbers["valid"])  # drawn, not the first ones
    np.testing.assert_array_equal(
        numbers["train"],
        numbers_of(make(valid_fraction=0.25, batch_size=3).data["train"]["images"]),
    )


def test_the_permutation_is_one_of_the_pixels_and_the_same_for_every_image():
    plain, permuted = make(), make(permutation_seed=5)
    ruler = np.arange(20, dtype=np.uint8).reshape(1, 4, 5)  # each pixel holds its own place
    test = np.concatenate([ruler, TEST[0]]), np.concatenate([TEST[1][:1], TEST[1]])
    order = images.from_arrays("toy", TRAIN, test, permutation_seed=5).data["test"]["images"][0]
    assert sorted(order) == list(range(20)) and list(order) != list(range(20))
    for split in ("train", "valid", "test"):
        undone = np.empty_like(permuted.data[split]["images"])
        undone[:, order] = permuted.data[split]["images"]
        np.testing.assert_array_equal(undone, plain.data[split]["images"])
        np.testing.assert_array_equal(permuted.data[split]["labels"], plain.data[split]["labels"])
    other = make(permutation_seed=6).data["test"]["images"]
    assert not np.array_equal(other, permuted.data["test"]["images"])
    again = make(permutation_seed=5, valid_fraction=0.3, batch_size=2).data["test"]["images"]
    np.testing.assert_array_equal(again, permuted.data["test"]["images"])


@pytest.mark.parametrize("batch_size", [8, 31, 93])  # 93 training images: with and without a rest
def test_every_image_comes_at_most_once_an_epoch(batch_size):
    task = make(batch_size=batch_size)
    train_batch = jax.jit(task.train_batch, static_argnums=3)
    steps = 93 // batch_size
    epochs = []
    for epoch in range(3):
        seen = []
        for step in range(epoch * steps, (epoch + 1) * steps):
            batch = train_batch(task.data, KEY, step, 0)
            chex.assert_shape(batch.inputs, (20, batch_size, 1))
            chex.assert_shape([batch.targets, batch.mask], (1, batch_size))
            chex.assert_type(batch[:3], [jnp.float32, jnp.int32, bool])
            assert batch.mask.all() and batch.lengths is None and batch.restart is None
            numbers = numbers_of(pixels_of(task, batch))
            np.testing.assert_array_equal(batch.targets[0], numbers % 10)
            seen.extend(numbers)
        assert len(set(seen)) == len(seen) == steps * batch_size
        assert set(seen) <= set(numbers_of(task.data["train"]["images"]))
        epochs.append(seen)
    assert epochs[0] != epochs[1] and epochs[1] != epochs[2]


def test_batches_depend_on_key_and_step_alone():
    task = make()
    first = task.train_batch(task.data, KEY, 14, 0)
    chex.assert_trees_all_equal(first, task.train_batch(task.data, KEY, 14, 5))
    other = task.train_batch(task.data, jax.random.key(4), 14, 0)
    assert not np.array_equal(first.inputs, other.inputs)


def test_pixels_are_standardized_by_the_training_part():
    task = make(batch_size=93)
    train = TRAIN[0].reshape(103, -1)[numbers_of(task.data["train"]["images"])]
    inputs = np.asarray(task.train_batch(task.data, KEY, 0, 0).inputs, np.float64)
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-5)
    inputs = task.eval_batch(task.data, KEY, "test", 0, 0).inputs
    expected = (TEST[0].reshape(31, 20)[:10] - train.mean()) / np.std(train)
    np.testing.assert_allclose(inputs[:, :, 0], expected.T, atol=1e-5)


@pytest.mark.parametrize("eval_batch_size", [1, 10, 31, 64])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_an_evaluation_counts_every_image_once(split, eval_batch_size):
    task = make(eval_batch_size=eval_batch_size)
    eval_batch = jax.jit(task.eval_batch, static_argnums=(2, 4))
    seen, targets = [], []
    for index in range(task.num_eval_batches(split, 0)):
        batch = eval_batch(task.data, KEY, split, index, 0)
        chex.assert_shape(batch.inputs, (20, eval_batch_size, 1))
        chex.assert_shape([batch.targets, batch.mask], (1, eval_batch_size))
        assert batch.mask.any() and np.isfinite(batch.inputs).all()
        mask = np.asarray(batch.mask[0])
        seen.extend(numbers_of(pixels_of(task, batch)[mask]))
        targets.extend(np.asarray(batch.targets[0])[mask])
    assert seen == list(numbers_of(task.data[split]["images"]))
    assert targets == list(task.data[split]["labels"])


def test_jit_changes_nothing_and_compiles_once():
    task = make(permutation_seed=1)
    data = jax.device_put(task.data)
    train = jax.jit(chex.assert_max_traces(lambda d, k, s: task.train_batch(d, k, s, 2), 1))
    test = jax.jit(chex.assert_max_traces(lambda d, k, i: task.eval_batch(d, k, "test", i, 2), 1))
    for step in (0, 1, 12, 1000):
        got = train(data, KEY, jnp.int32(step))
        chex.assert_trees_all_close(got, task.train_batch(task.data, KEY, step, 2), rtol=1e-6)
    for index in range(4):
        got = test(data, KEY, jnp.int32(index))
        expected = task.eval_batch(task.data, KEY, "test", index, 2)
        chex.assert_trees_all_close(got, expected, rtol=1e-6)


def test_the_arrays_are_those_of_the_argument():
    task = make()
    data = jax.tree.map(np.copy, task.data)
    data["train"]["labels"][:] = 7
    data["test"]["labels"][:] = 7
    assert (task.train_batch(data, KEY, 0, 0).targets == 7).all()
    assert (task.eval_batch(data, KEY, "test", 0, 0).targets == 7).all()


def test_metrics_are_loss_and_accuracy_of_the_scored_images():
    logits = np.random.default_rng(0).normal(size=(1, 4, 10)).astype(np.float32)
    best = logits[0].argmax(axis=-1)
    targets = np.array([[best[0], (best[1] + 1) % 10, best[2], best[3]]], np.int32)
    mask = np.array([[True, True, True, False]])
    sums = make().metrics(logits, Batch(np.zeros((20, 4, 1), np.float32), targets, mask))
    assert set(sums) == {"loss", "accuracy"}
    assert [float(x) for x in sums["accuracy"]] == [2, 3]
    log_total = np.log(np.exp(logits[0].astype(np.float64)).sum(axis=-1))
    expected = sum(log_total[i] - logits[0, i, targets[0, i]] for i in range(3))
    np.testing.assert_allclose([float(x) for x in sums["loss"]], [expected, 3], rtol=1e-6)


def test_digits_need_no_files():
    from sklearn.datasets import load_digits

    task, permuted = images.digits(), images.pdigits(permutation_seed=2)
    assert (task.name, permuted.name) == ("digits", "pdigits")
    assert (task.permutation_seed, permuted.permutation_seed) == (None, 2)
    parts = [task.data[split] for split in ("train", "valid", "test")]
    assert [len(part["labels"]) for part in parts] == [1293, 144, 360]
    assert task.steps == 64
    found = np.concatenate([np.c_[part["images"], part["labels"]] for part in parts])
    bundle = load_digits()
    expected = np.c_[bundle.data, bundle.target]
    assert sorted(map(tuple, found.astype(int))) == sorted(map(tuple, expected.astype(int)))
    assert not np.array_equal(task.data["test"]["images"], permuted.data["test"]["images"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"batch_size": 94},
            "batch_size is 94; accepted are 1 to 93, the training images",
        ),
        ({"batch_size": 0}, "batch_size is 0; accepted are 1 to 93"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0; accepted are integers >= 1"),
        ({"valid_fraction": 0.0}, "valid_fraction is 0.0, 0 of 103 .*accepted are 1 to 102"),
        ({"valid_fraction": 1.0}, "valid_fraction is 1.0, 103 of 103 .*accepted are 1 to 102"),
        ({"valid_fraction": -0.5}, "valid_fraction is -0.5, -52 of 103"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=rf"^{message}[^\n]*$"):
        make(**settings)


def test_bad_names_and_images_are_refused():
    with pytest.raises(ValueError, match="name is 'cifar'; accepted are mnist, pmnist, "):
        images.load("cifar")
    task = make()
    for call in (
        lambda: task.eval_batch(task.data, KEY, "train", 0, 0),
        lambda: task.num_eval_batches("train", 0),
    ):
        with pytest.raises(ValueError, match="split is 'train'; accepted are valid, test"):
            call()
    blank = np.full((9, 4, 5), 3, np.uint8), np.zeros(9, np.int32)
    with pytest.raises(ValueError, match="all training pixels of blank are 3; accepted are pixels"):
        images.from_arrays("blank", blank, TEST, batch_size=2)


def test_the_import_is_light():
    code = (
        "import sys, tasks.images; assert not {*sys.modules} & {'sklearn', 'tensorflow_datasets'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
