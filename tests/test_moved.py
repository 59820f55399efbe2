"""Runs whose data or folder moved, and runs that are made longer by one flag."""

import json
import shutil

import pytest

from tests.test_scripts import QUICK
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.scripts.sweep.plan import Sweep
from tlstm_jax.tasks.catalogue import TASKS

TEXT = b"the quick brown fox jumps over the lazy dog. " * 60
SMALL = {"batch_size": 2, "segment_length": 9, "eval_batch_size": 2}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT)
    return path


def _claim(tmp_path, path, **given):
    given = {"task": "char_lm", "data_path": path, **SMALL, **given}
    chosen = settings.resolve(given, None)
    directory = RunDirectory(tmp_path / "run")
    directory.claim(chosen, TASKS["char_lm"](**chosen.task_settings))
    return directory


def test_data_that_moved_and_are_the_same_are_gone_on_with(tmp_path, text):
    _claim(tmp_path, text)
    new = text.rename(tmp_path / "elsewhere.txt")
    directory = _claim(tmp_path, new)
    assert directory.read_config().task_settings["data_path"] == str(new)


def test_other_data_are_refused_wherever_they_lie(tmp_path, text):
    directory = _claim(tmp_path, text)
    new = tmp_path / "other.txt"
    new.write_bytes(TEXT.replace(b"fox", b"FOX"))
    before = directory.config.read_text()
    with pytest.raises(
        ValueError, match=r"the data of char_lm differ; accepted are those that the run in .* beg"
    ):
        _claim(tmp_path, new)
    assert directory.config.read_text() == before


def test_without_a_checksum_of_the_data_another_path_is_refused(tmp_path, text):
    _claim(tmp_path, text).data.unlink()
    with pytest.raises(ValueError, match="holds another run, whose data_path is"):
        _claim(tmp_path, shutil.copy(text, tmp_path / "copy.txt"))


def test_a_sweep_resumes_with_data_that_moved(tmp_path, text):
    given = {"task": "char_lm", "model": "lstm", "data_path": str(text), **SMALL}
    over = {"seed": [0, 1]}
    Sweep.make(given, None, over).claim(tmp_path / "sweep")
    moved = Sweep.make({**given, "data_path": str(tmp_path / "moved.txt")}, None, over)
    moved.claim(tmp_path / "sweep")
    paths = [run.task_settings["data_path"] for run in Sweep.read(tmp_path / "sweep").runs]
    assert paths == [str(tmp_path / "moved.txt")] * 2
    with pytest.raises(ValueError, match="holds another sweep"):
        Sweep.make(given | {"batch_size": 3}, None, over).claim(tmp_path / "sweep")


@pytest.mark.slow
def test_one_flag_makes_a_finished_run_longer_or_tells_it_where_its_data_are(
    program, text, tmp_path
):
    workdir = tmp_path / "run"
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    first = ("--task=char_lm", f"--data_path={text}", "--model=elman", *sizes, *QUICK)
    program("train", *first, f"--workdir={workdir}")
    ran = program("train", f"--workdir={workdir}", "--num_steps=8")
    assert "resuming from step 4" in ran.stdout and "all steps done after 8 steps" in ran.stdout
    assert json.loads((workdir / "results.json").read_text())["step"] == 8
    new = text.rename(tmp_path / "elsewhere.txt")
    ran = program("train", f"--workdir={workdir}", code=1)
    assert str(text) in ran.stderr
    ran = program("train", f"--workdir={workdir}", f"--data_path={new}", "--num_steps=10")
    assert "all steps done after 10 steps" in ran.stdout
    ran = program("train", f"--workdir={workdir}", "--features=9", code=1)
    assert "holds another run, whose features is 4, not 9; accepted" in ran.stderr
    ran = program("train", f"--workdir={workdir}", "--num_steps=4", code=1)
    assert "whose num_steps is 10, not 4" in ran.stderr


@pytest.mark.slow
def test_a_folder_that_is_gone_in_mid_run_ends_it_with_an_error(start, tmp_path):
    workdir = tmp_path / "run"
    flags = ("--task=memorization", "--features=4", "--num_steps=1000000", "--eval_every=1000")
    process = start("train", *flags, "--eval_samples=10", f"--workdir={workdir}")
    for line in process.stdout:
        if line.startswith("step"):
            break
    workdir.rename(tmp_path / "elsewhere")
    rest = process.stdout.read()
    assert process.wait() == 1
    gone = f"error: {workdir}/metrics.jsonl could not be written: it was removed or repl"
    unsaved = f"error: checkpoint {workdir}/checkpoints/"  # one was being saved just then
    assert gone in rest or unsaved in rest
    assert "steps done" not in rest and "Traceback" not in rest
