"""Data files as people have them: archives of any name, encodings, other programs' folders."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from tests.test_datasets import NAMES, assert_same, forbid, write_files
from tlstm_jax.tasks.data import datasets, idx, text
from tlstm_jax.training import checkpointing
from tlstm_jax.zoo import weights

SAMPLE = ("Tensors, étendus.\n" * 40).encode()


def _tar(mode="w"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(SAMPLE)
        archive.addfile(info, io.BytesIO(SAMPLE))
    return packed.getvalue()


def _zip(content=SAMPLE):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", content)
    return packed.getvalue()


@pytest.mark.parametrize("name", ["a", "a.txt", "a.bin", "a.tgz"])
@pytest.mark.parametrize("content", [gzip.compress(SAMPLE), _zip()], ids=["gzip", "zip"])
def test_a_packed_text_is_unpacked_whatever_its_name_is(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert text.read_text(tmp_path / name) == SAMPLE


WORDS = SAMPLE.decode()
NOT_TEXT = {
    "tar": (_tar(), r"is a tar archive, no text; unpack it \(tar -xf\) and name the text in it"),
    "tgz": (_tar("w:gz"), r"is a tar archive, no text; unpack it \(tar -xf\)"),
    "zipped tar": (_zip(_tar()), r"is a tar archive, no text; unpack it \(tar -xf\)"),
    "bz2": (bz2.compress(SAMPLE), r"is packed by bzip2, no text; unpack it \(bunzip2\)"),
    "xz": (lzma.compress(SAMPLE), r"is packed by xz, no text; unpack it \(unxz\)"),
    "zstd": (
        b"\x28\xb5\x2f\xfd" + SAMPLE,
        r"is packed by Zstandard, no text; unpack it \(unzstd\)",
    ),
    "7z": (b"7z\xbc\xaf\x27\x1c" + SAMPLE, r"is a 7z archive, no text; unpack it"),
    "rar": (b"Rar!\x1a\x07\x01" + SAMPLE, r"is a RAR archive, no text; unpack it"),
    "gzip twice": (gzip.compress(gzip.compress(SAMPLE)), r"is packed by gzip, no text; unpack it"),
    "zip in gzip": (gzip.compress(_zip()), r"is a \.zip, no text; unpack it"),
    "pdf": (b"%PDF-1.7\n" + SAMPLE, r"is a PDF, no text; save what it says as text"),
    "utf-16": (WORDS.encode("utf-16"), r"is in UTF-16; convert it \(iconv -f UTF-16 -t UTF-8\)"),
    "utf-16-be": (codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"), "is in UTF-16; convert it"),
    "utf-32": (WORDS.encode("utf-32"), r"is in UTF-32; convert it \(iconv -f UTF-32 -t UTF-8\)"),
    "unmarked": (WORDS.encode("utf-16-le"), r"is in UTF-16; convert it \(iconv -f UTF-16LE -t"),
    "unmarked, be": (WORDS.encode("utf-16-be"), r"is in UTF-16; convert it \(iconv -f UTF-16BE"),
    "utf-16 in gzip": (gzip.compress(WORDS.encode("utf-16")), "is in UTF-16; convert it"),
}


@pytest.mark.parametrize("kind", NOT_TEXT)
def test_what_is_no_text_is_refused_with_what_to_do(tmp_path, kind):
    content, message = NOT_TEXT[kind]
    path = tmp_path / "book.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^data_path '{path}' {message}[^\n]*$"):
        text.read_text(path)


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + SAMPLE,
        SAMPLE.decode().encode("latin-1"),
        bytes(range(256)) * 8,
        bytes(2000),
        np.arange(2000, dtype=np.uint32).tobytes(),
        b"BZ, PK, 7z and %PDF are initials of files.\n" * 9,
    ],
    ids=["utf-8-sig", "latin-1", "bytes", "zeros", "numbers", "letters"],
)
def test_other_bytes_are_read_as_they_are(tmp_path, content):
    path = tmp_path / "any"
    path.write_bytes(content)
    assert text.read_text(path) == content


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "zip"])
def test_a_text_that_is_too_long_is_refused_before_it_is_read(tmp_path, monkeypatch, packed):
    path = tmp_path / "long.txt"
    if packed:
        path.write_bytes(_zip(bytes(3000)))
        monkeypatch.setattr(text, "MAX_BYTES", 2000)
    else:
        with path.open("wb") as file:
            file.truncate(text.MAX_BYTES + 1)  # a hole: no disk is taken
    read = []
    monkeypatch.setattr(text, "read_at_most", lambda *args: read.append(args) or b"")
    with pytest.raises(ValueError, match=r"long.txt' has over [\d,]+ bytes of text"):
        text.read_text(path)
    assert not read


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_idx_file_is_read_by_its_content_not_by_its_name(tmp_path, packed):
    """Browsers unpack what they download, and keep its name."""
    parts = write_files(tmp_path, end="")
    for name in NAMES:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        if packed:
            (tmp_path / name).write_bytes(gzip.compress(content))
        else:
            (tmp_path / f"{name}.gz").write_bytes(content)
    assert_same(datasets.load("mnist", tmp_path), parts)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("mnist", "raw"),
        ("mnist", "mnist/raw"),
        ("mnist", "MNIST"),
    ],
)
def test_the_folders_of_torchvision_are_known(tmp_path, monkeypatch, name, place):
    forbid(monkeypatch, "download")
    parts = write_files(tmp_path / place, seed=3, end="")
    assert_same(datasets.load(name, tmp_path), parts)


def test_each_dataset_of_torchvision_is_taken_from_its_own_folder(tmp_path):
    mnist = write_files(tmp_path / "MNIST/raw", seed=1)
    fashion = write_files(tmp_path / "FashionMNIST/raw", seed=2)
    assert_same(datasets.load("mnist", tmp_path), mnist)
    assert_same(datasets.load("fashion_mnist", tmp_path), fashion)


@pytest.mark.parametrize("dotted", [False, True])
def test_a_file_in_a_folder_of_its_own_name_is_found(tmp_path, monkeypatch, dotted):
    forbid(monkeypatch, "download")
    parts = write_files(tmp_path, end="")
    for name in NAMES:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        inner = name.replace("-idx", ".idx") if dotted else name
        (tmp_path / name / inner).write_bytes(content)
    assert_same(datasets.load("mnist", tmp_path), parts)


def test_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch, capsys):
    parts = write_files(tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path / "prepared"))

    monkeypatch.setattr(datasets.IdxImages, "download_and_prepare", refuse)
    assert_same(datasets.load("mnist", tmp_path), parts)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(
        rf"^{tmp_path}/prepared/mnist-\w+ cannot be written \([^\n]*Permission denied[^\n]*\): "
        r"the files are read again each time$",
        printed.err,
        re.MULTILINE,
    )


def test_a_file_where_the_preparation_would_lie_does_not_hinder(tmp_path):
    parts = write_files(tmp_path)
    (tmp_path / "prepared").write_text("mine")
    assert_same(datasets.load("mnist", tmp_path), parts)
    assert (tmp_path / "prepared").read_text() == "mine"


@pytest.mark.parametrize("use", ["prepare", "read"])
def test_a_record_format_that_cannot_be_imported_is_not_taken_for_damage(
    tmp_path, monkeypatch, capsys, use
):
    """On some systems pip takes an array_record that was built for another."""
    parts = write_files(tmp_path)

    def missing(*args, **kwargs):
        raise ImportError("dlopen: no suitable image of array_record_module.so")

    if use == "read":
        datasets.load("mnist", tmp_path)
        monkeypatch.setattr(datasets.IdxImages, "as_data_source", missing)
    else:
        monkeypatch.setattr(datasets.IdxImages, "download_and_prepare", missing)
    assert_same(datasets.load("mnist", tmp_path), parts)
    assert "no suitable image of array_record_module.so" in capsys.readouterr().err
    if use == "read":
        shutil.move(tmp_path / "prepared", tmp_path / "data" / "prepared")
        with pytest.raises(ImportError, match=r"^\S*/prepared/mnist-\w+ needs array_record, whi"):
            datasets.load("mnist", tmp_path / "data")


def test_too_little_memory_is_not_taken_for_damage(tmp_path, monkeypatch):
    def exhausted(*args, **kwargs):
        raise MemoryError

    path = tmp_path / "a.txt"
    path.write_bytes(SAMPLE)
    monkeypatch.setattr(text, "read_at_most", exhausted)
    with pytest.raises(MemoryError):
        text.read_text(path)
    write_files(tmp_path)
    datasets.load("mnist", tmp_path)
    monkeypatch.setattr(datasets, "_read_part", exhausted)
    with pytest.raises(MemoryError):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize("error", [ImportError, MemoryError, PermissionError])
def test_what_is_no_damage_is_not_called_so(tmp_path, error, monkeypatch):
    def fails(*args):
        raise error("no")

    with pytest.raises(error):
        checkpointing._read(tmp_path, fails)
    with pytest.raises(ValueError, match="is damaged: KeyError"):
        checkpointing._read(tmp_path, lambda: (_ for _ in ()).throw(KeyError))
    if error is not PermissionError:
        monkeypatch.setattr(weights, "_read", fails)
        (tmp_path / "a.npz").write_bytes(b"x")
        with pytest.raises(error):
            weights.read_weights(tmp_path / "a.npz", {"a": np.zeros(1)})


def test_files_are_found_under_the_accepted_names_only(tmp_path):
    write_files(tmp_path, end="")
    (tmp_path / NAMES[0]).rename(tmp_path / "train.bin")
    with pytest.raises(
        FileNotFoundError, match="but not train-images-idx3-ubyte; accepted are all f"
    ):
        idx.find_files(tmp_path)
