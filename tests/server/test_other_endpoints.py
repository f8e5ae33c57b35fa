"""Tokens counted, plain completions, log-probabilities in streams, and what is not served."""

from __future__ import annotations

import json
from hashlib import sha256

import anthropic
import openai
import pytest

from tests.support.serving import serving, team
from tests.support.upstream import Script, running

KEY = "a word that opens the door"
LOCK = f"""
[serve.keys.tester]
sha256 = "{sha256(KEY.encode()).hexdigest()}"
models = ["team", "odds"]
"""
MORE = """
[mixtures.odds]
layers = [["a"]]
aggregator = "odds-writer"
"""
TOOL = {"name": "weather", "description": "Of a town " * 50, "input_schema": {"type": "object"}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def row(token):
    top = [{"token": token, "logprob": -0.1, "bytes": list(token.encode())}]
    return {**top[0], "top_logprobs": top}


async def with_logprobs(wire):
    """A stream whose tokens have their log-probabilities."""
    await wire.head()
    for word in ("Blue", " light"):
        choice = {"index": 0, "delta": {"content": word}, "logprobs": {"content": [row(word)]}}
        await wire.send(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    await wire.finish()
    await wire.end()


@pytest.fixture(scope="module")
def upstream():
    def otherwise(record):
        if record.model == "odds-writer":
            return Script("Blue light", ever=with_logprobs if record.body.get("logprobs") else None)
        said = record.body["messages"][-1]["content"]
        return Script("A draft." if record.model == "a" else f"On {said[:3]}.")

    with running(otherwise) as found:
        yield found


@pytest.fixture(scope="module")
def served(upstream, tmp_path_factory):
    configuration = team(upstream, "a", "odds-writer", "chief", more=MORE + LOCK)
    configuration = configuration.replace('["a", "odds-writer"]', '["a"]')
    with serving(tmp_path_factory.mktemp("others"), configuration) as server:
        server.key = KEY
        yield server


@pytest.fixture
def gpt(served):
    with openai.OpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(served):
    with anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0) as client:
        yield client


# ---- tokens


def test_tokens_of_messages_count_the_system_the_tools_and_everything_said(claude):
    def counted(content="Why?", **more):
        messages = [{"role": "user", "content": content}]
        return claude.messages.count_tokens(model="team", messages=messages, **more).input_tokens

    least = counted()
    assert 1 <= least < 20
    assert 900 < counted("word " * 1000) - least < 2500
    assert 900 < counted(system="word " * 1000) - least < 2500
    marked = [{"type": "text", "text": "word " * 1000, "cache_control": {"type": "ephemeral"}}]
    assert 900 < counted(system=marked) - least < 2500
    assert counted(tools=[TOOL]) - least > 100
    assert counted([{"type": "image", "source": PIXEL}]) - least > 1000


def test_tokens_of_a_response_count_what_it_goes_on_from(gpt):
    def counted(**more):
        told = gpt.responses.input_tokens.count(model="team", **more)
        assert told.object == "response.input_tokens"
        return told.input_tokens

    least = counted(input="Why?")
    assert 900 < counted(input="Why?", instructions="word " * 1000) - least < 2500
    first = gpt.responses.create(model="team", input="word " * 1000)
    assert counted(input="Why?", previous_response_id=first.id) - least > 900
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
    assert counted(input="Why?", tools=[tool]) > least
    assert gpt.responses.input_tokens.count(model="team").input_tokens < least


def test_counting_needs_a_key_and_the_right_to_the_model_and_says_what_is_wrong(served, claude):
    messages = [{"role": "user", "content": "Why?"}]
    with pytest.raises(anthropic.PermissionDeniedError):
        claude.messages.count_tokens(model="chief", messages=messages)
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        claude.messages.count_tokens(model="team", messages=[{"role": "nobody", "content": "?"}])
    for path in ("/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1/responses/resp_1"):
        served.key = None
        try:
            answer = served.post(path, {"model": "team", "messages": messages, "input": "?"})
        finally:
            served.key = KEY
        assert answer.status in (401, 405), path
    answer = served.post("/v1/responses/input_tokens", {"model": "team", "input": [{"type": "x"}]})
    assert (answer.status, answer.json["error"]["param"]) == (400, "input[0].type")


# ---- completions


def test_a_prompt_is_completed_by_the_mixture(gpt, upstream):
    answer = gpt.completions.create(
        model="team", prompt="Why?", max_tokens=50, temperature=0.5, stop="END", seed=7
    )

    asked = upstream.of("chief")[-1].body
    assert (answer.object, answer.choices[0].finish_reason) == ("text_completion", "stop")
    assert (answer.choices[0].text, answer.choices[0].logprobs) == ("On Why.", None)
    assert answer.usage.total_tokens > 0
    assert asked["messages"][-1]["content"].startswith("Why?")
    assert (asked["max_tokens"], asked["temperature"], asked["stop"]) == (50, 0.5, ["END"])
    gpt.completions.create(model="team", prompt="Why?")
    assert "max_tokens" not in upstream.of("chief")[-1].body  # the official 16 would cut it off


def test_several_prompts_have_their_answers_in_their_order(gpt):
    answer = gpt.completions.create(model="team", prompt=["one", "two"], n=2, echo=True)

    assert [c.text for c in answer.choices] == [
        "oneOn one.",
        "oneOn one.",
        "twoOn two.",
        "twoOn two.",
    ]
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    chunks = list(
        gpt.completions.create(
            model="team", prompt=["one", "two"], echo=True, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == ["oneOn one.", "twoOn two."]
    ends = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert (ends, chunks[-1].choices) == (["stop", "stop"], [])
    assert chunks[-1].usage.total_tokens > 0
    plain = list(gpt.completions.create(model="team", prompt="one", stream=True))
    assert all(chunk.choices for chunk in plain)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": [1, 2]}, "prompt[0]"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"suffix": "the end"}, "suffix"),
        ({"logprobs": 2}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"n": 100, "prompt": ["a", "b"]}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ],
)
def test_what_a_completion_cannot_be_is_refused_by_name(served, more, param):
    answer = served.post("/v1/completions", {"model": "team", "prompt": "x", **more})

    assert (answer.status, answer.json["error"]["param"]) == (400, param)


# ---- log-probabilities


def test_log_probabilities_come_in_a_stream_too(gpt):
    stream = gpt.chat.completions.create(
        model="odds", messages=[{"role": "user", "content": "Why?"}], stream=True, logprobs=True,
        top_logprobs=1,
    )  # fmt: skip
    text, tokens = "", []
    for chunk in stream:
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        tokens += [t.token for t in choice.logprobs.content] if choice.logprobs else []
    assert (text, tokens) == ("Blue light", ["Blue", " light"])

    for how in ({"include": ["message.output_text.logprobs"]}, {"top_logprobs": 1}):
        with gpt.responses.stream(model="odds", input="Why?", **how) as events:
            done = [e for e in events if e.type == "response.output_text.done"]
            final = events.get_final_response()
        assert [t.token for t in done[0].logprobs] == ["Blue", " light"]
        assert [t.token for t in final.output[0].content[0].logprobs] == ["Blue", " light"]


def test_a_stream_whose_model_gives_no_log_probabilities_says_so_and_is_whole(gpt):
    asked = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "logprobs": True}
    chunks = list(gpt.chat.completions.create(**asked, stream=True))

    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "On Why."
    assert not any(c.choices[0].logprobs for c in chunks)
    assert "no log-probabilities" in chunks[-1].mixtura["left_out"][0]
    with pytest.raises(openai.BadRequestError, match="no log-probabilities"):
        gpt.chat.completions.create(**asked)


