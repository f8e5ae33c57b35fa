"""The text of files that people write, whatever wrote them."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.core.text_encoding import MARK_BYTES, decode_text, find_encoding

WRITTEN = {
    "UTF-8": (b"", "utf-8"),
    "UTF-8 with a mark": (codecs.BOM_UTF8, "utf-8"),
    "UTF-16, little-endian": (codecs.BOM_UTF16_LE, "utf-16-le"),
    "UTF-16, big-endian": (codecs.BOM_UTF16_BE, "utf-16-be"),
    "UTF-32, little-endian": (codecs.BOM_UTF32_LE, "utf-32-le"),
    "UTF-32, big-endian": (codecs.BOM_UTF32_BE, "utf-32-be"),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"))


@pytest.mark.parametrize("form", WRITTEN)
@given(text=TEXTS)
def test_a_text_is_read_as_it_was_written_without_its_mark(form, text):
    mark, encoding = WRITTEN[form]

    assert decode_text(mark + text.encode(encoding)) == text


@pytest.mark.parametrize("form", WRITTEN)
def test_the_first_bytes_tell_the_encoding(form):
    mark, encoding = WRITTEN[form]
    data = mark + "Why?".encode(encoding)

    assert data.decode(find_encoding(data[:MARK_BYTES])) == "Why?"


@pytest.mark.parametrize("data", [b"caf\xe9", b"\xff\xfe\x00", b"\xff\xfe\x00\xd8"])
def test_what_is_no_text_is_an_error(data):
    with pytest.raises(UnicodeDecodeError):
        decode_text(data)
