"""A key that is cut over the calls of one live stream is in none of the clients' texts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import Message, Request
from mixtura.core.events import ToolCallChunk
from mixtura.core.redaction import Redactor
from mixtura.models.openai import OpenAI
from mixtura.protocols.tool_calls.redaction import ArgumentsStream
from tests.conftest import run
from tests.support.provider_streams import saying, stream

KEY = "sk-live-0123456789abcdefghijKLMNOPqrst"


def live(*deltas: Any, key: str = KEY) -> tuple[dict[int, str], Any]:
    """Each call's arguments as they streamed, and the answer."""
    told: dict[int, str] = {}

    def emit(event: object) -> None:
        if isinstance(event, ToolCallChunk):
            told[event.index] = told.get(event.index, "") + event.arguments

    with saying(stream(*deltas, finish="tool_calls")) as url:
        model = OpenAI("m", f"{url}/v1", redactor=Redactor([key]))
        answer = run(model.complete(Request((Message("user", "q"),)), emit))
    return told, answer


def pieces_of(texts: list[str], size: int) -> list[Any]:
    rows: list[Any] = []
    for index, text in enumerate(texts):
        for at in range(0, len(text), size):
            head = {"id": f"c{index}", "function": {"name": "f"}} if not at else {"function": {}}
            head["function"]["arguments"] = text[at : at + size]
            rows.append({"tool_calls": [{"index": index} | head]})
    return rows


def strings(data: Any) -> str:
    """Every text in data that is no name of a field, as one."""
    if isinstance(data, dict):
        return "".join(map(strings, data.values()))
    if isinstance(data, list):
        return "".join(map(strings, data))
    return data if isinstance(data, str) else ""


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("cut", [[9], [20], [10, 20, 30], [5, 8, 12, 25], [30]])
@pytest.mark.parametrize(
    "form",
    [
        lambda parts: [json.dumps({"a": part, "n": 1}) for part in parts],
        lambda parts: [json.dumps({f"a{i}": part}) for i, part in enumerate(parts)],
        lambda parts: [json.dumps({"rows": parts, "b": "other"})],
        lambda parts: [json.dumps({"rows": [{"t": part} for part in parts]}, indent=1)],
    ],
)
def test_a_key_that_is_cut_over_calls_or_their_fields_is_not_put_together_from_a_stream(
    form: Any, cut: list[int], size: int
):
    parts = [KEY[a:b] for a, b in zip([0, *cut], [*cut, None], strict=True)]
    texts = form(parts)
    told, answer = live(*pieces_of(texts, size))

    streamed = [json.loads(told[index]) for index in sorted(told)]
    whole = [json.loads(call.arguments) for call in answer.message.tool_calls]
    for found in (streamed, whole):
        assert len(found) == len(texts)
        assert [list(row) for row in found] == [list(json.loads(text)) for text in texts]
        said = strings(found)
        assert "***" in said
        assert KEY not in said
        assert KEY[8:] not in said
        assert KEY[:20] not in said


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.dictionaries(st.text('ab"', max_size=2), st.text('sk-live"\\ é', max_size=9)
             | st.lists(st.text('sk-"', max_size=4), max_size=3)), max_size=4),
    st.integers(1, 9),
)  # fmt: skip
def test_arguments_without_a_key_come_through_as_they_are(rows: list[Any], size: int):
    texts = [msgspec.json.encode(row).decode() for row in rows]
    arguments = ArgumentsStream(Redactor([KEY]))
    told: dict[int, str] = {}
    for place, text in enumerate(texts):
        for at in range(0, len(text), size):
            for where, part in arguments.feed(place, text[at : at + size]):
                told[where] = told.get(where, "") + part
    for where, part in arguments.finish():
        told[where] = told.get(where, "") + part
    if KEY[:8] not in strings(rows):
        assert told == dict(enumerate(texts))


def test_a_large_piece_with_many_strings_is_looked_at_as_a_whole():
    text = json.dumps({"rows": ["word"] * 1000})
    told, answer = live(*pieces_of([text], len(text)))
    assert told == {0: text}
    assert answer.message.tool_calls[0].arguments == text
    cut = json.dumps({"rows": ["word"] * 1000 + [KEY[:9], KEY[9:]]})
    told, _ = live(*pieces_of([cut], len(cut)))
    assert json.loads(told[0])["rows"][999:] == ["word", "***", ""]
