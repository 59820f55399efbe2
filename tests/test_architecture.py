"""Who may import whom, read from the sources; and what an import brings with it."""

import ast
import graphlib
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest
from task_cases import function_of

from tlstm_jax.tasks.catalogue import TASKS

ROOT = pathlib.Path(__file__).parent.parent

# A room (a folder or a file of tlstm_jax) may import the rooms on its right, and its own.
RULES = {
    "typing": [],
    "names": [],
    "checkout": [],
    "pictures": [],
    "image_pictures": ["pictures"],
    "overrides": ["typing"],
    "checks": ["typing"],
    "devices": ["typing"],
    "tasks": ["typing"],
    "cells": ["typing", "checks", "overrides", "devices"],
    "recurrence": ["typing", "checks", "devices", "cells"],
    "models": ["typing", "checks", "overrides", "devices", "cells", "recurrence"],
    "convert": ["typing", "cells", "models"],
    "linen": ["typing", "checks", "cells", "models"],
    "nnx": ["typing", "checks", "cells", "models"],
    "network": ["typing", "checks", "cells", "models"],
    "generation": ["typing", "network"],
    "inspection": ["typing", "cells", "recurrence", "network"],
    "training": ["typing", "overrides", "devices", "network"],
    "zoo": ["typing", "names", "overrides", "cells", "models", "network"],
    "sweeps": ["typing", "overrides", "network", "training", "zoo", "pictures"],
    "runs": [
        "typing",
        "names",
        "checkout",
        "devices",
        "network",
        "training",
        "zoo",
        "pictures",
        "tasks",
    ],
}
SOURCES = [
    p for room in ("tlstm_jax", "tasks", "scripts") for p in sorted((ROOT / room).rglob("*.py"))
]


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return name if parts[0] == "tlstm_jax" else f"tlstm_jax.{name}"


MODULES = {_name(path): path for path in SOURCES}


def _room(module):
    return module.split(".")[1] if "." in module else None  # None: the front door


def _within(module, room):
    return module == room or module.startswith(room + ".")


def _imports(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or module == "tlstm_jax.scripts", f"{module}: relative import"
            for alias in node.names if node.level == 0 else ():
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_what_its_room_may(module):
    room = _room(module)
    if room in (None, "scripts"):
        return
    for imported in _imports(module):
        if _within(imported, "tlstm_jax"):
            assert _room(imported) in [room, *RULES[room]], f"{module} imports {imported}"


def test_every_rule_is_of_a_room_and_needed():
    used = {room: set() for room in RULES}
    for module in MODULES:
        if _room(module) in RULES:
            used[_room(module)] |= {
                _room(name) for name in _imports(module) if _within(name, "tlstm_jax")
            }
    assert used.keys() == {_room(module) for module in MODULES} - {None, "scripts"}
    for room, allowed in RULES.items():
        assert set(allowed) <= used[room], room


def test_the_map_has_every_room_with_its_rule_and_every_file():
    text = (ROOT / "WORKSPACE.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", text.split("## How things fit")[0], re.M)
    rules = {room: [] if may == "nothing" else may.split(", ") for room, _, may in rows}
    assert rules == RULES | {"scripts": ["everything"]}
    for room in (
        "convert",
        "devices",
        "recurrence",
        "models",
        "training",
        "zoo",
        "sweeps",
        "runs",
        "tasks",
    ):
        named = set(re.findall(r"`(\w+)[`/]", dict((room, what) for room, what, _ in rows)[room]))
        files = {
            name.split(".")[2] for name in MODULES if name.count(".") > 1 and _room(name) == room
        }
        families = {function_of(task).__module__.split(".")[-1] for task in TASKS.values()}
        missing = files - families - named
        assert not missing, (
            f"the row of `{room}` in WORKSPACE.md's table of rooms does not name these"
        )


def test_there_is_no_import_circle():
    imports = {m: {n for n in _imports(m) if n in MODULES and n != m} for m in MODULES}
    graphlib.TopologicalSorter(imports).prepare()  # raises where there is one


def test_no_function_takes_the_place_of_its_module():
    for module in MODULES:
        if MODULES[module].name != "__init__.py" or _within(module, "tlstm_jax.scripts"):
            continue
        package = importlib.import_module(module)
        for name in getattr(package, "__all__", ()):
            whole = f"{module}.{name}"
            assert whole not in MODULES or inspect.ismodule(getattr(package, name)), whole


@pytest.mark.parametrize("module", MODULES)
def test_only_scripts_know_flags_and_only_adapters_define_flax_modules(module):
    imported = list(_imports(module))
    if not _within(module, "tlstm_jax.scripts"):
        assert not any(_within(name, "absl") for name in imported)
    peer = "tlstm_jax.scripts.bench.contenders"
    adapters = ("tlstm_jax.linen", "tlstm_jax.nnx", peer)
    if module not in adapters:
        assert not any(_within(name, "flax") for name in imported)


def test_importing_the_library_needs_the_core_only():
    heavy = ["tensorflow", "tensorflow_datasets", "orbax", "matplotlib", "sklearn"]
    modules = "sys, tlstm_jax, tlstm_jax.zoo, tlstm_jax.training"
    code = f"import {modules}; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_every_file_can_be_read_at_one_sitting():
    long = {str(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 330}
    assert not long
