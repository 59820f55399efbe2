"""Looking inside: states, kernels, and their pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import GRU, LSTM, Dropout, Network, Stacked, TensorizedLSTM, inspection, pictures
from tlstm_jax.convolution import wave_index
from tlstm_jax.memory_cells import memory_cell_convolution

CELL = TensorizedLSTM(channels=3, tensor_shape=(2, 3), normalization="channel")
T, B = 5, 2


@pytest.fixture(scope="module")
def run():
    params = CELL.init(jax.random.key(0), 4)
    inputs = jax.random.randint(jax.random.key(1), (T, B), 0, 4)
    return params, inputs, inspection.trace(CELL, params, inputs)


def test_a_trace_has_the_states_after_every_step(run):
    params, inputs, trace = run
    carry = CELL.init_carry(B)
    for t in range(T + CELL.delay):
        x = inputs[t] if t < T else -jnp.ones(B, jnp.int32)
        carry, y = CELL.step(params, carry, x)
        np.testing.assert_allclose(trace.carry.memory[t], carry.memory, atol=1e-6)
        if t >= CELL.delay:
            np.testing.assert_allclose(trace.ys[t - CELL.delay], y, atol=1e-6)


def test_the_kernels_are_those_that_made_the_memory(run):
    params, inputs, trace = run
    kernels = inspection.memory_kernels(CELL, params, inputs, trace.carry)
    assert kernels.shape == (T + CELL.delay, B, 2, 3, 9)
    np.testing.assert_allclose(kernels.sum(-1), 1.0, rtol=1e-5)
    t = 4  # where all locations are awake
    before = jax.tree.map(lambda x: x[t - 1], trace.carry)
    a = CELL.mix(params, before, CELL.project(params, inputs[t]))
    g, i, f, _ = jnp.split(a[..., :12], 4, axis=-1)
    moved = memory_cell_convolution(before.memory, kernels[t])
    memory = jnp.tanh(g) * jax.nn.sigmoid(i) + moved * jax.nn.sigmoid(f)
    np.testing.assert_allclose(trace.carry.memory[t], memory, atol=1e-5)


def test_the_diagonal_of_a_tensor(run):
    memory = run[2].carry.memory
    diagonal = inspection.diagonal(memory, 2)
    assert diagonal.shape == (*memory.shape[:2], 2, 3)
    np.testing.assert_array_equal(diagonal[:, :, 1], memory[:, :, 1, 1])


def test_what_cannot_be_looked_into_is_refused_by_name(run):
    params, inputs, trace = run
    assert inspection.cell_of(Network(Dropout(LSTM(3), 0.5), 4, 4)) == LSTM(3)
    with pytest.raises(ValueError, match="the model is a Stacked; accepted to look into are"):
        inspection.cell_of(Network(Stacked(LSTM(3), 2), 4, 4))
    with pytest.raises(ValueError, match="GRU has no memory-cell convolution"):
        inspection.memory_kernels(GRU(3), params, inputs, trace.carry)


def test_pictures_show_themselves_and_have_what_was_given(run):
    params, inputs, trace = run
    states = inspection.diagonal(trace.carry.memory, 2)[:, 0]
    figure = pictures.plot_states(states, labels="abcde", title="memory")
    assert figure.axes[0].images[0].get_array().shape == (2, T + CELL.delay)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == list("abcde")
    assert figure._repr_png_().startswith(b"\x89PNG")
    kernels = inspection.memory_kernels(CELL, params, inputs, trace.carry)[:, 0, :, 0, :3]
    assert len(pictures.plot_kernels(kernels).axes) == 2
    figure = pictures.plot_wave(wave_index((2, 3), 3), steps=4)
    assert [len(axis.texts) for axis in figure.axes] == [1, 4, 6, 6]
    assert figure.axes[2].texts[-1].get_text() == "x0"  # the output corner, after L - 1 steps
    records = [{"samples": n, "train": {"loss": 1.0 / n}} for n in (1, 2)]
    figure = pictures.plot_curves(records, unit="samples", metric="accuracy")
    assert len(figure.axes[0].lines) == 1 and not figure.axes[1].lines


def test_the_program_draws_a_checkpoint(program, tmp_path):
    run = tmp_path / "run"
    small = ("--num_steps=2", "--eval_every=2", "--steps_per_call=2", "--channels=4")
    program("train", "--task=memorization", "--num_symbols=2", *small, f"--workdir={run}")
    drawn = program("visualize", f"--workdir={run}", f"--output={tmp_path / 'pictures'}").stdout
    names = [line.rsplit("/", 1)[1] for line in drawn.splitlines()]
    assert names == ["memory.png", "hidden.png", "kernels.png", "wave.png"]
    for name in names:
        assert (tmp_path / "pictures" / name).read_bytes().startswith(b"\x89PNG")
    ran = program("visualize", f"--workdir={run}", "--example=9999", code=1)
    assert "example is 9999; accepted are 0 to 249" in ran.stderr
