import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax.tasks.state_tracking import ModularCounter, Parity, StateTracking

ORDERS = {"s3": 6, "s4": 24, "s5": 120, "a4": 12, "a5": 60}


def drawn(task):
    batch = task.train_batch((), jax.random.key(0), jnp.int32(3), 0)
    assert batch.mask.all() and batch.inputs.shape == batch.targets.shape
    return np.asarray(batch.inputs), np.asarray(batch.targets)


@pytest.mark.parametrize("group", ORDERS)
def test_targets_are_products_of_matrices(group):
    task = StateTracking(group=group, sequence_length=20, batch_size=200)
    assert task.input_size == task.output_size == ORDERS[group]
    images = [np.array([int(place) - 1 for place in name[1:-1]]) for name in task.token_names]
    matrices = np.stack([np.eye(len(p), dtype=int)[p] for p in images])  # e_i P = e_p(i)
    inputs, targets = drawn(task)
    so_far = np.broadcast_to(np.eye(len(images[0]), dtype=int), (200, *matrices[0].shape))
    for x, target in zip(inputs, targets, strict=True):
        so_far = so_far @ matrices[x]
        np.testing.assert_array_equal(so_far, matrices[target])
    assert len(np.unique(inputs)) == ORDERS[group]


def test_a_groups_table_is_that_of_a_group():
    for group in ORDERS:
        table = StateTracking(group=group).table
        everything = np.arange(len(table))
        np.testing.assert_array_equal(table[0], everything)  # the identity is first
        np.testing.assert_array_equal(table[:, 0], everything)
        for lines in (table, table.T):
            assert (np.sort(lines, axis=1) == everything).all()
        a, b, c = np.random.default_rng(0).integers(0, len(table), (3, 500))
        np.testing.assert_array_equal(table[table[a, b], c], table[a, table[b, c]])


def test_parity_and_a_counter():
    inputs, targets = drawn(Parity(sequence_length=50))
    np.testing.assert_array_equal(targets, np.cumsum(inputs, axis=0) % 2)
    for modulus in (2, 3, 7):
        task = ModularCounter(modulus=modulus, sequence_length=50)
        inputs, targets = drawn(task)
        np.testing.assert_array_equal(targets, np.cumsum(inputs - 1, axis=0) % modulus)
        assert task.input_size == 3 and task.output_size == modulus == len(task.class_names)


def test_symbols_are_uniform():
    inputs, _ = drawn(StateTracking(group="s3", sequence_length=60, batch_size=1000))
    assert np.all(np.abs(np.bincount(inputs.ravel()) - 10_000) < 500)


def test_what_is_refused():
    for call, text in (
        (lambda: StateTracking(group="s6"), "group is 's6'; accepted are s3, s4, s5, a4, a5"),
        (
            lambda: StateTracking(group="s33"),
            "group is 's33'; accepted are s3, s4",
        ),
        (lambda: Parity(sequence_length=0), "sequence_length is 0; accepted are integers >= 1"),
        (lambda: ModularCounter(modulus=1), "modulus is 1; accepted are 2 to 1000"),
        (lambda: Parity(eval_samples=0), "eval_samples is 0; accepted are integers >= 1"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def test_a_prompt_is_read():
    task = StateTracking(group="s3")
    tokens = task.encode("<213><231><213><312>")
    state, answers = 0, []
    for token in tokens:
        state = task.table[state, token]
        answers.append(state)
    assert task.answer(tokens, np.array(answers)) == "<213> <321> <312> <231>"
    assert len(set(itertools.chain(task.token_names))) == 6
