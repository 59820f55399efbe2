"""Which devices can be compiled for without one; compiling for them is in accelerators/."""

import importlib.metadata

import jaxlib
import pytest

from tlstm_jax.devices import targets


@pytest.fixture
def installed(monkeypatch):
    """Pretends that these packages, and no others, are installed: name -> version."""
    packages = {}
    monkeypatch.setattr(targets, "TOOLKITS", ())

    def version(name):
        if name not in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return packages


def test_a_target_that_is_not_known_is_refused(program):
    ran = program("footprint", "--task=memorization", "--model=lstm", "--target=h9", code=1)
    accepted = "h100, h200, a100, l4, t4, or a TPU's name and topology as in v5e:2x2"
    assert ran.stderr == f"error: target is 'h9'; accepted are {accepted}\n"


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [("t4", "jax-cuda13-plugin", "aot-cuda"), ("v5e:2x2", "libtpu", "aot-tpu")],
)
def test_a_library_that_is_not_installed_is_named_with_what_installs_it(
    target, package, extra, installed
):
    with pytest.raises(
        ValueError,
        match=rf"target is '{target}', for which {package} is not installed; accepted after "
        rf"pip install \.\[{extra}\], or jax\[",
    ):
        targets.check(target)
    installed[package] = jaxlib.__version__
    if package == "libtpu":
        targets.check(target)


def test_a_plugin_for_another_jax_is_refused(installed):
    installed["jax-cuda13-plugin"] = jaxlib.__version__
    installed["jax-cuda13-pjrt"] = "0.1.2"
    with pytest.raises(
        ValueError, match=r"but jax-cuda13-pjrt is 0\.1\.2 and jaxlib .*same version"
    ):
        targets.check("h100")
    installed["jax-cuda13-pjrt"] = f"{jaxlib.__version__}.post1"
    installed |= dict.fromkeys(targets.ASSEMBLER, "13.0")
    targets.check("h100")


def test_without_a_cuda_toolkit_the_assembler_must_be_installed(installed, monkeypatch, tmp_path):
    installed |= dict.fromkeys(targets.PLUGIN, jaxlib.__version__)
    with pytest.raises(
        ValueError, match=r"nvidia-cuda-nvcc is not installed; accepted after pip in"
    ):
        targets.check("h100")
    (tmp_path / "nvvm" / "libdevice").mkdir(parents=True)
    monkeypatch.setattr(targets, "TOOLKITS", (str(tmp_path),))
    targets.check("h100")


def test_what_a_block_can_share_is_less_than_what_its_core_has():
    limits = {name: gpu.description() for name, gpu in targets.GPUS.items()}
    assert "shared_memory_per_block_optin: 232448\n" in limits["h100"]
    assert "shared_memory_per_block_optin: 65536\n" in limits["t4"]
    assert 'platform_version: "Compute Capability 9.0a"' in limits["h200"]
    assert "major: 8 minor: 9 feature_extension: NONE" in limits["l4"]
