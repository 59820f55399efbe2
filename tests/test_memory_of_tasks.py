"""What training keeps of a deleted task: no data, but programs for the next one like it."""

import gc
import weakref

import jax
import numpy as np
import pytest

from tlstm_jax import LSTM, Network, training
from tlstm_jax.sweeps import members
from tlstm_jax.tasks import images
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import evaluation
from tlstm_jax.training.settings import TrainSettings

SETTINGS = TrainSettings(
    num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=1, schedule="constant"
)


def make_text(seed):
    del seed
    return char_lm(batch_size=2, segment_length=4, eval_batch_size=300)


def make_images(seed):
    def split(count):
        rng = np.random.default_rng([seed, count])
        return rng.integers(0, 256, (count, 2, 2), np.uint8), rng.integers(0, 10, count, np.int32)

    return images.from_arrays("small", split(20), split(5), batch_size=4, valid_fraction=0.25)


def network_of(task):
    return Network(LSTM(3), task.input_size, task.output_size, tokens=task.tokens)


def fit(task):
    for _ in training.fit(network_of(task), task, SETTINGS):
        pass


def fit_members(task):
    overrides = training.Overrides(train={"learning_rate": [0.1, 0.2]})
    for _ in members.fit_members(
        network_of(task), task, SETTINGS, seeds=[0, 1], overrides=overrides
    ):
        pass


def prepare_and_evaluate(task):
    network = network_of(task)
    training.abstract_state(network, task, SETTINGS)
    state = training.init_state(network, task, SETTINGS, jax.random.key(0))
    of_model = state.params, state.model_state
    for split in ("valid", "test"):
        evaluation.evaluate(network, task, *of_model, task.data, split=split, key=jax.random.key(0))


@pytest.mark.slow(but=["fit-make_text"])
@pytest.mark.parametrize("make", [make_text, make_images])
@pytest.mark.parametrize("use", [fit, fit_members, prepare_and_evaluate])
def test_the_data_of_a_task_that_is_gone_are_gone(make, use):
    task = make(0)
    arrays = [weakref.ref(leaf) for leaf in jax.tree.leaves(task.data)]
    use(task)
    assert all(array() is not None for array in arrays)
    del task
    gc.collect()
    assert [array() for array in arrays] == [None] * len(arrays)


@pytest.mark.slow(but=["fit-make_text"])
@pytest.mark.parametrize("make", [make_text, make_images])
@pytest.mark.parametrize("use", [fit, fit_members])
def test_another_task_of_the_same_shape_runs_the_same_programs(make, use):
    programs = (
        training.train_call,
        training.loop._init_state,
        evaluation._eval_step,
        members.train_members,
        members._eval_members,
    )
    use(make(0))
    before = [program._cache_size() for program in programs]
    use(make(1))
    assert [program._cache_size() for program in programs] == before


def test_tasks_with_arrays_are_equal_to_themselves_alone_and_their_outlines_by_shape():
    first, second = make_images(0), make_images(1)
    assert first == first and first != second and first != first.outline
    assert first.outline == second.outline and hash(first.outline) == hash(second.outline)
    assert first.outline.outline is first.outline
    assert first.outline != make_text(0).outline
    other = images.from_arrays(
        "small",
        *(
            lambda d: [
                (
                    np.zeros((n, 2, 2), np.uint8) + np.arange(4).reshape(2, 2).astype(np.uint8),
                    np.zeros(n, np.int32),
                )
                for n in d
            ]
        )((20, 6)),
        batch_size=4,
        valid_fraction=0.25,
    )
    assert other.outline != first.outline  # one test image more
    assert "uint8" not in repr(first.outline)


def test_a_task_without_an_outline_stands_for_itself():
    task = memorization(2, 3)
    assert evaluation.outline(task) is task
