"""Every test runs with strict dtype promotion, and with rank promotion raising."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests spend their time in compilation, of programs that run for milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
