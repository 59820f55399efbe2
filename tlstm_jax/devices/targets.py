"""Devices to compile for without having them: GPUs from their data sheets, TPUs by name.

Neither a device nor its driver is needed. For a GPU `pip install .[aot-cuda]` installs JAX's CUDA
plugin and NVIDIA's assembler, but none of NVIDIA's libraries; for a TPU `pip install .[aot-tpu]`
libtpu.
"""

import dataclasses
import importlib.metadata
import os
import pathlib
import tempfile
from typing import Any

import jax
import jaxlib
from jax.experimental import topologies

from tlstm_jax.devices import loops
from tlstm_jax.devices.loops import Loop

KIB, MIB, GIB = 2**10, 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class GPU:
    """What XLA's compiler needs to know about an NVIDIA GPU; figures from its data sheet.

    Attributes:
      name: the product's.
      capability: compute capability; "9.0a" includes the features that only Hopper has.
      cores: streaming multiprocessors; "per core" below is per multiprocessor.
      fpus: float32 units per core.
      threads: resident threads per core.
      shared: bytes of shared memory per core; a block can have 1 KiB less, except of 64 KiB.
      clock: boost clock in GHz.
      cache: bytes of the L2 cache.
      memory, bandwidth: of the device's memory, in bytes, and bytes a second.
    """

    name: str
    capability: str
    cores: int
    fpus: int
    threads: int
    shared: int
    clock: float
    cache: int
    memory: int
    bandwidth: int

    def description(self) -> str:
        """XLA's GpuTargetConfigProto, as text, with CUDA 13.0 and cuDNN 9.12."""
        major, _, minor = self.capability.rstrip("a").partition(".")
        features = "ACCELERATED_FEATURES" if self.capability.endswith("a") else "NONE"
        block = self.shared if self.shared == 64 * KIB else self.shared - KIB
        return f"""
            platform_name: "CUDA"
            device_description_str: "{self.name}"
            dnn_version_info {{ major: 9 minor: 12 patch: 0 }}
            gpu_device_info {{
              name: "{self.name}"
              device_vendor: "NVIDIA Corporation"
              platform_version: "Compute Capability {self.capability}"
              cuda_compute_capability {{
                major: {major} minor: {minor} feature_extension: {features}
              }}
              driver_version: "13.0.0"
              runtime_version: "13.0.0"
              compile_time_toolkit_version: "13.0.0"
              dnn_version: "9.12.0"
              core_count: {self.cores}
              fpus_per_core: {self.fpus}
              clock_rate_ghz: {self.clock}
              threads_per_warp: 32
              threads_per_block_limit: 1024
              threads_per_core_limit: {self.threads}
              thread_dim_limit_x: 1024
              thread_dim_limit_y: 1024
              thread_dim_limit_z: 64
              block_dim_limit_x: {2**31 - 1}
              block_dim_limit_y: {2**16 - 1}
              block_dim_limit_z: {2**16 - 1}
              registers_per_core_limit: 65536
              registers_per_block_limit: 65536
              shared_memory_per_block: {48 * KIB}
              shared_memory_per_block_optin: {block}
              shared_memory_per_core: {self.shared}
              l2_cache_size: {self.cache}
              device_memory_size: {self.memory}
              memory_bandwidth: {self.bandwidth}
              device_address_bits: 64
              pcie_bandwidth: {32 * GIB}
              ecc_enabled: true
            }}"""


