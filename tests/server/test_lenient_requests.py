"""What clients of open servers send: further words, nulls, packed bodies; and calls in pieces."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import Completion, Message, RejectedError, ToolCall, ask
from mixtura.protocols.sampling_options import (
    BLOCKED_PARAMETERS,
    FORMAT_PARAMETERS,
    OPTIONAL_PARAMETERS,
    translate_for_llama_cpp,
    wants_thinking,
)
from mixtura.protocols.tool_calls.assembly import ToolCallAccumulator
from mixtura.protocols.tool_calls.deltas import ToolCallDelta
from mixtura.server.frontend_requests import is_frontend_request
from tests.support import paths
from tests.support.served_team import MORE, PATHS, Team, team
from tests.support.upstream import Script, Wire, honest

CASES = paths.CASES / "requests"
ASK: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Why?"}]},
    "responses": {"input": "Why?"},
    "messages": {"messages": [{"role": "user", "content": "Why?"}]},
}
APIS = list(ASK)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    more = '[serve]\nlargest_megabytes = 0.5\nside = "a"\n'
    with team(tmp_path_factory.mktemp("lenient"), more) as one:
        yield one


# ---- words of open servers


def test_the_words_of_an_open_server_reach_its_api_and_are_said_where_one_has_none(served: Team):
    body = json.loads((CASES / "20-sampling-of-open-servers.chat.json").read_text())
    words = {k: v for k, v in body.items() if k not in ("model", "messages")}

    answer = served.ask("chat", body | {"model": "team-o"})
    assert answer.json["mixtura"]["notices"] == []
    (sent,) = served.sent("o")
    assert {name: sent.get(name) for name in words} == words
    (draft,) = served.sent("a")
    assert not words.keys() & draft.keys()

    answer = served.ask("chat", body | {"model": "team-c"})
    (sent,) = served.sent("c")
    assert {n: sent.get(n) for n in ("top_k", "thinking")} == {
        "top_k": 5, "thinking": {"type": "disabled"},
    }  # fmt: skip
    assert answer.json["mixtura"]["notices"] == [
        "c: does not accept chat_template_kwargs: it was left out",
        "c: does not accept min_p: it was left out",
        "c: does not accept repetition_penalty: it was left out",
    ]


@pytest.mark.parametrize("api", APIS)
def test_every_word_that_only_changes_the_drawing_is_handed_on_in_each_api(served: Team, api: str):
    own = {"thinking", "reasoning", "reasoning_effort", "parallel_tool_calls", "verbosity",
           "top_k", "logit_bias", "presence_penalty", "frequency_penalty",
           "service_tier"}  # fmt: skip
    words = dict.fromkeys(sorted(OPTIONAL_PARAMETERS - own), 1) | {"top_k": 3}
    answer = served.ask(api, ASK[api] | words)

    assert answer.status == 200, answer.body
    (sent,) = served.sent()
    assert {name: sent.get(name) for name in words} == words


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("tier", ["flex", "priority", "scale"])
def test_a_tier_is_handed_on_and_named_where_an_api_has_no_such(served: Team, api: str, tier: str):
    answer = served.ask(api, ASK[api] | {"model": "team-o", "service_tier": tier})
    assert answer.status == 200, answer.body
    assert served.sent("o")[0]["service_tier"] == tier

    answer = served.ask(api, ASK[api] | {"model": "team-c", "service_tier": tier})
    assert answer.status == 200, answer.body
    assert "service_tier" not in served.sent("c")[0]
    assert answer.json["mixtura"]["notices"] == ["c: does not accept service_tier: it was left out"]


@pytest.mark.parametrize("tier", ["auto", "default", None])
def test_a_tier_that_there_is_without_a_word_is_not_handed_on(served: Team, tier: str | None):
    answer = served.ask("chat", ASK["chat"] | {"model": "team-o", "service_tier": tier})
    assert answer.json["mixtura"]["notices"] == []
    assert "service_tier" not in served.sent("o")[0]


def test_anthropics_standard_tier_is_taken_and_goes_on_in_each_apis_own_word(served: Team):
    for model, api, sent in (("o", "openai", "default"), ("c", "anthropic", "standard_only")):
        answer = served.ask("messages", ASK["messages"] | {"service_tier": "standard_only"}, model)
        assert answer.status == 200, (api, answer.body)
        assert served.sent(model)[0]["service_tier"] == sent
        assert answer.json["mixtura"]["notices"] == []


NOT_EDITED = "conversations are not edited here"
UNDONE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("messages", {"speed": "fast"}, ["speed: fast: every answer has the speed of its models"]),
    ("messages", {"context_management": {"edits": None}}, []),
    ("messages", {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, []),
    (
        "messages",
        {"context_management": {"edits": [
            {"type": "clear_thinking_20251015", "keep": "all"},
            {"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 9}},
        ]}},
        [f"context_management.edits[1]: clear_tool_uses_20250919: {NOT_EDITED}"],
    ),
    (
        "responses",
        {"context_management": [{"type": "compaction", "compact_threshold": 200_000}]},
        [f"context_management[0]: compaction: {NOT_EDITED}"],
    ),
    ("chat", {"modalities": []}, []),
]  # fmt: skip


@pytest.mark.parametrize(("api", "more", "left_out"), UNDONE)
def test_what_an_answer_is_as_good_without_is_left_out_and_named(
    served: Team, api: str, more: dict[str, Any], left_out: list[str]
):
    answer = served.ask(api, ASK[api] | more)

    assert answer.status == 200, answer.body
    assert answer.json["mixtura"]["left_out"] == left_out


def test_the_summary_that_another_server_made_of_a_conversation_is_kept(served: Team):
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": [{"type": "compaction", "content": "They spoke of 42."}]},
        {"role": "user", "content": "Two?"},
    ]
    answer = served.ask("messages", {"messages": turns})

    assert answer.status == 200, answer.body
    assert "They spoke of 42." in str(served.sent()[0]["messages"])


def roles_sent(served: Team) -> list[tuple[str, Any]]:
    (sent,) = served.sent("o")
    return [(row["role"], row.get("tool_call_id") or row["content"]) for row in sent["messages"]]


@pytest.mark.parametrize("role", ["user", "developer", "system"])
def test_what_stands_between_a_call_and_its_result_follows_it_upstream(served: Team, role: str):
    between = {"role": role, "content": "Hurry."}
    calls = [{"type": "function_call", "call_id": f"c{n}", "name": "look", "arguments": "{}"}
             for n in (1, 2)]  # fmt: skip
    results = [{"type": "function_call_output", "call_id": f"c{n}", "output": "x"} for n in (1, 2)]
    wanted = [("user", "Q"), ("assistant", None), ("tool", "c2"), ("tool", "c1"), (role, "Hurry.")]

    items = [{"role": "user", "content": "Q"}, *calls, results[1], between, results[0]]
    answer = served.ask("responses", {"input": items, "model": "o"})
    assert answer.status == 200, answer.body
    assert roles_sent(served) == wanted

    rows = [{"id": f"c{n}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            for n in (1, 2)]  # fmt: skip
    told = [{"role": "tool", "tool_call_id": f"c{n}", "content": "x"} for n in (1, 2)]
    said = {"role": "assistant", "content": None, "tool_calls": rows}
    turns = [{"role": "user", "content": "Q"}, said, told[1], between, told[0]]
    answer = served.ask("chat", {"messages": turns, "model": "o"})
    assert answer.status == 200, answer.body
    assert roles_sent(served) == wanted


@pytest.mark.parametrize("named", ["id", "call_id"])
def test_an_output_names_its_stored_call_by_either_of_its_ids(served: Team, named: str):
    tool = {"type": "local_shell"}
    served.script("o", Script(text="", tool=("local_shell", '{"command": ["ls"]}')))
    first = served.ask("responses", ASK["responses"] | {"tools": [tool]}).json
    served.script("o", Script())
    (call,) = (row for row in first["output"] if row["type"] == "local_shell_call")
    output = {"type": "local_shell_call_output", named: call[named], "output": "a.py"}
    follow = {"input": [output], "previous_response_id": first["id"], "tools": [tool]}
    answer = served.ask("responses", follow)

    assert answer.status == 200, answer.body
    assert roles_sent(served)[-1] == ("tool", call["call_id"])


@pytest.mark.parametrize("content", [None, "", []])
def test_what_an_assistant_said_in_refusing_is_its_message(served: Team, content: object):
    said = {"role": "assistant", "content": content, "refusal": "No way."}
    turns = [{"role": "user", "content": "Q"}, said, {"role": "user", "content": "Go on."}]
    answer = served.ask("chat", {"model": "team-o", "messages": turns})

    assert answer.status == 200, answer.body
    (sent,) = served.sent("o")
    assert {"role": "assistant", "content": "No way."} in sent["messages"]


@pytest.mark.parametrize("api", APIS)
def test_words_that_reach_other_models_or_cost_more_are_left_out_and_said(served: Team, api: str):
    words = {name: ["dear/model"] for name in BLOCKED_PARAMETERS}
    answer = served.ask(api, ASK[api] | words)

    assert answer.status == 200, answer.body
    (sent,) = served.sent()
    assert not words.keys() & sent.keys()
    said = answer.json["mixtura"]["notices"]
    assert [f"`{name}` is left out" for name in BLOCKED_PARAMETERS] == [
        n.partition(":")[0] for n in said
    ]


def test_a_word_that_an_upstream_refuses_is_left_out_from_then_on_and_said(served: Team):
    async def play(wire: Wire) -> None:
        for name in ("min_p", "repetition_penalty", "thinking"):
            if name in wire.voice.body:
                said = f"Unknown parameter: '{name}'."
                await wire.reply(400, {"error": {"message": said, "param": name}})
                return
        await honest(wire)

    served.script("o", Script(ever=play))
    words = {"min_p": 0.1, "repetition_penalty": 1.1, "top_k": 4, "thinking": {"type": "enabled"}}
    answer = served.ask("chat", ASK["chat"] | words)
    served.script("o", Script())

    assert answer.status == 200, answer.body
    assert len(served.sent()) == 4
    assert served.sent()[-1]["top_k"] == 4
    assert answer.json["mixtura"]["notices"] == [
        f"o: does not accept {name}: it was left out"
        for name in ("min_p", "repetition_penalty", "thinking")
    ]


@pytest.mark.parametrize("word", sorted(FORMAT_PARAMETERS - {"top_logprobs"}))
def test_a_form_that_an_api_has_no_word_for_is_an_error_by_name(word: str):
    from mixtura.protocols.anthropic.request import request_json

    with pytest.raises(RejectedError) as raised:
        request_json(replace(ask("q"), extra={word: True}), "m")
    assert raised.value.parameter == word


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": True}, True),
        ({"enable_thinking": False}, False),
        ({"think": False}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"thinking": True}}, True),
        ({"reasoning": {"enabled": False}}, False),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"effort": "high"}}, None),
        ({"chat_template_kwargs": 3, "thinking": "x"}, None),
    ],
)
def test_whether_to_think_is_read_from_whichever_word_says_it(extra: Any, wanted: bool | None):
    assert wants_thinking(extra) is wanted
    body, _ = translate_for_llama_cpp(extra)
    if wanted is not None:
        assert body["chat_template_kwargs"]["enable_thinking"] is wanted


def test_llama_cpp_gets_words_in_its_own_spelling_and_the_rest_is_said():
    body, unknown = translate_for_llama_cpp(
        {"repetition_penalty": 1.1, "min_p": 0.1, "top_a": 1, "seed": 1}
    )
    assert body == {"repeat_penalty": 1.1, "min_p": 0.1, "seed": 1}
    assert unknown == ["top_a"]


# ---- numbers, nulls, nothing

TAKEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("chat", {"max_tokens": 4096.0}, {"max_tokens": 4096}),
    ("chat", {"max_completion_tokens": 64.0, "seed": 7.0, "n": 1.0}, {"max_tokens": 64, "seed": 7}),
    ("chat", {"stop": ""}, {}),
    ("chat", {"stop": []}, {}),
    ("chat", {"stop": ["", "END"]}, {"stop": ["END"]}),
    ("chat", {"stop": None, "tools": [], "tool_choice": "auto"}, {}),
    ("chat", {"top_logprobs": 0, "logprobs": False, "parallel_tool_calls": True}, {}),
    ("chat", {"temperature": 1, "top_p": 1, "logit_bias": {}, "response_format": None}, {}),
    ("responses", {"max_output_tokens": 4096.0}, {"max_tokens": 4096}),
    ("responses", {"tools": [], "include": None, "text": {}, "reasoning": None}, {}),
    ("responses", {"top_logprobs": 0.0, "metadata": None, "instructions": None}, {}),
    ("messages", {"max_tokens": 4096.0}, {"max_tokens": 4096}),
    ("messages", {"stop_sequences": []}, {}),
    ("messages", {"stop_sequences": ["", "END"]}, {"stop": ["END"]}),
    ("messages", {"top_k": 5.0, "system": None, "tools": []}, {"top_k": 5}),
]


@pytest.mark.parametrize(("api", "more", "sent"), TAKEN)
def test_numbers_and_nothings_are_taken_as_official_servers_take_them(
    served: Team, api: str, more: dict[str, Any], sent: dict[str, Any]
):
    answer = served.ask(api, ASK[api] | more)

    assert answer.status == 200, answer.body
    (body,) = served.sent()
    assert {name: body.get(name) for name in sent} == sent
    assert "stop" in sent or "stop" not in body
    assert "parallel_tool_calls" not in body


def test_several_answers_with_the_largest_seed_have_each_a_seed_that_providers_take(served: Team):
    answer = served.ask("chat", ASK["chat"] | {"seed": 2**63 - 1, "n": 3})

    assert answer.status == 200, answer.body
    seeds = [body["seed"] for body in served.sent()]
    assert len(set(seeds)) == 3
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("api", "more", "param"),
    [
        ("chat", {"max_tokens": 4096.5}, "max_tokens"),
        ("chat", {"max_tokens": "4096"}, "max_tokens"),
        ("chat", {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ("responses", {"max_output_tokens": 0.0}, "max_output_tokens"),
        ("responses", {"input": [{"role": "user", "content": None}]}, "input[0].content"),
        ("messages", {"max_tokens": 1e300}, "max_tokens"),
        ("messages", {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ],
)
def test_what_is_no_whole_number_or_no_content_is_refused_by_name(
    served: Team, api: str, more: dict[str, Any], param: str
):
    answer = served.ask(api, ASK[api] | more)

    assert answer.status == 400
    assert f"`{param}`" in str(answer.json["error"]["message"])


@pytest.mark.parametrize("api", APIS)
def test_an_assistant_that_said_nothing_is_taken(served: Team, api: str):
    rows = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": None},
            {"role": "user", "content": "Two?"}]  # fmt: skip
    answer = served.ask(api, {"input" if api == "responses" else "messages": rows})

    assert answer.status == 200, answer.body
    (body,) = served.sent()
    assert "Two?" in str(body["messages"][-1])


# ---- compressed bodies


def packed(name: str, data: bytes) -> bytes:
    match name:
        case "gzip" | "x-gzip":
            return gzip.compress(data[:10]) + gzip.compress(data[10:])
        case "deflate":
            return zlib.compress(data)
        case "raw deflate":
            raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            return raw.compress(data) + raw.flush()
        case _:
            return data


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate", "raw deflate", "identity"])
def test_a_compressed_body_is_read(served: Team, api: str, name: str):
    body = json.dumps({"model": "o", **MORE[api], **ASK[api]}).encode()
    answer = served.served.post(
        PATHS[api], packed(name, body), Content_Encoding=name.removeprefix("raw ")
    )
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", ["br", "zstd", "gzip, br", "gzip, gzip", "nonsense"])
def test_another_encoding_is_a_415_that_names_it(served: Team, api: str, name: str):
    answer = served.served.post(PATHS[api], b"{}", Content_Encoding=name)

    assert answer.status == 415
    assert f"`Content-Encoding: {name}`" in answer.json["error"]["message"]
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_bomb_is_too_large_and_half_a_body_is_wrong(served: Team, name: str):
    bomb = packed(name, b'{"a": "' + b" " * 50_000_000)
    assert len(bomb) < 500_000
    answer = served.served.post(PATHS["chat"], bomb, Content_Encoding=name)
    assert answer.status == 413

    whole = packed(name, json.dumps(ASK["chat"]).encode())
    for wrong in (whole[:-4], whole[:5], b"{}", b""):
        answer = served.served.post(PATHS["chat"], wrong, Content_Encoding=name)
        assert answer.status == 400, wrong


# ---- calls in pieces

ARGUMENTS = '{"path": "a.py", "text": "print(1)\\nprint(2)"}'
PIECES = [ARGUMENTS[i : i + 7] for i in range(0, len(ARGUMENTS), 7)]
CHAT_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOLS: dict[str, Any] = {
    "chat": CHAT_TOOL,
    "responses": {"type": "function", "name": "look", "parameters": {"type": "object"}},
    "messages": {"name": "look", "input_schema": {"type": "object"}},
}


def calling(calls: int, *, text: str = "", late: str = "", ids: bool = True) -> Script:
    """A model that writes its calls' arguments in pieces."""

    async def play(wire: Wire) -> None:
        await wire.head()
        send = wire.voice._chunk  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        if text:
            await wire.send(send({"content": text}))
        for index in range(calls):
            head = {"index": index, "id": f"call_{index}" if ids else "", "type": "function",
                    "function": {"name": "look", "arguments": ""}}  # fmt: skip
            await wire.send(send({"tool_calls": [head]}))
            for piece in PIECES:
                row = {"index": index, "function": {"arguments": piece}}
                await wire.send(send({"tool_calls": [row]}))
        if late:
            await wire.send(send({"content": late}))
        await wire.finish("tool_calls")
        await wire.end()

    return Script(ever=play)


