"""OpenAI's responses and Anthropic's messages, served: what is read, and that their SDKs agree."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message as TheirMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response as TheirResponse
from pydantic import BaseModel

from mixtura import (
    Charge,
    Completion,
    ImagePart,
    Message,
    OtherPart,
    Request,
    Sampling,
    TextPart,
    ToolCall,
    Usage,
)
from mixtura.protocols.sse import SseParser
from mixtura.server.apis.anthropic_messages import MessagesDialect
from mixtura.server.apis.base import ApiCall, ApiError, Dialect, MixtureOptions, ResponseMeta
from mixtura.server.apis.openai_responses import ResponsesDialect

ABOUT = ResponseMeta("20261122a7", 1_790_000_000)
SUMMARY = {"run": "20261122-a7", "cost_usd": 0.01, "degraded": False, "seconds": 2.4}
ASIDE = {"event": "token", "at": [], "text": "hm", "error": {"message": "not the stream's"}}
USED = Usage(100, 20, cached_tokens=30, cache_write_tokens=10, reasoning_tokens=5)
LOOK = ToolCall("call_1", "look", '{"at": "the sky"}')
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
PIXEL = "iVBORw0KGgo="


def answered(text: str = "Because.", *calls: ToolCall, **more: Any) -> Completion:
    """An answer, and what two calls used for it."""
    half = Charge("m", replace(USED, prompt_tokens=60, completion_tokens=15))
    rest = Charge("n", Usage(40, 5))
    reason = "tool_calls" if calls else "stop"
    return Completion(
        Message("assistant", text, calls),
        "m",
        **{"finish_reason": reason, "charges": (half, rest), **more},
    )


def read(dialect: Dialect, body: dict[str, Any]) -> ApiCall:
    return dialect.parse_request(json.dumps(body).encode())


def refused(dialect: Dialect, body: dict[str, Any] | bytes) -> ApiError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as error:
        dialect.parse_request(raw)
    return error.value


# ---- Anthropic's messages: a request

MESSAGES = MessagesDialect()
ASKED = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Why?"}]}
LOOK_TOOL = {"name": "look", "input_schema": SCHEMA}


def heard(*messages: dict[str, Any], **more: Any) -> Request:
    return read(MESSAGES, ASKED | {"messages": list(messages)} | more).request


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def result(called: str = "call_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": called, **more}


LOOKED = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "the sky"}}


def test_a_message_with_its_sampling_is_read():
    body = ASKED | {
        "system": "Be brief.",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "someone"},
        "mixtura": {"proposals": True, "layers": 3},
    }

    call = read(MESSAGES, body)

    assert call.request == Request(
        (Message("system", "Be brief."), Message("user", "Why?")),
        Sampling(0.5, 0.9, 64, ("END",)),
        extra={"top_k": 40},
    )
    assert (call.model, call.stream, call.n, call.body) == ("m", True, 1, body)
    assert call.wish == MixtureOptions(proposals=True, layers=3)


def test_system_blocks_become_one_text_and_their_marks_for_a_cache_are_passed_over():
    marked = text("Two.", cache_control={"type": "ephemeral"})
    asked = heard(user(text("Why?")), system=[text("One."), marked], cache_control={"type": "x"})

    assert asked.messages == (Message("system", "One.\n\nTwo."), Message("user", "Why?"))


def test_pictures_and_documents_are_parts():
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    asked = heard(
        user(
            text("Compare."),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
            },
            {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}},
            {
                "type": "document",
                "title": "Notes",
                "context": "Of May.",
                "source": {"type": "text", "media_type": "text/plain", "data": "It rained."},
            },
            {"type": "document", "source": {"type": "content", "content": [text("It shone.")]}},
            {"type": "document", "source": pdf, "cache_control": {"type": "ephemeral"}},
            {
                "type": "search_result",
                "source": "https://a.example",
                "title": "Sky",
                "content": [text("Blue.")],
            },
        )
    )

    assert asked.messages[0].content == (
        TextPart("Compare."),
        ImagePart(f"data:image/png;base64,{PIXEL}"),
        ImagePart("https://pictures.example/a.png"),
        TextPart("Notes\nOf May.\n\nIt rained."),
        TextPart("It shone."),
        OtherPart({"type": "document", "source": pdf}),
        TextPart("Sky (https://a.example)\nBlue."),
    )


def test_tools_and_their_calls_are_in_the_words_of_chat_completions():
    picture = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    asked = heard(
        {"role": "user", "content": "Why is it blue?"},
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            text("I shall look."),
            LOOKED,
            LOOKED | {"id": "call_2"},
        ),
        user(
            text("And hurry."),
            result(content=[text("It is"), text("blue.")]),
            result("call_2", content=[{"type": "image", "source": picture}], is_error=True),
        ),
        tools=[LOOK_TOOL | {"type": "custom", "description": "Looks.", "strict": True}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )

    assert asked.messages == (
        Message("user", "Why is it blue?"),
        Message("assistant", "I shall look.", (replace(LOOK, arguments='{"at":"the sky"}'),
                                               ToolCall("call_2", "look", '{"at":"the sky"}'))),
        Message("tool", "It is\nblue.", tool_call_id="call_1"),
        Message(
            "tool",
            (TextPart("[The tool failed.]"), ImagePart(f"data:image/png;base64,{PIXEL}")),
            tool_call_id="call_2",
        ),
        Message("user", "And hurry."),
    )  # fmt: skip
    described = {"name": "look", "description": "Looks.", "parameters": SCHEMA, "strict": True}
    assert asked.tools == ({"type": "function", "function": described},)
    assert asked.tool_choice == "required"
    assert asked.extra == {"parallel_tool_calls": False}


@pytest.mark.parametrize(
    ("choice", "ours"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_every_tool_choice_has_its_counterpart(choice, ours):
    asked = read(MESSAGES, ASKED | {"tools": [LOOK_TOOL], "tool_choice": choice}).request

    assert asked.tools == (FUNCTION,)
    assert asked.tool_choice == ours


def test_examples_of_a_tool_s_input_stand_in_its_description():
    tool = LOOK_TOOL | {"description": "Looks.", "input_examples": [{"at": "a"}, {"at": "b"}]}
    asked = read(MESSAGES, ASKED | {"tools": [tool]}).request

    said = 'Looks.\n\nExamples of its input:\n{"at":"a"}\n{"at":"b"}'
    assert asked.tools[0]["function"]["description"] == said


def test_a_schema_is_a_response_format_and_strict_where_openai_would_take_it_so():
    open_schema = SCHEMA | {"additionalProperties": False}
    closed = open_schema | {"required": ["at"]}

    for schema, strict in ((open_schema, {}), (closed, {"strict": True})):
        config = {"effort": "high", "format": {"type": "json_schema", "schema": schema}}
        asked = read(MESSAGES, ASKED | {"output_config": config}).request
        wanted = {"name": "answer", "schema": schema, **strict}
        assert asked.response_format == {"type": "json_schema", "json_schema": wanted}
        assert asked.extra == {"reasoning_effort": "high"}
        older = read(MESSAGES, ASKED | {"output_format": config["format"]}).request
        assert older.response_format == asked.response_format


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "enabled", "budget_tokens": 2048},
        {"type": "adaptive", "display": "summarized"},
        {"type": "disabled"},
    ],
)
def test_how_to_think_is_handed_to_whoever_writes_the_answer(thinking):
    asked = read(MESSAGES, ASKED | {"max_tokens": 4096, "thinking": thinking}).request

    assert asked.extra == {"thinking": thinking}


def test_neighbours_of_one_role_are_one_turn_and_a_system_message_may_stand_between():
    asked = heard(
        {"role": "user", "content": "One."},
        {"role": "user", "content": "Two."},
        {"role": "system", "content": "Be kind."},
        assistant({"type": "thinking", "thinking": "hm"}),
        {"role": "user", "content": "Three."},
    )

    assert asked.messages == (
        Message("user", (TextPart("One."), TextPart("Two."))),
        Message("system", "Be kind."),
        Message("user", "Three."),
    )


def test_what_claude_code_sends_beside_the_rest_is_no_reason_to_refuse():
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}

    call = read(
        MESSAGES, ASKED | {"context_management": edits, "some_day": 1, "service_tier": "auto"}
    )

    assert call.request == read(MESSAGES, ASKED).request


GONE = object()
"""Stands for a parameter that is not sent."""


def without(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not GONE}


CALLED = [{"role": "user", "content": "Look."}, assistant(LOOKED)]
MESSAGES_REFUSED: list[tuple[dict[str, Any] | bytes, str | None, str]] = [
    (b"{", None, "not a JSON object"),
    (b"[1]", None, "not a JSON object"),
    (b'{"a":' + b"[" * 100_000, None, "nested too deeply"),
    ({"max_tokens": GONE}, "max_tokens", "`max_tokens` is missing"),
    ({"model": GONE}, "model", "`model` is missing"),
    ({"messages": GONE}, "messages", "`messages` is missing"),
    ({"model": ""}, "model", "length >= 1"),
    ({"max_tokens": 0}, "max_tokens", ">= 1"),
    ({"max_tokens": "8"}, "max_tokens", "expected `int`, got `str`"),
    ({"messages": []}, "messages", "length >= 1"),
    ({"messages": [{"role": "tool", "content": ""}]}, "messages[0].role", "user, assistant or"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
    ({"messages": [user({"type": "audio"})]}, "messages[0].content[0].type", "'audio'; it can be"),
    (
        {"messages": [user({"type": "server_tool_use", "id": "a", "name": "b", "input": {}})]},
        "messages[0].content[0].type",
        "server_tool_use",
    ),
    (
        {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
        "messages[0].content[0].source.type",
        "no files are kept",
    ),
    (
        {"messages": [user({"type": "image", "source": {"type": "url", "url": "ftp://a"}})]},
        "messages[0].content[0].source.url",
        "https?",
    ),
    (
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "source": {"type": "text", "data": "a"},
                        "citations": {"enabled": True},
                    }
                )
            ]
        },
        "messages[0].content[0].citations",
        "no citations here",
    ),
    ({"temperature": 1.5}, "temperature", "<= 1"),
    ({"top_p": -1}, "top_p", ">= 0"),
    ({"top_k": -1}, "top_k", ">= 0"),
    ({"stop_sequences": "END"}, "stop_sequences", "array"),
    ({"system": 3}, "system", "expected"),
    ({"system": [{"type": "image"}]}, "system[0].type", "text"),
    ({"tools": [{"name": "look"}]}, "tools[0].input_schema", "is missing"),
    ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name", "regex"),
    ({"tools": [LOOK_TOOL, LOOK_TOOL]}, "tools[1].name", "two tools called 'look'"),
    ({"tool_choice": {"type": "any"}}, "tool_choice", "goes with `tools`"),
    ({"tool_choice": {"type": "tool", "name": "look"}}, "tool_choice", "goes with `tools`"),
    ({"tools": [LOOK_TOOL], "tool_choice": {"type": "tool", "name": "smell"}}, "tool_choice.name",
     "no tool 'smell'"),
    ({"tools": [LOOK_TOOL], "tool_choice": {"type": "all"}}, "tool_choice.type", "auto, any"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens", "1024"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "thinking.budget_tokens",
     "less than `max_tokens`"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort", "low, medium"),
    ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type",
     "json_schema"),
    ({"service_tier": "flex"}, "service_tier", "auto or standard_only"),
    ({"speed": "slow"}, "speed", "standard or fast"),
    ({"thread": {"type": "create"}}, "thread", "send the whole one: leave `thread` out"),
    ({"container": "c"}, "container", "no containers here: leave `container` out"),
    ({"inference_geo": "eu"}, "inference_geo", "not known here"),
    ({"context_management": {"edits": [{"keep": 1}]}}, "context_management.edits[0].type",
     "is missing"),
    ({"mixtura": {"layer": 2}}, "mixtura", "unknown field `layer`; it can be proposals, mixture"),
    ({"mixtura": {"consult": "never"}}, "mixtura.consult", "turn or always"),
    ({"mixtura": {"layers": "two"}}, "mixtura.layers", "expected `int"),
    ({"messages": CALLED}, "messages[1].content[0]", "has no tool_result in the next turn"),
    ({"messages": [*CALLED, {"role": "user", "content": "Well?"}, assistant(text("No."))]},
     "messages[1].content[0]", "has no tool_result"),
    ({"messages": [*CALLED, user(result("other"))]}, "messages[2].content[0].tool_use_id",
     "answers a tool_use of the turn before"),
    ({"messages": [*CALLED, user(result(), result())]}, "messages[2].content[1].tool_use_id",
     "once"),
    ({"messages": [user(LOOKED)]}, "messages[0].content[0]", "belongs to the assistant"),
    ({"messages": [{"role": "system", "content": [LOOKED | {"type": "thinking", "thinking": ""}]}]},
     "messages[0].content[0]", "text only"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param", "said"), MESSAGES_REFUSED)
def test_messages_refuses_what_it_cannot_take_by_name(change, param, said):
    body = change if isinstance(change, bytes) else without(ASKED | change)

    error = refused(MESSAGES, body)

    assert error.status == 400
    assert error.param == param
    assert said in error.message
    assert param is None or f"`{param}`" in error.message
    assert "\n" not in error.message


# ---- OpenAI's responses: a request

RESPONSES = ResponsesDialect()
OWN_TOOL = {"type": "function", "name": "look", "parameters": SCHEMA}
FC = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": LOOK.arguments}
FCO = {"type": "function_call_output", "call_id": "call_1", "output": "It is blue."}


def entered(given: Any, **more: Any) -> Request:
    return read(RESPONSES, {"model": "m", "input": given} | more).request


def test_a_text_with_its_sampling_is_read():
    body = {
        "model": "m",
        "input": "Why?",
        "instructions": "Be brief.",
        "max_output_tokens": 64,
        "temperature": 1.5,
        "top_p": 0.9,
        "stream": True,
        "store": True,
        "truncation": "disabled",
        "include": ["reasoning.encrypted_content"],
        "metadata": {"of": "mine"},
        "prompt_cache_key": "k",
        "previous_response_id": None,
        "background": False,
        "service_tier": "auto",
        "some_day": 1,
        "mixtura": {"max_cost": 0.5},
    }

    call = read(RESPONSES, body)

    assert call.request == Request(
        (Message("system", "Be brief."), Message("user", "Why?")), Sampling(1.5, 0.9, 64)
    )
    assert (call.model, call.stream, call.n, call.body) == ("m", True, 1, body)
    assert call.wish == MixtureOptions(max_cost=0.5)


def test_items_are_messages_with_their_parts():
    asked = entered(
        [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Compare."},
                    {"type": "input_image", "image_url": "https://a.example/a.png"},
                    {"type": "input_image", "image_url": "data:image/png;base64,", "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Alike.", "annotations": []}],
            },
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hm."}]},
        ]
    )

    assert asked.messages == (
        Message("developer", "Be brief."),
        Message(
            "user",
            (
                TextPart("Compare."),
                ImagePart("https://a.example/a.png"),
                ImagePart("data:image/png;base64,", "low"),
                OtherPart({"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}}),
            ),
        ),
        Message("assistant", "Alike."),
        Message("assistant", "No."),
        Message("user", "Hm."),
    )


def test_what_an_assistant_says_and_calls_is_one_message():
    said = {"role": "assistant", "content": "I shall look."}
    second, out = FC | {"call_id": "call_2"}, FCO | {"call_id": "call_2"}
    parts = [{"type": "input_text", "text": "It is"}, {"type": "input_text", "text": "blue."}]
    ours = Message("assistant", "I shall look.", (LOOK, replace(LOOK, id="call_2")))

    for items in ([said, FC, second], [FC, said, second], [FC, second, said]):
        asked = entered([*items, FCO, out | {"output": parts}], tools=[OWN_TOOL])

        assert asked.messages == (
            ours,
            Message("tool", "It is blue.", tool_call_id="call_1"),
            Message("tool", "It is\nblue.", tool_call_id="call_2"),
        )


def test_functions_are_tools_in_the_words_of_chat_completions():
    tool = OWN_TOOL | {"description": "Looks.", "strict": True}
    asked = entered("Why?", tools=[tool], parallel_tool_calls=False)

    described = {"name": "look", "description": "Looks.", "parameters": SCHEMA, "strict": True}
    assert asked.tools == ({"type": "function", "function": described},)
    assert asked.extra == {"parallel_tool_calls": False}


@pytest.mark.parametrize(
    ("choice", "ours"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "look"}],
            },
            "required",
        ),
    ],
)
def test_every_choice_of_a_tool_has_its_counterpart(choice, ours):
    smell = OWN_TOOL | {"name": "smell"}
    asked = entered("Why?", tools=[OWN_TOOL, smell], tool_choice=choice)

    assert asked.tool_choice == ours
    shown = [tool["function"]["name"] for tool in asked.tools]
    assert shown == (
        ["look"] if "allowed_tools" in choice or len(choice) == 3 else ["look", "smell"]
    )


@pytest.mark.parametrize(
    ("asked", "ours"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "sky", "schema": SCHEMA, "strict": True},
            {
                "type": "json_schema",
                "json_schema": {"name": "sky", "schema": SCHEMA, "strict": True},
            },
        ),
    ],
)
def test_a_text_format_is_a_response_format(asked, ours):
    assert entered("Why?", text={"format": asked}).response_format == ours


def test_what_has_no_word_of_ours_is_handed_to_whoever_writes_the_answer():
    asked = entered(
        "Why?",
        text={"verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        top_logprobs=3,
        include=["message.output_text.logprobs"],
        service_tier="flex",
    )

    assert asked.extra == {
        "reasoning_effort": "high",
        "verbosity": "low",
        "logprobs": True,
        "top_logprobs": 3,
        "service_tier": "flex",
    }


FILE = {"type": "input_file", "file_id": "f"}
RESPONSES_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, "model", "expected `str`"),
    ({"model": GONE}, "model", "`model` is missing"),
    ({"input": GONE}, "input", "`input` is missing"),
    ({"input": None}, "input", "expected"),
    ({"input": []}, "input", "length >= 1"),
    ({"input": [3]}, "input[0]", "expected `object`"),
    ({"input": [{"type": "item_reference", "id": 3}]}, "input[0].id", "the id of an item"),
    ({"input": [{"type": "dance"}]}, "input[0].type", "custom_tool_call"),
    ({"input": [{"content": "x"}]}, "input[0].type", "is missing"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "user, assistant, system"),
    ({"input": [{"role": "user"}]}, "input[0].content", "is missing"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
     "input[0].content[0].type", "input_text"),
    ({"input": [{"role": "user", "content": [FILE]}]}, "input[0].content[0].file_id",
     "no files are kept"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
     "input[0].content[0].file_id", "no files are kept"),
    ({"input": [FC, FCO | {"output": [{"type": "input_file", "file_url": "https://a"}]}]},
     "input[1].output[0].file_url", "no files are fetched"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "a.png"}]}]},
     "input[0].content[0].image_url", "https?"),
    ({"input": [FC]}, "input[0].call_id", "has no function_call_output"),
    ({"input": [FCO]}, "input[0].call_id", "no function_call 'call_1' before"),
    ({"input": [FC, FC, FCO]}, "input[1].call_id", "there is a function_call"),
    ({"temperature": 2.5}, "temperature", "<= 2"),
    ({"top_p": 2}, "top_p", "<= 1"),
    ({"max_output_tokens": 0}, "max_output_tokens", ">= 1"),
    ({"tools": [{}]}, "tools[0].type", "is missing"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "is missing"),
    ({"tools": [OWN_TOOL, OWN_TOOL]}, "tools[1].name", "two tools called 'look'"),
    ({"tool_choice": "required"}, "tool_choice", "goes with `tools`"),
    ({"tool_choice": "any"}, "tool_choice", "none, auto or required"),
    ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice", "wants mcp:x"),
    ({"tool_choice": {"type": "function", "name": "smell"}}, "tool_choice.name", "no tool 'smell'"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "auto",
                      "tools": [{"type": "function", "name": "smell"}]}},
     "tool_choice.tools", "no tool 'smell'"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type", "json_schema"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema", "missing"),
    ({"text": {"verbosity": "huge"}}, "text.verbosity", "low, medium or high"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "none, minimal"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "standard"),
    ({"truncation": "always"}, "truncation", "auto or disabled"),
    ({"include": ["everything"]}, "include[0]", "message.output_text.logprobs"),
    ({"metadata": {"a": 1}}, "metadata[...]", "expected `str`"),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "length <= 16"),
    ({"previous_response_id": 7}, "previous_response_id", "the id of a response"),
    ({"conversation": {"id": "c"}}, "conversation", "leave `conversation` out"),
    ({"background": True}, "background", "leave `background` out"),
    ({"prompt": {"id": "p"}}, "prompt", "no prompt templates"),
    ({"moderation": {"model": "m"}}, "moderation", "leave `moderation` out"),
    ({"context_management": [{}]}, "context_management[0].type", "is missing"),
    ({"mixtura": {"proposers": "m*2"}}, "mixtura.proposers", "expected `array"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param", "said"), RESPONSES_REFUSED)
def test_responses_refuses_what_it_cannot_take_by_name(change, param, said):
    error = refused(RESPONSES, without({"model": "m", "input": "Why?"} | change))

    assert (error.status, error.kind) == (400, "invalid_request_error")
    assert error.param == param
    assert said in error.message
    assert "\n" not in error.message


def test_an_error_has_the_form_of_its_api():
    said = ApiError(400, "`model` is missing", code="missing", param="model")

    assert RESPONSES.error_body(said) == {
        "error": {
            "message": "`model` is missing",
            "type": "invalid_request_error",
            "param": "model",
            "code": "missing",
        }
    }
    assert MESSAGES.error_body(said) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "`model` is missing"},
        "request_id": None,
    }


# ---- a server that answers as it is told


@dataclass
class Played:
    """What the server answers, and what it was asked."""

    answer: Completion = field(default_factory=answered)
    pieces: tuple[str, ...] | None = None
    """How its text is cut; None: in one piece."""
    asides: bool = False
    refuses: ApiError | None = None
    breaks: ApiError | None = None
    """What ends the stream after its text."""
    calls: list[ApiCall] = field(default_factory=list)
    url: str = ""

    def frames(self, dialect: Dialect, call: ApiCall) -> Iterator[bytes]:
        writer = dialect.create_writer(call, ABOUT)
        yield writer.write_start()
        for piece in self.pieces if self.pieces is not None else (self.answer.text,):
            yield (
                writer.write_mixtura_event(ASIDE) + writer.write_keepalive() if self.asides else b""
            )
            yield writer.write_text(0, piece)
        yield writer.write_keepalive()
        if self.breaks:
            yield writer.write_error(self.breaks)
            return
        yield writer.write_finish(0, self.answer)
        yield writer.write_close([self.answer], SUMMARY)


class Handler(BaseHTTPRequestHandler):
    played: Played

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        dialect = next(d for d in (MESSAGES, RESPONSES) if d.path == path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.played.refuses:
                raise self.played.refuses
            call = dialect.parse_request(body)
            self.played.calls.append(call)
            if not call.stream:
                self._json(200, dialect.response_body(call, [self.played.answer], ABOUT, SUMMARY))
                return
        except ApiError as error:
            self._json(error.status, dialect.error_body(error))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in self.played.frames(dialect, call):
            self.wfile.write(piece)

    def _json(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(played: Played) -> Iterator[Played]:
    handler = type("Bound", (Handler,), {"played": played})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    played.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def claude(**played: Any) -> Iterator[tuple[anthropic.Anthropic, Played]]:
    """Anthropic's client of such a server."""
    with (
        serving(Played(**played)) as server,
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client,
    ):
        yield client, server


