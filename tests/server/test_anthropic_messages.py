"""Anthropic's messages, served: what is read, and that their SDK agrees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anthropic
import pytest
from anthropic.types import Message as TheirMessage
from pydantic import BaseModel

from mixtura import ImagePart, Message, OtherPart, Request, Sampling, TextPart, ToolCall
from mixtura.server.apis.base import ApiError, MixtureOptions
from tests.support.api_server import (
    ASIDE,
    ASKED,
    GONE,
    HELLO,
    LOOK,
    MESSAGES,
    SCHEMA,
    SUMMARY,
    Played,
    answered,
    claude,
    frames,
    gpt,
    read,
    refused,
    without,
)

FUNCTION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
PIXEL = "iVBORw0KGgo="


# ---- Anthropic's messages: a request

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
    assert call.options == MixtureOptions(proposals=True, layers=3)


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


# ---- a server that answers as it is told

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
        with pytest.raises(anthropic.InternalServerError, match="not a JSON object"):
            client.messages.create(**HELLO)
        with (
            pytest.raises(anthropic.APIStatusError, match="not a JSON object"),
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
