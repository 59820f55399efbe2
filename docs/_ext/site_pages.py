"""Pages generated when the site is built: the gallery of models, and the API reference.

A page for each entry of `zoo.MODELS`, from the entry, its module's docstring, its settings, its row
of docs/results/zoo/comparison.md and its learning curves (`zoo_curves`); a page for each public module, with
all its names.
"""

import dataclasses
import functools
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import docstrings
import zoo_curves

import tlstm_jax
from tlstm_jax import REPOSITORY_URL, zoo
from tlstm_jax.zoo.descriptions import described as described_in

DOCS = pathlib.Path(__file__).parent.parent

# Public modules, in the order of the reference; a name is described in the first that has it.
PACKAGES = ("cells", "models", "recurrence", "training", "sweeps", "devices", "zoo", "runs")
MODULES = (
    *(f"tlstm_jax.{name}" for name in PACKAGES),
    *("tlstm_jax.training.checkpointing", "tlstm_jax.network", "tlstm_jax.generation"),
    *("tlstm_jax.linen", "tlstm_jax.nnx", "tlstm_jax.convert"),
    *("tlstm_jax.inspection", "tlstm_jax.pictures", "tlstm_jax.image_pictures"),
    "tlstm_jax.typing",
)

# The learning curves of docs/results.md, by the model that made them.
CURVES = {
    "tlstm": (
        *("memorization-3d-l4", "memorization-2d-l4", "addition-5-digits", "addition-3-digits"),
        *("pdigits-2d", "mnist-small-2d", "char-lm-tlstm"),
    ),
    "lstm": ("pdigits-lstm", "mnist-small-lstm", "char-lm-lstm"),
    "stacked_lstm": ("pdigits-stacked",),
}
# Modules whose docstrings have a model's equations, if these are not the modules of its parts.
EQUATIONS = {
    "stacked_lstm": ("tlstm_jax.models.stacked", "tlstm_jax.cells.lstm"),
    "sru": ("tlstm_jax.cells.sru",),
}


def modules() -> tuple[str, ...]:
    """All public modules, tasks among them."""
    tasks = importlib.import_module("tlstm_jax.tasks")
    found = [module.name for module in pkgutil.iter_modules(tasks.__path__) if not module.ispkg]
    return (*MODULES, "tlstm_jax.tasks", *(f"tlstm_jax.tasks.{name}" for name in found))


def public_names(module: str) -> list[str]:
    """A module's names: `__all__`, or else the classes, functions and constants defined there."""
    it = importlib.import_module(module)
    if hasattr(it, "__all__"):
        return list(it.__all__)
    own = [
        name
        for name, value in vars(it).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]
    return [name for name in own if inspect.isclass(vars(it)[name]) or callable(vars(it)[name])]


@functools.cache
def described() -> dict[str, str]:
    """Where the reference describes each name: full name -> module, in its order."""
    seen: dict[int, str] = {}
    places = {}
    for module in modules():
        for name in public_names(module):
            value = getattr(importlib.import_module(module), name)
            if inspect.ismodule(value) or seen.setdefault(id(value), module) != module:
                continue
            places[f"{module}.{name}"] = module
    return places


@functools.cache
def links() -> dict[str, str]:
    """Short names and full ones -> the full name under which the reference describes them."""
    short: dict[str, str] = {}
    for full in described():
        short.setdefault(full.rpartition(".")[2], full)
        value = _value(full)
        if hasattr(value, "__qualname__") and getattr(value, "__module__", None):
            short.setdefault(f"{value.__module__}.{value.__qualname__}", full)
    return short | {full: full for full in described()}


def _value(full: str) -> Any:
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _first_sentence(value: Any) -> str:
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return docstrings.to_markdown(re.split(r"(?<=\.)\s", text)[0])


def front_page() -> str:
    """Every name of `tlstm_jax.__all__`, with the place where it is described."""
    lines = [
        "# API reference",
        "",
        "The names of `tlstm_jax` itself; below, the modules that they come from, with all else "
        "that",
        "is public.",
        "",
        "| `tlstm_jax.` | |",
        "|---|---|",
    ]
    for name in sorted(tlstm_jax.__all__, key=str.lower):
        value = getattr(tlstm_jax, name)
        if inspect.ismodule(value):
            link = f"[`{name}`]({value.__name__}.rst)"
        else:
            full = next(full for full in described() if _value(full) is value)
            link = f"{{py:obj}}`{name} <{full}>`"
        lines.append(f"| {link} | {_first_sentence(value)} |")
    lines += ["", "```{toctree}", ":maxdepth: 1", "", *modules(), "```", ""]
    return "\n".join(lines)


