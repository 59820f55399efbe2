"""Regression, CTC, and classes of sequences of different lengths: the loop learns each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import own_tasks
import pytest

from tlstm_jax import LSTM, Bidirectional, Network, Stacked, TensorizedLSTM, training
from tlstm_jax.training import TrainSettings

MODELS = {
    "lstm": LSTM(12, input_scale=1.0),
    "with a delay": TensorizedLSTM(8, (2,), input_scale=1.0),
    "both directions": Bidirectional(LSTM(6, input_scale=1.0), LSTM(6, input_scale=1.0)),
}
TASKS = {
    "regression": (own_tasks.MovingAverage(), 0.5),  # of the loss at the start
    "CTC": (own_tasks.Transcription(), 0.6),
    "classes": (own_tasks.first_symbol(), 0.6),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("regression", "with a delay"),
        ("CTC", "with a delay"),
        ("CTC", "lstm"),
        ("classes", "both directions"),
    ],
)
def test_is_learned(name, model):
    task, part = TASKS[name]
    network = Network(MODELS[model], task.input_size, task.output_size, tokens=task.tokens)
    settings = TrainSettings(
        num_steps=60, eval_every=20, checkpoint_every=60, steps_per_call=20, learning_rate=3e-2
    )
    params, state = network.init(jax.random.key(0))
    start = training.evaluate(
        network, task, params, state, task.data, split="valid", key=jax.random.key(1)
    )
    *_, last = training.fit(network, task, settings)
    assert last.valid["loss"] < part * start["loss"]
    sign = 1 if task.maximize else -1
    assert sign * last.progress.best_metric > sign * start[task.metric]


def test_the_loss_of_ctc_is_that_of_each_sequence_alone():
    task = own_tasks.Transcription()
    batch = task.draw(jax.random.key(0), 5)
    logits = jax.random.normal(jax.random.key(1), (*batch.inputs.shape[:2], task.output_size))
    total, count = task.metrics(logits, batch)["loss"]
    alone, of_one = [], jax.jit(optax.ctc_loss)
    for b, length in enumerate(map(int, batch.lengths)):
        labels = batch.targets[0, b : b + 1]
        number = int(jnp.sum(labels >= 0))
        assert 2 * number <= length <= 3 * number
        # Frames behind the end repeat the last: they are paddings, whatever is there.
        frames = jnp.minimum(jnp.arange(len(logits)), length - 1)
        paddings = jnp.arange(len(logits)) >= length, labels[0] < 0
        behind, unused = (padding[None].astype(float) for padding in paddings)
        alone.append(of_one(logits[frames, b][None], behind, jnp.maximum(labels, 1), unused))
    assert len(set(map(int, batch.lengths))) > 1 and count == 5
    np.testing.assert_allclose(total, np.sum(alone), rtol=1e-5)


def test_the_class_of_a_sequence_does_not_depend_on_what_is_behind_its_end():
    task = own_tasks.first_symbol()
    batch = task.eval_batch(task.data, jax.random.key(0), "valid", jnp.int32(0), 0)
    behind = jnp.arange(batch.inputs.shape[0])[:, None] >= batch.lengths[None]
    other = jnp.where(behind, 4 - batch.inputs, batch.inputs)
    assert not np.array_equal(other, batch.inputs)
    network = Network(Stacked(LSTM(4), num_layers=2), 5, 5, tokens=True)
    params, state = network.init(jax.random.key(0))

    @jax.jit
    def logits(inputs):
        carry = network.init_carry(inputs.shape[1], params=params)
        return network.apply(params, state, carry, inputs, last_only=True, lengths=batch.lengths)[1]

    np.testing.assert_array_equal(logits(batch.inputs), logits(other))
    at_once = logits(batch.inputs)[0, 3]
    alone = batch.inputs[: batch.lengths[3], 3:4]
    carry = network.init_carry(1, params=params)
    expected = network.apply(params, state, carry, alone, last_only=True)[1]
    np.testing.assert_allclose(at_once, expected[0, 0], rtol=1e-5)
