"""Answers in forms that no API describes and that servers send: each read for what it is."""

from __future__ import annotations

import json

import pytest

from mixtura import MixturaError
from tests.support.provider_streams import answered, calls, events, stream, whole


def chunk(delta, finish=None, **more):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish} | more]}


def call(arguments, **more):
    function = {"name": "f", "arguments": arguments}
    return chunk({"tool_calls": [{"index": 0, "id": "a", "function": function} | more]})


HELLO, STOP = chunk({"content": "Hello"}), chunk({}, "stop")
FORMS = {
    "a choice that is no list": [{"choices": {"delta": {"content": "Hello"}}}, STOP],
    "a delta that is text": [{"choices": [{"index": 0, "delta": "Hello"}]}, STOP],
    "text beside an empty delta": [chunk({}, text="Hello"), STOP],
    "text and no delta": [{"choices": [{"index": 0, "text": "Hello"}]}, STOP],
    "text once more beside the delta": [chunk({"content": "Hello"}, text="Hello"), STOP],
    "a part whose text is an object": [
        chunk({"content": [{"type": "text", "text": {"value": "Hello", "annotations": []}}]}), STOP
    ],
    "a part with its text as content": [
        chunk({"content": [{"type": "text", "content": "Hello"}]}), STOP
    ],
    "a part of no type": [chunk({"content": [{"x": 1}, {"type": "text", "text": "Hello"}]}), STOP],
    "text beside no delta": [{"choices": [{"index": 0, "content": "Hello"}]}, STOP],
    "a list in a list": [chunk({"content": [[{"type": "text", "text": "Hello"}]]}), STOP],
    "false for nothing": [chunk({"content": False}), HELLO, STOP],
    "another object around it": [{"result": HELLO, "success": True}, {"data": STOP}],
    "all of them in a list": [json.dumps([HELLO, STOP])],
    "pieces that count up": [
        *({"choices": [{"index": i, "delta": {"content": t}}]} for i, t in enumerate("Hello")),
        {"choices": [{"index": 5, "delta": {}, "finish_reason": "stop"}]},
    ],
    "the field's name twice": [f"data: {json.dumps(HELLO)}", f"data: {json.dumps(STOP)}"],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_text_is_read_in_whatever_form_its_server_sends_it(form):
    completion, shown = answered(events(*FORMS[form], "[DONE]"))

    assert completion.text == shown == "Hello"


CALLS = {
    "calls by their numbers": chunk(
        {"tool_calls": {"0": {"id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}}}
    ),
    "arguments as texts in a list": call(['{"x":', "1}"]),
    "a tool whose input is a text": chunk(
        {
            "tool_calls": [
                {"index": 0, "type": "custom", "custom": {"name": "f", "input": '{"x": 1}'}}
            ]
        }
    ),
}


@pytest.mark.parametrize("form", CALLS)
def test_a_call_is_read_in_whatever_form_its_server_sends_it(form):
    completion, _ = answered(events(CALLS[form], chunk({}, "tool_calls")))

    assert calls(completion) == [("f", {"x": 1})]


def test_an_answer_that_is_a_number_is_its_text():
    assert answered(whole({"content": 42}), "application/json")[0].text == "42"


def test_objects_on_lines_of_their_own_are_a_stream():
    rows = "\n".join(json.dumps(row) for row in (HELLO, STOP)).encode()

    completion, shown = answered(rows, "application/x-ndjson")

    assert (completion.text, shown, completion.finish_reason) == ("Hello", "Hello", "stop")
    with pytest.raises(MixturaError, match="cut off"):
        answered("\n".join(json.dumps(HELLO) for _ in "ab").encode(), "application/x-ndjson")


BROKEN = {
    "a control character": (b"a\tb", "a\tb"),
    "half a character": (b"a\xe2\x82", "a\ufffd"),
    "half of a pair": (rb"a\ud83d", "a\ufffd"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("anthropic", [False, True])
def test_a_text_that_is_no_clean_json_ends_no_answer(name, anthropic):
    sent, read = BROKEN[name]
    if anthropic:
        row = {"type": "content_block_delta", "index": 0, "delta": {"text": "Hello"}}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    else:
        row, end = HELLO, STOP

    completion, _ = answered(events(row, end).replace(b"Hello", sent), anthropic=anthropic)

    assert completion.text == read


HALVES = {
    "two escapes": ([rb"a\ud83d", rb"\ude00b"], "a\U0001f600b"),
    "bytes of one character": ([b"a\xf0\x9f", b"\x98", b"\x80b"], "a\U0001f600b"),
    "a half that no other follows": ([rb"a\ud83d", b"b"], "a\ufffdb"),
    "two second halves": ([rb"\ude00\ude00", rb"\ud83d"], "\ufffd\ufffd\ufffd"),
    "halves one behind the other": (
        [rb"\ud83d", rb"\ude00\ud83d", rb"\ude01"], "\U0001f600\U0001f601"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("field", ["content", "reasoning_content", "text", "thinking"])
def test_a_character_that_is_cut_over_two_events_is_whole(name, field):
    pieces, read = HALVES[name]
    anthropic = field in ("text", "thinking")
    if anthropic:
        rows = [{"type": "content_block_delta", "index": 0, "delta": {field: "*"}}] * len(pieces)
        said = {"type": "content_block_delta", "index": 1, "delta": {"text": "."}}
        ends = [said, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]
    else:
        rows, ends = [chunk({field: "*"})] * len(pieces), [chunk({"content": "."}), STOP]
    sent = b"".join(
        events(row).replace(b"*", piece) for row, piece in zip(rows, pieces, strict=True)
    )

    completion, shown = answered(sent + events(*ends), anthropic=anthropic)

    assert completion.text == shown
    if field in ("content", "text"):
        assert completion.text.replace(".", "") == read
    else:
        assert completion.reasoning == read


def test_the_only_answer_of_a_stream_is_read_whatever_its_index():
    rows = [
        {"choices": [{"index": 1, "delta": {"content": "Hel"}}]},
        {"choices": [{"index": 1, "delta": {"content": "lo"}, "finish_reason": "stop"}]},
    ]
    message = {"index": 1, "message": {"content": "Hello"}, "finish_reason": "stop"}
    other = {"index": 0, "delta": {"content": "!"}}
    two = [
        {"choices": [rows[0]["choices"][0], other]},
        {"choices": [other | {"finish_reason": "stop"}]},
    ]

    assert answered(events(*rows))[0].text == "Hello"
    assert (
        answered(json.dumps({"choices": [message]}).encode(), "application/json")[0].text == "Hello"
    )
    assert answered(events(*two))[0].text == "!!"


def test_no_later_reason_makes_a_cut_answer_whole():
    assert answered(stream({"content": "He"}, finish="length"))[0].finish_reason == "length"
    rows = [HELLO, chunk({}, "length"), STOP, "[DONE]"]
    assert answered(events(*rows))[0].finish_reason == "length"
    rows = [HELLO, chunk({}, "stop"), chunk({}, "length"), "[DONE]"]
    assert answered(events(*rows))[0].finish_reason == "length"
    rows = [HELLO, chunk({}, "going_on"), STOP, "[DONE]"]
    assert answered(events(*rows))[0].finish_reason == "stop"
    message = [
        {"type": "content_block_delta", "index": 0, "delta": {"text": "Hello"}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    assert answered(events(*message), anthropic=True)[0].finish_reason == "length"


def test_an_empty_object_behind_a_whole_call_of_the_same_id_is_no_second_call():
    end = chunk({}, "tool_calls")

    assert calls(answered(events(call('{"x": 1}'), call("{}"), end))[0]) == [("f", {"x": 1})]
    others = events(call('{"x": 1}'), call("{}", id="b"), end)
    assert calls(answered(others)[0]) == [("f", {"x": 1}), ("f", {})]


def test_what_comes_without_an_index_belongs_to_the_block_that_began_last():
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    body = events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
        {"type": "content_block_delta", "index": None, "delta": {"text": "Hello"}},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        {"type": "content_block_delta", "index": None, "delta": {"partial_json": '{"x": 1}'}},
        {"type": "content_block_stop"},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    )
    completion, _ = answered(body, anthropic=True)

    assert (completion.text, calls(completion)) == ("Hello", [("f", {"x": 1})])


def test_events_of_messages_whose_type_is_their_name_only_are_read():
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    rows = [
        {"message": {"usage": {"input_tokens": 3}}},
        {"index": 0, "content_block": {"type": "text", "text": ""}},
        {"index": 0, "delta": {"text": "Hello"}},
        {"index": 1, "content_block": tool},
        {"index": 1, "delta": {"partial_json": '{"x": 1}'}},
        {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
        {},
    ]

    completion, shown = answered(events(*rows), anthropic=True)

    assert completion.text == shown == "Hello"
    assert calls(completion) == [("f", {"x": 1})]
    assert completion.usage.prompt_tokens == 3


@pytest.mark.parametrize("content", ["Hello", ["Hello"], [{"type": "text", "text": "Hello"}]])
def test_a_message_without_its_type_is_one(content):
    row = {"role": "assistant", "content": content, "stop_reason": "end_turn"}

    body = json.dumps(row).encode()

    assert answered(body, "application/json", anthropic=True)[0].text == "Hello"
