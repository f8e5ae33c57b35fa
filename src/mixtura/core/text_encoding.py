"""The text of files that people write: UTF-8, or what a byte order mark at the beginning says."""

from __future__ import annotations

import codecs

# UTF-32's mark begins with UTF-16's: it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
MARK_BYTES = 4
"""The most bytes of a byte order mark."""


def find_encoding(start: bytes) -> str:
    """
    Python's name of the encoding of a text that begins with *start*, for one that reads over the
    mark. PowerShell's ``>`` and Excel's "Unicode text" write UTF-16.
    """
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")


def decode_text(data: bytes) -> str:
    """The whole text of a file, without its mark. Raises UnicodeDecodeError."""
    return data.decode(find_encoding(data))
