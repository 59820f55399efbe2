"""Data from strangers: every reader gives what is there or refuses it in one line."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.hostile import mutated, refusal
from tlstm_jax.tasks.char_lm import char_lm
from tlstm_jax.tasks.data import formats, idx, text

pytestmark = pytest.mark.usefixtures("no_hang")
LABELS = struct.pack(">II", 2049, 7) + bytes(range(7))
IMAGES = struct.pack(">IIII", 2051, 2, 28, 28) + bytes(range(256)) * 6 + bytes(32)
SAMPLE = b"Tensors, \xc3\xa9tendus.\r\n\x00\xff" * 8
SIZES = st.integers(0, 2**32 - 1) | st.sampled_from((0, 1, 7, 28, 2**31, 2**32 - 1))


def read_idx(path, content, shape):
    path.write_bytes(content)
    with refusal(path):
        items = idx.read_idx(path, shape)
        assert items.dtype == np.uint8 and items.shape[1:] == shape and len(items)


@pytest.mark.parametrize("shape", [(), (28, 28)])
@pytest.mark.parametrize("end", ["", ".gz"])
@given(content=st.binary(max_size=200))
def test_idx_of_any_bytes(tmp_path, end, shape, content):
    read_idx(tmp_path / f"any{end}", content, shape)
    if end:
        read_idx(tmp_path / "packed.gz", gzip.compress(content), shape)


@pytest.mark.parametrize("valid", [LABELS, IMAGES], ids=["labels", "images"])
@given(data=st.data())
def test_idx_with_damage(tmp_path, valid, data):
    shape = () if valid is LABELS else (28, 28)
    read_idx(tmp_path / "plain", data.draw(mutated(valid)), shape)
    read_idx(tmp_path / "outside.gz", data.draw(mutated(gzip.compress(valid))), shape)
    read_idx(tmp_path / "inside.gz", gzip.compress(data.draw(mutated(valid))), shape)


@given(
    magic=st.sampled_from((2049, 2051)) | st.integers(0, 2**32 - 1),
    sizes=st.lists(SIZES, min_size=1, max_size=4),
    content=st.binary(max_size=30),
    behind=st.binary(max_size=30),
)
@example(2051, [2**32 - 1, 28, 28], b"", b"")
@example(2051, [2**32 - 1] * 3, b"", b"")
@example(2049, [2**31], bytes(30), b"\x1f\x8b")
def test_idx_headers_that_lie(tmp_path, magic, sizes, content, behind):
    content = struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content
    for shape in ((), (28, 28)):
        read_idx(tmp_path / "plain", content, shape)
        read_idx(tmp_path / "packed.gz", gzip.compress(content) + behind, shape)


def read_text(path, content):
    path.write_bytes(content)
    with refusal(f"data_path '{path}'"):
        return text.read_text(path)


@given(content=st.binary(max_size=200) | st.sampled_from((b"", b"\0", bytes(range(256)))))
def test_text_of_any_bytes(tmp_path, content):
    is_text = content and formats.not_text(content) is None
    assert read_text(tmp_path / "plain", content) == (content if is_text else None)
    assert read_text(tmp_path / "packed.gz", gzip.compress(content)) == (
        content if is_text else None
    )
    for start in (b"", b"PK\3\4", b"PK\5\6"):
        assert read_text(tmp_path / "any.zip", start + content) is None
    assert read_text(tmp_path / "any.gz", content) is None
    read_text(tmp_path / "start.gz", b"\x1f\x8b\x08" + content)
    with refusal(tmp_path):
        task = char_lm(tmp_path / "plain", 1, 1, 1)
        read = np.concatenate([task.data[split] for split in ("train", "valid", "test")])
        assert task.unknown_counts["train"] == 0 and read.size == len(content)
        known = bytes(byte if byte in task.vocabulary else 255 for byte in content)
        assert bytes((*task.vocabulary, 255)[symbol] for symbol in read) == known


@given(content=mutated(gzip.compress(SAMPLE)))
def test_gzip_with_damage(tmp_path, content):
    assert read_text(tmp_path / "bad.gz", content) in (SAMPLE, None)
    assert read_text(tmp_path / "bad.gz", gzip.compress(SAMPLE) + content) in (
        SAMPLE,
        2 * SAMPLE,
        None,
    )


def pack(files, method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return packed.getvalue()


WHOLE = pack([("folder/", b""), ("folder/a", SAMPLE)])
# Fields of a local and of a central header: offset in each, and size.
FIELDS = {
    "version": (4, 6, 2),
    "flags": (6, 8, 2),
    "method": (8, 10, 2),
    "checksum": (14, 16, 4),
    "packed": (18, 20, 4),
    "size": (22, 24, 4),
    "name": (26, 28, 2),
    "extra": (28, 30, 2),
    "comment": (None, 32, 2),
    "disk": (None, 34, 2),
    "position": (None, 42, 4),
}


def set_field(content, field, value, parts=("local", "central")):
    content = bytearray(content)
    local, central, size = FIELDS[field]
    for part, mark, offset in (("local", b"PK\3\4", local), ("central", b"PK\1\2", central)):
        if part in parts and offset is not None:
            at = content.rindex(mark) + offset
            content[at : at + size] = (value % 256**size).to_bytes(size, "little")
    return bytes(content)


@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(sorted(FIELDS)),
            st.sampled_from((0, 1, 8, 9, 12, 14, 2**16 - 1, 2**31, 2**32 - 1)) | SIZES,
            st.sampled_from((("local",), ("central",), ("local", "central"))),
        ),
        max_size=3,
    ),
    stored=st.booleans(),
    data=st.data(),
)
def test_zip_with_damage(tmp_path, changes, stored, data):
    content = pack([("folder/a", SAMPLE)], zipfile.ZIP_STORED) if stored else WHOLE
    for change in changes:
        content = set_field(content, *change)
    read = read_text(tmp_path / "bad.zip", content)
    assert read is None or SAMPLE.startswith(read)
    if not changes:
        assert read == SAMPLE
    read_text(tmp_path / "bad.zip", data.draw(mutated(content)))


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # zipfile writes no \0


@given(
    files=st.lists(
        st.tuples(
            st.text(LETTERS, min_size=1, max_size=9)
            | st.sampled_from(("enwik8", "a/enwik8", "../enwik8", "/x/", "/")),
            st.binary(max_size=9),
        ),
        max_size=4,
        unique_by=lambda file: file[0],
    ),
    method=st.sampled_from(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    ),
)
def test_zip_of_any_files(tmp_path, files, method):
    read = read_text(tmp_path / "some.zip", pack(files, method))
    assert read is None or read in [content for _, content in files]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (set_field(WHOLE, "flags", 1), r"cannot be read \(File <ZipInfo .*is encrypted, password"),
        (
            set_field(WHOLE, "method", 99),
            r"is compressed by method 99 of .zip; accepted are 0 \(sto",
        ),
        (pack([("a", SAMPLE)], zipfile.ZIP_LZMA), r"is compressed by method 14 .* 8 \(deflated\)"),
        (pack([("a", SAMPLE)], zipfile.ZIP_BZIP2), "is compressed by method 12 of .zip; accepted"),
        (pack([(f"{n}", b"x") for n in range(999)]), "holds 999 files, 0 of them named enwik8"),
        (
            bytes(2**21) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 2**21, 0, 0),
            "has too large a directory; accepted is a .zip with one of up to 1,048,576 bytes",
        ),
    ],
    ids=["encrypted", "method", "lzma", "bzip2", "many", "directory"],
)
def test_zip_refusals(tmp_path, content, message):
    path = tmp_path / "bad.zip"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_path '{path}' {message}[^\n]*$"):
        text.read_text(path)
