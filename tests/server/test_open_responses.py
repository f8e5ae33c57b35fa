"""Answers of `/v1/responses` have the fields and types of the Open Responses specification."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import Any

import pytest
from openai.types.responses import Response as TheirResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.project.test_clients import OTHERS, SCRIPTS
from tests.support.open_responses import response_problems, stream_problems
from tests.support.serving import serving, team
from tests.support.upstream import Script, running
from tests.support.upstream.faults import FAULTS

USER = {"type": "message", "role": "user", "content": "Say hello."}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
PICTURE = [{"type": "input_text", "text": "What is it?"},
           {"type": "input_image", "image_url": PIXEL}]  # fmt: skip
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
THOUGHT = {"type": "reasoning", "id": "r1", "summary": [], "encrypted_content": "sealed"}

COMPLIANCE: dict[str, dict[str, Any]] = {
    "a user's message": {"input": [USER]},
    "a plain text": {"input": "Say hello."},
    "phases of an assistant": {"input": [
        {"type": "message", "role": "assistant", "phase": "commentary", "content": "Let me see."},
        {"type": "message", "role": "assistant", "phase": "final_answer", "content": "Four."},
        USER]},
    "a system message": {"input": [
        {"type": "message", "role": "system", "content": "Speak as a pirate."}, USER]},
    "a developer message": {"input": [
        {"type": "message", "role": "developer", "content": "Be brief."}, USER]},
    "a tool that is called": {"model": "calls", "input": [USER], "tools": [WEATHER]},
    "a tool that must be called": {
        "model": "calls", "input": [USER], "tools": [WEATHER], "tool_choice": "required"},
    "one tool of those allowed": {
        "model": "calls", "input": [USER], "tools": [WEATHER, WEATHER | {"name": "other"}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto",
                        "tools": [{"type": "function", "name": "weather"}]}},
    "a tool by name": {
        "model": "calls", "input": [USER], "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"}},
    "words before a call": {"model": "talks-and-calls", "input": [USER], "tools": [WEATHER]},
    "a tool's result": {"tools": [WEATHER], "input": [
        USER, THOUGHT, CALL, {"type": "function_call_output", "call_id": "c1", "output": "rain"}]},
    "a picture": {"input": [{"type": "message", "role": "user", "content": PICTURE}]},
    "several turns": {"input": [
        {"type": "message", "role": "user", "content": "My name is Ada."},
        {"type": "message", "role": "assistant", "content": "Hello, Ada."},
        {"type": "message", "role": "user", "content": "What is my name?"}]},
    "every parameter": {
        "input": [USER], "instructions": "Be kind.", "temperature": 0, "top_p": 1,
        "presence_penalty": 0.5, "frequency_penalty": -1, "max_output_tokens": 50,
        "max_tool_calls": 3, "parallel_tool_calls": False, "metadata": {"a": "b"},
        "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}, "store": False,
        "service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k", "user": "u",
        "background": False, "truncation": "disabled", "include": [], "tools": []},
    "every parameter null": {"input": [USER]} | dict.fromkeys((
        "instructions", "temperature", "top_p", "presence_penalty", "frequency_penalty",
        "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "metadata", "reasoning",
        "text", "store", "service_tier", "safety_identifier", "prompt_cache_key", "tools",
        "tool_choice", "top_logprobs", "include", "truncation")),
    "thoughts before the answer": {"model": "thinks", "input": [USER]},
    "a refusal": {"model": "refuses", "input": [USER]},
    "an answer that is cut off": {"model": "is-cut", "input": [USER]},
    "a json object": {"input": [USER], "text": {"format": {"type": "json_object"}}},
}  # fmt: skip
"""Requests of the specification's kinds: what its own compliance tests send, and its parameters."""
BEYOND: dict[str, dict[str, Any]] = {
    # the specification's own schema allows nothing but null as a format's schema
    "a json schema": {"input": [USER], "text": {"format": {
        "type": "json_schema", "name": "sky", "schema": {"type": "object"}}}},
    "a custom tool": {"model": "patches", "input": [USER],
                      "tools": [{"type": "custom", "name": "patch"}]},
    "a shell": {"model": "patches", "input": [USER], "tools": [{"type": "local_shell"}]},
    "a tool in a namespace": {"model": "calls", "input": [USER], "tools": [
        {"type": "namespace", "name": "sky", "description": "The sky.", "tools": [WEATHER]}]},
    "tools of a provider's": {"input": [USER], "tools": [
        {"type": "web_search"}, {"type": "mcp", "server_label": "a"}, WEATHER]},
}  # fmt: skip
"""What OpenAI's responses have besides."""
ALL = COMPLIANCE | BEYOND
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


