"""The notebooks: up to date, and run from top to bottom at small sizes."""

import pathlib
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from tlstm_jax import REPOSITORY_URL
from tlstm_jax.scripts.notebooks import build

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
README = (FOLDER.parent / "README.md").read_text()
SOURCES = sorted(FOLDER.glob("*.py"))
SMALL = re.compile(r"^([A-Z_]+ = )[\d_]+  # small: ([\d_]+)$", re.MULTILINE)


def _cells(notebook):
    return [
        (cell.cell_type, cell.source, cell.get("metadata", {}).get("tags"))
        for cell in notebook.cells
    ]


def test_the_readme_names_each():
    assert len(SOURCES) >= 4
    missing = {path.stem for path in SOURCES if f"](notebooks/{path.stem}.ipynb)" not in README}
    assert not missing, "the README has no link to these"
    number = ("Four", "Five", "Six", "Seven", "Eight")[len(SOURCES) - 4]
    assert f"{number} notebooks" in README


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_made_of_its_source_and_has_been_run(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    up_to_date = _cells(notebook) == _cells(build(path.read_text(), path.stem))
    assert up_to_date, f"python -m scripts.notebooks --names={path.stem} makes it anew"
    first, install = notebook.cells[:2]
    has_badge = f"blob/main/notebooks/{path.stem}.ipynb)" in first.source
    assert has_badge, "the first cell has no {badge}, from which it is opened in Colab"
    installs = "\n%pip install" in install.source and REPOSITORY_URL in install.source
    assert installs, 'the second cell is not the one tagged "install" that the other notebooks have'
    code = [cell for cell in notebook.cells[2:] if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2, "a notebook draws at least twice"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("gpu", [False, True])
def test_an_installation_brings_the_plugin_of_its_jax_where_a_gpu_is(path, gpu, monkeypatch):
    """Where pip takes a newer jax, an older jax's CUDA plugin is of no use to it."""
    cell = build(path.read_text(), path.stem).cells[1].source
    python, _, magic = cell.partition("\n%pip install ")
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/nvidia-smi" if gpu else None)
    assert magic, 'the second cell is not the one tagged "install" that the other notebooks have'
    names = {}
    exec(python, names)
    extras = "train,cuda" if gpu else "train"
    assert magic.format_map(names) == f'-q "tlstm-jax[{extras}] @ git+{REPOSITORY_URL}"'
    assert "restart the runtime" in python


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_at_small_sizes(path, environment, tmp_path):
    source, replaced = SMALL.subn(r"\1\2", path.read_text())
    assert replaced, "no constant, NAME = 100  # small: 10, makes it short enough for a test"
    script = tmp_path / "notebook.py"
    script.write_text(source)
    environment = {**environment, "PYTHONPATH": str(FOLDER.parent), "MPLBACKEND": "Agg"}
    ran = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
