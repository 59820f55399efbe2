"""Digits that bounce in a box: where they are, how they are drawn, and what a batch holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from task_cases import write_data

from tlstm_jax.tasks import images
from tlstm_jax.tasks.moving_digits import draw_frames, moving_digits, positions
from tlstm_jax.typing import Batch

KEY = jax.random.key(5)


def walk(start, velocity, num_frames, L):
    """Step by step, turning back at each wall."""
    x, v, found = start, velocity, []
    for _ in range(num_frames):
        found.append(x)
        x += v
        while not 0 <= x <= L:
            x, v = (-x, -v) if x < 0 else (2 * L - x, -v)
    return found


def test_positions_are_those_of_a_walk_that_turns_back_at_the_walls():
    rng = np.random.default_rng(0)
    start, velocity = rng.uniform(0, 8, (5, 2)), rng.uniform(-3, 3, (5, 2))
    found = positions(jnp.asarray(start), jnp.asarray(velocity), 40, 8)
    for index, (x, v) in enumerate(zip(start.flat, velocity.flat, strict=True)):
        expected = walk(x, v, 40, 8)
        np.testing.assert_allclose(found[:, index // 2, index % 2], expected, atol=1e-4)
    turned = np.sign(np.diff(found, axis=0))
    assert (turned[:-1] != turned[1:]).any()


def test_digits_are_drawn_at_their_corners_and_the_brighter_one_is_seen():
    rng = np.random.default_rng(1)
    digits = rng.integers(0, 17, (2, 3, 3)).astype(np.float32)
    corners = np.stack([rng.integers(0, 6, (12, 2, 2)), np.full((12, 2, 2), 5)]).reshape(24, 2, 2)
    expected = np.zeros((24, 8, 8))
    for t, corner in enumerate(corners):
        for (y, x), digit in zip(corner, digits, strict=True):
            part = expected[t, y : y + 3, x : x + 3]
            np.maximum(part, digit, out=part)
    found = draw_frames(jnp.asarray(digits), jnp.asarray(corners, jnp.int32), 8)
    np.testing.assert_array_equal(found, expected)


def test_targets_are_the_frames_after_and_digits_do_not_change():
    task = moving_digits(objects=1, canvas=12, num_frames=9, batch_size=6)
    batch = task.train_batch(task.data, KEY, 3, 0)
    assert batch.inputs.shape == batch.targets.shape == (8, 6, 12, 12, 1)
    assert batch.mask.shape == (8, 6) and batch.mask.all()
    np.testing.assert_array_equal(batch.inputs[1:], batch.targets[:-1])
    light = np.asarray(batch.inputs).sum(axis=(2, 3, 4))  # a digit alone is always seen whole
    np.testing.assert_allclose(light, np.broadcast_to(light[:1], light.shape), rtol=1e-5)
    known = {round(float(digit.sum()) / 16, 3) for digit in task.data["train"]}
    assert {round(float(x), 3) for x in light[0]} <= known
    assert batch.inputs.min() >= 0 and 0.9 < batch.inputs.max() <= 1
    moved = np.abs(np.diff(np.asarray(batch.inputs), axis=0)).sum(axis=(2, 3, 4)) > 0
    assert moved.any(axis=0).all()
    np.testing.assert_array_equal(task.film(batch.inputs[:, 1]), batch.inputs[:, 1, ..., 0])


def test_each_part_has_its_own_digits_and_an_evaluation_its_own_films():
    task, digits = moving_digits(num_frames=3), images.digits()
    for split in ("train", "valid", "test"):
        pixels = digits.data[split]["images"].reshape(-1, 8, 8)
        np.testing.assert_array_equal(task.data[split], pixels)
    dark = {**task.data, "valid": np.zeros_like(task.data["valid"])}
    assert not task.eval_batch(dark, KEY, "valid", 0, 0).inputs.any()
    assert task.eval_batch(dark, KEY, "test", 0, 0).inputs.any()
    same = {**task.data, "valid": task.data["test"]}  # the digits alike, not where they are
    valid, test = (task.eval_batch(same, KEY, split, 0, 0).inputs for split in ("valid", "test"))
    assert not np.array_equal(valid, test)


def test_the_loss_is_in_nats_per_frame():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(3, 2, 4, 5, 1)).astype(np.float32)
    targets = rng.uniform(size=logits.shape).astype(np.float32)
    mask = np.array([[True, False]] * 3)
    sums = moving_digits().metrics(logits, Batch(targets, targets, mask))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    nats = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(axis=(2, 3, 4))
    assert set(sums) == {"loss"} and float(sums["loss"][1]) == 3
    np.testing.assert_allclose(float(sums["loss"][0]), nats[:, 0].sum(), rtol=1e-5)
    task = moving_digits()
    assert (task.metric, task.maximize, task.given) == ("loss", False, 10)
    assert task.metric_labels == {"loss": "loss (nats per frame)"}


def test_mnist_is_read_from_its_folder(tmp_path):
    write_data(tmp_path)
    task = moving_digits(tmp_path, num_frames=3, batch_size=2)
    assert task.input_size == (64, 64, 1) and task.data["train"].shape == (36, 28, 28)
    assert task.train_batch(task.data, KEY, 0, 0).inputs.shape == (2, 2, 64, 64, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"canvas": 8}, "canvas is 8; accepted with digits of 8 x 8 pixels are 9 to 1024"),
        ({"canvas": 1025}, "canvas is 1025; accepted with digits of 8 x 8 pixels are 9 to 1024"),
        ({"objects": 0}, "objects is 0; accepted are integers >= 1"),
        ({"num_frames": 1}, "num_frames is 1; accepted are integers >= 2"),
        ({"eval_samples": 0}, "eval_samples is 0; accepted are integers >= 1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        moving_digits(**settings)
