"""What bytes are that are not text, told by how they begin."""

import codecs

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: without files
_KINDS = {  # how the content begins -> what it is, and what to do
    GZIP: "is packed by gzip, no text; unpack it (gunzip)",
    **dict.fromkeys(ZIP, "is a .zip, no text; unpack it (unzip)"),
    b"BZh": "is packed by bzip2, no text; unpack it (bunzip2)",
    b"\xfd7zXZ\x00": "is packed by xz, no text; unpack it (unxz)",
    b"\x28\xb5\x2f\xfd": "is packed by Zstandard, no text; unpack it (unzstd)",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive, no text; unpack it",
    b"Rar!\x1a\x07": "is a RAR archive, no text; unpack it",
    b"%PDF-": "is a PDF, no text; save what it says as text",
}
_BZIP2_BLOCK = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # at byte 4; "BZh" alone may begin a text
_TAR = (257, b"ustar")
_SAMPLE = 2**16  # bytes that are examined for an encoding
_FEW = 64  # bytes that tell nothing of an encoding


def not_text(content: bytes) -> str | None:
    """What `content` is, and what to do with it, as a clause; None if it may be a text.

    Archives, PDF, UTF-16 and UTF-32 are known, the last two with a byte order mark or mostly Latin
    letters.
    """
    start, mark = _TAR
    if content[start : start + len(mark)] == mark:
        return "is a tar archive, no text; unpack it (tar -xf) and name the text in it"
    for begin, kind in _KINDS.items():
        if content.startswith(begin) and (begin != b"BZh" or content[4:10] in _BZIP2_BLOCK):
            return kind
    encoding = _encoding(content[:_SAMPLE])
    if encoding is None:
        return None
    return f"is in {encoding[:6]}; convert it (iconv -f {encoding} -t UTF-8)"


def _encoding(sample: bytes) -> str | None:
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # before UTF-16's, its prefix
        return "UTF-32"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    if len(sample) < _FEW:
        return None
    half = len(sample) // 2
    zeros = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if max(zeros) > 0.9 and min(zeros) < 0.05:
        return "UTF-16LE" if zeros[1] > zeros[0] else "UTF-16BE"
    return None