# ---- what is not served

OPENAI = (
    "embeddings", "uploads", "assistants", "threads",
    "vector_stores", "audio/speech", "audio/transcriptions", "images/generations", "videos",
    "moderations", "fine_tuning/jobs", "realtime/sessions", "conversations", "containers", "evals",
    "responses/compact", "responses/resp_1/cancel", "edits", "rerank",
)  # fmt: skip
ANTHROPIC = ("messages/batches", "messages/batches/b_1/results", "files", "skills", "complete")


@pytest.mark.parametrize("path", OPENAI)
def test_what_openai_serves_and_we_do_not_is_named_in_its_error_form(served, path):
    answer = served.post(f"/v1/{path}", {"model": "team", "input": "x"})

    error = answer.json["error"]
    assert (answer.status, error["code"], error["type"]) == (
        404, "not_found", "invalid_request_error",
    )  # fmt: skip
    assert "not served here" in error["message"]
    assert "/v1/chat/completions" in error["message"]
    assert error["message"].endswith("/v1/models, /v1/files and /v1/batches")


@pytest.mark.parametrize("path", ANTHROPIC)
def test_what_anthropic_serves_and_we_do_not_is_named_in_its_error_form(served, path):
    headers = {"anthropic_version": "2023-06-01"}
    answer = served.post(f"/v1/{path}", {"requests": []}, **headers)

    assert (answer.status, answer.json["type"]) == (404, "error")
    assert answer.json["error"]["type"] == "not_found_error"
    assert "not served here" in answer.json["error"]["message"]
    assert answer.json["error"]["message"].endswith(", and /v1/models")


def test_the_clients_understand_what_is_not_there(gpt, claude):
    for call in (
        lambda: gpt.embeddings.create(model="team", input="x"),
        lambda: gpt.moderations.create(input="x"),
        lambda: gpt.conversations.create(),
        lambda: gpt.models.retrieve("nobody"),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    for call in (
        lambda: claude.messages.batches.list(),
        lambda: claude.beta.files.list(),
        lambda: claude.models.retrieve("nobody"),
    ):
        with pytest.raises(anthropic.NotFoundError) as error:
            call()
        assert error.value.body["type"] == "error"


def test_an_address_that_is_nearly_right_is_told_the_right_one(served):
    near = served.post("/chat/completions", {})
    twice = served.post("/v1/v1/messages", {})

    assert "did you mean /v1/chat/completions" in near.json["error"]["message"]
    assert "without /v1" in twice.json["error"]["message"]
    wrong = served.get("/v1/messages", **{"anthropic-version": "2023-06-01"})
    assert (wrong.status, wrong.json["type"]) == (405, "error")
