"""What providers really send: every odd answer is read for what it is, streamed and whole."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import (
    MalformedError,
    MixturaError,
    QuotaError,
    RateLimitedError,
    Token,
    UnavailableError,
    ask,
)
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.protocols.anthropic.events import decode_event
from mixtura.protocols.anthropic.stream import MessagesStreamAccumulator as AnthropicAssembly
from mixtura.protocols.finish_reasons import classify_finish_reason
from mixtura.protocols.openai.chunks import decode_chunk
from mixtura.protocols.openai.stream import ChatStreamAccumulator
from mixtura.protocols.tool_calls.assembly import ToolCallAccumulator
from mixtura.protocols.tool_calls.deltas import ToolCallDelta
from tests.conftest import run

CASES = Path(__file__).parent / "cases" / "upstream"
WEATHER = ("get_weather", {"city": "London"})
TIME = ("get_time", {"tz": "UTC"})


@contextmanager
def saying(body: bytes, kind: str = "text/event-stream"):
    """A server that answers everything with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answered(body: bytes, kind: str = "text/event-stream", *, anthropic: bool = False):
    """The completion, and the text that was shown on the way."""
    tokens: list[Token] = []

    def emit(event: object) -> None:
        if isinstance(event, Token):
            tokens.append(event)

    with saying(body, kind) as url:
        model = Anthropic("m", url) if anthropic else OpenAI("m", f"{url}/v1")
        completion = run(model.complete(ask("Q?"), emit))
    return completion, "".join(token.text for token in tokens if not token.reasoning)


def calls(completion):
    return [(call.name, json.loads(call.arguments)) for call in completion.message.tool_calls]


def case(name: str) -> bytes:
    return (CASES / name).read_bytes()


def stream(*deltas, finish="stop", **choice) -> bytes:
    rows = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    rows.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish} | choice]})
    rows.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    return events(*rows, "[DONE]")


def events(*rows) -> bytes:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def whole(message, finish="stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5}}).encode()


# ---- the reported cases


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("01-calls-without-index.sse", "text/event-stream"),
        ("03-calls-in-one-piece.json", "application/json"),
    ],
)
def test_two_calls_without_an_index_are_two_calls(name, kind):
    completion, _ = answered(case(name), kind)

    assert calls(completion) == [WEATHER, TIME]
    assert completion.finish_reason == "tool_calls"


def test_a_name_in_every_piece_is_one_name():
    completion, _ = answered(case("04-name-in-every-chunk.sse"))

    assert calls(completion) == [("get_weather", {"city": "Rome"})]


def test_content_that_is_a_list_is_text_and_thought():
    completion, shown = answered(case("11-content-a-list.sse"))

    assert (completion.text, completion.reasoning) == ("Hello there.", "A greeting.")
    assert shown == "Hello there."


def test_a_chunk_without_choices_ends_no_answer():
    assert answered(case("12a-choices-null.sse"))[0].text == "Hello"


def test_a_finish_reason_of_another_api_is_understood():
    assert answered(case("13a-finish-MAX_TOKENS.sse"))[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("name", "thought", "answer"),
    [
        ("14a-think-closed-in-line.sse", "17 x 24 = 408\n\nLet me verify: 340 + 68 = 408", "408"),
        ("14b-close-after-reasoning_content.sse", "Hm.", "Four."),
    ],
)
def test_a_stray_closing_mark_leaves_no_thought_in_the_answer(name, thought, answer):
    completion, _ = answered(case(name))

    assert (completion.reasoning, completion.text) == (thought, answer)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream", "x/y", ""])
def test_events_are_read_whatever_they_are_called(kind):
    assert answered(case("15-events-called-json.sse"), kind)[0].text == "Hello"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/html", ""])
def test_a_whole_answer_is_read_whatever_it_is_called(kind):
    assert answered(whole({"content": "Hello"}), kind)[0].text == "Hello"


# ---- tool calls


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


# ---- thoughts


