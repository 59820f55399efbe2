"""The catalogues of experiments: their runs, and the pages that are made of these alone."""

import json
import pathlib
import subprocess
import sys
from unittest import mock

import jax
import pytest

from tlstm_jax import zoo
from tlstm_jax.runs.settings import task_settings
from tlstm_jax.runs.starts import read_starts
from tlstm_jax.scripts.experiments import reproduction, running, showcase, starting
from tlstm_jax.scripts.experiments.experiment import Experiment, runs_of
from tlstm_jax.scripts.experiments.page import Page, write_page
from tlstm_jax.scripts.experiments.running import train_all
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.zoo import released

CATALOGUES = {
    "showcase": showcase.EXPERIMENTS,
    "reproduction": reproduction.EXPERIMENTS,
    "starts": starting.EXPERIMENTS,
}
ALL = [run for catalogue in CATALOGUES.values() for run in runs_of(pathlib.Path(), catalogue)]


@pytest.mark.parametrize("run", ALL, ids=lambda run: run.row)
def test_every_row_can_be_trained(run):
    given = dict(run.flags)
    if "tensor_shape" in given:
        given["tensor_shape"] = tuple(map(int, given["tensor_shape"].split(",")))
    halving = run.experiment.halving if len(run.over) > 1 else {}
    sweep = Sweep.make(given, None, run.over, **halving)
    assert len(sweep.points) % len(run.experiment.seeds) == 0
    for sizes in run.experiment.longer.values():
        assert sizes.keys() <= task_settings(run.flags["task"]).keys()


def test_every_row_has_its_own_folder():
    for catalogue in CATALOGUES.values():
        folders = [run.folder for run in runs_of(pathlib.Path(), catalogue)]
        assert len(set(folders)) == len(folders)


def test_rows_that_are_called_equal_have_as_many_parameters():
    counts = {}
    for run in runs_of(pathlib.Path(), reproduction.EXPERIMENTS):
        if run.name in ("text", "ablations") or (
            run.name == "pmnist" and not run.model.endswith(("L = 3", "100"))
        ):
            settings = {
                k: v for k, v in run.flags.items() if k in zoo.model_settings(run.flags["model"])
            }
            if "tensor_shape" in settings:
                settings["tensor_shape"] = tuple(map(int, settings["tensor_shape"].split(",")))
            sizes = (1, 10, False) if run.name == "pmnist" else (200, 200, True)
            sizes = dict(zip(("input_size", "output_size", "tokens"), sizes, strict=True))
            network = zoo.make_network(run.flags["model"], **sizes, **settings)
            counts.setdefault(run.name, []).append(zoo.count_parameters(network))
    assert {name: len(found) for name, found in counts.items()} == {
        "pmnist": 3,
        "text": 3,
        "ablations": 10,
    }
    for found in counts.values():
        assert max(found) < 1.02 * min(found)


def test_published_figures_are_of_rows():
    for experiment in reproduction.EXPERIMENTS.values():
        assert experiment.published.keys() <= experiment.models.keys()


SMALL = Experiment(
    "Two symbols backwards",
    {
        "task": "reversal",
        "num_symbols": 2,
        "batch_size": 4,
        "num_steps": 40,
        "eval_every": 10,
        "eval_samples": 8,
        "eval_batch_size": 4,
    },
    {"LSTM": {"model": "lstm", "features": 4}, "a GRU": {"model": "gru", "features": 4}},
    "accuracy",
    "% of symbols",
    100,
    search={"forget_bias": (0.0, 1.0), "learning_rate": (1e-2, 1e-3)},
    halving={"halving": 2, "halving_steps": 10},
    published={"a GRU": "all of them"},
    target="samples to 99 %",
    longer={"% of symbols of 5": {"num_symbols": 5}},
    picture="hidden.png",
    papers="No paper has it.",
)
PAGE = Page("tables", "table", "A title", "One.\n\nTwo.")