_HOPPER = {
    "capability": "9.0a",
    "cores": 132,
    "fpus": 128,
    "threads": 2048,
    "shared": 228 * KIB,
    "clock": 1.98,
    "cache": 50 * MIB,
}
GPUS = {
    "h100": GPU("NVIDIA H100 80GB HBM3", **_HOPPER, memory=80 * GIB, bandwidth=3_350 * 10**9),
    "h200": GPU("NVIDIA H200", **_HOPPER, memory=141 * GIB, bandwidth=4_800 * 10**9),
    "a100": GPU(
        "NVIDIA A100-SXM4-40GB",
        capability="8.0",
        cores=108,
        fpus=64,
        threads=2048,
        shared=164 * KIB,
        clock=1.41,
        cache=40 * MIB,
        memory=40 * GIB,
        bandwidth=1_555 * 10**9,
    ),
    "l4": GPU(
        "NVIDIA L4",
        capability="8.9",
        cores=58,
        fpus=128,
        threads=1536,
        shared=100 * KIB,
        clock=2.04,
        cache=48 * MIB,
        memory=24 * GIB,
        bandwidth=300 * 10**9,
    ),
    "t4": GPU(
        "Tesla T4",
        capability="7.5",
        cores=40,
        fpus=64,
        threads=1024,
        shared=64 * KIB,
        clock=1.59,
        cache=4 * MIB,
        memory=16 * GIB,
        bandwidth=320 * 10**9,
    ),
}
ACCEPTED = f"{', '.join(GPUS)}, or a TPU's name and topology as in v5e:2x2"
PLUGIN = ("jax-cuda13-plugin", "jax-cuda13-pjrt")
# XLA runs ptxas and links libdevice from these, and aborts without; a CUDA toolkit has both.
ASSEMBLER = ("nvidia-cuda-nvcc", "nvidia-nvvm")
TOOLKITS = ("/usr/local/cuda", "/opt/cuda")  # where XLA looks
# Keeps libtpu from asking a cloud what it runs on, and from claiming a device.
_TPU_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def check(target: str) -> None:
    """Raises ValueError: no such target, no library for it, or not one for this version of JAX."""
    if target in GPUS:
        extra, jax_extra = "aot-cuda", "cuda13-local"
        has_toolkit = any(pathlib.Path(folder, "nvvm/libdevice").is_dir() for folder in TOOLKITS)
        packages = PLUGIN if has_toolkit else (*PLUGIN, *ASSEMBLER)
    elif ":" in target:
        extra, jax_extra, packages = "aot-tpu", "tpu", ("libtpu",)
    else:
        raise ValueError(f"target is {target!r}; accepted are {ACCEPTED}")
    for package in packages:
        how = package if package in ASSEMBLER else f"jax[{jax_extra}]=={jax.__version__}"
        how = f"pip install .[{extra}], or {how}"
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ValueError(
                f"target is {target!r}, for which {package} is not installed; accepted after {how}"
            ) from None
        if package in PLUGIN and version.split(".")[:3] != jaxlib.__version__.split(".")[:3]:
            raise ValueError(
                f"target is {target!r}, but {package} is {version} and jaxlib "
                f"{jaxlib.__version__}; accepted is the same version, after {how}"
            )


def devices(target: str, number: int = 1) -> list[Any]:
    """Devices to compile for, which cannot run anything.

    Args:
      target: one of GPUS, or the name and topology of a TPU as libtpu has them.
      number: how many of them.

    Raises:
      ValueError: what `check` raises, no such TPU, or too many devices.
    """
    check(target)
    if target in GPUS:
        described = GPUS[target].description()
        settings = {"platform": "cuda", "target_config": described, "topology": f"1x1x{number}"}
    else:
        for name, value in _TPU_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        settings = {"platform": "tpu", "topology_name": target}
    try:
        found = topologies.get_topology_desc(**settings).devices
    except (NotImplementedError, RuntimeError) as e:
        why = str(e).partition("\n")[0]
        raise ValueError(f"target is {target!r} ({why}); accepted are {ACCEPTED}") from e
    if number > len(found):
        raise ValueError(
            f"mesh has {number} devices; accepted with target {target} are 1 to {len(found)}"
        )
    return list(found[:number])


def compile_for(target: str, lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, list[Loop]]:
    """Compiles a program that was lowered for devices of `target`, and reads what its loops do.

    JAX's compilation cache must be off, since the compiler has no output for a cached program.

    Raises:
      ValueError: the compiler did not write what is read.
    """
    if target in GPUS:
        compiled, sequence, names = compile_for_gpu(lowered)
        return compiled, loops.of_thunks(sequence, names, compiled.as_text())
    compiled = lowered.compile()
    return compiled, loops.of_text(compiled.as_text())


def compile_for_gpu(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, str, str]:
    """The compiled program, its sequence of thunks, and their names; see `compile_for`."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        compiled = lowered.compile(compiler_options=options)
        # The first is only written if the passes changed anything.
        sequence = _dumped(folder, "thunk_sequence_after_thunk_passes", "thunk_sequence")
        return compiled, sequence, _dumped(folder, "thunk_metadata")


def _dumped(folder: str, *parts: str) -> str:
    """The first of these files that was dumped."""
    for part in parts:
        for path in pathlib.Path(folder).glob(f"*.{part}.txt"):
            return path.read_text()
    raise ValueError(
        f"jaxlib is {jaxlib.__version__}, whose compiler did not write {parts[-1]}; "
        "accepted are versions that do"
    )
