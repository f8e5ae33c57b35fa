"""JSON texts from outside: read alike by every Python, or refused with a ValueError."""

from __future__ import annotations

import pytest

from mixtura.core.json_text import MAX_REQUEST_DEPTH, read_json_text


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("levels", [MAX_REQUEST_DEPTH + 1, 700, 5_000, 100_000])
def test_what_is_nested_too_deep_is_refused_whatever_python_itself_could_read(
    opened, closed, levels
):
    for text in (opened * levels + "1" + closed * levels, opened * levels):
        with pytest.raises(ValueError, match=r"nested more than 200 levels|Expecting"):
            read_json_text(text)


def test_what_a_request_may_have_is_read():
    text = "[" * MAX_REQUEST_DEPTH + "]" * MAX_REQUEST_DEPTH
    assert str(read_json_text(text)) == text
