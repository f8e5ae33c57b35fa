"""A stream made to cost much: each piece is looked at once, however much came before it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import MalformedError
from mixtura.core.redaction import Redactor
from mixtura.protocols.tool_calls.json_scan import JsonScan
from tests.support.provider_streams import answered, calls, events, stream

LARGE = "x" * 200_000
PIECES = 400


class Decoded:
    """Counts the characters that are decoded as JSON."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.characters = 0
        decode = msgspec.json.decode

        def counted(text: Any, **options: Any) -> Any:
            self.characters += len(text)
            return decode(text, **options)

        monkeypatch.setattr(msgspec.json, "decode", counted)


def delta(arguments: Any, *, index: int = 0, id: str = "c", name: str = "f") -> dict[str, Any]:  # noqa: A002
    row = {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [row]}


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        ([delta('{"a":"' + LARGE)], delta("}")),
        ([delta('{"a":"' + LARGE)], delta("}", id="", name="")),
        ([delta('{"a":"' + LARGE + '"}')], delta("}")),
        ([delta('{"a":"' + LARGE + '"')], delta("{}")),
        ([delta('"' + LARGE)], delta('"')),
        ([delta('"' + LARGE)], delta("l")),
        ([delta("{", name="g"), delta('{"a":"' + LARGE, index=1)], delta("}", index=1)),
        ([delta("{", name="g"), delta('"' + LARGE, index=1)], delta('"', index=1)),
    ],
)
def test_pieces_behind_a_large_tool_call_do_not_have_all_of_it_read_again(
    first: list[Any], piece: Any, monkeypatch: pytest.MonkeyPatch
):
    decoded = Decoded(monkeypatch)
    body = stream(*first, *[piece] * PIECES, finish="tool_calls")
    answered(body)
    assert decoded.characters < 8 * len(body)  # it took 400 times that


@pytest.mark.parametrize("piece", ["}", "{", '"', "{}"])
@pytest.mark.parametrize("begun", [1, PIECES])
def test_pieces_behind_large_tool_use_blocks_do_not_have_all_of_them_read_again(
    piece: str, begun: int, monkeypatch: pytest.MonkeyPatch
):
    decoded = Decoded(monkeypatch)
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    more = {"type": "input_json_delta", "partial_json": ""}
    rows: list[Any] = [{"type": "content_block_start", "index": 0, "content_block": block}] * begun
    for text in ('{"a":"' + LARGE, *[piece] * PIECES):
        rows.append(
            {"type": "content_block_delta", "index": 0, "delta": more | {"partial_json": text}}
        )
    rows += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}},
        {"type": "message_stop"},
    ]
    body = events(*rows)
    answered(body, anthropic=True)
    assert decoded.characters < 8 * len(body)  # it took 400 times that


def test_a_call_whose_end_comes_in_many_pieces_is_whole():
    text = json.dumps({"path": 'a"}\\', "body": "{[" * 50, "rows": [{}, [], ""]})
    completion, _ = answered(stream(*map(delta, text), finish="tool_calls"))
    assert calls(completion) == [("f", json.loads(text))]


def test_a_name_without_end_is_refused():
    pieces = [delta(None, name=name) for name in ("n" * 9000, *["o" * 500] * 4)]
    with pytest.raises(MalformedError, match="a tool call's name has more than 10,000 characters"):
        answered(stream(*pieces, finish="tool_calls"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('\\"{}[]é ,:u0', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a\\"{', max_size=3), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.text('a"\\{', max_size=3), JSON), st.data(), st.booleans())
def test_an_object_is_closed_at_its_end_and_nowhere_before(value: Any, data: Any, quoted: bool):
    text = json.dumps(value, indent=data.draw(st.sampled_from([None, 1])))
    text = json.dumps(text) if quoted else text
    scan, at = JsonScan(), 0
    while at < len(text):
        assert not scan.is_closed
        size = data.draw(st.integers(1, 5))
        scan.add(text[at : at + size])
        at += size
    assert scan.is_closed


# ---- secrets


class Searches:
    """A pattern that counts the characters that it goes over."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.characters = 0

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        found = self.pattern.search(text, at)
        self.characters += (found.start() if found else len(text)) - at
        return found


def test_a_text_full_of_beginnings_of_one_key_is_not_searched_again_for_each_other_key():
    redactor = Redactor(["sk-live-0123456789abcdefghij"]).with_values(
        ["zz-9876543210-qwertyuiopas"]
    )
    counters = [Searches(group.head_pattern) for group in redactor.search.groups]
    for group, counter in zip(redactor.search.groups, counters, strict=True):
        vars(group)["head_pattern"] = counter
    text = "sk-l " * 4000
    assert redactor.create_stream().feed_text(text)
    assert len(counters) == 2
    assert sum(counter.characters for counter in counters) <= 4 * len(text)
