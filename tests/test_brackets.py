import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks import brackets
from tlstm_jax.tasks.brackets import CLOSING, OPENING, BalancedBrackets, Dyck


def drawn(task, step=3):
    batch = task.train_batch((), jax.random.key(0), jnp.int32(step), 0)
    return jax.tree.map(np.asarray, batch)


def stack_after(text):
    """The open brackets of a prefix; None if something closes that was not open."""
    stack = []
    for symbol in text:
        if symbol in OPENING:
            stack.append(symbol)
        elif not stack or OPENING.index(stack.pop()) != CLOSING.index(symbol):
            return None
    return stack


@pytest.mark.parametrize(("num_kinds", "max_depth"), [(1, 1), (2, 3), (4, 8)])
def test_targets_are_the_brackets_that_may_close(num_kinds, max_depth):
    task = Dyck(num_kinds=num_kinds, max_depth=max_depth, sequence_length=40)
    batch, depths = drawn(task), set()
    assert batch.mask.all() and task.output_size == num_kinds + 1
    for b in range(task.batch_size):
        text, answers = task.text(batch.inputs[:, b]), batch.targets[:, b]
        for t in range(len(text)):
            stack = stack_after(text[: t + 1])
            assert stack is not None and len(stack) <= max_depth
            depths.add(len(stack))
            expected = CLOSING[OPENING.index(stack[-1])] if stack else "."
            assert task.class_names[answers[t]] == expected
    assert depths == set(range(max_depth + 1))


@pytest.mark.parametrize("num_kinds", [1, 2, 4])
def test_half_of_the_strings_are_balanced(num_kinds):
    task = BalancedBrackets(num_kinds=num_kinds, sequence_length=16, batch_size=400)
    batch = drawn(task)
    assert batch.targets.shape == batch.mask.shape == (1, 400) and batch.mask.all()
    balanced, closed_early = [], []
    for b in range(400):
        text = task.text(batch.inputs[:, b])
        balanced.append(stack_after(text) == [])
        assert task.class_names[batch.targets[0, b]] == ("yes" if balanced[-1] else "no")
        if not balanced[-1]:
            depths = np.cumsum([1 if symbol in OPENING else -1 for symbol in text])
            closed_early.append(depths.min() < 0)
        for opening, closing in zip(OPENING, CLOSING, strict=True):
            assert text.count(opening) == text.count(closing)
    assert abs(np.mean(balanced) - 0.5) < 0.08
    assert abs(np.mean(closed_early) - (1 if num_kinds == 1 else 0.5)) < 0.12


def test_the_shortest_strings():
    batch = drawn(BalancedBrackets(num_kinds=1, sequence_length=2, batch_size=100))
    yes = batch.targets[0] == 1
    assert (batch.inputs[:, yes] == [[0], [1]]).all() and 30 < yes.sum() < 70
    assert (batch.inputs[:, ~yes] == [[1], [0]]).all()


def test_balanced_strings_are_uniform():
    strings = brackets._balanced(jax.random.key(1), 14_000, 8, 1)
    counts = collections.Counter(map(tuple, np.asarray(strings).T.tolist()))
    assert len(counts) == 14  # the fourth Catalan number
    assert all(abs(count - 1000) < 150 for count in counts.values())
    two_kinds = brackets._balanced(jax.random.key(1), 14_000, 8, 2)
    opened = np.asarray(two_kinds)[np.asarray(two_kinds) < 2]
    assert abs(np.mean(opened) - 0.5) < 0.02


@pytest.mark.parametrize("make", [Dyck, BalancedBrackets])
def test_what_is_refused(make):
    for settings, text in (
        ({"num_kinds": 5}, "num_kinds is 5; accepted are 1 to 4"),
        ({"num_kinds": 0}, "num_kinds is 0; accepted are 1 to 4"),
        ({"sequence_length": 0}, "sequence_length is 0; accepted are (even )?integers >= "),
        ({"batch_size": 0}, "batch_size is 0; accepted are integers >= 1"),
    ):
        with pytest.raises(ValueError, match=f"^{text}"):
            make(**settings)
    with pytest.raises(
        ValueError, match=r"^sequence_length is 7; accepted are even integers >= 2$"
    ):
        BalancedBrackets(sequence_length=7)
    with pytest.raises(ValueError, match=r"^max_depth is 0; accepted are integers >= 1$"):
        Dyck(max_depth=0)
