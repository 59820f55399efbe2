"""One program at a time writes to a folder; a kill frees it; readers are not affected."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.test_sweep_program import SWEEP
from tlstm_jax.runs import ownership
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.runs.ownership import owning

HOLD = """
import pathlib, sys
from tlstm_jax.runs.ownership import owning
path = pathlib.Path(sys.argv[1])
with owning(path, path / "config.json"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def _run(path):
    return owning(path, path / "config.json")


def test_a_second_owner_is_told_who_holds_the_folder(tmp_path):
    path = tmp_path / "run"
    with _run(path):
        with pytest.raises(ValueError) as error, _run(path):
            pytest.fail("two owners")
        assert str(error.value).startswith(f"{path} is in use by process {os.getpid()} on ")
        assert "\n" not in str(error.value) and "another --workdir" in str(error.value)
    with _run(path):
        pass


def test_a_killed_owner_leaves_the_folder_free(tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(ValueError, match=f"is in use by process {process.pid} on "), _run(path):
        pytest.fail("two owners")
    process.kill()
    process.wait()
    with _run(path):
        pass


def test_a_folder_that_is_none_of_ours_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with _run(tmp_path):
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_is_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "config.json").touch()
    (tmp_path / ownership.NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="could not be written"), _run(tmp_path):
        pytest.fail("followed")
    assert not (tmp_path / "elsewhere").exists()


def test_members_of_a_sweep_have_owners_of_their_own_but_not_beside_the_sweep(tmp_path):
    plan = tmp_path / "sweep.json"
    plan.touch()
    for name in ("0", "1"):
        (tmp_path / "members" / name).mkdir(parents=True)
        (tmp_path / "members" / name / "config.json").touch()
    (tmp_path / "best").symlink_to(tmp_path / "members" / "0")
    first, second = (RunDirectory(tmp_path / "members" / name) for name in ("0", "1"))
    best = RunDirectory(tmp_path / "best")
    with ownership.owning_run(first), ownership.owning_run(second):
        for directory in (first, best):
            with pytest.raises(ValueError, match="is in use"), ownership.owning_run(directory):
                pytest.fail("two owners")
        with pytest.raises(ValueError, match="is in use"), owning(tmp_path, plan):
            pytest.fail("two owners")
    with (
        owning(tmp_path, plan),
        pytest.raises(ValueError, match="is in use"),
        ownership.owning_run(best),
    ):
        pytest.fail("two owners")


def test_the_programs_that_write_refuse_and_change_nothing(program, tmp_path):
    runs = {
        "train": ("--task=memorization", "--features=4", "--num_steps=10", "--eval_every=10"),
        "sweep": SWEEP,
    }
    for name, args in runs.items():
        path = tmp_path / name
        with owning(path, path / ("config.json" if name == "train" else "sweep.json")):
            before = sorted(path.rglob("*"))
            ran = program(name, *args, f"--workdir={path}", code=1)
            assert ran.stderr.startswith(f"error: {path} is in use by process {os.getpid()} on ")
            assert ran.stderr.count("\n") == 1
            assert sorted(path.rglob("*")) == before
