"""A network, a task and its data are compared before anything is trained."""

import dataclasses

import jax
import numpy as np
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.sweeps.members import fit_members
from tlstm_jax.tasks.images import from_arrays
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training.settings import TrainSettings

SETTINGS = TrainSettings(num_steps=2, eval_every=2, checkpoint_every=2, steps_per_call=1)
TASK = memorization(2, 3, batch_size=4, eval_samples=4, eval_batch_size=4)


def _network(input_size=4, output_size=4, tokens=True):
    sizes = {"input_size": input_size, "output_size": output_size, "tokens": tokens}
    return zoo.make_network("lstm", **sizes, features=4)


def _fit(network, task):
    return list(training.fit(network, task, SETTINGS))


def _fit_members(network, task):
    overrides = training.Overrides({}, {}, {})
    return list(fit_members(network, task, SETTINGS, seeds=[0], overrides=overrides))


def _evaluate(network, task):
    params, state = network.init(jax.random.key(0))
    key = jax.random.key(1)
    return training.evaluate(network, task, params, state, task.data, split="valid", key=key)


@pytest.mark.parametrize("use", [_fit, _fit_members, _evaluate])
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 4), "input_size of the network is 3; accepted is that of memorization, 4"),
        ((9, 4), "input_size of the network is 9; accepted is that of memorization, 4"),
        ((4, 3), "output_size of the network is 3; accepted is that of memorization, 4"),
    ],
)
def test_a_network_of_other_sizes_is_refused(use, sizes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        use(_network(*sizes), TASK)


def _with(**changed):
    """The task with other parts of its batches, from functions of the batch."""
    task = dataclasses.replace(TASK, eval_samples=5)  # another one for the compiler

    def change(batch):
        return batch._replace(**{name: make(batch) for name, make in changed.items()})

    def train_batch(*args):
        return change(type(TASK).train_batch(TASK, *args))

    object.__setattr__(task, "train_batch", train_batch)
    return task


@pytest.mark.parametrize("use", [_fit, _fit_members])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"targets": lambda b: b.targets + 2},
            r"targets of memorization are [23] to [45]; accepted ",
        ),
        (
            {"targets": lambda b: b.targets - 9},
            r"targets of memorization are -[89] to -[67]; accepted",
        ),
        (
            {"inputs": lambda b: b.inputs + 5},
            r"inputs of memorization are tokens [56] to 8; accepted",
        ),
        (
            {"inputs": lambda b: b.inputs - 5},
            r"inputs of memorization are tokens -[45] to -2; acce",
        ),
        (
            {"inputs": lambda b: b.inputs[:, :, None].astype(float)},
            r"inputs of memorization have 1 featur",
        ),
        ({"targets": lambda b: b.targets[:-1]}, r"targets of memorization have the shape \(5, 4\)"),
        ({"mask": lambda b: b.mask[:, :-1]}, r"mask of memorization has the shape \(6, 3\)"),
    ],
)
def test_batches_that_no_network_of_these_sizes_can_learn_are_refused(use, changed, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        use(_network(), _with(**changed))


def test_targets_that_are_not_scored_may_be_anything():
    def padded(batch):
        return jax.numpy.where(batch.mask, batch.targets, -1)

    assert _fit(_network(), _with(targets=padded))[-1].finished


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 3), np.uint8)
LABELS = np.arange(20, dtype=np.int32) % 10


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((IMAGES, LABELS[:9]), (IMAGES, LABELS), "train of own has 20 images and 9 labels"),
        ((IMAGES[:9], LABELS), (IMAGES, LABELS), "train of own has 9 images and 20 labels"),
        ((IMAGES, LABELS), (IMAGES, LABELS[:9]), "test of own has 20 images and 9 labels"),
        ((IMAGES, LABELS + 1), (IMAGES, LABELS), "train of own has labels 1 to 10; accepted are 0"),
        ((IMAGES, LABELS), (IMAGES, LABELS - 1), "test of own has labels -1 to 8; accepted are 0"),
        ((IMAGES, LABELS / 2), (IMAGES, LABELS), "train of own has labels of float64; accepted"),
        ((IMAGES, LABELS[:, None]), (IMAGES, LABELS), r"train of own has labels of shape \(20, 1"),
        ((IMAGES, LABELS), (IMAGES[:0], LABELS[:0]), "test of own has 0 images; accepted"),
        ((IMAGES, LABELS), (IMAGES[:, 1:], LABELS), "test of own has images of 6 pixels, train"),
    ],
)
def test_images_and_labels_that_do_not_belong_together_are_refused(train, test, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        from_arrays("own", train, test, batch_size=2)