async def refuse(wire):
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.send(wire.voice.refusal("I cannot help with that."))
    await wire.finish()
    await wire.end()


def answer_of(record):
    tools = [tool["function"]["name"] for tool in record.body.get("tools", ())]
    called = {"patch": '{"input": "x"}', "local_shell": '{"command": ["ls"]}'}
    if not tools or record.model not in ("calls", "talks-and-calls", "patches"):
        return Script("Hello, you there.")
    words = "Let me see." if record.model == "talks-and-calls" else ""
    arguments = called.get(tools[0], '{"town": "Rome"}')
    return Script(words, tool=(tools[0], arguments), finish="tool_calls")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    broken = next(f for f in FAULTS if f.name == "end_unfinished").play(2)
    with running(answer_of) as upstream:
        upstream.scripts = {
            "thinks": Script("Hello.", thoughts="Let me think of it."),
            "refuses": Script(ever=refuse),
            "is-cut": Script("Hello, you", finish="length"),
            "breaks": Script("Hello, you there, all of you.", ever=broken),
        }
        names = ("a", "calls", "talks-and-calls", "patches", *upstream.scripts, "chief")
        configuration = team(upstream, *names)
        members = ", ".join(f'"{name}"' for name in names[:-1])
        configuration = configuration.replace(f"[[{members}]]", '[["a"]]')
        with serving(tmp_path_factory.mktemp("responses"), configuration) as found:
            yield found


@pytest.fixture(scope="module")
def asked(server):
    """Asks for a case once: its answer whole, and the events of the same one as a stream."""

    @cache
    def ask(case: str) -> tuple[Any, list[dict[str, Any]]]:
        body = {"model": "team"} | ALL[case]
        whole = server.post("/v1/responses", body)
        assert whole.status == 200, whole.body
        stream = server.post("/v1/responses", body | {"stream": True})
        assert stream.status == 200, stream.body
        return whole.json, events_of(stream)

    return ask


def events_of(answer) -> list[dict[str, Any]]:
    rows = [row[6:] for row in answer.body.decode().split("\n") if row.startswith("data: {")]
    return [json.loads(row) for row in rows]


@pytest.mark.parametrize("case", ALL)
def test_an_answer_has_every_field_of_the_specification_whole_and_streamed(asked, case):
    whole, events = asked(case)

    assert response_problems(whole) == []
    assert stream_problems(events) == []
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last["type"] == f"response.{whole['status']}"
    assert last["type"] == ("response.incomplete" if "cut" in case else "response.completed")
    kinds = [item["type"] for item in whole["output"]]
    assert [item["type"] for item in last["response"]["output"]] == kinds
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == last["response"]["output"] != []


@pytest.mark.parametrize("case", ALL)
def test_openais_own_types_take_every_answer_and_event_strictly(asked, case):
    whole, events = asked(case)

    TheirResponse.model_validate_json(json.dumps(whole), strict=True)
    for event in events:
        EVENT.validate_json(json.dumps(event), strict=True)