@contextmanager
def gpt(**played: Any) -> Iterator[tuple[openai.OpenAI, Played]]:
    """OpenAI's client of such a server."""
    with (
        serving(Played(**played)) as server,
        openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client,
    ):
        yield client, server


def frames(dialect: Dialect, played: Played, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of every event that is written, comments left out."""
    call = read(dialect, body | {"stream": True})
    written = b"".join(played.frames(dialect, call))
    return [json.loads(data) for data in SseParser().feed(written)]


HELLO: dict[str, Any] = {
    "model": "m",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Why?"}],
}
SPENT = {
    "input_tokens": 60,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 10,
    "output_tokens": 20,
}


# ---- Anthropic's client


def test_their_client_reads_a_message_and_every_field_is_what_they_declare():
    with claude() as (client, _):
        message = client.messages.create(**HELLO)

    strict = TheirMessage.model_validate(message.to_dict(), strict=True)
    assert strict.id == "msg_20261122a7"
    assert [block.text for block in strict.content if block.type == "text"] == ["Because."]
    assert (strict.stop_reason, strict.stop_sequence, strict.model) == ("end_turn", None, "m")
    assert strict.usage.to_dict() == SPENT | {"output_tokens_details": {"thinking_tokens": 5}}
    assert message.to_dict()["mixtura"] == SUMMARY


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answered(), "end_turn"),
        (answered(finish_reason="length"), "max_tokens"),
        (answered(finish_reason="content_filter"), "refusal"),
        (answered("", LOOK), "tool_use"),
        (answered("", LOOK, finish_reason="stop"), "tool_use"),
        (answered("", LOOK, finish_reason="length"), "max_tokens"),
        (answered(finish_reason="tool_calls"), "end_turn"),
    ],
)
def test_a_message_says_why_it_ended_the_same_whole_and_streamed(answer, reason):
    with claude(answer=answer) as (client, _):
        whole = client.messages.create(**HELLO)
        with client.messages.stream(**HELLO) as stream:
            streamed = stream.get_final_message()

    assert (whole.stop_reason, streamed.stop_reason) == (reason, reason)
    assert bool(whole.stop_details) == bool(streamed.stop_details) == (reason == "refusal")


def test_their_client_s_tools_are_called_whole_and_streamed():
    answer = answered(
        "Let me see.", LOOK, ToolCall("", "look", ""), ToolCall("call_1", "look", "{}")
    )
    tools = [LOOK_TOOL]
    with claude(answer=answer, pieces=("Let me", " see.")) as (client, server):
        whole = client.messages.create(**HELLO, tools=tools, tool_choice={"type": "any"})
        with client.messages.stream(**HELLO, tools=tools) as stream:
            streamed = stream.get_final_message()
        conversation = [
            *HELLO["messages"],
            whole.to_param(),
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": block.id, "content": "Blue."}
                for block in whole.content if block.type == "tool_use"
            ]},
        ]  # fmt: skip
        client.messages.create(**HELLO | {"messages": conversation}, tools=tools)
        sent_back = server.calls[-1].request.messages

    blocks = [block.to_dict() for block in whole.content]
    assert blocks == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "the sky"}},
        {"type": "tool_use", "id": "toolu_20261122a71", "name": "look", "input": {}},
        {"type": "tool_use", "id": "toolu_20261122a72", "name": "look", "input": {}},
    ]
    TheirMessage.model_validate(streamed.to_dict(), strict=True)
    assert [block.to_dict() for block in streamed.content] == blocks
    assert [m.role for m in sent_back] == ["user", "assistant", "tool", "tool", "tool"]


def test_their_client_streams_exactly_the_events_of_the_api():
    events = []
    with claude(pieces=("Be", "", "cause.")) as (client, _):
        with client.messages.create(**HELLO, stream=True) as stream:
            events = [event.type for event in stream]
        with client.messages.stream(**HELLO) as helper:
            heard_text = list(helper.text_stream)
            final = helper.get_final_message()

    assert events == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert heard_text == ["Be", "cause."]
    assert final.usage.to_dict() == SPENT | {"output_tokens_details": {"thinking_tokens": 5}}
    assert (final.id, final.stop_reason) == ("msg_20261122a7", "end_turn")


def test_their_client_never_sees_what_is_for_ours():
    with claude(asides=True, pieces=("Be", "cause.")) as (client, _):
        with client.messages.create(**HELLO, stream=True) as stream:
            seen = [event.to_dict() for event in stream]
        with client.messages.stream(**HELLO) as helper:
            kinds = {event.type for event in helper}
            assert helper.get_final_text() == "Because."

    assert not any("mixtura" in event for event in seen)
    assert "ping" not in kinds
    written = frames(MESSAGES, Played(asides=True), ASKED)
    told = [data for data in written if "mixtura" in data]
    assert [data["type"] for data in told] == ["ping", "ping"]
    assert [data["mixtura"] for data in told] == [ASIDE, SUMMARY]


def test_their_client_parses_a_schema_whole_and_streamed():
    class Sky(BaseModel):
        colour: str
        clouds: int = 0

    answer = answered('{"colour": "blue", "clouds": 2}')
    with claude(answer=answer, pieces=('{"colour": "bl', 'ue", "clouds": 2}')) as (client, server):
        parsed = client.messages.parse(**HELLO, output_format=Sky).parsed_output
        with client.messages.stream(**HELLO, output_format=Sky) as stream:
            streamed = stream.get_final_message().parsed_output
        asked = server.calls[0].request.response_format

    assert parsed == streamed == Sky(colour="blue", clouds=2)
    assert asked["json_schema"]["schema"]["properties"]["colour"]["type"] == "string"


def test_thinking_can_be_asked_for_and_its_blocks_sent_back():
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    told = [*HELLO["messages"], assistant(thought, text("No.")), {"role": "user", "content": "Hm."}]
    with claude() as (client, server):
        client.messages.create(
            **HELLO | {"messages": told, "max_tokens": 4096},
            thinking={"type": "enabled", "budget_tokens": 2048},
        )
        asked = server.calls[0].request

    assert asked.messages[1] == Message("assistant", "No.")
    assert asked.extra["thinking"]["budget_tokens"] == 2048


CLAUDES_ERRORS = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (402, anthropic.APIStatusError, "billing_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.APIStatusError, "request_too_large"),
    (415, anthropic.APIStatusError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (502, anthropic.InternalServerError, "api_error"),
    (503, anthropic.InternalServerError, "overloaded_error"),
    (504, anthropic.InternalServerError, "timeout_error"),
    (529, anthropic.InternalServerError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind", "named"), CLAUDES_ERRORS)
def test_their_client_raises_the_right_error(status, kind, named):
    with claude(refuses=ApiError(status, "no, because")) as (client, _):
        with pytest.raises(kind) as whole:
            client.messages.create(**HELLO)
        with pytest.raises(kind) as streamed, client.messages.stream(**HELLO) as stream:
            stream.until_done()

    for error in (whole.value, streamed.value):
        assert error.status_code == status
        assert error.body["error"] == {"type": named, "message": "no, because"}


def test_an_error_in_the_middle_of_a_stream_reaches_their_client():
    with claude(breaks=ApiError(503, "gone", kind="api_error"), pieces=("Be",)) as (client, _):
        heard_text = []
        with pytest.raises(anthropic.APIStatusError) as error, client.messages.stream(**HELLO) as s:
            heard_text.extend(s.text_stream)

    assert heard_text == ["Be"]
    assert error.value.body == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "gone"},
        "request_id": "req_20261122a7",
    }


def test_arguments_that_are_no_object_are_an_error_and_never_an_empty_input():
    answer = answered("See:", replace(LOOK, arguments='["the sky"]'))
    with claude(answer=answer) as (client, _):
        with pytest.raises(anthropic.InternalServerError, match="no JSON object"):
            client.messages.create(**HELLO)
        with (
            pytest.raises(anthropic.APIStatusError, match="no JSON object"),
            client.messages.stream(**HELLO) as stream,
        ):
            stream.until_done()


def test_nothing_is_written_after_an_error_that_the_answer_itself_brought():
    answer = answered("See:", replace(LOOK, arguments="the sky"))

    written = frames(MESSAGES, Played(answer=answer), ASKED)

    assert [data["type"] for data in written[-2:]] == ["content_block_stop", "error"]


def test_a_call_without_arguments_is_written_as_an_empty_object():
    written = frames(MESSAGES, Played(answer=answered("", ToolCall("a", "look", ""))), ASKED)

    deltas = [data["delta"] for data in written if data["type"] == "content_block_delta"]
    assert deltas == [{"type": "input_json_delta", "partial_json": "{}"}]


def test_tokens_that_the_answer_does_not_keep_leave_its_calls_in_order():
    played: dict[str, Any] = {"answer": answered("", LOOK), "pieces": ("No,",)}
    with claude(**played) as (client, _), client.messages.stream(**HELLO) as stream:
        blocks = [block.type for block in stream.get_final_message().content]
    asked: dict[str, Any] = {"model": "m", "input": "Why?"}
    with gpt(**played) as (client, _), client.responses.stream(**asked) as other:
        items = [item.type for item in other.get_final_response().output]

    assert blocks == ["text", "tool_use"]
    assert items == ["message", "function_call"]


def test_their_tool_runner_asks_for_a_thread_and_goes_on_without_one():
    asked: list[str] = []
    with claude(answer=answered("Let me see.", LOOK)) as (client, server):

        @anthropic.beta_tool
        def look(at: str) -> str:
            """Looks.

            Args:
                at: Where.
            """
            asked.append(at)
            server.answer = answered("Blue.")
            return "blue"

        final = client.beta.messages.tool_runner(**HELLO, tools=[look]).until_done()
        sent = server.calls[-1].request

    assert asked == ["the sky"]
    assert [block.text for block in final.content if block.type == "text"] == ["Blue."]
    assert [message.role for message in sent.messages] == ["user", "assistant", "tool"]
    assert sent.messages[-1].content == "blue"


def test_a_call_that_max_tokens_cut_off_is_left_out():
    answer = answered("See:", LOOK, ToolCall("b", "look", '{"at": "t'), finish_reason="length")
    with claude(answer=answer) as (client, _):
        whole = client.messages.create(**HELLO)
        with client.messages.stream(**HELLO) as stream:
            streamed = stream.get_final_message()

    for message in (whole, streamed):
        assert [block.type for block in message.content] == ["text", "tool_use"]
        assert message.stop_reason == "max_tokens"


# ---- OpenAI's client


def test_their_client_reads_a_response_and_every_field_is_what_they_declare():
    with gpt() as (client, _):
        response = client.responses.create(
            model="m",
            input="Why?",
            instructions="Be brief.",
            tools=[OWN_TOOL | {"strict": None}],
            metadata={"of": "mine"},
            temperature=0.5,
            reasoning={"effort": "low"},
        )

    strict = TheirResponse.model_validate(json.loads(response.to_json()))
    assert (strict.id, strict.created_at) == ("resp_20261122a7", 1_790_000_000)
    assert (strict.status, strict.completed_at) == ("completed", 1_790_000_002)
    assert strict.output_text == "Because."
    assert (strict.instructions, strict.metadata) == ("Be brief.", {"of": "mine"})
    assert (strict.temperature, strict.parallel_tool_calls) == (0.5, True)
    assert strict.tools[0].to_dict()["name"] == "look"
    assert strict.text is not None
    assert strict.text.to_dict() == {"format": {"type": "text"}}
    assert strict.usage is not None
    assert strict.usage.to_dict() == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    }
    assert response.to_dict()["mixtura"] == SUMMARY


def test_their_client_streams_exactly_the_events_of_responses():
    asked: dict[str, Any] = {"model": "m", "input": "Why?", "stream": True}
    with (
        gpt(pieces=("Be", "", "cause.")) as (client, _),
        client.responses.create(**asked) as stream,
    ):
        events = list(stream)

    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(10))
    for event in events:
        type(event).model_validate(json.loads(event.to_json()))
    assert TheirResponse.model_validate(json.loads(events[0].response.to_json())).output == []


def test_their_streaming_helper_ends_with_the_same_response():
    answer = answered(
        "Let me see.", LOOK, ToolCall("", "look", "{}"), ToolCall("call_1", "look", "")
    )
    asked: dict[str, Any] = {"model": "m", "input": "Why?", "tools": [OWN_TOOL]}
    with gpt(answer=answer, pieces=("Let me", " see.")) as (client, _):
        whole = client.responses.create(**asked)
        with client.responses.stream(**asked) as stream:
            events = list(stream)
            final = stream.get_final_response()

    assert [e.snapshot for e in events if e.type == "response.output_text.delta"] == [
        "Let me",
        "Let me see.",
    ]
    written = [e for e in events if e.type == "response.function_call_arguments.delta"]
    assert [e.snapshot for e in written] == [LOOK.arguments, "{}", ""]
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(c.call_id, c.arguments) for c in calls] == [
        ("call_1", LOOK.arguments),
        ("call_20261122a71", "{}"),
        ("call_20261122a72", ""),
    ]
    assert len({item.id for item in final.output}) == 4
    assert [i.id for i in final.output] == [i.id for i in whole.output]
    assert final.output_text == whole.output_text == "Let me see."
    assert final.usage == whole.usage


def test_their_client_sends_an_answer_s_items_back_as_input():
    asked: dict[str, Any] = {"model": "m", "tools": [OWN_TOOL]}
    with gpt(answer=answered("Let me see.", LOOK)) as (client, server):
        first = client.responses.create(input="Why?", **asked)
        history = [{"role": "user", "content": "Why?"}, *first.output, FCO]
        client.responses.create(input=history, **asked)
        sent_back = server.calls[-1].request.messages

    assert sent_back == (
        Message("user", "Why?"),
        Message("assistant", "Let me see.", (LOOK,)),
        Message("tool", "It is blue.", tool_call_id="call_1"),
    )


def test_a_tool_alone_has_no_message_beside_it():
    with gpt(answer=answered("", LOOK), pieces=()) as (client, _):
        whole = client.responses.create(model="m", input="Why?")
        with client.responses.stream(model="m", input="Why?") as stream:
            final = stream.get_final_response()

    for response in (whole, final):
        assert [item.type for item in response.output] == ["function_call"]


def test_their_client_parses_a_model_whole_and_streamed():
    class Sky(BaseModel):
        colour: str

    answer = answered('{"colour": "blue"}')
    with gpt(answer=answer, pieces=('{"colour": ', '"blue"}')) as (client, server):
        parsed = client.responses.parse(model="m", input="Why?", text_format=Sky).output_parsed
        with client.responses.stream(model="m", input="Why?", text_format=Sky) as stream:
            streamed = stream.get_final_response().output_parsed
        asked = server.calls[0].request.response_format

    assert parsed == streamed == Sky(colour="blue")
    assert (asked["json_schema"]["name"], asked["json_schema"]["strict"]) == ("Sky", True)


def test_their_client_passes_what_is_for_ours_through_without_harm():
    with (
        gpt(asides=True, pieces=("Be", "cause.")) as (client, _),
        client.responses.stream(model="m", input="Why?") as stream,
    ):
        events = list(stream)
        assert stream.get_final_response().output_text == "Because."

    assert [event.sequence_number for event in events] == list(range(len(events)))
    ours = [event for event in events if event.type == "mixtura:event"]
    assert [event.mixtura for event in ours] == [ASIDE, ASIDE]


@pytest.mark.parametrize(
    ("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_off_is_incomplete(reason, why):
    with gpt(answer=answered(finish_reason=reason)) as (client, _):
        whole = client.responses.create(model="m", input="Why?")
        with client.responses.create(model="m", input="Why?", stream=True) as stream:
            last = list(stream)[-1]

    assert last.type == "response.incomplete"
    for response in (whole, last.response):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", why)
        assert response.output[0].status == "incomplete"
        assert response.output_text == "Because."
        assert "completed_at" not in response.to_dict(exclude_none=True)


def test_log_probabilities_stand_with_the_text():
    row = {"token": "Be", "bytes": [66, 101], "logprob": -0.1, "top_logprobs": []}
    with gpt(answer=answered(logprobs=(row,))) as (client, server):
        response = client.responses.create(
            model="m", input="Why?", include=["message.output_text.logprobs"]
        )
        asked = server.calls[0].request.extra

    assert response.output[0].content[0].logprobs[0].logprob == -0.1
    assert asked == {"logprobs": True}


GPTS_ERRORS = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (402, openai.APIStatusError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (413, openai.APIStatusError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
    (503, openai.InternalServerError),
    (504, openai.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind"), GPTS_ERRORS)
def test_the_other_client_raises_the_right_error(status, kind):
    with gpt(refuses=ApiError(status, "no, because", code="c", param="p")) as (client, _):
        with pytest.raises(kind) as whole:
            client.responses.create(model="m", input="Why?")
        with (
            pytest.raises(kind) as streamed,
            client.responses.stream(model="m", input="Why?") as stream,
        ):
            stream.until_done()

    for error in (whole.value, streamed.value):
        assert (error.status_code, error.code, error.param) == (status, "c", "p")
        assert "no, because" in str(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "server_error"), (429, "rate_limit_exceeded"), (400, "invalid_prompt")],
)
def test_an_error_in_the_middle_of_a_stream_ends_it_as_failed(status, code):
    broken = ApiError(status, "gone", code="upstream_unavailable")
    with gpt(breaks=broken, pieces=("Be",)) as (client, _):
        heard_text = []
        with (
            pytest.raises(openai.APIError, match="gone") as error,
            client.responses.stream(model="m", input="Why?") as stream,
        ):
            heard_text.extend(e.delta for e in stream if e.type == "response.output_text.delta")

    assert heard_text == ["Be"]
    assert error.value.code == "upstream_unavailable"
    written = frames(RESPONSES, Played(breaks=broken), {"model": "m", "input": "Why?"})
    flat, failed = written[-2:]
    assert (flat["type"], flat["message"], flat["code"]) == ("error", "gone", broken.code)
    assert failed["type"] == "response.failed"
    assert TheirResponse.model_validate(failed["response"]).error.code == code


# ---- any text, cut anywhere; any body


def refusal(dialect: Dialect, body: dict[str, Any]) -> ApiError | None:
    try:
        read(dialect, body)
    except ApiError as error:
        return error
    return None


@settings(max_examples=20)
@given(st.lists(st.text(min_size=0), min_size=1, max_size=6))
def test_any_text_cut_anywhere_arrives_through_both_clients_as_it_was(pieces):
    whole = "".join(pieces)
    played: dict[str, Any] = {"answer": answered(whole), "pieces": tuple(pieces), "asides": True}

    with claude(**played) as (client, _), client.messages.stream(**HELLO) as messages:
        theirs = [b.text for b in messages.get_final_message().content]
    asked: dict[str, Any] = {"model": "m", "input": "Why?"}
    with gpt(**played) as (client, _), client.responses.stream(**asked) as responses:
        other = responses.get_final_response().output_text

    assert theirs == ([whole] if whole else [])
    assert other == whole


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)))  # fmt: skip
def test_no_body_whatever_ends_in_anything_but_a_call_or_a_refusal(junk):
    for dialect, good in ((MESSAGES, ASKED), (RESPONSES, {"model": "m", "input": "Why?"})):
        for body in (junk, good | junk, junk | dict.fromkeys(good, junk)):
            error = refusal(dialect, body)
            assert error is None or error.status == 400


@given(st.data())
def test_known_parameters_with_any_value_are_taken_or_refused(data):
    values = st.sampled_from(
        [None, 0, -1, 1.5, "", "x", True, [], ["x"], [{}], {}, {"type": "x"}, [{"type": "x"}], [[]]]
    )
    for dialect, good in ((MESSAGES, ASKED), (RESPONSES, {"model": "m", "input": "Why?"})):
        name = data.draw(st.sampled_from(dialect.REQUEST_TYPE.__struct_fields__))
        error = refusal(dialect, good | {name: data.draw(values)})
        assert error is None or (error.param or name).startswith(name)
