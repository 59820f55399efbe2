import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from tlstm_jax.tasks.data import idx


def encode(array):
    """An independent writer: zero, zero, type 8, dimensions, sizes, bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 9, 1, 8, 2, 7, 3], np.uint8)


def write(directory, name, content):
    path = directory / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
def test_reads_what_was_written(tmp_path, end):
    images_path = write(tmp_path, "i" + end, encode(IMAGES))
    labels_path = write(tmp_path, "l" + end, encode(LABELS))
    images, labels = idx.read_split(images_path, labels_path)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def bad_images():
    good = encode(IMAGES)
    return {
        "empty": (b"", "empty file; accepted is an IDX file"),
        "no header": (good[:9], "truncated, 9 bytes in all; accepted is a header of 16"),
        "header alone": (
            good[:16],
            "truncated(, 0 bytes after| or too large, the header announces 5488 )",
        ),
        "truncated": (
            good[:-1],
            "truncated, 5487 bytes after the header; accepted are 5488 for its 7",
        ),
        "too long": (
            good + b"x",
            "more than 5488 bytes after the header; accepted are 5488 for its 7",
        ),
        "labels": (encode(np.zeros(99, np.uint8)), "magic number 2049; accepted is 2051"),
        "text": (b"<html>not an IDX file</html>", "magic number 1013478509; accepted is 2051"),
        "side": (
            encode(IMAGES[:, :, :27]),
            r"images of \[28, 27\] pixels; accepted are \[28, 28\]",
        ),
        "none": (encode(IMAGES[:0]), "no items; accepted is at least one"),
        "huge": (
            good[:4] + b"\xff" * 4 + good[8:],
            "truncated or too large, the header announces 3367254359280 bytes; accepted is at "
            "most ",
        ),
    }


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("kind", bad_images())
def test_bad_images_are_refused_in_one_line(tmp_path, kind, end):
    content, message = bad_images()[kind]
    path = write(tmp_path, "bad" + end, content)
    if kind == "empty":
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"^{path}: {message}[^\n]*$"):
        idx.read_idx(path, (28, 28))


def test_images_in_place_of_labels_are_refused(tmp_path):
    path = write(tmp_path, "l", encode(IMAGES))
    with pytest.raises(
        ValueError, match=r"l: magic number 2051; accepted is 2049 \(.* 1 dimension\)"
    ):
        idx.read_idx(path, ())


def damage_checksum(content):
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-1], lambda c: c[: len(c) // 2], damage_checksum],
    ids=["cut", "half", "checksum"],
)
def test_a_damaged_gzip_file_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "bad.gz"
    path.write_bytes(damage(gzip.compress(encode(IMAGES))))
    with pytest.raises(ValueError, match=rf"^{path}: damaged or truncated \([^\n]*in gzip$"):
        idx.read_idx(path, (28, 28))


def test_memory_is_bounded_by_what_the_header_may_announce(tmp_path):
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(encode(LABELS))
        for _ in range(100):
            file.write(bytes(2**20))
    liar = write(tmp_path, "liar", encode(LABELS)[:4] + struct.pack(">I", 2**31) + bytes(10))
    giant = tmp_path / "giant.gz"
    noise = np.random.default_rng(0).bytes(2**21)
    giant.write_bytes(gzip.compress(struct.pack(">II", 2049, 2**30 + 1) + noise, 1))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 7 bytes"):
            idx.read_idx(bomb, ())
        with pytest.raises(ValueError, match="announces 2147483648 bytes; accepted is at most 18 "):
            idx.read_idx(liar, ())
        with pytest.raises(ValueError, match=r"announces 1073741825 bytes; .* at most 1073741824 "):
            idx.read_idx(giant, ())
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_counts_and_labels_are_checked(tmp_path):
    images = write(tmp_path, "i", encode(IMAGES))
    with pytest.raises(ValueError, match=r"l: 6 labels for the 7 images of .*i; accepted is one"):
        idx.read_split(images, write(tmp_path, "l", encode(LABELS[:6])))
    labels = LABELS.copy()
    labels[4] = 10
    with pytest.raises(ValueError, match=r"l: label 10 of example 4 .*; accepted are 0 to 9"):
        idx.read_split(images, write(tmp_path, "l", encode(labels)))


def test_files_are_found_in_every_spelling(tmp_path):
    assert idx.find_files(tmp_path) == {}
    assert idx.find_files(tmp_path / "absent") == {}
    expected = {
        "train-images-idx3-ubyte": "train-images.idx3-ubyte",
        "train-labels-idx1-ubyte": "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte": "t10k-images.idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte": "t10k-labels-idx1-ubyte",
    }
    for name in expected.values():
        (tmp_path / name).touch()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").touch()  # the plain file is taken
    assert idx.find_files(tmp_path) == {key: tmp_path / name for key, name in expected.items()}


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").touch()
    (tmp_path / "t10k-labels.idx1-ubyte").mkdir()  # not a file
    with pytest.raises(
        FileNotFoundError,
        match=rf"^{tmp_path} has train-images-idx3-ubyte.gz, but not train-labels-idx1-ubyte, "
        r"t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte; accepted are all four files[^\n]*$",
    ):
        idx.find_files(tmp_path)