THOUGHTS = {
    "reasoning_content": "Hm.",
    "reasoning": "Hm.",
    "reasoning_text": "Hm.",
    "thinking": "Hm.",
    "reasoning as an object": {"reasoning": {"content": "Hm."}},
    "reasoning_content as parts": {"reasoning_content": [{"type": "text", "text": "Hm."}]},
    "details": {"reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]},
    "a summary": {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
    "blocks": {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "S"}]},
    "text and details": {
        "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
    },
    "a part that says it is a thought": {"content": [{"text": "Hm.", "thought": True}]},
}  # fmt: skip


@pytest.mark.parametrize("how", THOUGHTS)
def test_thoughts_are_reasoning_under_whatever_name_they_come(how):
    told = THOUGHTS[how] if isinstance(THOUGHTS[how], dict) else {how: THOUGHTS[how]}
    parts = [*told.get("content", ()), {"type": "text", "text": "Paris."}]
    for body, kind in (
        (stream(told, {"content": "Paris."}), "text/event-stream"),
        (whole(told | {"content": parts}), "application/json"),
    ):
        completion, shown = answered(body, kind)
        assert (completion.text, completion.reasoning, shown) == ("Paris.", "Hm.", "Paris.")


def test_thoughts_that_are_told_once_more_in_blocks_are_told_once():
    blocks = [{"type": "thinking", "thinking": "Hm. So.", "signature": "S"}]
    body = stream(
        {"reasoning_content": "Hm. "}, {"reasoning_content": "So."},
        {"thinking_blocks": blocks}, {"content": "Paris."},
    )  # fmt: skip

    assert answered(body)[0].reasoning == "Hm. So."


