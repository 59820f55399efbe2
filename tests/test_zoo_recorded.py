"""The comparison with the zoo's references from what they computed once; none need be installed."""

import pathlib

import numpy as np
import pytest
from zoo_form import REFERENCES, check

DATA = pathlib.Path(__file__).parent / "data" / "zoo_references.npz"


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_what_the_reference_computed(name, x64):
    with np.load(DATA, allow_pickle=False) as recorded:
        prefix = f"{name}/"
        arrays = {
            key.removeprefix(prefix): recorded[key] for key in recorded if key.startswith(prefix)
        }
    check(name, arrays)


def test_the_recording_is_small_and_names_its_packages():
    assert DATA.stat().st_size < 150_000
    with np.load(DATA, allow_pickle=False) as recorded:
        packages = {str(version).split("==")[0] for version in recorded["versions"]}
    assert packages == {package for packages, _ in REFERENCES.values() for package in packages}