def test_the_specifications_own_types_take_every_answer_and_event_strictly(server, asked):
    assert OTHERS.is_dir(), "`make test` makes the environment of these clients"
    lines: list[str] = []
    for case in COMPLIANCE:
        whole, events = asked(case)
        lines += map(json.dumps, [whole, *events])
    broken = server.post("/v1/responses", {"model": "breaks", "input": "Hello.", "stream": True})
    lines += map(json.dumps, events_of(broken))

    done = subprocess.run(
        [OTHERS / "python", SCRIPTS / "open_responses.py"], input="\n".join(lines), text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert f"{len(lines)} read" in done.stdout


NO = "I cannot help with that."


def test_what_a_model_says_in_place_of_an_answer_is_a_refusal_whole_and_streamed(asked):
    whole, events = asked("a refusal")

    part = {"type": "refusal", "refusal": NO}
    assert [item["content"] for item in whole["output"]] == [[part]]
    assert [item["content"] for item in events[-1]["response"]["output"]] == [[part]]
    assert [e["type"] for e in events if "text" in e["type"]] == []
    assert "".join(e["delta"] for e in events if e["type"] == "response.refusal.delta") == NO


def test_what_a_model_says_in_place_of_an_answer_is_a_refusal_in_chat_too(server):
    body = {"model": "refuses", "messages": [USER]}
    whole = server.post("/v1/chat/completions", body).json["choices"][0]
    rows = events_of(server.post("/v1/chat/completions", body | {"stream": True}))

    assert (whole["message"]["content"], whole["message"]["refusal"]) == (None, NO)
    deltas = [choice["delta"] for row in rows for choice in row["choices"]]
    assert "".join(delta.get("refusal") or "" for delta in deltas) == NO
    assert "".join(delta.get("content") or "" for delta in deltas) == ""


def test_an_answer_that_breaks_off_ends_as_failed_with_every_field(server):
    answer = server.post("/v1/responses", {"model": "breaks", "input": "Hello.", "stream": True})
    events = events_of(answer)

    assert stream_problems(events) == []
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-1]["response"]["error"]["code"] == "server_error"
    for event in events:
        EVENT.validate_json(json.dumps(event), strict=True)


def test_an_error_before_an_answer_has_the_fields_of_an_error(server):
    for body in ({"model": "team"}, {"model": "nope", "input": "x"}, {"model": "team", "input": 3}):
        answer = server.post("/v1/responses", body)
        error = answer.json["error"]
        assert answer.status in (400, 404)
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)


def test_an_answer_repeats_what_was_asked_for_and_says_what_is_usual_of_the_rest(asked):
    usual, _ = asked("every parameter null")
    told, _ = asked("every parameter")

    names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs",
             "service_tier", "max_output_tokens", "max_tool_calls", "prompt_cache_key")  # fmt: skip
    assert [usual[name] for name in names] == [1.0, 1.0, 0.0, 0.0, 0, "default", None, None, None]
    assert [told[name] for name in names] == [0, 1, 0.5, -1, 0, "default", 50, 3, "k"]
    assert told["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert told["reasoning"] == {"effort": "low", "summary": None}


def test_log_probabilities_have_their_bytes_and_their_best(tmp_path):
    row = {"token": "Hé", "logprob": -0.5, "bytes": None, "top_logprobs": [
        {"token": "Hé", "logprob": -0.5}]}  # fmt: skip
    with running() as upstream:

        async def with_logprobs(wire):
            body = wire.voice.whole("Hé", "stop")
            body["choices"][0]["logprobs"] = {"content": [row]}
            await wire.reply(200, body)

        upstream.scripts = {"chief": Script("Hé", ever=with_logprobs), "a": Script("Hm.")}
        with serving(tmp_path, team(upstream, "a", "chief")) as server:
            asked_for = {"model": "team", "input": "x", "top_logprobs": 1}
            answer = server.post("/v1/responses", asked_for)

    assert answer.status == 200, answer.body
    assert response_problems(answer.json) == []
    (found,) = answer.json["output"][0]["content"][0]["logprobs"]
    assert found["bytes"] == list("Hé".encode())
    assert found["top_logprobs"][0]["bytes"] == list("Hé".encode())
