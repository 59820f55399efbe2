"""The program of the newer tasks: its runs, and the page that is made of them."""

import json

import pytest

from tlstm_jax import zoo
from tlstm_jax.runs.settings import resolve, task_settings
from tlstm_jax.scripts.showcase import page, running
from tlstm_jax.scripts.showcase.experiments import EXPERIMENTS, SEEDS, Experiment


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_one_that_can_be_trained(name):
    experiment = EXPERIMENTS[name]
    known = task_settings(experiment.flags["task"])
    assert {"LSTM", "tLSTM"} < experiment.models.keys()
    for model in experiment.models.values():
        given = {**experiment.flags, **model, "seed": 0}
        if "tensor_shape" in given:
            given["tensor_shape"] = (int(given["tensor_shape"]),)
        resolve(given, None)
        assert model["model"] in zoo.MODELS
    for sizes in experiment.longer.values():
        assert sizes.keys() <= known.keys()


SMALL = Experiment(
    "Two symbols backwards",
    {
        "task": "reversal",
        "num_symbols": 2,
        "batch_size": 4,
        "num_steps": 4,
        "eval_every": 2,
        "eval_samples": 8,
        "eval_batch_size": 4,
    },
    {"LSTM": {"model": "lstm", "features": 4}, "a GRU": {"model": "gru", "features": 4}},
    "accuracy",
    "% of symbols",
    100,
    longer={"% of symbols of 5": {"num_symbols": 5}},
    picture="hidden.png",
    papers="No paper has it.",
)


@pytest.mark.slow
def test_runs_are_kept_and_the_page_is_made_of_them_alone(tmp_path, monkeypatch):
    for module in (page, running):
        monkeypatch.setattr(module, "EXPERIMENTS", {"small": SMALL})
    runs = list(running.runs_of(tmp_path / "runs", ["small"]))
    assert [run.seed for run in runs] == [SEEDS[0]] * 2 + [SEEDS[1]] * 2
    assert running.train_all(runs[:1], jobs=1, minutes=None) == []
    text = page.write_page(tmp_path / "docs", runs).read_text()
    assert "| LSTM | " in text and "a GRU" not in text
    before = json.loads(runs[0].directory.results.read_text())
    assert running.train_all(runs, jobs=2, minutes=None) == []
    assert json.loads(runs[0].directory.results.read_text()) == before
    text = page.write_page(tmp_path / "docs", runs).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| a GRU | ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    found = [json.loads(run.directory.results.read_text()) for run in runs if run.model == "a GRU"]
    accuracies = [100 * result["test"]["accuracy"] for result in found]
    each = ", ".join(f"{value:.4g}" for value in accuracies)
    assert cells[3] == f"{sum(accuracies) / 2:.4g} ({each})"
    assert cells[4].count(",") == 1 and cells[5] == "16"
    assert "No paper has it." in text
    for picture in ("small", "small-lstm-0", "small-a-gru-0"):
        assert f"](showcase/{picture}.png)" in text
        assert (tmp_path / "docs" / "showcase" / f"{picture}.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.slow
def test_what_cannot_be_trained_is_named_in_one_line(tmp_path, monkeypatch):
    broken = {
        "small": Experiment("None", {"task": "reversal", "eval_every": 0}, SMALL.models, "", "")
    }
    monkeypatch.setattr(running, "EXPERIMENTS", broken)
    (first, *_) = running.runs_of(tmp_path, ["small"])
    (message,) = running.train_all([first], jobs=1, minutes=None)
    assert message.startswith(f"{first.folder}: error: eval_every is 0; accepted")


def test_an_unknown_experiment_is_refused(program):
    ran = program("showcase", "--only=cpoy", code=1)
    assert ran.stderr.startswith("error: experiment is 'cpoy'; did you mean copy") or (
        ran.stderr.startswith("error: experiment is 'cpoy'; accepted")
    )
    assert "copy: The copying memory problem" in program("showcase", "--list").stdout
