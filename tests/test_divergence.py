"""An evaluation that is not finite ends a run before anything of it is saved."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import pytest

from tlstm_jax import training, zoo
from tlstm_jax.runs.directory import RunDirectory, read_json, write_json
from tlstm_jax.runs.metrics_log import MetricsLog
from tlstm_jax.runs.results import write_results
from tlstm_jax.sweeps.members import DIVERGED, fit_members
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing
from tlstm_jax.training.progress import Progress
from tlstm_jax.training.settings import TrainSettings

SETTINGS = TrainSettings(num_steps=8, eval_every=4, checkpoint_every=4, steps_per_call=2)


def _nan_loss(size):
    """A task whose evaluations give a loss of NaN; `size` makes it another one for the compiler."""
    task = memorization(2, 3, batch_size=4, eval_samples=10 + size, eval_batch_size=4)

    def metrics(logits, batch):
        sums = type(task).metrics(task, logits, batch)
        evaluated = batch.inputs.shape[1] == 5  # as only evaluations have it
        total, count = sums["loss"]
        nan = jnp.full_like(total, jnp.nan)
        return sums | {"loss": (nan if evaluated else total, count)}

    task = dataclasses.replace(task, eval_batch_size=5)
    object.__setattr__(task, "metrics", metrics)
    return task


def _network(task):
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    return zoo.make_network("lstm", **sizes, features=4)


def test_an_evaluation_whose_loss_is_not_finite_is_divergence():
    task, seen = _nan_loss(1), []
    with pytest.raises(training.NonFiniteError) as error:
        for report in training.fit(_network(task), task, SETTINGS):
            seen.append(report)
    assert error.value.step == 4
    assert str(error.value) == "the loss of the evaluation after step 4 is not finite"
    assert [report.progress.step for report in seen] == [2]
    assert not any(report.improved for report in seen)


@pytest.mark.slow
def test_a_member_whose_evaluation_is_not_finite_has_diverged():
    task = _nan_loss(2)
    overrides = training.Overrides({}, {}, {})
    *_, last = fit_members(_network(task), task, SETTINGS, seeds=[0, 1], overrides=overrides)
    for report in last.values():
        assert report.finished and report.state is None and report.valid is None
        assert report.stop == f"{DIVERGED}: the loss of the evaluation after step 4 is not finite"


def test_results_never_hold_what_is_no_json(tmp_path):
    task = _nan_loss(3)
    network, directory = _network(task), RunDirectory(tmp_path / "run")
    state = training.init_state(network, task, SETTINGS, jax.random.key(0))
    progress = Progress(step=0, best_step=0, best_metric=0.5)
    checkpointing.save(directory.checkpoints, state, progress)
    results = write_results(directory, task, network, SETTINGS, "enough")
    assert results["test"]["loss"] is None and 0 <= results["test"]["accuracy"] <= 1

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(directory.results.read_text(), parse_constant=refuse)["test"]["loss"] is None


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_no_file_of_a_run_holds_a_number_that_is_not_finite(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": number})
    assert list(tmp_path.iterdir()) == []
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    log = MetricsLog(directory, 0, every=2)
    report = training.Report(None, Progress(step=2), {"loss": number}, None, False, None, False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write(report, "samples", 1.0)
    log.close()
    assert directory.read_metrics() == []


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(f'{{"a": {text}}}')
    with pytest.raises(ValueError, match=r"a\.json is damaged: .*; accepted is JSON"):
        read_json(tmp_path / "a.json")
    directory = RunDirectory(tmp_path)
    line = '{"step": 2, "samples": 1, "seconds": 1, "train": {"loss": %s}}\n'
    directory.metrics.write_text(line % text + line % 1.0)
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged in line 1;"):
        directory.read_metrics()