def chat_calls(events: list[dict[str, Any]]) -> tuple[list[tuple[str, str]], list[str], str]:
    """The calls of a stream put together, the pieces, and the text."""
    found: dict[int, list[str]] = {}
    pieces: list[str] = []
    text = ""
    for event in events:
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", ()):
                row = found.setdefault(call["index"], ["", ""])
                row[0] += call.get("id", "")
                row[1] += call["function"]["arguments"]
                pieces += filter(None, [call["function"]["arguments"]])
    return [(i, a) for i, a in found.values()], pieces, text


def messages_calls(events: list[dict[str, Any]]) -> tuple[list[tuple[str, str]], list[str], str]:
    blocks: list[dict[str, Any]] = []
    pieces: list[str] = []
    open_: int | None = None
    for event in events:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert open_ is None
                assert index == len(blocks)
                open_ = index
                blocks.append({**block, "json": ""})
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                assert index == open_
                if "text" in delta:
                    blocks[index]["text"] += delta["text"]
                else:
                    blocks[index]["json"] += delta["partial_json"]
                    pieces.append(delta["partial_json"])
            case {"type": "content_block_stop", "index": index}:
                assert index == open_
                open_ = None
            case _:
                pass
    assert open_ is None
    calls = [(b["id"], b["json"]) for b in blocks if b["type"] == "tool_use"]
    return calls, pieces, "".join(b.get("text", "") for b in blocks)


