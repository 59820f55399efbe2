"""Every test runs with strict dtype promotion, and with rank promotion raising."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests spend their time in compilation, of programs that run for milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import pathlib
import subprocess
import sys

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Runs of one configuration compile once."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    return {**os.environ, **cache, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def program(environment):
    def run(name, *args, code=0):
        command = [sys.executable, "-m", f"scripts.{name}", *map(str, args)]
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    return run
