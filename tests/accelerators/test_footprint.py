"""`python -m scripts.footprint --target=..`, as a user calls it."""

import pytest

from tests.accelerators.figures import GPU, TPU
from tests.accelerators.programs import skip_without
from tlstm_jax.devices import targets

pytestmark = pytest.mark.accelerators

RUN = (
    "--task=memorization",
    "--model=tlstm",
    "--tensor_shape=2",
    "--features=20",
    "--normalization=none",
    "--batch_size=8",
)


def lines(ran):
    """The first number of each line, by the text before it; the first of lines of one name."""
    found = {}
    for line in ran.stdout.splitlines():
        name, _, values = line.partition("  ")
        found.setdefault(name, values.split())
    return found


@pytest.mark.parametrize("target", [GPU, TPU])
def test_memory_and_loops_of_a_training_step(target, program):
    skip_without(target)
    found = lines(program("footprint", *RUN, f"--target={target}"))
    assert found["parameters"] == ["7,748"]  # tokens in and out, and the cross-layer kernel
    iterations, steps, kernels, launches, *_ = found["forward"]
    assert int(iterations) * int(steps) == 42  # the flushing step needs no loop
    assert steps == ("1" if target == TPU else "3")
    assert int(kernels) > 3
    assert (launches == "-") == (target == TPU)


@pytest.mark.parametrize("target", [GPU, TPU])
def test_a_mesh_of_several_devices(target, program):
    skip_without(target)
    found = lines(program("footprint", *RUN, "--mesh=4", f"--target={target}"))
    assert found["devices"] == ["4"]
    assert any(name.startswith("all-reduce") for name in found)


def test_a_mesh_that_a_topology_does_not_have(program):
    skip_without(TPU)
    ran = program("footprint", *RUN, "--mesh=8", f"--target={TPU}", code=1)
    assert ran.stderr == "error: mesh has 8 devices; accepted with target v5e:2x2 are 1 to 4\n"


def test_a_topology_that_there_is_none_of(program):
    skip_without(TPU)
    ran = program("footprint", *RUN, "--target=v9:2x2", code=1)
    assert ran.stderr.startswith("error: target is 'v9:2x2' (") and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("target", targets.GPUS)
def test_every_described_gpu(target, program):
    skip_without(target)
    iterations, steps, *_ = lines(program("footprint", *RUN, f"--target={target}"))["backward"]
    assert int(iterations) * int(steps) == 42
