import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.copying import copy


@pytest.mark.parametrize(("n", "alphabet_size", "delay"), [(10, 8, 100), (1, 1, 1), (3, 100, 2)])
def test_layout_is_that_of_arjovsky(n, alphabet_size, delay):
    task = copy(n, alphabet_size, delay, batch_size=7)
    batch = jax.tree.map(np.asarray, task.train_batch((), jax.random.key(0), jnp.int32(3), 0))
    marker, blank = alphabet_size, alphabet_size + 1
    assert batch.inputs.shape == (delay + 2 * n, 7)
    assert task.input_size == task.output_size == alphabet_size + 2
    for b in range(7):
        symbols = batch.inputs[:n, b].tolist()
        assert all(0 <= symbol < alphabet_size for symbol in symbols)
        read = [*symbols, *[blank] * (delay - 1), marker, *[blank] * n]
        assert batch.inputs[:, b].tolist() == read
        assert batch.targets[:, b].tolist() == [*[blank] * (delay + n), *symbols]
        assert batch.mask[:, b].tolist() == [False] * (delay + n) + [True] * n


def test_symbols_are_uniform_and_without_memory_nothing_is_better_than_the_baseline():
    task = copy(num_symbols=10, alphabet_size=4, delay=3, batch_size=4000)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
    counts = np.bincount(np.asarray(batch.targets[-10:]).ravel(), minlength=6)
    assert np.all(np.abs(counts[:4] - 10_000) < 600) and not counts[4:].any()
    logits = jnp.broadcast_to(jnp.array([0.0] * 4 + [-1e9] * 2), (*batch.targets.shape, 6))
    total, count = task.metrics(logits, batch)["loss"]
    assert total / count == pytest.approx(np.log(4))


@pytest.mark.parametrize(
    ("prompt", "good"),
    [("ab--:--", True), ("a--:-", True), ("ab-:---", False), ("a:--:--", False), ("ab:", False)],
)
def test_a_question_has_its_marker_in_its_place(prompt, good):
    task = copy(num_symbols=2, alphabet_size=3, delay=3)
    if good:
        assert task.text(task.encode(prompt)) == prompt
        return
    with pytest.raises(ValueError, match="has not the form of copy; accepted is the like of "):
        task.encode(prompt)


@pytest.mark.parametrize("name", ["num_symbols", "alphabet_size", "delay"])
def test_sizes_out_of_range(name):
    with pytest.raises(ValueError, match=f"^{name} is 0; accepted are integers >= 1$"):
        copy(**{name: 0})
