"""Files of safetensors, made here; the library's own are read in peers/test_packages.py."""

import json
import os
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.hostile import JSON, VALUES, mutated, refusal
from tlstm_jax.convert import load_safetensors
from tlstm_jax.convert.safetensors import DTYPES, MOST

pytestmark = pytest.mark.usefixtures("no_hang")
ARRAYS = {
    "layers.0.D": np.arange(6, dtype=np.float32).reshape(2, 3),
    "layers.0.norm": np.arange(3).astype(jnp.bfloat16),
    "layers.1.D": np.float64(7),
    "none": np.zeros((0, 3), np.int16),
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def header_of(arrays):
    header, end = {}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        entry = {"dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": [begin, end]}
        header[name] = entry
    return header


def file_of(header, numbers):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + numbers


NUMBERS = b"".join(array.tobytes() for array in ARRAYS.values())
VALID = file_of(header_of(ARRAYS), NUMBERS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
        found[name][...] = 0  # may be written to


def test_what_is_in_a_file(path):
    path.write_bytes(VALID)
    assert_same(load_safetensors(path), ARRAYS)
    assert_same(load_safetensors(str(path)), ARRAYS)


def test_names_with_a_prefix(path):
    path.write_bytes(VALID)
    start = "layers.0."
    layer = {n.removeprefix(start): a for n, a in ARRAYS.items() if n.startswith(start)}
    assert_same(load_safetensors(path, start), layer)
    with pytest.raises(
        ValueError, match=r"has no name that begins with 'layer\.'; its first are 'laye"
    ):
        load_safetensors(path, "layer.")


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(path, name):
    arrays = {"a": (np.arange(8) % 3).astype(DTYPES[name]).reshape(2, 2, 2)}
    path.write_bytes(file_of(header_of(arrays), arrays["a"].tobytes()))
    assert_same(load_safetensors(path), arrays)


def test_padding_metadata_and_another_order_of_names(path):
    header = {"__metadata__": {"format": "pt"}} | dict(reversed(header_of(ARRAYS).items()))
    path.write_bytes(file_of(json.dumps(header).encode() + b"   ", NUMBERS))
    assert_same(load_safetensors(path), ARRAYS)


def entry(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


DOUBLE = b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 0}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its 0 bytes are fewer than its first 8 say"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", "its 11 bytes are fewer than its first 8 say"),
        ((MOST + 1).to_bytes(8, "little") + bytes(MOST + 1), "take 16,777,217 bytes, over 16,777,"),
        (file_of(b"\xff", b""), "its names are no UTF-8"),
        (file_of(b"{", b""), "Expecting property name"),
        (file_of(b"[" * 100_000, b""), "recursion"),
        (file_of([], b""), "its JSON is no object"),
        (file_of(DOUBLE, b""), "a name is there twice"),
        (file_of({"a": 1}, b""), "'a' is not described by dtype, shape and data_offsets"),
        (file_of(entry(dtype="F4"), bytes(8)), "'a' is of the dtype 'F4', not one of F64, F32, "),
        (file_of(entry(shape=[-2]), bytes(8)), "'a' has a shape or data_offsets that are no sizes"),
        (file_of(entry(shape=[2.0]), bytes(8)), "'a' has a shape or data_offsets that are no si"),
        (file_of(entry(shape=[True, 2]), bytes(8)), "'a' has a shape or data_offsets that are no"),
        (file_of(entry(shape=[3]), bytes(8)), r"'a' has 8 bytes, which is not F32 \[3\]"),
        (file_of(entry(data_offsets=[4, 12]), bytes(12)), "'a' begins at 4, where 0 is next"),
        (file_of(entry(), bytes(7)), "it has 7 bytes of numbers, and says 8"),
        (file_of(entry(), bytes(9)), "it has 9 bytes of numbers, and says 8"),
        (file_of(entry() | {"b": entry()["a"]}, bytes(8)), "'b' begins at 0, where 8 is next"),
        (file_of(entry(shape=[0, 2**47, 2**47], data_offsets=[0, 0]), b""), "cannot be read: "),
        (file_of(entry(shape=[0] * 33, data_offsets=[0, 0]), b""), "that are no sizes"),
        (file_of({"a\n": 1}, b""), r"'a\\n' is not described"),
    ],
)
def test_damaged_files(path, content, message):
    path.write_bytes(content)
    with refusal(path), pytest.raises(ValueError, match=message) as error:
        load_safetensors(path)
    assert str(error.value).startswith(f"{path} cannot be read: ") and "\n" not in str(error.value)
    assert str(error.value).endswith("; accepted is a file of safetensors")


def test_no_file(path):
    with pytest.raises(FileNotFoundError, match=str(path)):
        load_safetensors(path)
    for make in (os.mkdir, os.mkfifo):
        make(path)
        with pytest.raises(ValueError, match=r"is not a file; accepted is one of safetensors$"):
            load_safetensors(path)
        os.rmdir(path) if path.is_dir() else path.unlink()


def test_sizes_that_are_not_there_take_no_memory(path):
    path.write_bytes(file_of(entry(shape=[2**40], data_offsets=[0, 2**42]), bytes(8)))
    tracemalloc.start()
    with refusal(path):
        load_safetensors(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@given(content=st.binary(max_size=60) | mutated(VALID))
@example(VALID)
def test_any_bytes(path, content):
    path.write_bytes(content)
    with refusal(path):
        load_safetensors(path)


@given(header=JSON, one=VALUES, key=st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
def test_any_header(path, header, one, key):
    for made in (header, {"a": header}, entry(**{key: one})):
        path.write_bytes(file_of(made, bytes(8)))
        with refusal(path):
            load_safetensors(path)
