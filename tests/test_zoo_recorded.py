"""The comparison with the zoo's references from what they computed once; none need be installed."""

import ast
import pathlib

import numpy as np
import pytest
from zoo_form import MODELS, REFERENCES, check

PEERS = pathlib.Path(__file__).parent / "peers"
DATA = pathlib.Path(__file__).parent / "data" / "zoo_references.npz"


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_what_the_reference_computed(name, x64):
    with np.load(DATA, allow_pickle=False) as recorded:
        prefix = f"{name}/"
        arrays = {
            key.removeprefix(prefix): recorded[key] for key in recorded if key.startswith(prefix)
        }
    assert arrays, "not recorded: python -m tests.peers.record_zoo"
    check(name, arrays)


def test_every_reference_has_a_function_and_a_model():
    # Read, not imported: it needs torch.
    (functions,) = (
        node.value
        for node in ast.parse((PEERS / "record_zoo.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FUNCTIONS"
    )
    names = {key.value for key in functions.keys}
    assert names == set(REFERENCES), (
        "FUNCTIONS of record_zoo.py and REFERENCES of zoo_form.py differ"
    )
    without = {name for name in REFERENCES if not any(map(name.startswith, MODELS))}
    assert not without, "these have no model in MODELS of tests/zoo_form.py"


def test_what_was_recorded_is_of_the_versions_that_are_installed_for_it():
    lines = (PEERS / "requirements.txt").read_text().splitlines()
    asked = {line.split()[0] for line in lines if line and not line.startswith("#")}
    with np.load(DATA, allow_pickle=False) as recorded:
        versions = {str(version) for version in recorded["versions"]}
    missing = {version for version in versions if not version.startswith("torch==")} - asked
    assert not missing, "these are not in tests/peers/requirements.txt"


def test_the_recording_is_small_and_names_its_packages():
    assert DATA.stat().st_size < 300_000
    with np.load(DATA, allow_pickle=False) as recorded:
        packages = {str(version).split("==")[0] for version in recorded["versions"]}
    named = {package for packages, _ in REFERENCES.values() for package in packages}
    assert packages == named, "python -m tests.peers.record_zoo records anew"
