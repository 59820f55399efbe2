import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.associative_recall import AssociativeRecall


def drawn(**settings):
    task = AssociativeRecall(**settings)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(3), 0)
    return task, jax.tree.map(np.asarray, batch)


@pytest.mark.parametrize("num_pairs", [1, 8, 26])
def test_the_answer_is_the_digit_of_the_letter_that_is_asked_for(num_pairs):
    task, batch = drawn(num_pairs=num_pairs, batch_size=50)
    assert batch.targets.shape == batch.mask.shape == (1, 50) and batch.mask.all()
    for b in range(50):
        text = task.text(batch.inputs[:, b])
        pairs, (marks, asked) = text[: 2 * num_pairs], (text[-3:-1], text[-1])
        values = dict(zip(pairs[::2], pairs[1::2], strict=True))
        assert len(values) == num_pairs and all(key.isalpha() for key in values)
        assert marks == "??" and len(text) == 2 * num_pairs + 3
        assert task.class_names[batch.targets[0, b]] == values[asked]


def test_letters_places_and_digits_are_uniform():
    _, batch = drawn(num_pairs=4, batch_size=20_000)
    letters = np.bincount(batch.inputs[:8:2].ravel(), minlength=26)
    assert len(letters) == 26 and np.all(np.abs(letters - 80_000 / 26) < 350)
    digits = np.bincount(batch.targets.ravel(), minlength=10)
    assert len(digits) == 10 and np.all(np.abs(digits - 2000) < 250)
    places = np.sum(batch.inputs[:8:2] == batch.inputs[-1:], axis=1)
    assert np.all(np.abs(places - 5000) < 350)


@pytest.mark.parametrize("prompt", ["c9k8??c", "c9??c", "a1b1c1d1e1??e"])
def test_a_question_of_any_number_of_pairs(prompt):
    task = AssociativeRecall(num_pairs=2)
    assert task.text(task.encode(prompt)) == prompt


@pytest.mark.parametrize(
    "prompt",
    ["??c", "c9k8??a", "c9c8??c", "c9kk??c", "c9k8?c", "99k8??k", "c9k???c", "c", "c9k8??9"],
)
def test_a_malformed_question_is_refused_with_a_good_one(prompt):
    with pytest.raises(ValueError, match=r"has not the form of associative_recall; .* c9k8j3f1"):
        AssociativeRecall().encode(prompt)


@pytest.mark.parametrize("num_pairs", [0, 27])
def test_sizes_out_of_range(num_pairs):
    with pytest.raises(ValueError, match=rf"^num_pairs is {num_pairs}; accepted are 1 to 26"):
        AssociativeRecall(num_pairs=num_pairs)
    with pytest.raises(ValueError, match=r"^eval_samples is 0; accepted are integers >= 1$"):
        AssociativeRecall(eval_samples=0)
