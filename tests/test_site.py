"""The pages that are made for the site; `make docs` builds all of it, with warnings as errors."""

import importlib
import json
import pathlib
import re
import sys

import pytest

import tlstm_jax
from tlstm_jax import zoo
from tlstm_jax.scripts.compare.members import COLUMNS

DOCS = pathlib.Path(__file__).parent.parent / "docs"
PACKAGES = ("cells", "models", "recurrence", "training", "sweeps", "devices", "zoo", "runs")


@pytest.fixture(scope="module")
def site():
    sys.path.insert(0, str(DOCS / "_ext"))
    yield importlib.import_module("site_pages"), importlib.import_module("docstrings")
    sys.path.remove(str(DOCS / "_ext"))


@pytest.fixture(scope="module")
def pages(site):
    return site[0].pages()


@pytest.mark.parametrize("name", zoo.MODELS)
def test_the_gallery_has_a_page_of_each_model(name, pages):
    entry, page = zoo.MODELS[name], pages[f"gallery/{name}.md"]
    assert page.startswith(f"# {entry.title}\n") and entry.citation in page
    assert f"* {entry.checked};" in page
    equations = page.partition("## Equations")[2].partition("## In Python")[0]
    is_there = "```text\n" in equations and "_t" in equations and " = " in equations
    assert is_there, (
        "no equations, x_t = .. in lines indented by four, in the docstring of its module"
    )
    title = re.search('"(.+)"', entry.citation)[1]
    assert title in " ".join(equations.split()), (
        "its paper is not cited in the docstring of its module"
    )
    assert all(f"| `{setting}` | `" in page for setting in zoo.own_settings(name))
    learned = page.partition("## What it learned")[2]
    compared = f"| `{name}` |" in (DOCS / "results" / "zoo" / "comparison.md").read_text()
    assert (f"| `{name}` |" if compared else "no row in") in learned
    assert len({line.count("|") for line in learned.splitlines() if line.startswith("|")}) <= 1
    assert f"[`{name}`]({name}.md)" in pages["gallery/index.md"]


def test_the_class_of_each_model_is_exported():
    made_by_name = {type(zoo.make_model(name)).__name__ for name in zoo.MODELS} - {"CellModel"}
    classes = {entry.make.__name__ for entry in zoo.MODELS.values() if type(entry.make) is type}
    forgotten = (classes | made_by_name) - set(tlstm_jax.__all__)
    assert not forgotten, "these are not in __all__ of tlstm_jax/__init__.py"


@pytest.mark.parametrize("name", zoo.MODELS)
def test_each_models_page_shows_its_learning_curves_or_says_how_they_are_made(name, pages):
    learned = pages[f"gallery/{name}.md"].partition("## What it learned")[2]
    shown = re.findall(r"!\[[^\]]+\]\(\.\./(results/zoo/[^)]+)\)\n\n\*([^*]+)\*\n", learned)
    there = sorted((DOCS / "results" / "zoo" / "rows").glob(f"*/{name}.json"))
    command = f"python -m scripts.compare --models={name} --workdir=docs/results/zoo"
    assert bool(shown) == bool(there)
    assert (f"`{command}` makes it" in learned) == (not there)
    for path, caption in shown:
        picture = DOCS / path
        assert picture.name == f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size <= 40_000
        trained = 0
        for column in COLUMNS:
            path = picture.parent.parent / "rows" / column.task / f"{name}.json"
            if not path.exists():
                continue
            row, trained = json.loads(path.read_text()), trained + 1
            assert f" {row['parameters']:,} parameters on digits (M = {row['features']})" in caption
            metric = "bits per character" if row["metric"] == "bpc" else "accuracy"
            assert f"{column.title[1:]}: {metric} on the validation split over" in caption
            seen = "characters" if row["metric"] == "bpc" else "samples"
            assert f" over {row['units'][-1]:,} {seen}, " in caption
            assert f" {len(row['valid'])} seeds" in caption
            assert f" at the learning rate {row['settings']['learning_rate']:g}" in caption
        assert trained and f"`python -m scripts.compare --models={name}`" in caption


def test_a_models_curves_are_those_of_the_results(site, pages):
    results = (DOCS / "results.md").read_text()
    for name, curves in site[0].CURVES.items():
        for curve in curves:
            assert f"](results/{curve}.png)" in results
            assert f"](../results/{curve}.png)" in pages[f"gallery/{name}.md"]


@pytest.mark.parametrize("module", ["tlstm_jax", *(f"tlstm_jax.{name}" for name in PACKAGES)])
def test_the_reference_has_every_public_name(module, site, pages):
    page = pages["reference/index.md" if module == "tlstm_jax" else f"reference/{module}.rst"]
    for name in importlib.import_module(module).__all__:
        assert f"{module}.{name}\n" in page or f"`{name}" in page


def test_the_reference_describes_every_exported_name_once(site, pages):
    places = list(site[0].described())
    values = [site[0]._value(full) for full in places]
    for name in tlstm_jax.__all__:
        value = getattr(tlstm_jax, name)
        described = [full for full, other in zip(places, values, strict=True) if other is value]
        assert len(described) == (name != "zoo"), (
            f"{name} is in __all__ of {len(described)} packages, as of cells or models; accepted is one"
        )
        for full in described:
            assert f":: {full}\n" in pages[f"reference/{full.rpartition('.')[0]}.rst"]


def test_docstrings_keep_their_equations_and_examples(site):
    lines = [
        *("A cell with `LSTM` and `x`s, a * b and h_ there.", "", "    a * b = c_", ""),
        *("Attributes:", "  features: M.", "  alpha, beta: of a * b.", ""),
        *("Example:", "  >>> 2 * 3", "  6", "", "Behind it * too."),
    ]
    assert site[1].to_rst(lines, {"LSTM": "tlstm_jax.cells.LSTM"}) == [
        r"A cell with :py:obj:`~tlstm_jax.cells.LSTM` and ``x``\ s, a \* b and h\_ there.",
        *("", "::", "", "    a * b = c_", ""),
        *("Attributes:", r"  features: M\.", r"  alpha,beta: of a \* b.", ""),
        *("Example:", "  >>> 2 * 3", "  6", "", r"Behind it \* too."),
    ]
    assert site[1].to_markdown("Of a * b.\n\n    a * b\n\nEnd.") == (
        "Of a \\* b.\n\n```text\na * b\n```\n\nEnd."
    )