def reference_page(module: str) -> str:
    """A module's docstring and its names."""
    title = f"``{module}``"
    lines = [title, "=" * len(title), "", f".. automodule:: {module}", ""]
    elsewhere = []
    for name in public_names(module):
        full = f"{module}.{name}"
        value = _value(full)
        if full not in described():
            place = (
                f":doc:`{name} <{value.__name__}>`"
                if inspect.ismodule(value)
                else f":py:obj:`{name} <{next(o for o in described() if _value(o) is value)}>`"
            )
            elsewhere.append(place)
        elif inspect.isclass(value):
            lines += [f".. autoclass:: {full}", "   :members:"]
            if issubclass(value, BaseException) or hasattr(value, "_fields"):
                lines.append("   :exclude-members: __init__, __new__")
            lines.append("")
        elif callable(value):
            lines += [f".. autofunction:: {full}", ""]
        else:
            lines += [f".. py:data:: {full}", "", f"   {_constant(value)}", ""]
    if elsewhere:
        lines += ["Also here: " + ", ".join(elsewhere) + ".", ""]
    return "\n".join(lines)


def _constant(value: Any) -> str:
    if isinstance(value, (str, bool, int, float, tuple)):
        return f"``{value!r}``"
    if hasattr(value, "keys"):
        return f"A mapping of {len(value)}, from ``{next(iter(value))!r}`` on."
    return f"A ``{type(value).__name__}``."


def _parts(model: Any) -> Iterator[type]:
    """The classes of the library that a model is made of, outermost first."""
    if isinstance(model, tuple):
        for part in model:
            yield from _parts(part)
    elif dataclasses.is_dataclass(model):
        yield type(model)
        for field in dataclasses.fields(model):
            yield from _parts(getattr(model, field.name))


def _settings(name: str, parts: list[type]) -> list[str]:
    meanings: dict[str, str] = {}
    for maker in (zoo.MODELS[name].make, *parts):
        meanings = described_in(maker) | meanings
    known = zoo.model_settings(name)
    lines = ["| setting | default | |", "|---|---|---|"]
    for setting in zoo.own_settings(name):
        shown = json.dumps(known[setting]) if known[setting] is not None else "none"
        text = docstrings.to_markdown(meanings.get(setting, "")).replace("|", r"\|")
        lines.append(f"| `{setting}` | `{shown}` | {text} |")
    return lines


@functools.cache
def comparison() -> tuple[list[str], dict[str, str]]:
    """The head of the table of all models with one budget, and its rows by model."""
    page = (DOCS / zoo_curves.COMPARISON / "comparison.md").read_text("utf-8")
    rows = re.search(r"(?:^\|.*\n)+", page, re.MULTILINE)[0].splitlines()
    return rows[:2], {m[1]: row for row in rows[2:] if (m := re.match(r"\| `(\w+)`", row))}


def _curves(name: str) -> list[str]:
    titles = dict(
        (path, title)
        for title, path in re.findall(
            r"!\[(.+?)\]\(results/(.+?)\.png\)", (DOCS / "results.md").read_text("utf-8")
        )
    )
    lines = []
    for curve in CURVES.get(name, ()):
        title = titles[curve]
        lines += ["", f"![{title}](../results/{curve}.png)", "", f"*{title}*"]
    return lines


