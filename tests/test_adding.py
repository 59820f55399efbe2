"""The adding problem, and what programs say and draw of a task whose metric is no accuracy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlstm_jax import pictures
from tlstm_jax.scripts import display, train
from tlstm_jax.scripts.compare.page import reached
from tlstm_jax.sweeps.pictures import plot_sweep
from tlstm_jax.tasks.adding import Adding
from tlstm_jax.training.progress import Progress, judge


@pytest.mark.parametrize("T", [2, 9, 200])
def test_the_target_is_the_sum_of_one_number_of_each_half(T):
    task = Adding(sequence_length=T, batch_size=50)
    batch = jax.tree.map(np.asarray, task.train_batch((), jax.random.key(0), jnp.int32(3), 0))
    assert batch.inputs.shape == (T, 50, 2) and batch.targets.shape == (1, 50, 1)
    first = set()
    for b in range(50):
        numbers, markers = batch.inputs[:, b].T
        assert np.all((numbers >= 0) & (numbers < 1))
        one, other = np.flatnonzero(markers)
        assert one < T // 2 <= other and markers.sum() == 2
        assert batch.targets[0, b, 0] == pytest.approx(numbers[one] + numbers[other])
        first.add(int(one))
    assert len(first) > 1 or T == 2


def test_without_memory_the_loss_is_the_variance_of_the_sum():
    task = Adding(sequence_length=4, batch_size=40_000)
    batch = task.train_batch((), jax.random.key(0), jnp.int32(0), 0)
    total, count = task.metrics(jnp.ones_like(batch.targets), batch)["loss"]
    assert total / count == pytest.approx(1 / 6, rel=0.02)


def test_answers_that_are_off_by_less_than_4_hundredths_are_counted():
    task = Adding(batch_size=4, sequence_length=4)
    batch = task.draw(jax.random.key(0), 4)._replace(mask=jnp.array([[True, True, True, False]]))
    errors = jnp.array([0.03, -0.05, -0.039, 0.0])[None, :, None]
    sums = task.metrics(batch.targets + errors, batch)
    assert [float(x) for x in sums["within_0.04"]] == [2, 3]
    expected = [0.03**2 + 0.05**2 + 0.039**2, 3]
    np.testing.assert_allclose(sums["loss"], expected, rtol=1e-4)


def test_sizes_out_of_range():
    with pytest.raises(ValueError, match=r"^sequence_length is 1; accepted are integers >= 2$"):
        Adding(sequence_length=1)


def test_a_loss_reaches_its_target_from_above():
    task, progress = Adding(), Progress()
    seen = []
    for step, loss in enumerate((0.2, 0.01, 0.02, 0.009, 0.004, float("nan"), 0.005), 1):
        at = Progress(**{**vars(progress), "step": step, "units": 10 * step})
        progress, improved = judge(task, at, loss)
        seen.append((improved, progress.reached_at, progress.units_to_target))
    assert [improved for improved, *_ in seen] == [True, True, False, True, True, False, False]
    assert [reached for _, reached, _ in seen[:4]] == [None, 20, None, 40]
    assert [units for *_, units in seen] == [None] * 4 + [40] * 3
    assert (progress.best_metric, progress.best_step, progress.evals_since_best) == (0.004, 5, 2)
    _, improved = judge(task, Progress(), float("nan"))
    assert not improved and judge(task, Progress(), float("nan"))[0].reached_at is None


def test_a_target_of_a_loss_is_told_without_a_percentage():
    results = {"units_to_target": 4000, "best_metric": 0.003, "test": {"loss": 0.003}}
    told = train.describe_target(Adding(), results)
    assert told == "samples to loss 0.01 in two evaluations in a row: 4,000"
    told = train.describe_target(Adding(), results | {"units_to_target": None})
    assert told.endswith("not reached; the best evaluation had loss 0.003")


def test_small_losses_keep_their_digits():
    assert display.number("loss", 0.000123456, 0.0000321) == "0.000123 ± 3.21e-05"
    assert display.number("loss", 0.25) == "0.2500" and display.number("loss", 0.0) == "0.0000"
    assert display.number("accuracy", 0.0001) == "0.01 %"


def test_learning_curves_have_one_panel_where_the_loss_is_the_metric():
    records = [{"samples": n, "train": {"loss": 1 / n}, "valid": {"loss": 2 / n}} for n in (1, 2)]
    task = Adding()
    (axis,) = pictures.plot_curves(
        records, unit=task.unit, metric=task.metric, labels=task.metric_labels
    ).axes
    assert [line.get_ydata()[1] for line in axis.lines] == [0.5, 1.0]
    assert axis.get_ylabel() == "loss (mean squared error)"
    assert not any("%" in tick.get_text() for tick in axis.get_yticklabels())


def test_losses_of_a_sweep_are_drawn_over_magnitudes():
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    points = [{"learning_rate": rate} for rate in rates]
    task, curves = Adding(), [[0.2, 0.17], [0.2, 0.01], [0.2, 0.001], [1e9, 1e12]]
    *_, of_rates, of_curves = plot_sweep(
        points,
        np.array([100, 200]),
        np.array(curves),
        metric=task.metric,
        maximize=task.maximize,
        unit=task.unit,
        labels=task.metric_labels,
    ).axes
    for axis in (of_rates, of_curves):
        assert axis.get_yscale() == "log" and 0.17 < axis.get_ylim()[1] < 1e9
    assert of_rates.get_ylabel() == "best loss (mean squared error)"
    assert of_curves.get_ylabel() == "loss (mean squared error)"


def test_a_comparison_tells_a_loss_as_a_number():
    assert reached({"metric": "loss", "test": [0.001, 0.003]}) == "0.002 ± 0.0014"
    assert reached({"metric": "bpc", "test": [2.0, 3.0]}) == "2.500 ± 0.707"
    assert reached({"metric": "accuracy", "test": [0.5, 0.6]}) == "55.0 ± 7.1"
