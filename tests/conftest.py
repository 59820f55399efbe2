"""Every test runs with strict dtype promotion, and with rank promotion raising."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests spend their time in compilation, of programs that run for milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import gc
import pathlib
import signal
import subprocess
import sys
import warnings
import zlib

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples in every run; a first call compiles.
hypothesis.settings.register_profile(
    "tests",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("tests")


# What a shell in the background or nohup ignores, so would the programs that are started here.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_addoption(parser):
    parser.addoption("--part", default="1/1", help="A part of the tests: 1/2 and 2/2 are all.")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """`slow(but=[..])` leaves out of a short run all cases of a test but those whose ids begin or end so."""
    part, parts = map(int, config.getoption("part").split("/"))
    of_part = [zlib.crc32(item.nodeid.encode()) % parts == part - 1 for item in items]
    config.hook.pytest_deselected(
        items=[item for item, kept in zip(items, of_part, strict=True) if not kept]
    )
    items[:] = [item for item, kept in zip(items, of_part, strict=True) if kept]
    for item in items:
        mark = item.get_closest_marker("slow")
        if mark and any(
            f"-{item.callspec.id}-".startswith(f"-{name}-")
            or f"-{item.callspec.id}-".endswith(f"-{name}-")
            for name in mark.kwargs.get("but", ())
        ):
            item.own_markers.remove(mark)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """A process that held gigabytes of compiled programs has crashed in compiling one more."""
    yield
    jax.clear_caches()


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
def start(environment):
    """Starts a program; its standard error goes where its output does."""

    def popen(name, *args):
        return subprocess.Popen(
            [sys.executable, "-m", f"scripts.{name}", *map(str, args)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return popen


@pytest.fixture(scope="module")
def program(environment):
    def run(name, *args, code=0, **variables):
        command = [sys.executable, "-m", f"scripts.{name}", *map(str, args)]
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment, **variables},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    return run


@pytest.fixture
def late_reads(monkeypatch):
    """Drops the errors of reads that a damaged checkpoint leaves under way."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        yield
        gc.collect()


@pytest.fixture
def no_hang():
    """Ends a test that computes for more than a minute, whatever else the machine does."""

    def stop(*_):
        raise TimeoutError("a minute of computing has passed")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, 60)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)
