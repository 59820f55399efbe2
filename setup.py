"""Installs tlstm_jax, tasks and scripts. Importing tlstm_jax needs the core requirements only."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
ABOUT = (ROOT / "tlstm_jax/__init__.py").read_text("utf-8")
VERSION = re.search(r'__version__ = "(.+)"', ABOUT)[1]

REPOSITORY = re.search(r'REPOSITORY_URL = "(.+?)"', ABOUT)[1]


def absolute(link: re.Match[str]) -> str:
    """A link of the README within the repository, as one that leads there from elsewhere."""
    image, text, path = link.groups()
    return f"{image}[{text}]({REPOSITORY}/{'raw' if image else 'blob'}/main/{path})"


README = re.sub(
    r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", absolute, (ROOT / "README.md").read_text("utf-8")
)

DATA = ["scikit-learn", "tensorflow-datasets>=4.9.10", "array_record", "importlib_resources"]
TRAIN = ["absl-py", "matplotlib", "orbax-checkpoint>=0.12", "tensorboardX", "tqdm", *DATA]

setup(
    name="tlstm-jax",
    version=VERSION,
    description="Recurrent networks in JAX, centred on the tensorized LSTM",
    long_description=README,
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["tlstm_jax*", "tasks*", "scripts*"]),
    package_data={"tlstm_jax": ["trained/*.json", "trained/*.npz"]},
    install_requires=["jax>=0.8.0", "flax>=0.12.0", "optax>=0.2.8", "chex>=0.1.92", "numpy"],
    extras_require={
        "train": TRAIN,  # the command-line programs and all data
        "test": [*TRAIN, "pytest", "pytest-xdist", "hypothesis", "ruff", "jupytext"],
        "notebooks": [*TRAIN, "jupytext", "nbclient", "ipykernel"],  # to build and run them
        "bench": [*TRAIN, "torch"],  # the peers of scripts.bench
        "cuda": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        # To compile without a device: JAX's plugin (jax-cuda13-plugin, -pjrt), ptxas and libdevice; libtpu.
        "aot-cuda": [*TRAIN, "jax[cuda13-local]", "nvidia-cuda-nvcc>=13", "nvidia-nvvm>=13"],
        "aot-tpu": [*TRAIN, "jax[tpu]"],
    },
)
