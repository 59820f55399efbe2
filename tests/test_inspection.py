"""Looking inside: states, kernels, and their pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import (
    GRU,
    LSTM,
    Dropout,
    Network,
    Stacked,
    TensorizedLSTM,
    inspection,
    pictures,
    unroll,
)
from tlstm_jax.cells.tensorized.convolution import wave_index
from tlstm_jax.cells.tensorized.memory import memory_cell_convolution
from tlstm_jax.tasks import images
from tlstm_jax.tasks.scoring import CROSS_ENTROPY

CELL = TensorizedLSTM(features=3, tensor_shape=(2, 3), normalization="channel")
T, B = 5, 2


@pytest.fixture(scope="module")
def run():
    params = CELL.init(jax.random.key(0), 4)
    inputs = jax.random.randint(jax.random.key(1), (T, B), 0, 4)
    return params, inputs, inspection.trace(CELL, params, inputs)


@pytest.mark.slow
def test_a_trace_has_the_states_after_every_step(run):
    params, inputs, trace = run
    carry = CELL.init_carry(B)
    for t in range(T + CELL.delay):
        x = inputs[t] if t < T else -jnp.ones(B, jnp.int32)
        carry, y = CELL.step(params, carry, x)
        np.testing.assert_allclose(trace.carry.memory[t], carry.memory, atol=1e-6)
        if t >= CELL.delay:
            np.testing.assert_allclose(trace.ys[t - CELL.delay], y, atol=1e-6)


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_diagonal_of_a_tensor(run):
    memory = run[2].carry.memory
    diagonal = inspection.diagonal(memory, 2)
    assert diagonal.shape == (*memory.shape[:2], 2, 3)
    np.testing.assert_array_equal(diagonal[:, :, 1], memory[:, :, 1, 1])


def test_what_cannot_be_looked_into_is_refused_by_name(run):
    params, inputs, trace = run
    assert inspection.cell_of(Network(Dropout(LSTM(3), input_rate=0.5), 4, 4)) == LSTM(3)
    with pytest.raises(ValueError, match="the model is a Stacked; accepted are"):
        inspection.cell_of(Network(Stacked(LSTM(3), 2), 4, 4))
    with pytest.raises(ValueError, match="GRU has no memory-cell convolution"):
        inspection.memory_kernels(GRU(3), params, inputs, trace.carry)


def test_pictures_show_themselves_and_have_what_was_given(run):
    params, inputs, trace = run
    states = inspection.diagonal(trace.carry.memory, 2)[:, 0]
    delays = [0, 1]
    labels = {"input": "abcde", "target": ["", "", "", "d", "e"]}
    figure = pictures.plot_states(states[: T + 1], delays=delays, labels=labels, title="memory")
    ticks = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert ticks == ["a\n", "b\n", "c\n", "d\nd", "e\ne"]
    assert figure.axes[1].texts[0].get_text() == "input\ntarget"
    assert figure._repr_png_().startswith(b"\x89PNG")
    kernels = inspection.memory_kernels(CELL, params, inputs, trace.carry)[: T + 1, 0, :, 0, :3]
    figure = pictures.plot_kernels(kernels[:, :2], delays=delays, labels="abcde")
    assert len(figure.axes) == 2 and len(figure.axes[0].patches) == 3
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == list("abcde")
    figure = pictures.plot_wave(wave_index((2, 3), 3), steps=4)
    assert [len(axis.texts) for axis in figure.axes] == [1, 4, 6, 6]
    assert figure.axes[2].texts[-1].get_text() == "x0"  # the output corner, after L - 1 steps


def test_states_are_single_channels_on_one_scale_under_the_input_that_they_are_of(run):
    states = np.array(inspection.diagonal(run[2].carry.memory, 2)[:, 0])  # [S, 2, 3]
    states[:, :, 1] = 7.0  # varies least, and is not shown
    figure = pictures.plot_states(states[: T + 1], delays=[0, 1], channels=2)
    *panels, bar = figure.axes
    images = [panel.images[0] for panel in panels]
    for p, image in enumerate(images):
        np.testing.assert_array_equal(image.get_array(), states[p : p + T, p][:, [0, 2]].T)
        assert image.get_clim() == images[0].get_clim()
    shown = states[: T + 1, :, [0, 2]]
    low, high = images[0].get_clim()
    assert -low == high <= np.abs(shown).max() < 7 and bar.get_ylim() == (low, high)
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["0", "2"]


def test_an_image_stands_beside_what_is_made_of_it():
    images_ = np.random.default_rng(0).integers(0, 256, (9, 4, 4), np.uint8)
    split = images_, np.arange(9, dtype=np.int32)
    task = images.from_arrays("p", split, split, batch_size=2, permutation_seed=3)
    for n, read in enumerate(task.data["test"]["images"]):
        np.testing.assert_array_equal(task.picture(read), images_[n])
    read = task.data["test"]["images"][0]
    pixels = pictures.Pixels(read, task.picture(read))
    for draw, values in (
        (pictures.plot_states, np.ones((16, 1, 5))),
        (pictures.plot_kernels, np.ones((16, 1, 3)) / 3),
    ):
        figure = draw(values, pixels=pixels)
        shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
        assert any(np.array_equal(image, images_[0]) for image in shown)
        assert any(np.array_equal(image, read[None]) for image in shown)
    with pytest.raises(ValueError, match="an image has 6 pixels; accepted are those of a square"):
        split = images_[:, :2, :3], split[1]
        images.from_arrays("p", split, split, batch_size=2).picture(np.zeros(6))


@pytest.mark.parametrize(
    "values", [[2.335, 2.34, 2.35], [1e-3, 0.02, 3.0], [0.0, 1.0, 1e3], [-1.0, 1.0]]
)
def test_ticks_of_a_loss_are_plain_numbers(values):
    records = [{"samples": n, "train": {"loss": loss}} for n, loss in enumerate(values)]
    figure = pictures.plot_curves(records, unit="samples", metric="accuracy")
    axis = figure.axes[0]
    assert len(axis.lines) == 1 and not figure.axes[1].lines
    figure.canvas.draw()
    texts = [t.get_text() for t in axis.get_yticklabels(which="both")]
    low, high = axis.get_ylim()
    shown = [
        t for t, at in zip(texts, axis.get_yticks(minor=False), strict=False) if low <= at <= high
    ]
    assert sum(map(bool, shown)) >= 2
    assert not any("10^" in text or "times" in text for text in texts)
    assert axis.get_yscale() == ("log" if 0 < 10 * values[0] <= values[-1] else "linear")


def test_a_loss_has_a_unit_only_where_it_is_known():
    records = [{"samples": n, "train": {"loss": 1.0}} for n in (1, 2)]
    figure = pictures.plot_curves(records, unit="samples", metric="accuracy")
    assert figure.axes[0].get_ylabel() == "loss"  # a task of one's own may have a squared error
    labels = CROSS_ENTROPY
    figure = pictures.plot_curves(records, unit="samples", metric="accuracy", labels=labels)
    assert figure.axes[0].get_ylabel() == "loss (nats per scored output)"


@pytest.mark.parametrize("steps", [3, 30])
def test_titles_and_legends_keep_apart(steps):
    title = (
        "memory-cell kernels of memorization, tlstm, step 12345, a long title in a narrow figure"
    )
    figure = pictures.plot_kernels(np.ones((steps, 3, 3)) / 3, title=title)
    figure.canvas.draw()
    (legend,) = figure.legends
    drawn = figure._suptitle.get_window_extent()
    assert not drawn.overlaps(legend.get_window_extent())
    assert drawn.x0 >= 0 and drawn.x1 <= figure.bbox.x1


@pytest.mark.slow
def test_the_program_draws_a_checkpoint(program, tmp_path):
    run = tmp_path / "run"
    small = ("--num_steps=2", "--eval_every=2", "--steps_per_call=2", "--features=4")
    program("train", "--task=memorization", "--num_symbols=2", *small, f"--workdir={run}")
    drawn = program("visualize", f"--workdir={run}", f"--output={tmp_path / 'pictures'}").stdout
    names = [line.rsplit("/", 1)[1] for line in drawn.splitlines()]
    assert names == ["memory.png", "hidden.png", "kernels.png", "wave.png"]
    for name in names:
        assert (tmp_path / "pictures" / name).read_bytes().startswith(b"\x89PNG")
    program("visualize", f"--workdir={run}", "--prompt=-ab---")
    ran = program("visualize", f"--workdir={run}", "--prompt=ab", code=1)
    assert "has not the form of memorization" in ran.stderr
    ran = program("visualize", f"--workdir={run}", "--example=9999", code=1)
    assert "example is 9999; accepted are 0 to 249" in ran.stderr


@pytest.mark.parametrize("cell", [CELL, GRU(3)], ids=lambda cell: type(cell).__name__)
def test_gradients_by_the_states_are_those_of_what_is_left_to_do(cell):
    params = cell.init(jax.random.key(0), 2)
    inputs = jax.random.normal(jax.random.key(1), (T, B, 2))
    gradients = inspection.state_gradients(cell, params, inputs, key=jax.random.key(2))
    r = jax.random.normal(jax.random.key(2), (B, 3))
    r = r / jnp.linalg.norm(r, axis=-1, keepdims=True)
    states = inspection.trace(cell, params, inputs).carry
    zeros = jnp.zeros((cell.delay, B, 2))
    last = len(states.hidden) - 1
    for s in (0, T - 2):
        carry = jax.tree.map(lambda x, s=s: x[s], states)

        def output(hidden, carry=carry, s=s):
            xs = jnp.concatenate([inputs[s + 1 :], zeros])
            _, ys = unroll(cell, params, carry._replace(hidden=hidden), xs, flush=False)
            return jnp.sum(ys[-1] * r)

        np.testing.assert_allclose(
            gradients.hidden[s], jax.grad(output)(carry.hidden), rtol=1e-4, atol=1e-7
        )
    assert not gradients.hidden[last].any()
