"""Tool calls as providers really send them: told apart, put together, streamed and whole."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import (
    MalformedError,
)
from mixtura.protocols.tool_calls.assembly import ToolCallAccumulator
from mixtura.protocols.tool_calls.deltas import ToolCallDelta
from tests.support.provider_streams import TIME, WEATHER, answered, calls, events, stream, whole


def piece(name=None, arguments=None, **more):
    return {"function": {"name": name, "arguments": arguments}} | more


LONDON, UTC = json.dumps(WEATHER[1]), json.dumps(TIME[1])
STREAMED = {
    "an index each": [
        [piece("get_weather", "", index=0, id="a")],
        [piece(None, LONDON[:5], index=0)],
        [piece("get_time", "", index=1, id="b")],
        [piece(None, UTC, index=1), piece(None, LONDON[5:], index=0)],
    ],
    "index from one, the second first": [
        [piece("get_time", UTC, index=2, id="b")],
        [piece("get_weather", LONDON, index=1, id="a")],
    ],
    "all with index 0, ids": [
        [piece("get_weather", LONDON, index=0, id="a")],
        [piece("get_time", UTC, index=0, id="b")],
    ],
    "all with index 0, ids, in pieces": [
        [piece("get_weather", LONDON[:4], index=0, id="a")],
        [piece(None, LONDON[4:], index=0, id="a")],
        [piece("get_time", UTC[:4], index=0, id="b")],
        [piece(None, UTC[4:], index=0)],
    ],
    "all with index 0, no ids": [
        [piece("get_weather", LONDON, index=0)],
        [piece("get_time", UTC, index=0)],
    ],
    "all with index 0, in one delta": [
        [piece("get_weather", LONDON, index=0), piece("get_time", UTC, index=0)]
    ],
    "no index, ids": [
        [piece("get_weather", LONDON[:4], id="a")],
        [piece(None, LONDON[4:], id="a")],
        [piece("get_time", UTC, id="b")],
    ],
    "no index, an id only at first": [
        [piece("get_weather", LONDON[:4], id="a")],
        [piece(None, LONDON[4:])],
        [piece("get_time", UTC[:4], id="b")],
        [piece(None, UTC[4:])],
    ],
    "neither index nor id, whole": [[piece("get_weather", LONDON)], [piece("get_time", UTC)]],
    "neither, in one delta": [[piece("get_weather", LONDON), piece("get_time", UTC)]],
    "neither, side by side": [
        [piece("get_weather", LONDON[:4]), piece("get_time", UTC[:4])],
        [piece(None, LONDON[4:]), piece(None, UTC[4:])],
    ],
    "a new id in every piece": [
        [piece("get_weather", "", index=0, id="a1")],
        [piece(None, LONDON, index=0, id="a2")],
        [piece("get_time", "", index=1, id="b1")],
        [piece(None, UTC, index=1, id="b2")],
    ],
    "name and id in every piece": [
        [piece("get_weather", LONDON[:4], index=0, id="a")],
        [piece("get_weather", LONDON[4:], index=0, id="a")],
        [piece("get_time", UTC[:4], index=1, id="b")],
        [piece("get_time", UTC[4:], index=1, id="b")],
    ],
    "the name in pieces": [
        [piece("get_", None, index=0, id="a")],
        [piece("weather", None, index=0)],
        [piece(None, LONDON, index=0)],
        [piece("get_time", UTC, index=1, id="b")],
    ],
    "arguments as an object": [
        [piece("get_weather", WEATHER[1], index=0), piece("get_time", TIME[1], index=1)]
    ],
    "arguments as an object, no index": [
        [piece("get_weather", WEATHER[1])],
        [piece("get_time", TIME[1])],
    ],
    "an index that is text": [
        [piece("get_weather", LONDON, index="0", id="a")],
        [piece("get_time", UTC, index="1", id="b")],
    ],
    "all with index 0, no ids, the names before their arguments": [
        [piece("get_weather", "", index=0, id="")],
        [piece("", LONDON[:4], index=0, id="")],
        [piece(None, LONDON[4:], index=0)],
        [piece("get_time", "", index=0, id="")],
        [piece("", UTC[:4], index=0, id="")],
        [piece("", UTC[4:], index=0, id="")],
    ],
    "neither, the names before their arguments": [
        [piece("get_weather", "")],
        [piece(None, LONDON)],
        [piece("get_time", "")],
        [piece(None, UTC)],
    ],
    "an empty object first": [
        [piece("get_weather", "{}", index=0, id="a"), piece("get_time", "{}", index=1, id="b")],
        [piece(None, UTC, index=1), piece(None, LONDON[:4], index=0)],
        [piece(None, LONDON[4:], index=0)],
    ],
    "an empty object first, name and id in every piece": [
        [piece("get_weather", "{}", index=0, id="a")],
        [piece("get_weather", LONDON, index=0, id="a")],
        [piece("get_time", UTC, index=1, id="b")],
    ],
    "null first": [
        [piece("get_weather", "null", index=0)],
        [piece(None, LONDON, index=0)],
        [piece("get_time", " ", index=1)],
        [piece(None, UTC, index=1)],
    ],
    "an empty object after the real one": [
        [piece("get_weather", WEATHER[1], index=0)],
        [piece(None, {}, index=0)],
        [piece("get_time", UTC, index=1)],
    ],
    "JSON inside JSON": [
        [piece("get_weather", json.dumps(LONDON)[:7], index=0)],
        [piece(None, json.dumps(LONDON)[7:], index=0)],
        [piece("get_time", json.dumps(UTC), index=0)],
    ],
    "without a function around them": [
        [{"index": 0, "id": "a", "name": "get_weather", "arguments": LONDON[:4]}],
        [{"index": 0, "arguments": LONDON[4:]}],
        [{"index": 1, "id": "b", "name": "get_time", "arguments": TIME[1]}],
    ],
    "entries with nothing in them": [
        [{}, piece("get_weather", LONDON[:4], index=0, id="a"), {"index": 0, "function": None}],
        [{"index": 0, "function": None}, None],
        [piece("", LONDON[4:], index=0), piece("", "", index=1, id="")],
        [piece("get_time", UTC, index=1, id="b"), {}],
    ],
    "the name once more at the end": [
        [piece("get_weather", "", index=0)],
        [piece("get_weather", LONDON, index=0)],
        [piece("get_weather", "", index=0)],
        [piece("get_time", UTC, index=1)],
        [piece("get_time", None, index=1)],
    ],
    "in each piece all that came before": [
        [piece("get_weather", LONDON[:1], index=0, id="a")],
        [piece("get_weather", LONDON[:9], index=0, id="a")],
        [piece(None, LONDON, index=0), piece("get_time", UTC[:4], index=1, id="b")],
        [piece(None, LONDON, index=0), piece("get_time", UTC, index=1, id="b")],
    ],
    "the arguments once more at the end": [
        [piece("get_weather", LONDON[:9], index=0, id="a")],
        [piece(None, LONDON[9:], index=0), piece("get_time", UTC, index=1, id="b")],
        [piece(None, LONDON, index=0)],
        [piece("get_time", UTC.replace(" ", ""), index=1, id="b")],
    ],
    "all with index 0, in one delta, in pieces by position": [
        [
            piece("get_weather", LONDON[:4], index=0, id="a"),
            piece("get_time", UTC[:4], index=0, id="b"),
        ],
        [piece(None, LONDON[4:], index=0), piece(None, UTC[4:], index=0)],
    ],
    "arguments under other names": [
        [{"id": "a", "type": "tool_use", "name": "get_weather", "input": WEATHER[1]}],
        [{"id": "b", "function": {"name": "get_time", "parameters": TIME[1]}}],
    ],
    "nulls": [
        [piece("get_weather", LONDON, index=None, id="a", type=None)],
        [piece("get_time", UTC, index=None, id="b")],
    ],
}


@pytest.mark.parametrize("how", STREAMED)
def test_streamed_calls_are_told_apart(how):
    deltas = [{"content": None, "tool_calls": row} for row in STREAMED[how]]

    completion, _ = answered(stream(*deltas, finish="tool_calls"))

    assert calls(completion) == [WEATHER, TIME]
    assert completion.finish_reason == "tool_calls"


@pytest.mark.parametrize("known", [{"index": 0, "id": ""}, {"index": 0}, {}])
def test_one_function_called_twice_is_two_calls(known):
    pieces = [
        piece("get_weather", "", **known), piece("", LONDON, **known),
        piece("get_weather", "", **known), piece("", '{"city": "Rome"}', **known),
    ]  # fmt: skip
    body = stream(*({"tool_calls": [row]} for row in pieces), finish="tool_calls")

    assert calls(answered(body)[0]) == [WEATHER, ("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize("said", ["null", " ", "", None, '""', '"{}"', '"null"', {}])
def test_no_arguments_in_any_form_are_an_empty_object(said):
    rows = [piece("get_time", said, index=0, id="a")]
    for body, kind in (
        (stream({"tool_calls": rows}, finish="tool_calls"), "text/event-stream"),
        (whole({"tool_calls": rows}, "tool_calls"), "application/json"),
    ):
        assert [c.arguments for c in answered(body, kind)[0].message.tool_calls] == ["{}"]


@pytest.mark.parametrize("said", ['"London"', '"[1]"', "[1]", "{'city': 1}"])
def test_arguments_that_are_no_object_stay_what_they_are(said):
    body = whole({"tool_calls": [piece("get_time", said)]}, "tool_calls")
    (call,) = answered(body, "application/json")[0].message.tool_calls

    assert call.arguments == said


@pytest.mark.parametrize(
    "rows",
    [
        [{}], {}, [None], [{"index": 0, "function": None}], [{"index": 0, "id": None}],
        [piece("", "", id="", type="function")], [piece(None, None, index=0)],
    ],
)  # fmt: skip
def test_calls_with_nothing_in_them_end_no_answer(rows):
    for body, kind in (
        (stream({"content": "Hello", "tool_calls": rows}), "text/event-stream"),
        (whole({"content": "Hello", "tool_calls": rows}), "application/json"),
    ):
        completion, shown = answered(body, kind)
        assert (completion.text, shown, calls(completion)) == ("Hello", "Hello", [])
        assert completion.finish_reason == "stop"


def test_a_call_without_a_name_is_no_answer():
    with pytest.raises(MalformedError, match="no name"):
        answered(stream({"content": "Hello", "tool_calls": [piece("", LONDON, index=0)]}))


@pytest.mark.parametrize(
    "rows",
    [
        [piece("get_weather", LONDON, id="a"), piece("get_time", UTC, id="b")],
        [piece("get_weather", LONDON, id=""), piece("get_time", UTC, id="")],
        [piece("get_weather", LONDON, id="x"), piece("get_time", UTC, id="x")],
        [piece("get_weather", WEATHER[1], index=0), piece("get_time", TIME[1], index=0)],
        [{"name": n, "arguments": a, "type": "function"} for n, a in (WEATHER, TIME)],
        [piece("get_weather", json.dumps(LONDON)), {}, piece("get_time", UTC)],
    ],
)
def test_whole_calls_are_told_apart(rows):
    body = whole({"content": None, "tool_calls": rows}, "tool_calls")

    assert calls(answered(body, "application/json")[0]) == [WEATHER, TIME]


def test_a_call_in_the_old_form_is_a_call():
    old = stream(
        {"function_call": {"name": "get_weather", "arguments": LONDON[:4]}},
        {"function_call": {"arguments": LONDON[4:]}},
        finish="function_call",
    )

    assert calls(answered(old)[0]) == [WEATHER]


def test_a_call_that_is_sent_in_both_forms_is_one_call():
    both = stream({
        "function_call": {"name": "get_weather", "arguments": LONDON},
        "tool_calls": [piece("get_weather", LONDON, index=0, id="a")],
    })  # fmt: skip

    assert calls(answered(both)[0]) == [WEATHER]


def test_a_call_among_the_parts_of_a_content_is_a_call():
    look = {"type": "tool_use", "id": "a", "name": "get_weather", "input": WEATHER[1]}
    body = whole({"content": [{"type": "text", "text": "Let me look."}, look]}, "tool_use")

    completion, _ = answered(body, "application/json")

    assert (completion.text, calls(completion)) == ("Let me look.", [WEATHER])
    assert (completion.finish_reason, completion.degraded) == ("tool_calls", ())


def test_a_call_that_stands_alone_is_a_list_of_one():
    one = whole({"tool_calls": piece("get_weather", LONDON)}, "tool_calls")

    assert calls(answered(one, "application/json")[0]) == [WEATHER]


@given(st.lists(st.sampled_from(["f", "g"]), min_size=1, max_size=4), st.data())
def test_calls_come_through_however_their_arguments_are_cut(names, data):
    wanted, found = [], ToolCallAccumulator()
    for index, name in enumerate(names):
        said = data.draw(st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3))
        text = json.dumps(said)
        wanted.append((name, said))
        edges = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=4))})
        for number, (a, b) in enumerate(pairwise(edges)):
            known = f"id{index}" if not number or data.draw(st.booleans()) else ""
            again = name if not number or data.draw(st.booleans()) else ""
            found.add_deltas([ToolCallDelta(index, known, again, text[a:b])])

    assert [(c.name, json.loads(c.arguments)) for c in found.tool_calls()] == wanted


def test_a_piece_that_only_begins_like_what_came_before_it_does_not_replace_that():
    found, told = ToolCallAccumulator(), ""
    for piece in ('{"a": ', '{"a": ""}}'):
        found.add_deltas([ToolCallDelta(0, "a", "f", piece)])
        told += "".join(row.arguments for row in found.take_updates())
    told += "".join(row.arguments for row in found.take_updates(ended=True))

    (call,) = found.tool_calls()
    assert told == call.arguments == '{"a": {"a": ""}}'


@given(
    st.recursive(
        st.text(max_size=2),
        lambda inner: st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
        max_leaves=4,
    ).map(lambda data: {"a": data}),
    st.booleans(),
    st.data(),
)
def test_arguments_may_come_with_all_that_came_before_in_each_piece(said, cumulative, data):
    text, found, told = json.dumps(said), ToolCallAccumulator(), ""
    edges = sorted({0, len(text), *data.draw(st.lists(st.integers(1, len(text)), max_size=4))})
    for a, b in pairwise(edges):
        found.add_deltas([ToolCallDelta(0, "a", "f", text[:b] if cumulative else text[a:b])])
        told += "".join(row.arguments for row in found.take_updates())
    told += "".join(row.arguments for row in found.take_updates(ended=True))

    (call,) = found.tool_calls()
    assert json.loads(told) == json.loads(call.arguments) == said


def test_looking_at_a_long_call_again_and_again_takes_linear_work():
    found = ToolCallAccumulator()
    found.add_deltas([ToolCallDelta(0, "a", "f", '{"text": "')])
    for _ in range(20_000):
        found.add_deltas([ToolCallDelta(0, "a", "f", "}")])
    found.add_deltas([ToolCallDelta(0, "a", "f", '"}')])

    assert len(json.loads(found.tool_calls()[0].arguments)["text"]) == 20_000


def block(index, **start):
    begin = {"type": "tool_use", "id": f"t{index}", "input": {}} | start
    return {"type": "content_block_start", "index": index, "content_block": begin}


def partial(index, text):
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


STOP = {"type": "content_block_stop", "index": 0}
MESSAGE_BLOCKS = {
    "as documented": [
        block(0, name="get_weather"), partial(0, LONDON[:4]), partial(0, LONDON[4:]),
        block(1, name="get_time"), partial(1, UTC),
    ],
    "side by side": [
        block(0, name="get_weather"), block(1, name="get_time"),
        partial(1, UTC[:4]), partial(0, LONDON), partial(1, UTC[4:]),
    ],
    "the input in the start": [
        block(0, name="get_weather", input=WEATHER[1]), block(1, name="get_time", input=TIME[1]),
    ],
    "blocks of one index": [
        block(0, name="get_weather"), partial(0, LONDON),
        block(0, name="get_time", id="t9"), partial(0, UTC),
    ],
    "side by side at one index": [
        block(0, name="get_weather"), block(0, name="get_time", id="t9"),
        partial(0, LONDON[:4]), partial(0, LONDON[4:]), partial(0, UTC[:4]), partial(0, UTC[4:]),
        STOP, STOP,
    ],
    "side by side at one index, over one after the other": [
        block(0, name="get_weather"), partial(0, LONDON[:4]), block(0, name="get_time", id="t9"),
        partial(0, LONDON[4:]), STOP, partial(0, UTC), STOP,
    ],
    "side by side at one index, piece by piece": [
        block(0, name="get_weather"), block(0, name="get_time", id="t9"),
        partial(0, LONDON[:4]), partial(0, UTC[:4]), partial(0, LONDON[4:]), partial(0, UTC[4:]),
        STOP, STOP,
    ],
    "side by side at one index, without an end": [
        block(0, name="get_weather"), block(0, name="get_time", id="t9"),
        partial(0, LONDON[:4]), partial(0, UTC[:4]), partial(0, LONDON[4:]), partial(0, UTC[4:]),
    ],
    "in each piece all that came before": [
        block(0, name="get_weather"), partial(0, LONDON[:4]), partial(0, LONDON),
        block(1, name="get_time"), partial(1, UTC), partial(1, UTC),
    ],
    "all pieces with the index 0": [
        block(1, name="get_weather"), partial(0, LONDON[:4]), partial(0, LONDON[4:]), STOP,
        block(2, name="get_time"), partial(0, UTC), STOP,
    ],
    "the input in the start, then an empty one": [
        block(0, name="get_weather", input=WEATHER[1]), partial(0, "{}"),
        block(1, name="get_time", input=TIME[1]), partial(1, {}),
    ],
    "the input in the start, then again": [
        block(0, name="get_weather", input=WEATHER[1]), partial(0, "{}"), partial(0, LONDON),
        block(1, name="get_time", input=TIME[1]), partial(1, UTC),
    ],
    "an empty input first": [
        block(0, name="get_weather"), partial(0, "{}"), partial(0, LONDON),
        block(1, name="get_time"), partial(1, UTC),
    ],
    "the input as a text": [
        block(0, name="get_weather", input=LONDON), STOP,
        block(0, name="get_time", input=UTC), STOP,
    ],
    "input as an object": [
        block(0, name="get_weather"), partial(0, WEATHER[1]),
        block(1, name="get_time"), partial(1, TIME[1]),
    ],
    "nulls": [
        block(0, name="get_weather", text=None, thinking=None), partial(0, LONDON),
        {"type": "content_block_delta", "index": 0, "delta": {"text": None, "partial_json": ""}},
        {"type": "ping", "delta": None}, {"type": "of a later version", "content": None},
        block(1, name="get_time", input=None), partial(1, UTC),
    ],
}  # fmt: skip


@pytest.mark.parametrize("how", MESSAGE_BLOCKS)
def test_calls_of_messages_are_told_apart(how):
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 5}, "content": None}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": None}
    body = events(start, *MESSAGE_BLOCKS[how], stop, {"type": "message_stop"})

    assert calls(answered(body, anthropic=True)[0]) == [WEATHER, TIME]


def test_a_call_without_input_before_another_of_its_index_stays_without():
    stop = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
    blocks = [block(0, name="look"), STOP, block(0, name="get_time"), partial(0, UTC), STOP]

    assert calls(answered(events(*blocks, stop), anthropic=True)[0]) == [("look", {}), TIME]


def test_a_call_of_blocks_at_one_index_is_told_once_it_is_known():
    found, told = ToolCallAccumulator(), []
    found.open_call(0, "a", "get_weather", "")
    found.open_call(0, "b", "get_time", "")
    for text in (LONDON[:4], UTC[:4], LONDON[4:], UTC[4:]):
        found.extend_call(0, text)
        told += found.take_updates()
    found.close_call(0)
    told += found.take_updates()
    found.close_call(0)
    told += found.take_updates()

    assert [(row.name, row.arguments) for row in told] == [
        ("get_weather", LONDON), ("get_time", UTC),
    ]  # fmt: skip


def test_the_input_of_a_whole_message_may_be_a_text_of_json():
    rows = [{"type": "tool_use", "id": "a", "name": "get_weather", "input": LONDON}]
    body = json.dumps({"type": "message", "content": rows, "stop_reason": "tool_use"}).encode()

    assert calls(answered(body, "application/json", anthropic=True)[0]) == [WEATHER]


@given(st.sampled_from([LONDON, json.dumps(LONDON), "{}" + LONDON, "null", "{}", " "]), st.data())
def test_what_is_told_of_a_call_is_what_it_is_in_the_end(said, data):
    found, told = ToolCallAccumulator(), ""
    edges = sorted({0, len(said), *data.draw(st.lists(st.integers(0, len(said)), max_size=4))})
    if said.startswith("{}{"):
        edges = sorted({*edges, 2} - {1})
    for number, (a, b) in enumerate(pairwise(edges)):
        found.add_deltas([ToolCallDelta(0, "", "" if number else "f", said[a:b])])
        told += "".join(row.arguments for row in found.take_updates())
    told += "".join(row.arguments for row in found.take_updates(ended=True))

    (call,) = found.tool_calls()
    assert told == call.arguments == (LONDON if "London" in said else "{}")
