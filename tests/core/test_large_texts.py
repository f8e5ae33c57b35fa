"""What is done in steps, so that it stops no one for long, comes to the same as done at once."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.core import large_json, text
from mixtura.core.text import collapse_whitespace

ODD_TEXT = st.text(
    st.sampled_from(list(' \n\t\u00a0\u2003"\\/abcé漢😀\x00\x1f')), max_size=200
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(text, "_STEP_CHARS", 7)
    monkeypatch.setattr(large_json, "STEP_BYTES", 16)


@given(ODD_TEXT)
def test_whitespace_is_collapsed_in_steps_as_at_once(said):
    assert collapse_whitespace(said) == " ".join(said.split())


@given(ODD_TEXT, st.integers(0, 50))
def test_a_limit_keeps_the_beginning(said, most):
    whole, kept = " ".join(said.split()), collapse_whitespace(said, most)
    assert whole.startswith(kept)
    assert len(kept) > most or kept == whole


@given(
    st.recursive(
        ODD_TEXT | st.integers(-(2**53), 2**53) | st.none(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner)
        ),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_json_is_read_and_written_in_steps_as_at_once(data, ascii_only):
    assert msgspec.json.decode(large_json.encode(data)) == data
    assert large_json.decode(large_json.encode(data)) == data
    assert large_json.decode(json.dumps(data, ensure_ascii=ascii_only).encode()) == data


@pytest.mark.parametrize(
    "damaged",
    [
        b'"' + b"a" * 100,
        b'"' + b"a" * 50 + b'" "' + b"b" * 50 + b'"',
        b'"' + b"a" * 50 + b"\\q" + b"b" * 50 + b'"',
        b'"' + b"a" * 50 + b"\\ud83d" + b"b" * 50 + b'"',
        b'{"a": "' + b"a" * 100 + b"\x00" + b'"}',
    ],
)
def test_what_is_no_json_is_refused_in_the_same_words(damaged):
    with pytest.raises(msgspec.DecodeError) as at_once:
        msgspec.json.decode(damaged)
    with pytest.raises(msgspec.DecodeError) as in_steps:
        large_json.decode(damaged)
    assert str(in_steps.value) == str(at_once.value)
