"""What is built installs under one name, and runs beside tasks and scripts of a user's own."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest

from tlstm_jax.scripts.__main__ import PROGRAMS

ROOT = pathlib.Path(__file__).parent.parent
BUILD = "from setuptools import build_meta; print(build_meta.build_{}({!r}))"
QUICK = (
    "--task=memorization --num_symbols=2 --alphabet_size=3 --model=gru --channels=4 --batch_size=4 "
    "--eval_samples=8 --eval_batch_size=8 --num_steps=2 --eval_every=2 --steps_per_call=1"
)


def _run(*command, cwd, code=0):
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout if code == 0 else ran.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the unpacked source distribution, as an installer builds it."""
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no repository here")
    for name in filter(lambda name: (ROOT / name).exists(), listed.stdout.splitlines()):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    out = _run(sys.executable, "-c", BUILD.format("sdist", str(folder)), cwd=folder / "source")
    with tarfile.open(folder / out.split()[-1]) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    out = _run(sys.executable, "-c", BUILD.format("wheel", str(folder)), cwd=unpacked)
    return folder / out.split()[-1]


@pytest.fixture(scope="module")
def bin_(wheel, tmp_path_factory):
    """The programs of a fresh environment, which has this one's packages but for ours."""
    fresh = tmp_path_factory.mktemp("fresh")
    _run(sys.executable, "-m", "venv", fresh, cwd=fresh)
    bin_ = fresh / ("Scripts" if os.name == "nt" else "bin")
    _run(bin_ / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=fresh)
    paths = json.loads(
        _run(
            bin_ / "python",
            "-c",
            "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))",
            cwd=fresh,
        )
    )
    # What a .pth file names is searched last, and its own .pth files, are not read.
    pathlib.Path(paths["purelib"], "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return bin_


@pytest.fixture
def users(tmp_path):
    """A folder with a tasks.py, tasks/ and scripts/ of its own."""
    for name in ("tasks.py", "scripts/mytool.py", "tasks/mine.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("print('mine')\n")
    return tmp_path


def test_nothing_lands_beside_our_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(name for name in names if name.endswith("METADATA"))
        metadata = archive.read(entry).decode().partition("\n\n")[0]
    tops = {name.split("/")[0] for name in names}
    assert {top.split("-")[0] for top in tops} == {"tlstm_jax"} and len(tops) == 2
    assert {"tlstm_jax/py.typed", "tlstm_jax/tasks/data/idx.py"} <= set(names)
    assert any(name.startswith("tlstm_jax/zoo/trained/") for name in names)
    makers = ("accelerator", "bench", "compare", "endurance", "experiments", "notebooks")
    makers += ("release", "reproduce", "showcase")
    assert not [n for n in names for m in makers if n.startswith(f"tlstm_jax/scripts/{m}")]
    for field in ("License-Expression", "Keywords", "Classifier", "Project-URL", "Summary"):
        assert f"\n{field}: " in metadata


@pytest.mark.slow
def test_programs_run_in_a_folder_with_tasks_and_scripts_of_its_own(bin_, users):
    told = _run(bin_ / "tlstm-jax", "train", *QUICK.split(), "--workdir=run", cwd=users)
    assert "mine" not in told and "best checkpoint" in told
    result = _run(bin_ / "python", "-m", "tlstm_jax.scripts.evaluate", "--workdir=run", cwd=users)
    assert json.loads(result)["step"] == 2
    assert _run(bin_ / "python", "-m", "scripts.mytool", cwd=users) == "mine\n"
    assert _run(bin_ / "python", "-c", "import tasks", cwd=users) == "mine\n"
    code = "from tlstm_jax import runs; print(len(runs.open('run').records))"
    assert _run(bin_ / "python", "-c", code, cwd=users) == "2\n"


def test_the_console_command_tells_its_programs(bin_, users):
    told = _run(bin_ / "tlstm-jax", cwd=users)
    assert [line.split()[1] for line in told.splitlines()[: len(PROGRAMS)]] == list(PROGRAMS)
    told = _run(bin_ / "tlstm-jax", "evaluat", cwd=users, code=1)
    assert told.startswith("error: program is 'evaluat'; did you mean evaluate? accepted are train")
    told = _run(bin_ / "tlstm-jax", "evaluate", cwd=users, code=1)
    assert "--workdir" in told and "Traceback" not in told
