"""Runs, sweeps, cards and command lines from when the width was called `channels`."""

import dataclasses
import json

import pytest

from tests.test_scripts import QUICK
from tlstm_jax import zoo
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory, write_json
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.tasks.catalogue import TASKS


def as_before(run):
    """A run's settings as they were written then."""
    old = dataclasses.asdict(run)
    old["model_settings"]["channels"] = old["model_settings"].pop("features")
    return old


def test_a_run_of_then_is_the_same_run(tmp_path):
    run = settings.resolve({"task": "memorization", "model": "lstm", "features": 7}, None)
    directory, task = RunDirectory(tmp_path / "run"), TASKS["memorization"](**run.task_settings)
    directory.claim(run, task)
    write_json(directory.config, as_before(run))
    assert directory.read_config() == run and not directory.is_taken(run)
    directory.claim(run, task)  # and resumes
    assert "channels" not in json.loads(directory.config.read_text())["model_settings"]


def test_a_sweep_of_then_is_the_same_sweep(tmp_path):
    sweep = Sweep.make({"task": "memorization", "model": "lstm"}, None, {"features": [4, 5]})
    old = {"points": [{"channels": 4}, {"channels": 5}], "halving": None}
    write_json(tmp_path / "sweep.json", old | {"runs": [as_before(run) for run in sweep.runs]})
    assert Sweep.read(tmp_path) == sweep


def test_a_card_of_then_makes_the_same_network(tmp_path, monkeypatch):
    known = zoo.card("memorization")
    old = dict(known["model_settings"])
    old["channels"] = old.pop("features")
    (tmp_path / "old.json").write_text(json.dumps(known | {"model_settings": old}))
    monkeypatch.setattr("tlstm_jax.zoo.released.TRAINED", tmp_path)
    assert zoo.card("old") == known


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"channels": 6}, {"features": 6}),
        ({"channels": 6, "skip_features": None}, {"features": 6}),
        ({"channels": 6, "skip_features": 4}, {"features": 4, "residual_features": 6}),
        ({"features": 6, "residual_features": None}, {"features": 6, "residual_features": None}),
    ],
)
def test_both_widths_of_a_wavenet_are_found(old, new):
    assert zoo.current_names("wavenet", old) == new


@pytest.mark.slow
def test_channels_is_an_alias_of_the_flag(program, tmp_path):
    workdir, flags = (
        tmp_path / "run",
        ("--task=memorization", "--model=lstm", "--channels=5", *QUICK[:3]),
    )
    program("train", *flags, f"--workdir={workdir}")
    assert RunDirectory(workdir).read_config().model_settings["features"] == 5
    ran = program("train", f"--workdir={workdir}", "--channels=6", code=1)
    assert "holds another run, whose features is 5, not 6; accepted" in ran.stderr