def test_a_signature_beside_the_thought_that_it_signs_is_kept():
    thought = {"type": "thinking_delta", "thinking": "Hm.", "signature": "S"}
    body = events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
        {"type": "content_block_delta", "index": 0, "delta": thought},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text"}},
        {"type": "content_block_delta", "index": 1, "delta": {"text": "Paris."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    )
    data = answered(body, anthropic=True)[0].message.provider_data

    assert data
    assert data.blocks[0] == {"type": "thinking", "thinking": "Hm.", "signature": "S"}


# ---- odd pieces


HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
ODD = {
    "null": "null",
    "a comment in data": ": keep-alive",
    "a word in data": "OPENROUTER PROCESSING",
    "an empty list": "[]",
    "a number": "3",
    "no choices": {"choices": None},
    "a choice that is null": {"choices": [None]},
    "a delta that is null": {"choices": [{"index": 0, "delta": None}]},
    "nulls everywhere": {
        "id": None, "object": None, "error": None, "usage": None,
        "choices": [{
            "index": None, "finish_reason": None, "logprobs": None,
            "delta": {
                "content": None, "role": None, "tool_calls": None, "reasoning": None,
                "refusal": None, "function_call": None, "audio": None,
            },
        }],
    },
    "an error that is none": {"choices": [], "error": None},
    "an empty error beside choices": {"choices": [{"index": 0, "delta": {}}], "error": {}},
    "usage that is a list": {"choices": [], "usage": [1]},
    "usage that is text": {"choices": [], "usage": "12 tokens"},
    "log-probabilities that are text": {"choices": [{"delta": {}, "logprobs": "none"}]},
    "a role that is a number": {"choices": [{"delta": {"role": 7}}]},
    "a reason that is a number": {"choices": [{"delta": {}, "finish_reason": 0}]},
    "an index that is text": {"choices": [{"index": "0", "delta": {}}]},
    "a reason that says nothing": {"choices": [{"delta": {}, "finish_reason": "null"}]},
    "unknown fields": {"choices": [{"delta": {"sound": {"x": [1]}}}], "provider": {"a": 1}},
    "an unknown object": {"object": "ping", "timings": [1, 2]},
    "a list of one": [{"choices": [{"index": 0, "delta": {}}]}],
    "calls that are empty": {"choices": [{"index": 0, "delta": {"tool_calls": []}}]},
    "a whole message afterwards": {"choices": [{"index": 0, "message": {"content": "Hello"}}]},
    "a whole message beside an empty delta": {
        "choices": [{"index": 0, "delta": {}, "message": {"content": "Hello", "tool_calls": None}}]
    },
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_piece_never_ends_a_good_answer(odd):
    body = events(HELLO, ODD[odd]) + stream({"content": " there."})

    completion, shown = answered(body)

    assert (completion.text, shown) == ("Hello there.", "Hello there.")
    assert completion.finish_reason == "stop"


NUMBERS = st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(max_size=3)
FITTING = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(["id", "object", "created", "model", "usage", "service_tier", "x"]),
    st.sampled_from(["index", "logprobs", "native_finish_reason", "y"]),
    st.sampled_from(["role", "refusal", "audio", "annotations", "z"]),
    st.lists(FITTING, min_size=3, max_size=3),
)
def test_whatever_stands_in_an_optional_field_the_text_is_read(outer, choice, delta, odd):
    row = {
        outer: odd[0],
        "choices": [{choice: odd[1], "delta": {delta: odd[2], "content": "Hello"}}],
    }
    if choice == "index" and type(odd[1]) is int and odd[1] != 0:
        return  # another answer's
    if row.get("object") == "error":
        return
    so_far = ChatStreamAccumulator()
    so_far.add_chunk(decode_chunk(json.dumps(row).encode()))

    assert so_far.take_new().text == "Hello"


@given(
    st.sampled_from(["index", "usage", "message", "content_block", "stop_reason", "x"]),
    st.sampled_from(["type", "citations", "stop_details", "stop_sequence", "y"]),
    st.lists(FITTING, min_size=2, max_size=2),
)
def test_whatever_stands_in_an_optional_field_of_a_message_the_text_is_read(outer, inner, odd):
    row = {"type": "content_block_delta", outer: odd[0], "delta": {inner: odd[1], "text": "Hello"}}
    so_far = AnthropicAssembly()
    so_far.add_chunk(decode_event(json.dumps(row).encode()))

    assert so_far.take_new().text == "Hello"


def test_messages_that_have_all_by_now_in_each_piece_are_one_answer():
    rows = [{"choices": [{"message": {"content": text}}]} for text in ("He", "Hello", "Hello you")]
    end = {"choices": [{"message": {"content": "Hello you"}, "finish_reason": "stop"}]}

    completion, shown = answered(events(*rows, end, "[DONE]"))

    assert completion.text == shown == "Hello you"


def test_an_answer_that_is_cut_inside_a_piece_is_no_whole_answer():
    body = events(HELLO, '{"choices": [{"delta": {"content": " th')

    with pytest.raises(MalformedError):
        answered(body)


@pytest.mark.parametrize("after", ["[DONE]", "[done]", "{broken", '{"choices": [{"delta"'])
def test_an_answer_that_is_whole_stays_good_whatever_follows(after):
    reason = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert answered(events(HELLO, reason, after))[0].text == "Hello"

    text = {"type": "text_delta", "text": "Hello"}
    message = [
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    for rows in (message, [*message, {"type": "message_stop"}]):
        assert answered(events(*rows, after), anthropic=True)[0].text == "Hello"


@pytest.mark.parametrize("anthropic", [False, True])
def test_an_end_without_a_reason_is_no_end(anthropic):
    text = {"type": "content_block_delta", "index": 0, "delta": {"text": "Hello"}}
    with pytest.raises(MixturaError, match="cut off"):
        answered(events(text if anthropic else HELLO, "[DONE]"), anthropic=anthropic)


def test_content_that_cannot_be_shown_is_named():
    parts = [{"type": "text", "text": "Here: "}, {"type": "image_url", "image_url": {"url": "x"}}]

    completion, _ = answered(stream({"content": parts}))

    assert completion.text == "Here: "
    assert completion.degraded == ("a part of the type image_url",)


def test_an_error_is_no_odd_piece():
    with pytest.raises(MixturaError, match="overloaded"):
        answered(events(HELLO, {"error": {"message": "overloaded", "code": 529}}))


ERRORS = {
    "credits": ({"code": 402, "message": "Insufficient credits"}, QuotaError),
    "too fast": ({"code": "429", "message": "Slow down, retry in 12s"}, RateLimitedError),
    "down": ({"code": 502, "message": "Upstream died"}, UnavailableError),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("reason", ["error", "stop", None])
def test_an_error_in_a_choice_is_that_error(name, reason):
    told, kind = ERRORS[name]
    choice = {"index": 0, "finish_reason": reason, "error": told}
    part = {"role": "assistant", "content": ""}
    piece = events(HELLO, {"choices": [choice | {"delta": part}]})
    answer = json.dumps({"choices": [choice | {"message": part}]}).encode()

    for body, type_ in ((piece, "text/event-stream"), (answer, "application/json")):
        with pytest.raises(kind, match=told["message"]) as caught:
            answered(body, type_)
        assert getattr(caught.value, "retry_after", None) == (12 if name == "too fast" else None)


def test_an_error_that_groq_tells_beside_its_choices_is_that_error():
    with pytest.raises(UnavailableError, match="out of time"):
        answered(events(HELLO, {"choices": [], "x_groq": {"id": "r", "error": "out of time"}}))


@pytest.mark.parametrize("where", ["top", "choice"])
def test_an_error_that_says_nothing_is_none(where):
    none = {"error": {"code": 0, "message": "", "type": None}}
    choice = {"delta": {"content": "Hello"}} | (none if where == "choice" else {})
    row = {"choices": [choice]} | (none if where == "top" else {})

    assert answered(events(row) + stream({"content": "."}))[0].text == "Hello."


LAST_ERRORS = {
    "a line of its own": 'error: {"code": 429, "message": "too many"}\n\n',
    "after a word": 'data: error: {"code": "429", "message": "too many"}\n\n',
    "named": 'event: error\ndata: {"message": "too many requests"}\n\n',
    "bare": '{"error": {"message": "too many", "type": "rate_limit_error"}}',
    "bare, below": '\n{"error": {"message": "too many", "code": 429}}\n',
}


@pytest.mark.parametrize("how", LAST_ERRORS)
def test_an_error_at_a_stream_s_end_is_what_it_says(how):
    with pytest.raises(RateLimitedError, match="too many"):
        answered(events(HELLO) + LAST_ERRORS[how].encode())


@pytest.mark.parametrize("how", LAST_ERRORS)
def test_an_error_at_the_end_of_messages_is_what_it_says(how):
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}

    with pytest.raises(RateLimitedError, match="too many"):
        answered(events(block) + LAST_ERRORS[how].encode(), anthropic=True)


def test_events_that_one_line_end_parts_are_read():
    body = stream({"content": "Hello"}, {"content": " there."}).replace(b"\n\n", b"\n")

    completion, shown = answered(body)

    assert (completion.text, shown, completion.finish_reason) == ("Hello there.",) * 2 + ("stop",)
    assert completion.usage.prompt_tokens == 5


def test_a_whole_message_may_have_its_text_in_no_block():
    row = {"type": "message", "content": "Hi.", "stop_reason": "end_turn"}

    completion, _ = answered(json.dumps(row).encode(), "application/json", anthropic=True)

    assert (completion.text, completion.finish_reason) == ("Hi.", "stop")


# ---- usage


COUNTS = {"prompt_tokens": 5000, "completion_tokens": 300, "total_tokens": 5300}
TOLD = {
    "in the choice": ({"usage": COUNTS}, {}),
    "in the choice, null above": ({"usage": COUNTS}, {"usage": None}),
    "beside the choices": ({}, {"x_groq": {"id": "r", "usage": COUNTS}}),
    "at the top, which counts": ({"usage": {"prompt_tokens": 1}}, {"usage": COUNTS}),
    "in other names": ({}, {"usage": {
        "input_tokens": 5000, "output_tokens": 300,
        "input_tokens_details": {"cached_tokens": 40},
        "output_tokens_details": {"reasoning_tokens": 20},
    }}),
}  # fmt: skip


@pytest.mark.parametrize("where", TOLD)
def test_usage_is_read_wherever_it_is_told(where):
    inside, beside = TOLD[where]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"} | inside]} | beside
    message = {"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"} | inside
    answer = {"choices": [message]} | beside

    for body, kind in (
        (events(HELLO, end, "[DONE]"), "text/event-stream"),
        (json.dumps(answer).encode(), "application/json"),
    ):
        usage = answered(body, kind)[0].usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (5000, 300)
        assert not usage.estimated
        cached = (40, 20) if where == "in other names" else (0, 0)
        assert (usage.cached_tokens, usage.reasoning_tokens) == cached


@pytest.mark.parametrize("told", [-5, 5000.0, "5000", 10**9, True])
@pytest.mark.parametrize("where", ["choice", "beside", "other names"])
def test_usage_that_makes_no_sense_is_refused_wherever_it_is_told(where, told):
    counts = {"prompt_tokens": told, "completion_tokens": 3}
    choice = {"delta": {"content": "Hi."}, "finish_reason": "stop"}
    row = {
        "choice": {"choices": [choice | {"usage": counts}]},
        "beside": {"choices": [choice], "x_groq": {"usage": counts}},
        "other names": {"choices": [choice], "usage": {"input_tokens": told, "output_tokens": 3}},
    }[where]

    assert answered(events(row))[0].usage.estimated


def test_a_cache_that_may_stand_apart_from_the_input_is_not_guessed_at():
    usage = {"input_tokens": 5, "cache_read_input_tokens": 900, "output_tokens": 3}
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}

    assert answered(events(HELLO, end))[0].usage.estimated


# ---- finish reasons


REASONS = {
    "stop": ["stop", "STOP", "end_turn", "eos", "EOS_TOKEN", "stop_sequence", "COMPLETE",
             "completed", "FINISH_REASON_STOP", "FinishReason.STOP", "done", "endTurn", "EndTurn",
             "stopSequence", "stop_sequence_reached", "END_OF_TEXT", "endoftext", "REASON_STOP",
             "<|im_end|>", "</s>", "<|return|>", "stopCriteriaMet", "ENDOFTURN",
             {"type": "stop", "matched": 2}, {"reason": "STOP"}],
    "length": ["length", "LENGTH", "MAX_TOKENS", "max_output_tokens", "model_length", "ERR?",
               "max_length", "incomplete", "pause_turn", "model_context_window_exceeded",
               "something new", "OTHER", "maxTokens", "REASON_MAX_LEN", "time_limit",
               1, 2.5, False, True, 0, {"type": "length", "length": 4}, {"type": 7}, {}, ["stop"]],
    "tool_calls": ["tool_calls", "TOOL_CALL", "tool-calls", "function_call", "tool_use",
                   "toolUse", "toolCalls", "REASON_TOOL_CALLS"],
    "content_filter": ["content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT",
                       "content-filter", "refusal", "BLOCKLIST", "SPII", "contentFiltered",
                       "guardrailIntervened", "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR"],
    "failed": ["error", "ABORT", "cancelled", "insufficient_system_resource",
               "MALFORMED_FUNCTION_CALL", "malformed_tool_use", "MALFORMED_RESPONSE",
               {"type": "abort", "message": "gone"}],
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), [(o, t) for o, some in REASONS.items() for t in some])
def test_a_finish_reason_means_the_same_whoever_says_it(ours, theirs):
    for body, kind in (
        (stream({"content": "Hello"}, finish=theirs), "text/event-stream"),
        (whole({"content": "Hello"}, theirs), "application/json"),
    ):
        if ours in ("failed", "content_filter"):
            with pytest.raises(MixturaError):
                answered(body, kind)
        else:
            wanted = "length" if ours == "tool_calls" else ours  # where no call came
            assert answered(body, kind)[0].finish_reason == wanted


def test_a_stop_reason_that_is_unknown_is_incomplete_for_messages_too():
    body = events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "of_next_year"}},
        {"type": "message_stop"},
    )

    assert answered(body, anthropic=True)[0].finish_reason == "length"


@pytest.mark.parametrize("goes_on", [False, 0, "", "null", "NOT_FINISHED", "REASON_INVALID"])
def test_a_stream_cut_off_where_its_reason_says_that_it_goes_on_is_no_answer(goes_on):
    rows = [{"choices": [{"delta": {"content": text}, "finish_reason": goes_on}]} for text in "ab"]

    with pytest.raises(UnavailableError, match="cut off"):
        answered(events(*rows, {"choices": [{"delta": {}, "finish_reason": goes_on}]}))


@given(st.text(alphabet="abcdefghij_", min_size=1).map(lambda text: f"new_{text}"))
def test_no_unknown_reason_is_a_stop(reason):
    assert classify_finish_reason(reason) == "length"