def responses_calls(events: list[dict[str, Any]]) -> tuple[list[tuple[str, str]], list[str], str]:
    items: dict[int, dict[str, Any]] = {}
    written: dict[int, str] = {}
    pieces: list[str] = []
    for event in events:
        match event:
            case {"type": "response.output_item.added", "output_index": index, "item": item}:
                assert index == len(items)
                items[index] = item
                written[index] = ""
            case {"type": "response.function_call_arguments.delta", "output_index": index}:
                assert event["item_id"] == items[index]["id"]
                written[index] += event["delta"]
                pieces.append(event["delta"])
            case {"type": "response.output_text.delta", "output_index": index}:
                written[index] += event["delta"]
            case {"type": "response.output_item.done", "output_index": index, "item": item}:
                assert item["id"] == items[index]["id"]
                said = item.get("arguments") or item.get("content", [{}])[0].get("text", "")
                assert said == written[index]
                items[index] = item
            case {"type": "response.completed", "response": response}:
                assert response["output"] == [items[i] for i in sorted(items)]
            case _:
                pass
    calls = [i for i in items.values() if i["type"] == "function_call"]
    text = [i["content"][0]["text"] for i in items.values() if i["type"] == "message"]
    return [(c["call_id"], c["arguments"]) for c in calls], pieces, "".join(text)


