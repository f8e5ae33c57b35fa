"""OpenAI's responses, served: what is read, and that their SDK agrees."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types.responses import Response as TheirResponse
from pydantic import BaseModel

from mixtura import ImagePart, Message, OtherPart, Request, Sampling, TextPart, ToolCall
from mixtura.server.apis.base import ApiError, MixtureOptions
from tests.support.api_server import (
    ASIDE,
    GONE,
    LOOK,
    RESPONSES,
    SCHEMA,
    SUMMARY,
    Played,
    answered,
    frames,
    gpt,
    read,
    refused,
    without,
)

# ---- OpenAI's responses: a request

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
    assert call.options == MixtureOptions(max_cost=0.5)


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
