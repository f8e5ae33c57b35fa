"""What a file is that has no JSON where JSON is wanted: people often have something else."""

from __future__ import annotations

import re

_MARKS = (
    (
        b"version https://git-lfs",
        "a pointer of git LFS stands here: `git lfs pull` brings the file",
    ),
    (b"<!doctype", "this is a web page, and no data"),
    (b"<html", "this is a web page, and no data"),
    (b"<?xml", "this is XML"),
    (b"par1", "this is a Parquet file"),
    (b"arrow1", "this is an Arrow file"),
    (b"pk\x03\x04", "this is a zip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "this is packed with zstd: unpack it"),
    (b"\x1f\x8b", "this is packed with gzip: unpack it"),
    (b"{'", "this is Python's notation: JSON has double quotes"),
)
"""How such a file begins, in small letters."""
ZERO_BYTES = "it contains zero bytes, so it is not UTF-8 text: save it as UTF-8"
_TABLE = re.compile(rb"[\w .-]{1,80}(?:[,;\t][\w .-]{0,80}){1,200}\s*", re.ASCII)


def describe_other_form(data: bytes) -> str | None:
    """What *data*, a file or its beginning, is instead of JSON; None where it is not known."""
    start = data[:20_000].lstrip(b"\xef\xbb\xbf \t\r\n")
    small = start[:32].lower()
    for mark, words in _MARKS:
        if small.startswith(mark):
            return words
    if b"\0" in start:
        return ZERO_BYTES
    line = start.partition(b"\n")[0]
    return "this looks like a table with commas or tabs" if _TABLE.fullmatch(line) else None