def gallery_page(name: str) -> str:
    """A model of the zoo: citation, equations, settings, checks, and what it learned."""
    entry = zoo.MODELS[name]
    model = zoo.make_model(name)
    parts = list(dict.fromkeys(_parts(model)))
    own = [part for part in parts if f"{part.__module__}.{part.__qualname__}" in links()]
    sources = EQUATIONS.get(name) or dict.fromkeys(part.__module__ for part in own)
    texts = [inspect.getdoc(importlib.import_module(source)) for source in sources]
    with_equations = [text for text in texts if "\n    " in text]
    classes = [links()[f"{part.__module__}.{part.__qualname__}"] for part in own]
    classes = [c for c in classes if c not in WRAPPERS] or classes
    head, rows = comparison()
    lines = [f"# {entry.title}", "", f"`--model={name}`, {entry.citation}.", ""]
    lines += ["## Equations", "", *("\n\n".join(map(docstrings.to_markdown, with_equations)),), ""]
    lines += [
        *("## In Python", ""),
        f"`zoo.make_model({name!r})`, with the settings below, or "
        + " of ".join(f"{{py:obj}}`~{full}`" for full in classes)
        + ", which describes the parameters.",
        *("", "## Settings", "", *_settings(name, parts), ""),
        "What can be put around every model (layers, directions, dropout, zoneout) is in",
        "[the guide](../guide/cells.md).",
        *("", "## Checked against", ""),
        f"* {entry.checked};",
        "* a NumPy version of the equations, written apart from the code.",
        "",
        "[What was checked](../checked.md) has the versions of the libraries, and where a model "
        "differs",
        "from its authors'.",
        *("", "## What it learned", ""),
    ]
    if name in rows:
        lines += [
            "From [all models with one budget](../results/zoo/comparison.md):",
            "",
            *head,
            rows[name],
        ]
    else:
        lines += [
            "It has no row in [the comparison of all models](../results/zoo/comparison.md) yet;",
            f"`python -m scripts.compare --models={name} --workdir=docs/results/zoo` makes it, and its",
            "learning curves.",
        ]
    lines += zoo_curves.shown(DOCS, name, entry.title)
    if name in CURVES:
        lines += ["", "Longer trainings, with commands in [the results](../results.md):"]
        lines += _curves(name)
    return "\n".join(lines) + "\n"


WRAPPERS = ("tlstm_jax.models.Chain",)


def gallery_index() -> str:
    """The table of all models."""
    lines = ["# Gallery", "", "| model | | year | checked against |", "|---|---|---|---|"]
    lines += [
        f"| [`{name}`]({name}.md) | {entry.title} | {entry.year} | {entry.checked} |"
        for name, entry in zoo.MODELS.items()
    ]
    lines += ["", "```{toctree}", ":hidden:", "", *zoo.MODELS, "```", ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """All generated pages: path below docs -> text."""
    made = {f"gallery/{name}.md": gallery_page(name) for name in zoo.MODELS}
    made |= {f"reference/{module}.rst": reference_page(module) for module in modules()}
    return made | {"gallery/index.md": gallery_index(), "reference/index.md": front_page()}


def _write(app: Any) -> None:
    del app
    made = pages()
    for folder in ("gallery", "reference"):
        for old in (DOCS / folder).glob("*"):
            if f"{folder}/{old.name}" not in made:
                old.unlink()
    for path, text in made.items():
        page = DOCS / path
        page.parent.mkdir(exist_ok=True)
        if not page.exists() or page.read_text("utf-8") != text:  # else Sphinx reads it again
            page.write_text(text, "utf-8")


def _docstring(app: Any, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    del app, what, name, it, options
    lines[:] = docstrings.to_rst(lines, links())


def _property(app: Any, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    """A property's docstring as it is: napoleon reads "type: text" from its first line."""
    del app, name, options
    if what in ("attribute", "property") and inspect.getdoc(it):
        lines[:] = docstrings.to_rst(inspect.getdoc(it).splitlines(), links())


def _outside(folder: pathlib.Path, text: str) -> str:
    """Links to files of the repository that are not pages lead to the repository."""

    def absolute(match: re.Match[str]) -> str:
        path = os.path.normpath(folder / match[2])
        target = DOCS.parent / path
        is_page = path.startswith("docs" + os.sep) and path.endswith((".md", ".png"))
        if is_page or not target.exists():
            return match[0]
        return f"{match[1]}({REPOSITORY_URL}/blob/main/{path})"

    return re.sub(r"(?<!!)(\[[^\]]*\])\((?!https?:|#)([^)#\s]+)\)", absolute, text)


def _source(app: Any, docname: str, source: list[str]) -> None:
    if os.fspath(app.env.doc2path(docname, base=False)).endswith(".md"):
        source[0] = _outside(pathlib.Path("docs", docname).parent, source[0])


def _included(app: Any, path: pathlib.Path, docname: str, source: list[str]) -> None:
    del app, docname
    folder = (DOCS / path).resolve().parent.relative_to(DOCS.parent)
    source[0] = _outside(folder, source[0])


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", _write)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", _property, priority=600)
    app.connect("source-read", _source)
    app.connect("include-read", _included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