@pytest.mark.slow
def test_runs_are_kept_and_the_page_is_made_of_them_alone(tmp_path):
    runs = runs_of(tmp_path, {"small": SMALL})
    assert [run.row for run in runs] == ["small/lstm", "small/a-gru"]
    assert {run.state for run in runs} == {"not begun"}
    assert train_all(runs[:1], jobs=1, minutes=None) == []
    text = write_page(tmp_path / "docs", PAGE, runs).read_text()
    assert "| LSTM | " in text and "a GRU" not in text
    assert "## Not begun\n\n`small/a-gru`." in text
    before = runs[0].results
    assert train_all(runs, jobs=2, minutes=None) == []
    assert runs[0].results == before
    assert [run.state for run in runs] == ["finished"] * 2
    assert [len(run.over) for run in runs] == [3, 2]  # a GRU has no forget bias

    lstm = runs[0]
    csv = (lstm.folder / "settings.csv").read_text().splitlines()
    best = dict(zip(csv[0].split(","), csv[1].split(","), strict=True))
    assert lstm.chosen == {k: float(best[k]) for k in ("forget_bias", "learning_rate")}
    chosen = [json.loads(member.config.read_text()) for member in lstm.members]
    assert [c["train_settings"]["seed"] for c in chosen] == [0, 1]
    for c in chosen:
        assert c["model_settings"]["forget_bias"] == lstm.chosen["forget_bias"]
        assert c["train_settings"]["learning_rate"] == lstm.chosen["learning_rate"]

    text = write_page(tmp_path / "docs", PAGE, runs).read_text()
    assert "    python -m scripts.table\n" in text and "\n\nTwo.\n" in text
    assert "Not begun" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("| a GRU | ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    accuracies = [100 * result["test"]["accuracy"] for result in runs[1].results]
    each = ", ".join(f"{value:.4g}" for value in accuracies)
    assert cells[3] == "all of them" and cells[4] == f"{sum(accuracies) / 2:.4g} ({each})"
    assert cells[5].count(",") == 1 and cells[6].count("not reached") in (0, 1, 2)
    assert cells[7] == "160" and cells[9].startswith("cpu")
    assert "No paper has it." in text
    searched = (
        "Searched: `forget_bias` of 0.0, 1.0; `learning_rate` of 0.01, 0.001, with `halving=2`"
    )
    assert f" {searched}, `halving_steps=10`." in " ".join(text.split())
    for picture in ("small", "small-lstm", "small-a-gru"):
        assert f"](tables/{picture}.png)" in text
        assert (tmp_path / "docs" / "tables" / f"{picture}.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.slow
def test_a_row_is_released_with_the_figures_of_all_seeds(tmp_path):
    (run,) = runs_of(tmp_path, {"small": SMALL}, ["small/a-gru"])
    assert train_all([run], jobs=1, minutes=None) == []
    code = "from tlstm_jax.scripts import release; from tests import test_experiments as t; "
    code += f"run = t.runs_of(t.pathlib.Path({str(tmp_path)!r}), "
    code += "{'small': t.SMALL}, ['small/a-gru'])[0]; "
    code += f"release.release_row(run, 'mine', t.pathlib.Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    card = json.loads((tmp_path / "mine.json").read_text())
    tests = [result["test"]["accuracy"] for result in run.results]
    valid = [result["best_metric"] for result in run.results]
    assert card["seeds"] == [0, 1] and card["test_of_seeds"]["accuracy"] == tests
    assert card["test"]["accuracy"] == tests[valid.index(max(valid))]
    assert card["command"] == "python -m scripts.release --name=mine"
    (device,) = card["trained_on"]
    assert device.startswith("cpu ")
    with mock.patch.object(released, "TRAINED", tmp_path):
        model, params = zoo.load("mine")
    assert zoo.count_parameters(model) == card["parameters"]
    assert jax.tree.structure(params) == jax.tree.structure(model.init(jax.random.key(0))[0])


@pytest.mark.slow
def test_what_the_minutes_cut_goes_on_from_its_checkpoints(tmp_path, monkeypatch):
    flags = SMALL.flags | {"num_steps": 1_000_000, "checkpoint_every": 10}
    long = Experiment("Long", flags, {"LSTM": SMALL.models["LSTM"]}, "accuracy", "%", 100)
    (run,) = runs_of(tmp_path, {"long": long})
    assert train_all([run], jobs=1, minutes=0.1) == []  # less than it takes to begin
    assert run.state == "not begun"
    monkeypatch.setattr(running, "LEAST_MINUTES", 0.01)
    ended = []
    for _ in range(2):
        assert train_all([run], jobs=1, minutes=0.05) == []
        ended.append(run.members[0].read_metrics()[-1]["step"])
        text = write_page(tmp_path / "docs", PAGE, [run]).read_text()
        assert f"still running at step {ended[-1]:,} of 1,000,000" in text
    assert 0 < ended[0] < ended[1]
    first, second = read_starts(run.members[0])
    assert first["step"] == 0 and second["step"] == ended[0]


@pytest.mark.slow
def test_what_cannot_be_trained_is_named_in_one_line(tmp_path):
    broken = Experiment("None", {"task": "reversal", "eval_every": 0}, SMALL.models, "", "")
    first, *_ = runs_of(tmp_path, {"small": broken})
    (message,) = train_all([first], jobs=1, minutes=None)
    assert message.startswith(f"{first.folder}: error: eval_every is 0; accepted")


@pytest.mark.parametrize("name", ["showcase", "reproduce"])
def test_an_unknown_experiment_is_refused(program, name):
    ran = program(name, "--only=cpoy", code=1)
    assert ran.stderr.startswith("error: only is 'cpoy'; ") and "accepted are" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_page_is_kept_where_there_are_no_runs(program, tmp_path):
    (tmp_path / "docs").mkdir()
    (page := tmp_path / "docs" / "showcase.md").write_text("mine")
    flags = f"--workdir={tmp_path / 'runs'}", f"--output={tmp_path / 'docs'}"
    assert program("showcase", "--minutes=0", *flags).stdout.startswith("no page: ")
    assert page.read_text() == "mine"
    ran = program("showcase", "--minutes=nan", *flags, code=1)
    assert ran.stderr == "error: minutes is nan; accepted are numbers >= 0\n"


def test_the_list_says_how_far_each_row_is(program, tmp_path):
    told = program("reproduce", "--list", f"--workdir={tmp_path}", "--only=memorization").stdout
    assert "memorization/2d-tlstm-cn-l-10: 2D tLSTM+CN, L = 10; not begun\n" in told
    assert told.count("\n") == len(reproduction.EXPERIMENTS["memorization"].models)
