"""The best parameters of a training, kept while it continues."""

import functools

import chex
import jax
import numpy as np
import own_tasks
import pytest

from tlstm_jax import LSTM, Network, fit, keep_best, training
from tlstm_jax.sweeps.members import fit_members
from tlstm_jax.training import Overrides, TrainSettings

TASK = own_tasks.first_symbol()
NETWORK = Network(LSTM(4), TASK.input_size, TASK.output_size, tokens=True)
# So large a rate that the last evaluation is not the best.
SETTINGS = TrainSettings(
    num_steps=16, eval_every=2, checkpoint_every=4, steps_per_call=1, learning_rate=1.0
)


def _copied(reports):
    """Reports whose states stay, and which are the same to `keep_best`."""
    return [r._replace(state=jax.tree.map(np.asarray, r.state._replace(key=()))) for r in reports]


@pytest.fixture(scope="module")
def kept():
    """(the reports of a training, the best after each of them)."""
    reports, best = [], [None]
    for report in fit(NETWORK, TASK, SETTINGS):
        best.append(keep_best(best[-1], report))
        reports.append(report if report.state is None else _copied([report])[0])
    return reports, best[1:]


def test_the_best_is_that_of_the_first_best_evaluation(kept):
    reports, best = kept
    evaluations = [r for r in reports if r.valid]
    values = [r.valid["accuracy"] for r in evaluations]
    first = evaluations[int(np.argmax(values))]
    assert first.progress.step < SETTINGS.num_steps and len(set(values)) > 2
    chex.assert_trees_all_equal(best[-1].params, first.state.params)
    assert best[-1].step == first.progress.step == reports[-1].progress.best_step
    assert best[-1].valid == first.valid
    assert best[0] is None and best[1].step == 2  # nothing is evaluated before


def test_its_parameters_outlive_the_training_and_evaluate_to_its_metrics(kept):
    best = kept[1][-1]
    key = jax.random.key(0)
    found = training.evaluate(
        NETWORK, TASK, best.params, best.model_state, TASK.data, split="valid", key=key
    )
    assert found == pytest.approx(best.valid, rel=1e-6)


def test_a_training_that_resumes_continues_with_its_best(kept):
    best = last = None
    for report in fit(NETWORK, TASK, SETTINGS):
        best, last = keep_best(best, report), report
        if report.progress.step == 4:
            break
    for report in fit(NETWORK, TASK, SETTINGS, state=last.state, progress=last.progress):
        best = keep_best(best, report)
    chex.assert_trees_all_equal(best, kept[1][-1])


@pytest.mark.slow
def test_members_of_a_sweep_have_theirs():
    overrides = Overrides(train={"learning_rate": [1.0, 0.1]})
    together = fit_members(NETWORK, TASK, SETTINGS, seeds=[0, 1], overrides=overrides)
    of_first = (reports[0] for reports in together)
    best = functools.reduce(keep_best, of_first, None)
    alone = functools.reduce(keep_best, fit(NETWORK, TASK, SETTINGS), None)
    assert best.step == alone.step
    chex.assert_trees_all_close(best.params, alone.params, rtol=1e-3, atol=1e-4)