READ = {"chat": chat_calls, "responses": responses_calls, "messages": messages_calls}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("text", ["", "I look."])
@pytest.mark.parametrize("late", ["", " Done."])
@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("ids", [True, False])
def test_arguments_of_calls_stream_in_the_pieces_in_which_they_came(
    served: Team, api: str, text: str, late: str, calls: int, ids: bool
):
    served.script("o", calling(calls, text=text, late=late, ids=ids))
    events = served.events(api, ASK[api] | {"tools": [TOOLS[api]]})
    served.script("o", Script())
    found, pieces, said = READ[api](events)

    assert [arguments for _, arguments in found] == [ARGUMENTS] * calls
    assert len({name for name, _ in found}) == calls
    assert all(name for name, _ in found)
    assert len(pieces) >= calls
    assert said == text + late


@pytest.mark.parametrize("api", APIS)
def test_a_piece_of_arguments_is_sent_before_the_next_one_is_written(served: Team, api: str):
    read = threading.Event()

    async def play(wire: Wire) -> None:
        await wire.head()
        send = wire.voice._chunk  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        for number, piece in enumerate(PIECES):
            if number == 1:
                assert await asyncio.to_thread(read.wait, 30)
            named = {"id": "c1", "type": "function"} if number == 0 else {}
            function = ({"name": "look"} if number == 0 else {}) | {"arguments": piece}
            await wire.send(send({"tool_calls": [{"index": 0, **named, "function": function}]}))
        await wire.finish("tool_calls")
        await wire.end()

    served.script("o", Script(ever=play))
    body = {"model": "o", "stream": True, "tools": [TOOLS[api]], **MORE[api]}
    request = urllib.request.Request(
        served.served.url + PATHS[api],
        json.dumps(body | ASK[api]).encode(),
        {"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun = json.dumps(PIECES[0])[1:-1].encode()
    lines = 0
    with opener.open(request, timeout=60) as reply:
        for line in reply:
            lines += line.startswith(b"data: {") and read.is_set()
            if begun in line:
                read.set()
    served.script("o", Script())
    assert read.is_set()
    assert lines > 1


@pytest.mark.parametrize("api", APIS)
def test_a_call_without_arguments_is_whole_in_a_stream(served: Team, api: str):
    served.script("o", Script(tool=("look", ""), finish="tool_calls", text=""))
    events = served.events(api, ASK[api] | {"tools": [TOOLS[api]]})
    served.script("o", Script())
    found, _, _ = READ[api](events)

    assert [json.loads(arguments or "{}") for _, arguments in found] == [{}]


@pytest.mark.parametrize("arguments", ["", " "])
def test_nothing_said_by_an_assistant_goes_on_in_a_form_that_every_server_takes(
    served: Team, arguments: str
):
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": arguments}}
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": []},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": [], "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": []},
    ]
    answer = served.ask("chat", {"messages": history, "tools": [TOOLS["chat"]]})

    assert answer.status == 200, answer.body
    (sent,) = served.sent("o")
    nothing, *_, called, result = sent["messages"][-4:]
    assert (nothing["content"], result["content"]) == ("", "")
    assert not called["content"]
    assert called["tool_calls"][0]["function"]["arguments"] == "{}"


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=40),
)
def test_pieces_of_any_order_go_out_call_by_call_and_make_the_whole(order: Any):
    texts = [f'{{"a": "{letter * 9}"}}' for letter in "xyz"]
    at = [0, 0, 0]
    assembly = ToolCallAccumulator()
    fresh: list[Any] = []
    for index, size in order:
        piece = texts[index][at[index] : at[index] + size]
        named = "" if at[index] else f"look{index}"
        at[index] += size
        if piece or named:
            assembly.add_deltas([ToolCallDelta(index, "", named, piece)])
        fresh += assembly.take_updates()
    fresh += assembly.take_updates(ended=True)

    places = [row.place for row in fresh]
    assert places == sorted(places)
    told: dict[int, str] = {}
    for row in fresh:
        told[row.place] = told.get(row.place, "") + row.arguments
    assert sorted(told.values()) == sorted(call.arguments for call in assembly.tool_calls())


