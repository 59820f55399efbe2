"""Builds notebooks/*.ipynb from their sources, notebooks/*.py, and runs them for their outputs.

python -m scripts.notebooks
python -m scripts.notebooks --names=quickstart --noexecute

A source is in the percent format, with {badge} and {repository} in place of what follows from
tlstm_jax.REPOSITORY_URL. Cells tagged "install" are not run here. Needs jupytext, nbclient and
ipykernel:
pip install .[notebooks].
"""

import pathlib
import time
from typing import Any

from absl import flags

from tlstm_jax import REPOSITORY_URL
from tlstm_jax.runs.files import replacing
from tlstm_jax.scripts import cli

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
COLAB = "https://colab.research.google.com"

_NAMES = flags.DEFINE_list("names", None, "Which notebooks; all if unset.")
_EXECUTE = flags.DEFINE_bool("execute", True, "Whether they are run.")


def main() -> None:
    with cli.one_line_errors():
        for path in _sources(_NAMES.value):
            notebook, begin = build(path.read_text(encoding="utf-8"), path.stem), time.monotonic()
            if _EXECUTE.value:
                execute(notebook)
            write(path.with_suffix(".ipynb"), notebook)
            print(f"{path.with_suffix('.ipynb')}: {time.monotonic() - begin:.0f} s", flush=True)


def build(source: str, name: str) -> Any:
    """The notebook, without outputs, of a source in the percent format."""
    import jupytext

    _, _, of_repository = REPOSITORY_URL.partition("github.com/")
    address = f"{COLAB}/github/{of_repository}/blob/main/notebooks/{name}.ipynb"
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({address})"
    text = source.replace("{badge}", badge).replace("{repository}", REPOSITORY_URL)
    notebook = jupytext.reads(text, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{name}-{number}"  # so that equal sources make equal files
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


def execute(notebook: Any) -> None:
    """Runs all cells but those tagged "install", in place."""
    from nbclient import NotebookClient

    cells = notebook.cells
    notebook.cells = [c for c in cells if "install" not in c.metadata.get("tags", [])]
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(FOLDER.parent)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ from run to run
    notebook.cells = cells


def write(path: pathlib.Path, notebook: Any) -> None:
    """Writes the notebook's file."""
    import nbformat

    with replacing(path) as temporary:
        nbformat.write(notebook, temporary)


def _sources(names: list[str] | None) -> list[pathlib.Path]:
    there = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
    for name in names or []:
        if name not in there:
            raise ValueError(f"--names has {name!r}; accepted are {', '.join(there)}")
    return [path for name, path in there.items() if names is None or name in names]


if __name__ == "__main__":
    cli.run(main)
