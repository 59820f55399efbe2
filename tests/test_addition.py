import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.addition import add, addition


def _texts(task, batch):
    for b in range(batch.inputs.shape[1]):
        yield task.text(batch.inputs[:, b]), task.text(batch.targets[:, b])


def _read(text):
    """(a, b) of an input such as -123-900-----."""
    _, a, b, *rest = text.split("-")
    assert not any(rest)
    return int(a), int(b)


@pytest.mark.parametrize("n", [1, 3, 15])
def test_targets_are_the_sums(n):
    task = addition(num_digits=n, batch_size=200)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
    assert batch.inputs.shape == batch.targets.shape == batch.mask.shape == (3 * n + 4, 200)
    for b, (given, wanted) in enumerate(_texts(task, batch)):
        x, y = _read(given)
        assert len(str(x)) == len(str(y)) == n  # no leading zeros
        total = str(x + y)
        assert wanted == ("-" * (2 * n + 2) + total).ljust(3 * n + 4, "-")
        scored = np.flatnonzero(batch.mask[:, b])
        np.testing.assert_array_equal(scored, 2 * n + 2 + np.arange(len(total) + 1))


def test_the_example_of_the_docstring():
    total, digits = add(jnp.array([[1, 2, 3]]), jnp.array([[9, 0, 0]]))
    np.testing.assert_array_equal(total, [[1, 0, 2, 3]])
    np.testing.assert_array_equal(digits, [4])


def test_first_digits_are_uniform_over_one_to_nine():
    task = addition(num_digits=2, batch_size=9000)
    batch = task.train_batch((), jax.random.key(1), jnp.int32(0), 0)
    for row, smallest in ((1, 1), (2, 0), (4, 1), (5, 0)):
        counts = np.bincount(batch.inputs[row], minlength=10)
        assert counts[:smallest].sum() == 0
        expected = 9000 / (10 - smallest)
        assert np.all(np.abs(counts[smallest:] - expected) < 6 * expected**0.5)


def test_every_step_has_fresh_samples():
    task, key = addition(num_digits=5, batch_size=50), jax.random.key(0)
    train = [_texts(task, task.train_batch((), key, jnp.int32(step), 0)) for step in range(4)]
    valid = [_texts(task, task.eval_batch((), key, "valid", jnp.int32(i), 0)) for i in range(2)]
    test = [_texts(task, task.eval_batch((), key, "test", jnp.int32(i), 0)) for i in range(2)]
    seen = [given for texts in train + valid + test for given, _ in texts]
    assert len(set(seen)) == len(seen) == 4 * 50 + 4 * 250


def test_sizes_out_of_range():
    with pytest.raises(ValueError, match="num_digits is 0; accepted are integers >= 1"):
        addition(num_digits=0)
    with pytest.raises(ValueError, match="batch_size is 0; accepted"):
        addition(batch_size=0)
