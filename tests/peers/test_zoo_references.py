"""The zoo's models against independent packages: the same outputs, states and gradients."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (make test-peers)")

from record_zoo import run_reference  # noqa: E402
from zoo_common import UnavailableError  # noqa: E402
from zoo_form import REFERENCES, check  # noqa: E402

pytestmark = pytest.mark.peers


def run_or_skip(name, **settings):
    try:
        return run_reference(name, **settings)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", REFERENCES)
def test_float64(name, x64):
    check(name, run_or_skip(name, seed=1, steps=7, batch=3))


@pytest.mark.parametrize("name", REFERENCES)
def test_float32(name):
    check(name, run_or_skip(name, dtype=torch.float32))
