"""Presets are flat: what several share, and their own, which does not change what is shared."""

import ast
import importlib
import pathlib
import re

import pytest

from tlstm_jax.zoo import PRESETS, presets
from tlstm_jax.zoo.presets.preset import NOT_RUN

FILES = sorted(pathlib.Path(presets.__file__).parent.glob("[a-z]*.py"))


def _settings(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "settings":
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_settings_are_one_dict_or_a_shared_one_and_another(path):
    module = importlib.import_module(f"tlstm_jax.zoo.presets.{path.stem}")
    for value in _settings(path):
        shared, own = ({}, value)
        if isinstance(value, ast.BinOp):
            shared, own = vars(module)[value.left.id], value.right
        names = [key.value for key in own.keys]
        assert not set(names) & set(shared) and len(names) == len(set(names))


def test_every_preset_stands_in_a_file():
    assert sum(len(list(_settings(path))) for path in FILES) == len(PRESETS) > 50
    assert all(name.startswith(f"{preset.task}/") for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", PRESETS)
def test_a_published_figure_has_its_source(name):
    published = PRESETS[name].published
    found = published == "none" or re.search(r"\([^()]*\b(19|20)\d\d\b[^()]*\)$", published)
    assert found, (
        "accepted are 'none' and a figure with, in brackets behind it, authors, where and year"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_measured_figure_has_its_hardware_and_its_minutes(name):
    measured = PRESETS[name].measured
    found = measured == NOT_RUN or re.search(r"; [\d.]+ minutes on .*\w", measured)
    assert found, f"accepted are {NOT_RUN!r} and a figure; .. minutes on .., the hardware"
