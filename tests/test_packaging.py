"""What is installed and uploaded: the source distribution, the description, missing extras."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from tlstm_jax import REPOSITORY_URL
from tlstm_jax.scripts import cli

ROOT = pathlib.Path(__file__).parent.parent


def _tracked():
    ran = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        pytest.skip("no repository here")
    return [name for name in ran.stdout.splitlines() if (ROOT / name).exists()]


def test_a_source_distribution_has_all_files(tmp_path):
    tracked = _tracked()
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    with tarfile.open(tmp_path / "dist" / ran.stdout.split()[-1]) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert [name for name in tracked if name not in packed and not name.startswith(".")] == []
    assert not [name for name in packed if name.endswith(".pyc")]


def test_links_of_the_description_lead_somewhere_on_an_index_page():
    code = (
        "import json, runpy, setuptools; "
        "setuptools.setup = lambda **k: print(json.dumps(k['long_description'])); "
        "runpy.run_path('setup.py')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    text = json.loads(ran.stdout)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(links) > 10 and all(link.startswith("http") for _, link in links)
    for image, link in links:
        if link.startswith(REPOSITORY_URL):
            kind, path = re.fullmatch(f"{REPOSITORY_URL}/(blob|raw)/main/(.+)", link).groups()
            assert (ROOT / path).exists() and kind == ("raw" if image else "blob")


@pytest.mark.parametrize("module", ["absl", "tqdm", "tensorboardX", "orbax", "matplotlib"])
def test_a_program_without_its_extra_says_what_to_install(module, tmp_path):
    # A package that cannot be found, before the one that can.
    code = (
        f"import sys, importlib.machinery as m; find = m.PathFinder.find_spec\n"
        f"m.PathFinder.find_spec = lambda name, *a: None if name.split('.')[0] == {module!r} else "
        "find(name, *a)\n"
        "import runpy; sys.argv = ['-m']; runpy.run_module('scripts.train', run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.fullmatch(
        rf"error: {module}\S* is not installed; pip install \"tlstm-jax\[train\]\" brings it\n",
        ran.stderr,
    )


@pytest.mark.parametrize(("name", "extra"), [("sklearn", "train"), ("jupytext", "notebooks")])
def test_what_is_missing_later_is_one_line_too(name, extra, capsys):
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert end.value.code == (
        f'error: {name} is not installed; pip install "tlstm-jax[{extra}]" brings it'
    )
    with pytest.raises(SystemExit) as end, cli.one_line_errors():
        raise ImportError("data/prepared needs array_record, which cannot be imported (dlopen)")
    assert end.value.code.startswith("error: data/prepared needs array_record, which cannot")
