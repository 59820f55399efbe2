import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.induction_copy import induction_copy
from tlstm_jax.tasks.multi_query_recall import MultiQueryRecall


def drawn(task):
    batch = task.train_batch((), jax.random.key(0), jnp.int32(3), 0)
    return jax.tree.map(np.asarray, batch)


@pytest.mark.parametrize(("num_pairs", "num_keys"), [(1, 1), (8, 64), (70, 70)])
def test_answers_are_the_values_of_the_keys(num_pairs, num_keys):
    task = MultiQueryRecall(num_pairs=num_pairs, num_keys=num_keys, num_values=9, batch_size=50)
    batch = drawn(task)
    assert batch.inputs.shape == batch.targets.shape == batch.mask.shape == (3 * num_pairs, 50)
    assert not batch.mask[: 2 * num_pairs].any() and batch.mask[2 * num_pairs :].all()
    for b in range(50):
        pairs, asked = np.split(batch.inputs[:, b], [2 * num_pairs])
        values = dict(zip(pairs[::2].tolist(), (pairs[1::2] - num_keys).tolist(), strict=True))
        assert sorted(values) == sorted(asked.tolist()) and max(values) < num_keys
        assert [values[key] for key in asked] == batch.targets[2 * num_pairs :, b].tolist()
        text = task.text(batch.inputs[:, b])
        np.testing.assert_array_equal(task.encode(text), batch.inputs[:, b])
    assert len(set(task.token_names)) == num_keys + 9


def test_the_order_of_the_questions_and_the_values_are_uniform():
    batch = drawn(MultiQueryRecall(num_pairs=4, num_keys=4, num_values=5, batch_size=20_000))
    places = np.sum(batch.inputs[:8:2] == batch.inputs[8:9], axis=1)
    assert np.all(np.abs(places - 5000) < 350)
    assert np.all(np.abs(np.bincount(batch.targets[8:].ravel()) - 16_000) < 600)


@pytest.mark.parametrize("prompt", ["a<1>", "a<1>b", "a<1>a<2>aa", "a<1>b<2>ac", "<1>aa", ""])
def test_a_malformed_question_is_refused_with_a_good_one(prompt):
    task = MultiQueryRecall()
    with pytest.raises(ValueError, match=r"has not the form of multi_query_recall; .*a<0>b<3>ba"):
        task.encode(prompt)
    assert task.text(task.encode("a<0>b<3>ba")) == "a<0>b<3>ba"


def test_pairs_beyond_the_keys_are_refused():
    with pytest.raises(
        ValueError, match=r"^num_pairs is 65; accepted are 1 to 64, as many as keys"
    ):
        MultiQueryRecall(num_pairs=65)
    with pytest.raises(ValueError, match=r"^num_pairs is 128; accepted are 1 to 64"):
        MultiQueryRecall().longer(16)
    with pytest.raises(ValueError, match=r"^num_values is 0; accepted are integers >= 1$"):
        MultiQueryRecall(num_values=0)


@pytest.mark.parametrize("curriculum_steps", [0, 10])
def test_a_copy_is_told_one_symbol_ahead(curriculum_steps):
    task = (
        induction_copy(5, 7, batch_size=100, curriculum_start=3, curriculum_steps=curriculum_steps)
        if curriculum_steps
        else induction_copy(5, 7, batch_size=100)
    )
    batch, sizes = drawn(task), set()
    for b in range(100):
        length = 10 if batch.lengths is None else batch.lengths[b]
        n = int(length) // 2
        sizes.add(n)
        inputs, targets = task.text(batch.inputs[:length, b]), task.text(batch.targets[:length, b])
        symbols = inputs[:n]
        assert "-" not in symbols and inputs == f"{symbols}-{symbols[:-1]}"
        assert targets[n:] == symbols
        np.testing.assert_array_equal(np.flatnonzero(batch.mask[:, b]), np.arange(n, 2 * n))
        assert (batch.inputs[length:, b] == 7).all()
    assert sizes == ({1, 2, 3} if curriculum_steps else {5})
    assert task.text(task.encode("ab-a")) == "ab-a"