def test_no_piece_of_a_call_has_a_secret_in_it():
    from mixtura.core.redaction import Redactor, use_redactor
    from mixtura.protocols.openai.chunks import (
        Chunk,
        MessageDelta,
        StreamChoice,
        WireFunction,
        WireToolCall,
    )
    from mixtura.protocols.openai.stream import ChatStreamAccumulator

    key = "sk-very-secret-0123456789"
    with use_redactor(Redactor([key])):
        so_far = ChatStreamAccumulator()
        pieces: list[str] = []
        for letter in ("", *json.dumps({"a": f"x{key}y"})):
            call = WireToolCall(0, "c", WireFunction("look" if not letter else None, letter))
            so_far.add_chunk(Chunk([StreamChoice(delta=MessageDelta(tool_calls=[call]))]))
            fresh = so_far.take_new()
            pieces += [piece.arguments for piece in fresh.calls] if fresh else []
        end = so_far.take_rest()
    pieces += [piece.arguments for piece in end.calls] if end else []

    assert key[:4] not in "".join(pieces)
    assert "".join(pieces).endswith('***y"}')
    assert len(pieces) > 5


# ---- side requests


def test_a_title_that_the_instructions_ask_for_goes_to_the_side_model(served: Team):
    body = json.loads((CASES / "24-side-opencode-title.chat.json").read_text())
    answer = served.ask("chat", body | {"model": "team-o"})

    assert answer.json["mixtura"]["routed_to"] == "a"
    assert not served.sent("o")


def test_a_person_who_asks_for_a_title_is_a_person():
    for system, words in (
        ("You are a helpful assistant.", "Write a title for this conversation"),
        ("You write titles only, for books of this chat's users.", "Why is the sky blue?"),
    ):
        asked = ask(words, system=system)
        assert not is_frontend_request(asked)


def test_a_whole_call_of_a_double_is_sent_at_the_end():
    from mixtura.server.apis.base import ApiCall, ResponseMeta
    from mixtura.server.apis.openai_chat import ChatCompletionsApi

    writer = ChatCompletionsApi().create_writer(ApiCall("m", ask("q")), ResponseMeta("1", 1))
    answer = Completion(Message("assistant", "", (ToolCall("c", "look", "{}"),)), "m", "tool_calls")
    assert b'"arguments":"{}"' in writer.write_finish(0, answer)
