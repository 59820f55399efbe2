"""The comparison with torch's modules from what they computed once; torch need not be installed."""

import pathlib

import numpy as np
import pytest
from torch_form import MODULES, check

DATA = pathlib.Path(__file__).parent / "data" / "torch_recurrent.npz"


@pytest.mark.parametrize("name", MODULES)
def test_equals_what_torch_computed(name, x64):
    with np.load(DATA, allow_pickle=False) as recorded:
        prefix = f"{name}/"
        arrays = {
            key.removeprefix(prefix): recorded[key] for key in recorded if key.startswith(prefix)
        }
    check(name, arrays, 1e-10)


def test_the_recording_is_small():
    assert DATA.stat().st_size < 100_000
