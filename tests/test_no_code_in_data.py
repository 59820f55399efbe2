"""Reading data executes nothing: no pickle in the sources, and payloads that stay what they are."""

import ast
import gzip
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from tests.hostile import refusal
from tests.test_checkpointing import _network, _save_at, _state
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import RunDirectory
from tlstm_jax.tasks.data import datasets, idx, text
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import checkpointing, checksums
from tlstm_jax.zoo import weights

pytestmark = pytest.mark.usefixtures("no_hang")

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = [
    p for room in ("tlstm_jax", "tasks", "scripts") for p in sorted((ROOT / room).rglob("*.py"))
]
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
MODULES |= {"yaml", "jsonpickle", "pandas", "runpy"}
BUILTINS = {"eval", "exec", "compile", "__import__", "import_module"}
ALLOWED = {
    # Programs of a constant list.
    "scripts/__main__.py": {"runpy"},
    # A user's own modules, which the user has named: tests/test_own_code.py has that no file is
    # enough.
    "tlstm_jax/names.py": {"importlib.import_module"},
}
NUMPY = {"np", "numpy", "jnp"}


def offences(source):
    """What in a source could execute what a file holds."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (a.name for a in names if a.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module for _ in [0] if module.split(".")[0] in MODULES)
                yield from (a.name for a in names if a.name in MODULES | BUILTINS)
                if module.split(".")[0] in ("numpy", "torch", "builtins"):
                    yield from (f"{module}.{a.name}" for a in names if a.name in ("load", "*"))
            case ast.Name(id=name) if name in MODULES | BUILTINS:
                yield name
            case ast.Attribute(value=ast.Name(id=owner), attr=attr):
                if (owner in ("builtins", "importlib") and attr in BUILTINS) or (
                    owner == "torch" and attr == "load"
                ):
                    yield f"{owner}.{attr}"
            case ast.Constant(value=str(name)) if name in MODULES:  # of import_module
                yield name
            case ast.keyword(arg="allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield "allow_pickle"
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=owner), attr="load"), keywords=given
            ):
                if owner in NUMPY and "allow_pickle" not in [keyword.arg for keyword in given]:
                    yield f"{owner}.load"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_execute_what_a_file_holds(path):
    allowed = ALLOWED.get(str(path.relative_to(ROOT)), set())
    assert set(offences(path.read_text())) == allowed


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import numpy, dill.source as d",
        "from marshal import loads",
        "from builtins import eval",
        "import importlib; importlib.import_module('pickle')",
        "import importlib; importlib.import_module(name)",
        "from importlib import import_module",
        "def f(x):\n    return eval(x)",
        "run = exec",
        "import builtins; builtins.eval('1')",
        "import yaml; yaml.load(x)",
        "import torch; torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=some)",
        "numpy.lib.format.read_array(file, allow_pickle=True)",
        "from numpy import load",
    ],
)
def test_each_of_these_is_found(source):
    assert list(offences(source))


@pytest.mark.parametrize(
    "source",
    ["np.load(path, allow_pickle=False)", "jax.eval_shape(f)", "json.load(f)", "re.compile('')"],
)
def test_these_are_harmless(source):
    assert list(offences(source)) == []


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    """A path that only an executed payload makes."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(path)))
    assert path.exists()  # so much for what pickle does
    path.rmdir()
    yield path
    assert not path.exists()


@pytest.fixture(params=["pickle", "npy", "python", "yaml"])
def payload(request, marker, tmp_path):
    """The bytes of a file that executes something in a reader that lets it."""
    match request.param:
        case "pickle":
            return pickle.dumps(Payload(marker), protocol=0)
        case "npy":
            np.save(tmp_path / "a.npy", np.array([Payload(marker)], object), allow_pickle=True)
            return (tmp_path / "a.npy").read_bytes()
        case "python":
            return f"__import__('os').mkdir({str(marker)!r})\n".encode()
        case "yaml":
            return f"!!python/object/apply:os.mkdir [{str(marker)!r}]\n".encode()


def test_payloads_as_data(payload, tmp_path):
    for name, content in (("data", payload), ("data.gz", gzip.compress(payload))):
        path = tmp_path / name
        path.write_bytes(content)
        assert text.read_text(path) == payload
        for shape in ((), (28, 28)):
            with pytest.raises(ValueError, match=f"^{path}: .*accepted is "):
                idx.read_idx(path, shape)
    (tmp_path / "data.zip").write_bytes(payload)
    with pytest.raises(ValueError, match=r"data.zip' cannot be read .*; accepted is "):
        text.read_text(tmp_path / "data.zip")


def test_payloads_in_a_run_directory(payload, tmp_path):
    chosen = settings.resolve({"task": "memorization"}, None)
    task = memorization()
    run = RunDirectory(tmp_path / "run")
    run.claim(chosen, task)
    run.data.write_bytes(payload)
    run.metrics.write_bytes(payload + b"\n{}")
    for read in (run.read_vocabulary, run.read_metrics, lambda: run.claim(chosen, task)):
        with pytest.raises(ValueError, match=r"is damaged"):
            read()
    run.config.write_bytes(payload)
    for read in (run.read_config, lambda: run.claim(chosen, task)):
        with pytest.raises(ValueError, match=r"config\.json is damaged: "):
            read()


def test_payloads_in_a_checkpoint(payload, tmp_path, late_reads):
    directory = tmp_path / "checkpoints"
    _save_at(directory, [1], best_step=1)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    assert any(path.parent.name == "d" for path in files)
    contents = [path.read_bytes() for path in files]

    def read():
        checkpointing.restore(directory, _state())

    def read_params():
        checkpointing.restore_params(directory, _network())

    for path, content in zip(files, contents, strict=True):  # each file by itself, then all of them
        path.write_bytes(payload)
        if path.name != checksums.NAME:
            checksums.write(directory / "1")  # as a stranger would
        for call in (read, read_params):
            with refusal(f"checkpoint {directory}/1 is "):
                call()
        path.write_bytes(content)
    checksums.write(directory / "1")
    read()
    for path in files:
        path.write_bytes(payload)
    checksums.write(directory / "1")
    for call in (read, read_params):
        with pytest.raises(ValueError, match=f"checkpoint {directory}/1 is "):
            call()


def test_payloads_in_prepared_data(payload, tmp_path):
    images, labels = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.int32)
    datasets._prepare(tmp_path / "made", {"train": (images, labels), "test": (images, labels)})
    for path in [path for path in (tmp_path / "made").rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.write_bytes(payload)
        with refusal(tmp_path):
            datasets._read(tmp_path / "made")
        path.write_bytes(content)
    assert set(datasets._read(tmp_path / "made")) == {"train", "test"}


def test_payloads_as_weights(payload, tmp_path):
    params = {"a": np.zeros(3, np.float32)}
    path = tmp_path / "weights.npz"
    weights.write_weights(path, params)
    for name in ("a.npy", "b.npy"):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            archive.writestr(name, payload)
    path.write_bytes(payload)
    for hostile in (path, tmp_path / "a.npy.npz", tmp_path / "b.npy.npz"):
        with pytest.raises(
            ValueError, match=rf"^{hostile} .*; accepted are weights of this network"
        ):
            weights.read_weights(hostile, params)
