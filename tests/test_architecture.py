"""Who may import whom, read from the sources; and what an import brings with it."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# A module may import the rooms on its right (and its own), longest name first.
RULES = {
    "tlstm_jax.typing": [],
    "tlstm_jax.overrides": ["tlstm_jax.typing"],
    "tlstm_jax.devices.layout": ["tlstm_jax.typing"],
    "tlstm_jax.names": [],
    "tlstm_jax.devices.processes": [],
    "tlstm_jax.devices.platforms": [],
    "tlstm_jax.checks": ["tlstm_jax.typing"],
    "tlstm_jax.cells.tensorized.convolution": [
        "tlstm_jax.typing",
        "tlstm_jax.devices.layout",
        "tlstm_jax.devices.platforms",
    ],
    "tlstm_jax.cells.tensorized.memory": [
        "tlstm_jax.typing",
        "tlstm_jax.devices.platforms",
        "tlstm_jax.cells.tensorized.convolution",
    ],
    "tlstm_jax.cells": [
        "tlstm_jax.typing",
        "tlstm_jax.checks",
        "tlstm_jax.overrides",
        "tlstm_jax.devices.layout",
        "tlstm_jax.cells.tensorized.convolution",
        "tlstm_jax.cells.tensorized.memory",
    ],
    "tlstm_jax.recurrence.pullbacks": ["tlstm_jax.typing"],
    "tlstm_jax.recurrence.packing": ["tlstm_jax.typing"],
    "tlstm_jax.recurrence.loop": ["tlstm_jax.typing"],
    "tlstm_jax.recurrence.deferred": [
        "tlstm_jax.typing",
        "tlstm_jax.devices.layout",
        "tlstm_jax.devices.platforms",
        "tlstm_jax.recurrence.pullbacks",
        "tlstm_jax.recurrence.packing",
        "tlstm_jax.recurrence.loop",
    ],
    "tlstm_jax.recurrence.fused.blocks": ["tlstm_jax.typing"],
    "tlstm_jax.recurrence.fused.kernels": ["tlstm_jax.typing"],
    "tlstm_jax.recurrence.fused.plan": [
        "tlstm_jax.typing",
        "tlstm_jax.recurrence.fused.blocks",
        "tlstm_jax.recurrence.fused.kernels",
    ],
    "tlstm_jax.recurrence.fused.tensor": [
        "tlstm_jax.typing",
        "tlstm_jax.recurrence.fused.blocks",
        "tlstm_jax.cells.tensorized.shared",
        "tlstm_jax.cells.tensorized.lstm",
        "tlstm_jax.cells.tensorized.convolution",
        "tlstm_jax.recurrence.fused.plan",
        "tlstm_jax.recurrence.fused.kernels",
    ],
    "tlstm_jax.fused": [
        "tlstm_jax.typing",
        "tlstm_jax.recurrence.pullbacks",
        "tlstm_jax.recurrence.fused.blocks",
        "tlstm_jax.recurrence.loop",
        "tlstm_jax.cells.tensorized.shared",
        "tlstm_jax.cells.tensorized.lstm",
        "tlstm_jax.recurrence.fused.plan",
        "tlstm_jax.recurrence.fused.tensor",
        "tlstm_jax.recurrence.fused.kernels",
    ],
    "tlstm_jax.recurrence.engine": [
        "tlstm_jax.typing",
        "tlstm_jax.devices.layout",
        "tlstm_jax.recurrence.loop",
        "tlstm_jax.recurrence.deferred",
        "tlstm_jax.fused",
    ],
    "tlstm_jax.recurrence.alternatives": ["tlstm_jax.typing"],
    "tlstm_jax.recurrence.cudnn": [
        "tlstm_jax.cells.linear",
        "tlstm_jax.typing",
        "tlstm_jax.cells.lstm",
        "tlstm_jax.recurrence.loop",
        "tlstm_jax.recurrence.engine",
        "tlstm_jax.recurrence.alternatives",
    ],
    "tlstm_jax.unroll": [
        "tlstm_jax.devices.layout",
        "tlstm_jax.typing",
        "tlstm_jax.checks",
        "tlstm_jax.cells.linear",
        "tlstm_jax.recurrence.loop",
        "tlstm_jax.recurrence.engine",
        "tlstm_jax.recurrence.cudnn",
    ],
    "tlstm_jax.models": [
        "tlstm_jax.typing",
        "tlstm_jax.checks",
        "tlstm_jax.overrides",
        "tlstm_jax.recurrence.loop",
        "tlstm_jax.recurrence.engine",
        "tlstm_jax.recurrence.cudnn",
        "tlstm_jax.unroll",
        "tlstm_jax.cells",
    ],
    "tlstm_jax.network": [
        "tlstm_jax.typing",
        "tlstm_jax.checks",
        "tlstm_jax.models",
        "tlstm_jax.cells",
    ],
    "tlstm_jax.generation": ["tlstm_jax.typing", "tlstm_jax.network"],
    "tlstm_jax.convert": ["tlstm_jax.typing"],
    "tlstm_jax.training.cayley": ["tlstm_jax.typing"],
    "tlstm_jax.training.settings": [
        "tlstm_jax.typing",
        "tlstm_jax.overrides",
        "tlstm_jax.training.cayley",
    ],
    "tlstm_jax.training.progress": ["tlstm_jax.typing", "tlstm_jax.training.settings"],
    "tlstm_jax.training.compatibility": ["tlstm_jax.typing", "tlstm_jax.network"],
    "tlstm_jax.training.divergence": [],
    "tlstm_jax.training.evaluation": [
        "tlstm_jax.typing",
        "tlstm_jax.devices.layout",
        "tlstm_jax.network",
        "tlstm_jax.training.compatibility",
    ],
    "tlstm_jax.training": [
        "tlstm_jax.typing",
        "tlstm_jax.devices.layout",
        "tlstm_jax.training.compatibility",
        "tlstm_jax.training.divergence",
        "tlstm_jax.training.evaluation",
        "tlstm_jax.network",
        "tlstm_jax.training.settings",
        "tlstm_jax.training.progress",
    ],
    "tlstm_jax.sweeps.members": [
        "tlstm_jax.typing",
        "tlstm_jax.training.compatibility",
        "tlstm_jax.training.divergence",
        "tlstm_jax.training.evaluation",
        "tlstm_jax.network",
        "tlstm_jax.training.settings",
        "tlstm_jax.training.progress",
        "tlstm_jax.training",
    ],
    "tlstm_jax.sweeps.search": [],
    "tlstm_jax.sweeps.groups": [
        "tlstm_jax.typing",
        "tlstm_jax.overrides",
        "tlstm_jax.network",
        "tlstm_jax.training.settings",
        "tlstm_jax.training.progress",
        "tlstm_jax.training",
        "tlstm_jax.sweeps.members",
        "tlstm_jax.sweeps.search",
    ],
    "tlstm_jax.pictures": [],
    "tlstm_jax.sweeps.pictures": ["tlstm_jax.sweeps.search", "tlstm_jax.pictures"],
    "tlstm_jax.inspection": [
        "tlstm_jax.typing",
        "tlstm_jax.cells",
        "tlstm_jax.network",
        "tlstm_jax.unroll",
    ],
    "tlstm_jax.sweeps.sweeping": [
        "tlstm_jax.typing",
        "tlstm_jax.network",
        "tlstm_jax.training.settings",
        "tlstm_jax.training",
        "tlstm_jax.zoo",
        "tlstm_jax.sweeps.groups",
        "tlstm_jax.sweeps.search",
        "tlstm_jax.sweeps.pictures",
    ],
    "tlstm_jax.training.checksums": [],
    "tlstm_jax.training.stored": ["tlstm_jax.typing"],
    "tlstm_jax.training.checkpointing": [
        "tlstm_jax.typing",
        "tlstm_jax.training.checksums",
        "tlstm_jax.training.stored",
        "tlstm_jax.devices.processes",
        "tlstm_jax.network",
        "tlstm_jax.training.progress",
        "tlstm_jax.training",
    ],
    "tlstm_jax.zoo.presets.others": [],
    "tlstm_jax.zoo.presets.named": ["tlstm_jax.zoo.presets.others"],
    "tlstm_jax.zoo.assembly": ["tlstm_jax.typing", "tlstm_jax.cells", "tlstm_jax.models"],
    "tlstm_jax.zoo.makers": ["tlstm_jax.typing", "tlstm_jax.cells", "tlstm_jax.models"],
    "tlstm_jax.zoo.catalogue": [
        "tlstm_jax.typing",
        "tlstm_jax.cells",
        "tlstm_jax.models",
        "tlstm_jax.zoo.makers",
    ],
    "tlstm_jax.zoo.weights": ["tlstm_jax.typing"],
    "tlstm_jax.zoo": [
        "tlstm_jax.typing",
        "tlstm_jax.zoo.weights",
        "tlstm_jax.zoo.assembly",
        "tlstm_jax.zoo.catalogue",
        "tlstm_jax.zoo.makers",
        "tlstm_jax.cells",
        "tlstm_jax.models",
        "tlstm_jax.names",
        "tlstm_jax.network",
    ],
    "tlstm_jax.linen": [
        "tlstm_jax.typing",
        "tlstm_jax.checks",
        "tlstm_jax.models",
        "tlstm_jax.unroll",
    ],
    "tlstm_jax.nnx": [
        "tlstm_jax.typing",
        "tlstm_jax.checks",
        "tlstm_jax.models",
        "tlstm_jax.unroll",
    ],
    "tlstm_jax": ["tlstm_jax"],  # the front: names what notebooks use
    "tasks": ["tlstm_jax.typing"],
    "scripts": ["tlstm_jax", "tasks"],
}
SOURCES = [
    p for room in ("tlstm_jax", "tasks", "scripts") for p in sorted((ROOT / room).rglob("*.py"))
]


def _name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _within(module, room):
    return module == room or module.startswith(room + ".")


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / whole.replace(".", "/")).with_suffix(".py").exists()
                yield whole if is_module else node.module


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_only_what_its_room_may(path):
    module = _name(path)
    room = max((r for r in RULES if _within(module, r)), key=len)
    for imported in _imports(path):
        if imported.split(".")[0] not in ("tlstm_jax", "tasks", "scripts"):
            continue
        allowed = [room, *RULES[room]]
        assert any(_within(imported, r) for r in allowed), f"{module} imports {imported}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_scripts_know_flags_and_only_adapters_define_flax_modules(path):
    module, imported = _name(path), list(_imports(path))
    if not _within(module, "scripts"):
        assert not any(_within(name, "absl") for name in imported)
    adapters = ("tlstm_jax.linen", "tlstm_jax.nnx", "scripts.bench.contenders")  # the last: a peer
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
