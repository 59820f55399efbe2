import gzip
import hashlib
import http.server
import re
import shutil
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tlstm_jax.tasks import images
from tlstm_jax.tasks.data import datasets

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def encode(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.tobytes()


def write_files(directory, seed=0, end=".gz"):
    """Four small IDX files; returns what they hold, by part."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    parts = {}
    for part, count, names in (("train", 60, NAMES[:2]), ("test", 20, NAMES[2:])):
        x = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        y = rng.integers(0, 10, count, dtype=np.uint8)
        for name, array in zip(names, (x, y), strict=True):
            content = encode(array)
            (directory / (name + end)).write_bytes(gzip.compress(content) if end else content)
        parts[part] = x, y
    return parts


def remove_files(directory):
    for path in directory.iterdir():
        if path.is_file():
            path.unlink()


def assert_same(found, expected):
    assert set(found) == {"train", "test"}
    for part, (x, y) in expected.items():
        assert found[part][0].dtype == np.uint8 and found[part][1].dtype == np.int32
        np.testing.assert_array_equal(found[part][0], x)
        np.testing.assert_array_equal(found[part][1], y)


def forbid(monkeypatch, name):
    def called(*args, **kwargs):
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(datasets, name, called)


@pytest.fixture
def server(tmp_path):
    """A source on loopback with four good files, and the directory that it serves."""
    root = tmp_path / "served"
    parts = write_files(root)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=root)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        files = {
            path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(root.iterdir())
        }
        yield datasets.Source(f"http://127.0.0.1:{httpd.server_port}/", files), root, parts
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("place", [".", "mnist"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_prepares_and_reads_in_the_order_of_the_files(tmp_path, capsys, place, end):
    parts = write_files(tmp_path / place, end=end)
    assert_same(datasets.load("mnist", tmp_path), parts)
    printed = capsys.readouterr()
    assert printed.out == "" and re.fullmatch(r"Preparing \S+\n", printed.err)


def test_prepares_once_and_then_needs_no_files(tmp_path, monkeypatch):
    parts = write_files(tmp_path)
    datasets.load("fashion_mnist", str(tmp_path))
    forbid(monkeypatch, "_prepare")
    forbid(monkeypatch, "download")
    assert_same(datasets.load("fashion_mnist", tmp_path), parts)
    remove_files(tmp_path)
    assert_same(datasets.load("fashion_mnist", tmp_path), parts)
    with pytest.raises(AssertionError, match="download was called"):  # it is not MNIST
        datasets.load("mnist", tmp_path)


def test_other_files_are_not_taken_for_those_prepared(tmp_path):
    first = write_files(tmp_path, seed=0)
    assert_same(datasets.load("mnist", tmp_path), first)
    second = write_files(tmp_path, seed=1)
    assert_same(datasets.load("mnist", tmp_path), second)
    write_files(tmp_path, seed=0)
    assert_same(datasets.load("mnist", tmp_path), first)
    remove_files(tmp_path)
    with pytest.raises(ValueError, match=r"^\S* has no IDX files of mnist, and several [^\n]*$"):
        datasets.load("mnist", tmp_path)


def test_the_own_directory_comes_first(tmp_path):
    write_files(tmp_path, seed=0)
    fashion = write_files(tmp_path / "fashion_mnist", seed=1)
    assert_same(datasets.load("fashion_mnist", tmp_path), fashion)


def test_a_file_damaged_after_the_preparation_is_noticed(tmp_path):
    write_files(tmp_path)
    datasets.load("mnist", tmp_path)
    (tmp_path / f"{NAMES[1]}.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz: empty file"):
        datasets.load("mnist", tmp_path)


def test_bad_files_leave_nothing_prepared(tmp_path):
    write_files(tmp_path, end="")
    (tmp_path / NAMES[3]).write_bytes(encode(np.full(20, 11, np.uint8)))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte: label 11 of example 0"):
        datasets.load("mnist", tmp_path)
    assert not (tmp_path / "prepared").exists()


def test_some_files_are_not_completed_by_a_download(tmp_path, monkeypatch):
    write_files(tmp_path)
    (tmp_path / f"{NAMES[2]}.gz").unlink()
    forbid(monkeypatch, "download")
    with pytest.raises(FileNotFoundError, match="but not t10k-images-idx3-ubyte; accepted"):
        datasets.load("mnist", tmp_path)


def test_a_damaged_preparation_is_named(tmp_path):
    write_files(tmp_path)
    datasets.load("mnist", tmp_path)
    (records,) = tmp_path.glob("prepared/*/*/*/*train*")
    records.write_bytes(records.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"^\S*/prepared/mnist-\w* is damaged \([^\n]*again$"):
        datasets.load("mnist", tmp_path)


def test_two_processes_may_prepare_at_once(tmp_path, monkeypatch):
    parts = write_files(tmp_path)
    generate, prepare = datasets.IdxImages._generate_examples, datasets._prepare

    def overtaken(self, *split):
        monkeypatch.setattr(datasets.IdxImages, "_generate_examples", generate)
        prepare(Path(self._data_dir_root), self._splits)
        yield from generate(self, *split)

    monkeypatch.setattr(datasets.IdxImages, "_generate_examples", overtaken)
    assert_same(datasets.load("mnist", tmp_path), parts)


def test_a_download_is_put_in_place_and_prepared(tmp_path, server):
    source, root, parts = server
    data_dir = tmp_path / "data"
    assert_same(datasets.load("mnist", data_dir, source=source), parts)
    assert {path.name for path in (data_dir / "mnist").iterdir()} == set(source.files)
    shutil.rmtree(root)
    assert_same(datasets.load("mnist", data_dir, source=source), parts)


def test_a_wrong_checksum_is_refused_and_leaves_nothing(tmp_path, server):
    source, root, _ = server
    changed = root / f"{NAMES[3]}.gz"  # the last of the four
    content = bytearray(changed.read_bytes())
    content[20] ^= 1
    changed.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^{source.url}{changed.name}: [^\n]*; accepted are \d+ by"
    ):
        datasets.load("mnist", tmp_path / "data", source=source)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + bytes(10**6)])
def test_a_wrong_size_is_refused_and_leaves_nothing(tmp_path, server, change):
    source, root, _ = server
    changed = root / f"{NAMES[0]}.gz"
    size = changed.stat().st_size
    changed.write_bytes(change(changed.read_bytes()))
    with pytest.raises(ValueError, match=rf": ({size - 1}|{size + 1}) bytes read, .* {size} bytes"):
        datasets.download(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_host_or_file_says_where_the_files_must_lie(tmp_path, server):
    source, root, _ = server
    (root / f"{NAMES[1]}.gz").unlink()
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    for bad, reason in ((source, "404"), (source._replace(url=closed), "refused")):
        with pytest.raises(
            FileNotFoundError,
            match=rf"^{tmp_path}/data/mnist has no IDX files, and {bad.url}\S* cannot be "
            rf"downloaded \([^\n]*{reason}[^\n]*train-images-idx3-ubyte.gz[^\n]*, also without .gz$",
        ):
            datasets.load("mnist", tmp_path / "data", source=bad)
        assert not (tmp_path / "data").exists()


def test_a_silent_host_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = datasets.Source(f"http://127.0.0.1:{silent.getsockname()[1]}/", {"a": (1, "")})
        with pytest.raises(FileNotFoundError, match="timed out"):
            datasets.download(source, tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_sources_are_those_that_tensorflow_datasets_records(name):
    records = Path(tfds.__file__).parent / "url_checksums" / f"{name}.txt"
    expected = {}
    for line in records.read_text().splitlines():
        url, size, sha256, _ = line.split("\t")
        expected[url] = int(size), sha256
    source = datasets.SOURCES[name]
    assert {source.url + file: known for file, known in source.files.items()} == expected


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="name is 'cifar'; accepted are mnist, fashion_mnist"):
        datasets.load("cifar", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file, a file; accepted is a directory"):
        datasets.load("mnist", tmp_path / "file")


def test_the_tasks_read_their_files(tmp_path):
    parts = write_files(tmp_path / "mnist", seed=0)
    write_files(tmp_path / "fashion_mnist", seed=1)
    plain, permuted, other = (
        task(tmp_path, batch_size=9)
        for task in (images.mnist, images.pmnist, images.pfashion_mnist)
    )
    assert [t.name for t in (plain, permuted, other)] == ["mnist", "pmnist", "pfashion_mnist"]
    assert [t.permutation_seed for t in (plain, permuted, other)] == [None, 0, 0]
    test = plain.data["test"]["images"], permuted.data["test"]["images"]
    np.testing.assert_array_equal(test[0], parts["test"][0].reshape(20, 784))
    np.testing.assert_array_equal(np.sort(test[1], axis=1), np.sort(test[0], axis=1))
    assert not np.array_equal(test[0], test[1])
    assert not np.array_equal(test[1], other.data["test"]["images"])
    assert [plain.num_examples(split) for split in ("train", "valid", "test")] == [54, 6, 20]
