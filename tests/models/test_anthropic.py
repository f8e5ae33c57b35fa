"""Anthropic's messages: what is sent, what an answer is, and that their own SDK agrees."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import (
    Charge,
    Completion,
    ContentFilterError,
    ContextOverflowError,
    EmptyAnswerError,
    ImagePart,
    Message,
    RejectedError,
    Request,
    Sampling,
    TextPart,
    Token,
    ToolCall,
    UnavailableError,
    Usage,
    ask,
)
from mixtura.config.config import load
from mixtura.core.call_ledger import open_ledger
from mixtura.core.model import unwrap_model
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.prompts.synthesis import envelope
from mixtura.protocols.anthropic.events import decode_event
from mixtura.protocols.anthropic.request import DEFAULT_MAX_TOKENS, request_json
from mixtura.protocols.anthropic.stream import MessagesStreamAccumulator
from mixtura.transport.client import Secret
from tests.conftest import run
from tests.support.upstream import Script, Wire, running

ASK = ask("Why?")
LONG = "All that was said before. " * 200
MARK = {"type": "ephemeral"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


def sent(request, **options):
    return request_json(request, "m", **options)


def text(words, **more):
    return {"type": "text", "text": words, **more}


# ---- what is sent


def test_a_question_with_its_sampling():
    sampling = Sampling(0.5, 0.9, 100, ("END",), seed=7)

    assert sent(ask("Why?", system="Be brief.", sampling=sampling)) == {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [text("Why?")]}],
        "system": [text("Be brief.")],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
    }


def test_max_tokens_is_always_there_and_a_temperature_never_above_one():
    body = sent(ask("Why?", sampling=Sampling(temperature=1.7)))

    assert body["max_tokens"] == DEFAULT_MAX_TOKENS
    assert body["temperature"] == 1.0


def test_instructions_in_front_are_lifted_later_ones_stay_and_neighbours_become_one_message():
    conversation = (
        Message("system", "Be brief."), Message("user", "Why?"), Message("user", "Tell me."),
        Message("developer", "And kind."), Message("assistant", "Because."),
        Message("assistant", ""), Message("user", "Why?"),
    )  # fmt: skip
    body = sent(Request(conversation))

    assert body["system"] == [text("Be brief.")]
    assert body["messages"] == [
        {"role": "user", "content": [text("Why?"), text("Tell me."), text("And kind.")]},
        {"role": "assistant", "content": [text("Because.")]},
        {"role": "user", "content": [text("Why?")]},
    ]


def test_tool_calls_and_their_results():
    calls = (ToolCall("1", "look", '{"at": "it"}'), ToolCall("2", "look", ""))
    conversation = (
        Message("user", "Look."),
        Message("assistant", "I do.", calls),
        Message("tool", "a cat", tool_call_id="1"),
        Message("tool", "", tool_call_id="2"),
        Message("user", "And?"),
    )  # fmt: skip
    body = sent(Request(conversation, tools=(TOOL,), tool_choice="required"))

    assert body["messages"][1]["content"][1:] == [
        {"type": "tool_use", "id": "1", "name": "look", "input": {"at": "it"}},
        {"type": "tool_use", "id": "2", "name": "look", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "1", "content": [text("a cat")]},
        {"type": "tool_result", "tool_use_id": "2"},
        text("And?"),
    ]
    assert body["tool_choice"] == {"type": "any"}
    function = TOOL["function"]
    assert body["tools"] == [
        {"name": "look", "description": "Looks.", "input_schema": function["parameters"]}
    ]


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "look"}}, {"type": "tool", "name": "look"}),
    ],
)
def test_every_choice_of_tools_has_a_counterpart(choice, theirs):
    assert sent(Request(ASK.messages, tools=(TOOL,), tool_choice=choice))["tool_choice"] == theirs


def test_pictures_by_address_and_as_data():
    parts = (
        TextPart("What?"),
        ImagePart("https://a/b.png"),
        ImagePart("data:image/png;base64,QUI="),
    )
    blocks = sent(Request((Message("user", parts),)))["messages"][0]["content"]

    assert blocks[1:] == [
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUI="}},
    ]


def test_a_json_schema_is_asked_for_in_their_way():
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = sent(Request(ASK.messages, response_format=form))

    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(
    "request_",
    [
        Request(ASK.messages, response_format={"type": "json_object"}),
        Request((Message("user", (ImagePart("file:///etc/passwd"),)),)),
        Request((Message("assistant", "", (ToolCall("1", "look", "[1]"),)),)),
        Request(ASK.messages, tools=(TOOL,), tool_choice={"type": "allowed_tools"}),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(request_):
    with running() as upstream:
        with pytest.raises(RejectedError):
            run(Anthropic("m", upstream.base_url("anthropic")).complete(request_))
        assert not upstream.records


def test_the_prompt_cache_is_marked_after_instructions_and_history_and_never_at_the_drafts():
    conversation = (
        Message("system", LONG), Message("user", "One?"), Message("assistant", "One."),
        Message("user", "Two?"),
    )  # fmt: skip
    proposal = Completion(Message("assistant", "Two, says a draft."), "a")
    body = sent(envelope(Request(conversation), [proposal]))

    assert body["system"][-1]["cache_control"] == MARK
    assert body["messages"][1]["content"][-1] == text("One.", cache_control=MARK)
    assert "draft" in body["messages"][2]["content"][-1]["text"]
    assert json.dumps(body).count("cache_control") == 2


def test_what_is_short_is_not_marked():
    conversation = (Message("system", "Be brief."), *ASK.messages)

    assert "cache_control" not in json.dumps(sent(Request(conversation)))


def test_a_long_first_question_has_no_history_to_mark():
    assert "cache_control" not in json.dumps(sent(ask(LONG)))


def test_the_key_and_the_version_go_into_their_headers():
    with running() as upstream:
        model = Anthropic("m", upstream.base_url("anthropic"), api_key=Secret("a-key"))
        run(model.complete(ASK))
        headers = upstream.records[0].headers

    assert headers["x-api-key"] == "a-key"
    assert headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in headers


# ---- what an answer is


def assembled(*events):
    so_far = MessagesStreamAccumulator()
    for data in events:
        so_far.add_chunk(decode_event(json.dumps(data).encode()))
    return so_far


def started(**usage):
    return {"type": "message_start", "message": {"usage": usage}}


def delta(kind, **what):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **what}}


def stopped(reason, **usage):
    usage = {"usage": usage} if usage else {}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, **usage}


def test_a_prompt_s_tokens_are_the_sum_of_what_was_read_written_and_neither():
    so_far = assembled(
        started(input_tokens=5, cache_read_input_tokens=100, cache_creation_input_tokens=20,
                output_tokens=1),
        delta("text_delta", text="Because."),
        stopped("end_turn", output_tokens=9, output_tokens_details={"thinking_tokens": 6}),
    )  # fmt: skip
    answer = so_far.build_completion("m", ASK)

    assert answer.usage == Usage(
        125, 9, cached_tokens=100, cache_write_tokens=20, reasoning_tokens=6
    )


@pytest.mark.parametrize("told", [-1000, 0])
def test_tokens_that_cannot_be_are_counted_here_and_said_to_be(told):
    so_far = assembled(
        started(input_tokens=told, output_tokens=told),
        delta("text_delta", text="Because."),
        stopped("end_turn", output_tokens=told, output_tokens_details={"thinking_tokens": 7}),
    )
    usage = so_far.build_completion("m", ASK).usage

    assert usage.estimated
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.reasoning_tokens == 0


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"), ("pause_turn", "length"),
        ("something_new", "length"), ("tool_use", "length"),  # the call never came
    ],
)  # fmt: skip
def test_every_way_to_stop(theirs, ours):
    so_far = assembled(delta("text_delta", text="Because."), stopped(theirs))

    assert so_far.build_completion("m", ASK).finish_reason == ours


def test_a_refusal_is_a_content_filter_and_says_its_category():
    refused = stopped("refusal")
    refused["delta"]["stop_details"] = {"type": "refusal", "category": "cyber"}
    so_far = assembled(delta("text_delta", text="I"), refused)

    with pytest.raises(ContentFilterError, match="cyber"):
        so_far.build_completion("m", ASK)
    assert so_far.final_charge


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("end_turn", EmptyAnswerError),
        ("model_context_window_exceeded", ContextOverflowError),
        ("refusal", ContentFilterError),
    ],
)
def test_nothing_is_no_answer(reason, kind):
    with pytest.raises(kind):
        assembled(started(input_tokens=1), stopped(reason)).build_completion("m", ASK)


def test_thinking_is_reasoning_and_a_signature_is_nothing():
    so_far = assembled(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
        delta("thinking_delta", thinking="hm"),
        delta("signature_delta", signature="x"),
        delta("text_delta", text="<think>stays</think>"),
        {"type": "ping"},
        {"type": "a_later_invention"},
        stopped("end_turn"),
    )
    answer = so_far.build_completion("m", ASK)

    assert (answer.reasoning, answer.text) == ("hm", "<think>stays</think>")


def test_tool_calls_come_in_pieces_of_json_or_without_any():
    def call(index, name):
        block = {"type": "tool_use", "id": f"t{index}", "name": name, "input": {}}
        return {"type": "content_block_start", "index": index, "content_block": block}

    def piece(index, part):
        return delta("input_json_delta", partial_json=part) | {"index": index}

    so_far = assembled(
        call(1, "look"), piece(1, '{"at":'), call(2, "stop"), piece(1, ' "it"}'),
        stopped("tool_use"),
    )  # fmt: skip

    assert so_far.build_completion("m", ASK).message.tool_calls == (
        ToolCall("t1", "look", '{"at": "it"}'), ToolCall("t2", "stop", "{}"),
    )  # fmt: skip


def test_a_stream_that_breaks_off_is_no_answer_and_its_tokens_are_estimated():
    async def cut(wire: Wire) -> None:
        await wire.head()
        await wire.send(wire.voice.opening())
        await wire.say("Because ", "of ")
        await wire.end()

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=cut)
        with open_ledger() as ledger, pytest.raises(UnavailableError, match="cut off"):
            run(Anthropic("m", upstream.base_url("anthropic")).complete(ASK))
    (charge,) = ledger.charges
    assert charge.outcome == "failed"
    assert charge.usage.estimated
    assert charge.usage.completion_tokens >= 2


def test_an_error_inside_the_stream_is_what_it_says():
    async def overloaded(wire: Wire) -> None:
        await wire.head()
        await wire.send(wire.voice.error_frame("overloaded", "Overloaded"))
        await wire.end()

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=overloaded)
        with pytest.raises(UnavailableError, match="Overloaded"):
            run(Anthropic("m", upstream.base_url("anthropic")).complete(ASK))


@given(st.text(min_size=1), st.integers(1, 5))
def test_what_is_said_arrives_whatever_it_is_and_however_it_is_cut(words, size):
    pieces = [words[i : i + size] for i in range(0, len(words), size)]
    so_far = assembled(*(delta("text_delta", text=p) for p in pieces), stopped("end_turn"))
    so_far.take_rest()

    assert "".join(so_far.answer_parts) == words


# ---- their own SDKs


def both(script, adapter, dialect):
    with running() as upstream:
        upstream.scripts["m"] = script
        events = []
        url = upstream.base_url(dialect)
        ours = run(adapter("m", url, api_key=Secret("k")).complete(ASK, events.append))
        yield ours, events, url


def test_the_anthropic_sdk_reads_the_same_server_the_same_way():
    from anthropic import Anthropic as Theirs

    script = Script("Because of the light.", thoughts="hm, well", tool=("look", '{"at": "it"}'),
                    finish="tool_calls", cached=1)  # fmt: skip
    for ours, events, url in both(script, Anthropic, "anthropic"):
        with (
            Theirs(api_key="k", base_url=url.removesuffix("/v1"), max_retries=0) as client,
            client.messages.stream(
                model="m", max_tokens=100, messages=[{"role": "user", "content": "Why?"}]
            ) as stream,
        ):
            theirs = stream.get_final_message()
        blocks = {block.type: block for block in theirs.content}
        assert blocks["text"].text == ours.text
        assert blocks["thinking"].thinking == ours.reasoning
        (call,) = ours.message.tool_calls
        assert (blocks["tool_use"].name, blocks["tool_use"].input) == (
            call.name, json.loads(call.arguments),
        )  # fmt: skip
        usage = theirs.usage
        assert ours.usage.prompt_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert ours.usage.cached_tokens == usage.cache_read_input_tokens
        assert ours.usage.completion_tokens == usage.output_tokens
        assert "".join(e.text for e in events if isinstance(e, Token)) == ours.reasoning + ours.text


def test_the_openai_sdk_reads_the_same_server_the_same_way():
    from openai import OpenAI as Theirs

    script = Script("Because of the light.", thoughts="hm, well", cached=1)
    for ours, _, url in both(script, OpenAI, "openai"):
        with Theirs(api_key="k", base_url=url, max_retries=0) as client:
            chunks = list(
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Why?"}], stream=True,
                    stream_options={"include_usage": True},
                )
            )  # fmt: skip
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        usage = next(c.usage for c in chunks if c.usage)
        assert said == ours.text
        assert usage.prompt_tokens == ours.usage.prompt_tokens
        assert usage.completion_tokens == ours.usage.completion_tokens


# ---- by name


def test_anthropic_and_azure_are_providers_like_the_others(tmp_path):
    environ = {
        "ANTHROPIC_API_KEY": "k1", "AZURE_OPENAI_API_KEY": "k2",
        "AZURE_OPENAI_ENDPOINT": "https://us.openai.azure.com/",
    }  # fmt: skip
    config = load(None, environ=environ, folder=tmp_path, home=tmp_path)

    def innermost(name):
        model = config.model(name)
        while hasattr(model, "inner_model"):
            model = model.inner_model
        return model

    claude, azure = innermost("anthropic/claude-sonnet-5-5"), innermost("azure/our-deployment")
    assert isinstance(claude, Anthropic)
    assert claude._url == "https://api.anthropic.com/v1/messages"
    assert isinstance(azure, OpenAI)
    assert azure._url == "https://us.openai.azure.com/openai/v1/chat/completions"
    assert azure._request_headers({}) == {"api-key": "k2"}


DEPLOYED = "https://us.openai.azure.com/openai/deployments/ours"
COMPLETIONS = f"{DEPLOYED}/chat/completions?api-version=2025-01-01-preview"


@pytest.mark.parametrize("endpoint", [COMPLETIONS, COMPLETIONS.replace("/chat/completions", "")])
def test_azures_address_of_a_deployment_is_taken_as_it_is_shown_there(endpoint, tmp_path):
    environ = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": endpoint}
    config = load(None, environ=environ, folder=tmp_path, home=tmp_path)

    assert unwrap_model(config.model("azure/ours"))._url == COMPLETIONS


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/chat/completions/"])
def test_an_address_may_have_the_path_that_follows_it(path):
    assert OpenAI("m", f"http://host{path}")._url == "http://host/v1/chat/completions"


def test_a_ledger_s_line_names_the_model_as_we_do():
    with running() as upstream:
        model = Anthropic("m", upstream.base_url("anthropic"), name="ours")
        answer = run(model.complete(ASK))

    assert [type(c) for c in answer.charges] == [Charge]
    assert answer.charges[0].model == answer.model == "ours"
