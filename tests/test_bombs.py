"""Archives that inflate to a thousand times their size are refused before they take memory."""

import gzip
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from tlstm_jax.tasks.data import idx, inflate, text

MEBIBYTE = 2**20
pytestmark = pytest.mark.usefixtures("no_hang")


def deflate_zeros(mebibytes):
    """The deflated stream of so many zeros, 1000 times as short, without making them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * mebibytes + packer.flush()


def write_archive(path, start, mebibytes):
    """`start` and zeros; the checksum at the end, which nobody should reach, is wrong."""
    body = struct.pack("<BHH", 0, len(start), len(start) ^ 0xFFFF) + start  # a stored block
    body += deflate_zeros(mebibytes)
    size = len(start) + mebibytes * MEBIBYTE
    if path.suffix == ".gz":
        path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + body + struct.pack("<II", 0, size))
        return
    sizes = struct.pack("<III", 0, len(body), size)
    local = b"PK\3\4" + struct.pack("<5H", 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", 1, 0)
    central = b"PK\1\2" + struct.pack("<6H", 20, 20, 0, 8, 0, 33) + sizes
    central += struct.pack("<5H2L", 1, 0, 0, 0, 0, 0, 0) + b"a"
    whole = local + b"a" + body
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(whole), 0)
    path.write_bytes(whole + central + end)


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * MEBIBYTE


@pytest.mark.parametrize("end", ["gz", "zip"])
def test_a_text_that_is_a_bomb(tmp_path, end, little_memory):
    path = tmp_path / f"bomb.{end}"
    write_archive(path, b"Once upon a time", 2000)
    assert path.stat().st_size < 3 * MEBIBYTE
    with pytest.raises(
        ValueError, match=rf"^data_path '{path}' inflates to over [\d,]+ bytes, more "
    ) as e:
        text.read_text(path)
    assert "more than 200 times its size; accepted is " in str(e.value)


def test_an_idx_file_that_is_a_bomb(tmp_path, little_memory):
    path = tmp_path / "bomb.gz"
    write_archive(path, struct.pack(">II", 2049, 1000 * MEBIBYTE), 1000)
    with pytest.raises(
        ValueError, match=rf"^{path}: inflates to over [\d,]+ bytes, more than 200 ti"
    ):
        idx.read_idx(path, ())


@pytest.mark.parametrize("end", ["gz", "zip"])
def test_a_short_text_may_repeat_itself(tmp_path, end):
    path, content = tmp_path / f"zeros.{end}", bytes(inflate.FREE_BYTES)
    if end == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", content)
    assert text.read_text(path) == content


@pytest.mark.parametrize("ratio", [3, 40])
def test_what_deflates_as_data_do_is_read(tmp_path, ratio):
    """Text deflates 3 times, logs some tens of times: of any length."""
    piece = np.random.default_rng(0).bytes(MEBIBYTE // ratio)
    content = (piece + bytes(MEBIBYTE - len(piece))) * 20
    path = tmp_path / "long.gz"
    path.write_bytes(gzip.compress(content, 6))
    assert ratio - 4 < len(content) / path.stat().st_size < ratio + 4
    assert text.read_text(path) == content
