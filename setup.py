"""Installs tlstm_jax, with the folders tasks and scripts as tlstm_jax.tasks and tlstm_jax.scripts.

Importing tlstm_jax needs the core requirements only.
"""

import pathlib
import re

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

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

# Of scripts, what only this repository's makers use is not installed.
MAKERS = (
    "accelerator",
    "bench",
    "compare",
    "endurance",
    "experiments",
    "notebooks",
    "readme",
    "release",
    "reproduce",
    "showcase",
)
FOLDERS = ("tasks", "scripts")


class BuildWithoutMakers(build_py):
    """Leaves out the makers' programs that are single files."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        if package != "tlstm_jax.scripts":
            return modules
        return [module for module in modules if module[1] not in MAKERS]


def packages() -> list[str]:
    """The packages of tlstm_jax, and those of the two folders under its name."""
    makers = [f"scripts.{name}" for name in MAKERS]
    beside = find_packages(include=[f"{folder}*" for folder in FOLDERS], exclude=makers)
    return find_packages(include=["tlstm_jax*"]) + [f"tlstm_jax.{name}" for name in beside]


DATA = ["scikit-learn", "tensorflow-datasets>=4.9.10", "array_record", "importlib_resources"]
TRAIN = ["absl-py", "matplotlib", "orbax-checkpoint>=0.12", "tensorboardX", "tqdm", *DATA]

setup(
    name="tlstm-jax",
    version=VERSION,
    description="Recurrent networks in JAX, centred on the tensorized LSTM",
    long_description=README,
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    keywords=["jax", "flax", "recurrent neural networks", "LSTM", "tensorized LSTM", "RNN", "GRU"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    url=REPOSITORY,
    project_urls={"Source": REPOSITORY, "Issues": f"{REPOSITORY}/issues"},
    packages=packages(),
    package_dir={f"tlstm_jax.{folder}": folder for folder in FOLDERS},
    package_data={"tlstm_jax": ["py.typed", "zoo/trained/*.json", "zoo/trained/*.npz"]},
    cmdclass={"build_py": BuildWithoutMakers},
    entry_points={"console_scripts": ["tlstm-jax = tlstm_jax.scripts.__main__:main"]},
    install_requires=["jax>=0.8.0", "flax>=0.12.0", "optax>=0.2.8", "chex>=0.1.92", "numpy"],
    extras_require={
        "train": TRAIN,  # the command-line programs and all data
        "test": [
            *TRAIN,
            "setuptools>=77",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "jupytext",
        ],
        "notebooks": [*TRAIN, "jupytext", "nbclient", "ipykernel"],  # to build and run them
        "docs": [*TRAIN, "sphinx>=8.2", "myst-parser>=5", "sphinx-book-theme>=1.1.4"],  # the site
        "bench": [*TRAIN, "torch"],  # the peers of scripts.bench
        "cuda": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        # To compile without a device: JAX's plugin (jax-cuda13-plugin, -pjrt), ptxas and libdevice;
        # libtpu.
        "aot-cuda": [*TRAIN, "jax[cuda13-local]", "nvidia-cuda-nvcc>=13", "nvidia-nvvm>=13"],
        "aot-tpu": [*TRAIN, "jax[tpu]"],
    },
)
