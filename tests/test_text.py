import gzip
import zipfile

import numpy as np
import pytest

from tlstm_jax.tasks.data import inflate, text

SAMPLE = b"Tensors, \xc3\xa9tendus.\r\n\x00\xff" * 40


def _zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "sample.xml"
    path.write_bytes(SAMPLE)
    return path


def test_plain_gz_and_zip_read_the_same(tmp_path, plain):
    packed = tmp_path / "sample.xml.GZ"
    packed.write_bytes(gzip.compress(SAMPLE))
    zipped = _zip(tmp_path / "sample.zip", {"folder/": b"", "folder/any name": SAMPLE})
    for path in (plain, str(plain), packed, zipped):
        assert text.read_text(path) == SAMPLE


def test_zip_with_several_files_gives_enwik8(tmp_path):
    path = _zip(tmp_path / "a.zip", {"readme": b"no", "data/enwik8": SAMPLE, "enwik8.md5": b"no"})
    assert text.read_text(path) == SAMPLE


def test_text_longer_than_a_chunk(monkeypatch, plain):
    monkeypatch.setattr(inflate, "_CHUNK", 7)
    assert text.read_text(plain) == SAMPLE


@pytest.mark.parametrize("kind", ["plain", "gz", "zip"])
def test_size_is_bounded(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(text, "MAX_BYTES", 1000)
    monkeypatch.setattr(inflate, "_CHUNK", 64)
    path = tmp_path / f"long.{kind}"

    def write(content):
        if kind == "zip":
            _zip(path, {"a": content})
        else:
            path.write_bytes(gzip.compress(content) if kind == "gz" else content)

    write(b"a" * 1000)
    assert text.read_text(path) == b"a" * 1000
    write(b"a" * 1001)
    with pytest.raises(ValueError, match=r"long\.\w+' has over 1,000 bytes of text; ac"):
        text.read_text(path)


def test_bomb_is_not_inflated_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_BYTES", 1000)
    monkeypatch.setattr(inflate, "_CHUNK", 64)
    inflated = []
    read = zipfile.ZipExtFile.read

    def counted(file, size=-1):
        inflated.append(read(file, size))
        return inflated[-1]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    with pytest.raises(ValueError, match=r"has over .* of text"):
        text.read_text(_zip(tmp_path / "bomb.zip", {"a": bytes(10**6)}))
    assert sum(map(len, inflated)) <= 1064


def _refusals(folder):
    several = {"a": b"1", "b": b"2"}
    whole = _zip(folder / "whole.zip", {"a": SAMPLE}).read_bytes()
    locked = bytearray(whole)
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(header) + flags] |= 1  # "encrypted"
    damaged = bytearray(whole)
    damaged[31] = 0xFF  # the first byte of the compressed data
    return {
        "empty.txt": (b"", "is empty; accepted is a file with text"),
        "empty.gz": (gzip.compress(b""), "is empty; accepted is a file with text"),
        "cut.gz": (
            gzip.compress(SAMPLE)[:-9],
            "cannot be read .*; accepted is a readable text file",
        ),
        "plain.gz": (SAMPLE, "cannot be read .*Not a gzipped file.*; accepted is .*plain, .gz or"),
        "plain.zip": (
            SAMPLE,
            "cannot be read .*not a zip file.*; accepted is .*plain, .gz or .zip",
        ),
        "cut.zip": (whole[:-30], "cannot be read .*; accepted is a readable text file"),
        "damaged.zip": (bytes(damaged), "cannot be read .*; accepted is a readable text file"),
        "locked.zip": (bytes(locked), "cannot be read .*encrypted.*; accepted is a readable text"),
        "none.zip": (
            _zip(folder / "z", {"a/": b""}).read_bytes(),
            "holds 0 files, 0 of them named",
        ),
        "two.zip": (
            _zip(folder / "z", several).read_bytes(),
            "holds 2 files, 0 of them named enwik8; accepted is a .zip with exactly one file, or",
        ),
        "twice.zip": (
            _zip(folder / "z", {"a/enwik8": b"1", "b/enwik8": b"2"}).read_bytes(),
            "holds 2 files, 2 of them named enwik8",
        ),
    }


def test_refusals_name_the_file_in_one_line(tmp_path):
    for name, (content, message) in _refusals(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"data_path '.*{name}' {message}") as caught:
            text.read_text(path)
        assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data_path '.*nowhere' does not exist; accepted is "
    ):
        text.read_text(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"data_path '.*' is not a file; accepted is a readable text"
    ):
        text.read_text(tmp_path)


def test_help_topics_are_english_in_the_order_of_their_names(monkeypatch):
    assert text.help_topics().count(b" the ") > 1000
    monkeypatch.setattr(text, "topics", {"b": "second", "a": "first"})
    assert text.help_topics() == b"first\n\nsecond"


def test_vocabulary_is_sorted_and_distinct():
    assert text.make_vocabulary(b"banana\xff\x00") == (0, *sorted(b"abn"), 255)


def test_encode_and_decode_with_a_vocabulary_rebuilt_from_a_list():
    vocabulary = [int(byte) for byte in text.make_vocabulary(SAMPLE)]
    symbols = text.encode(SAMPLE, vocabulary)
    assert symbols.dtype == np.int32 and symbols.shape == (len(SAMPLE),)
    assert [vocabulary[symbol] for symbol in symbols] == list(SAMPLE)
    assert text.decode(symbols, vocabulary) == SAMPLE
    assert text.decode([], vocabulary) == b""


def test_unknown_bytes_become_the_last_symbol():
    symbols = text.encode(b"abXcY", tuple(b"abc"))
    np.testing.assert_array_equal(symbols, [0, 1, 3, 2, 3])
    assert text.decode(symbols, tuple(b"abc")).decode() == "ab\ufffdc\ufffd"


def test_all_bytes_known():
    every = bytes(range(256))
    np.testing.assert_array_equal(text.encode(every, text.make_vocabulary(every)), range(256))
    np.testing.assert_array_equal(text.encode(every, every[:255]), range(256))


@pytest.mark.parametrize("symbol", [-1, 4])
def test_decode_refuses_what_is_no_symbol(symbol):
    with pytest.raises(ValueError, match=f"symbols contain {symbol}; accepted are 0 to 3"):
        text.decode(np.array([0, symbol]), b"abc")
