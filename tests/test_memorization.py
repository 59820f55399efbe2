import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.memorization import memorization


@pytest.mark.parametrize(("n", "alphabet_size"), [(5, 3), (20, 64), (2, 100)])
def test_layout(n, alphabet_size):
    task = memorization(num_symbols=n, alphabet_size=alphabet_size, batch_size=40)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(3), 0)
    inputs, targets = np.array(batch.inputs), np.array(batch.targets)
    assert inputs.shape == (2 * n + 2, 40)
    assert task.input_size == task.output_size == alphabet_size + 1
    symbols = inputs[1 : n + 1]
    assert symbols.max() < alphabet_size
    blank = alphabet_size
    np.testing.assert_array_equal(targets[n + 1 : 2 * n + 1], symbols)
    assert (inputs[0] == blank).all() and (inputs[n + 1 :] == blank).all()
    assert (targets[: n + 1] == blank).all() and (targets[-1] == blank).all()
    np.testing.assert_array_equal(
        np.flatnonzero(batch.mask.all(axis=1)), np.arange(n + 1, 2 * n + 1)
    )
    assert batch.mask.sum() == n * 40


def test_the_example_of_the_docstring():
    task = memorization(num_symbols=5, alphabet_size=3)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
    given, wanted = task.text(batch.inputs[:, 0]), task.text(batch.targets[:, 0])
    assert set(given[1:6]) <= set("abc")
    assert given == "-" + given[1:6] + "------"
    assert wanted == "------" + given[1:6] + "-"


def test_symbols_are_uniform():
    task = memorization(num_symbols=10, alphabet_size=4, batch_size=4000)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
    counts = np.bincount(np.array(batch.inputs[1:11]).ravel(), minlength=4)
    assert np.all(np.abs(counts - 10_000) < 600)


@pytest.mark.parametrize(("samples", "size"), [(1000, 250), (10, 4), (3, 8)])
def test_an_evaluation_has_just_the_samples_asked_for(samples, size):
    task = memorization(num_symbols=2, eval_samples=samples, eval_batch_size=size)
    batches = range(task.num_eval_batches("valid", 0))
    counts = [
        task.eval_batch((), jax.random.key(0), "valid", jnp.int32(i), 0).mask.any(axis=0).sum()
        for i in batches
    ]
    assert sum(map(int, counts)) == samples


def test_sizes_out_of_range():
    with pytest.raises(ValueError, match="num_symbols is 0; accepted are integers >= 1"):
        memorization(num_symbols=0)
    with pytest.raises(ValueError, match="alphabet_size is -1; accepted are integers >= 1"):
        memorization(alphabet_size=-1)
