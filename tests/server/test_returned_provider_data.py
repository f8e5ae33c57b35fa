"""What an upstream wants back, through the server: for clients that hold it and others."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from itertools import product

import openai
import pytest

from mixtura import Message, Notice, ToolCall
from tests.conftest import run
from tests.support.serving import serving
from tests.support.strict_upstream import (
    CHAT_CALLS,
    DETAILS,
    KINDS,
    REDACTED,
    SIGNED,
    THOUGHT,
    TOOL,
    TOOLS,
    USES,
    adapter,
    asked,
    second,
    strict,
)
from tests.support.upstream import Script, Wire, honest, running

CONFIG = """
default = "deepseek"
cache = {{ use = false }}
[models.p]
base_url = "{openai}"
model = "p"
{models}
[serve.keys.me]
sha256 = "{me}"
[serve.keys.you]
sha256 = "{you}"
"""


def config(upstream) -> str:
    def model(kind):
        dialect = "anthropic" if kind == "claude" else "openai"
        speaks = 'provider = "anthropic"\n' if kind == "claude" else ""
        return (
            f'[models.m-{kind}]\n{speaks}base_url = "{upstream.base_url(dialect)}"\n'
            f'model = "{kind}"\nretries = 0\n'
            f'[mixtures.{kind}]\nlayers = [["p"]]\naggregator = "m-{kind}"\n'
        )

    return CONFIG.format(
        openai=upstream.base_url("openai"),
        models="\n".join(map(model, KINDS)),
        me=sha256(b"me").hexdigest(),
        you=sha256(b"you").hexdigest(),
    )


@pytest.fixture(scope="module")
def upstream():
    with running() as found:
        for kind in KINDS:
            found.scripts[kind] = strict(kind)
        yield found


@pytest.fixture(scope="module")
def servers(upstream, tmp_path_factory):
    """Two processes: the second has seen nothing of the first steps."""
    environ = {"ANTHROPIC_API_KEY": "none"}
    folder = tmp_path_factory.mktemp
    with (
        serving(folder("one"), config(upstream), environ=environ) as one,
        serving(folder("two"), config(upstream), environ=environ) as two,
    ):
        one.key = two.key = "me"
        yield one, two


def events(body: bytes):
    rows = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(row) for row in rows if row != "[DONE]"]


def sent(server, path, body):
    answer = server.post(path, body)
    assert answer.status == 200, answer.body
    return events(answer.body) if body.get("stream") else answer.json


class ChatClient:
    path = "/v1/chat/completions"

    def __init__(self, kind, stream):
        self.body = {"model": kind, "stream": stream, "tools": list(TOOLS)}
        self.messages = [{"role": "user", "content": "Where?"}]

    def ask(self, server):
        found = sent(server, self.path, self.body | {"messages": self.messages})
        if not self.body["stream"]:
            return found["choices"][0]["message"]
        message = {"role": "assistant", "content": ""}
        for chunk in found:
            for choice in chunk.get("choices", ()):
                delta = dict(choice["delta"])
                message["content"] += delta.pop("content", None) or ""
                for piece in delta.pop("tool_calls", ()):
                    self.put_together(message.setdefault("tool_calls", []), piece)
                message |= delta
        return message

    def put_together(self, calls, piece):
        """A piece of a call, as the clients of this API add it to what they have."""
        place, function = piece.pop("index"), piece.pop("function", {})
        if place == len(calls):
            calls.append({"function": {"arguments": ""}})
        call = calls[place]
        arguments = call["function"]["arguments"] + function.pop("arguments", "")
        call |= piece
        call["function"] |= function | {"arguments": arguments}

    def go_on(self, said, holds):
        calls = said["tool_calls"]
        if not holds:
            plain = [{k: call[k] for k in ("id", "type", "function")} for call in calls]
            said = {"role": "assistant", "content": said["content"], "tool_calls": plain}
        found = [{"role": "tool", "tool_call_id": c["id"], "content": "found"} for c in calls]
        self.messages += [said, *found]

    def text(self, said):
        return said["content"]


class MessagesClient:
    path = "/v1/messages"

    def __init__(self, kind, stream):
        tool = {"name": "look", "input_schema": TOOL["parameters"]}
        self.body = {"model": kind, "stream": stream, "tools": [tool], "max_tokens": 4000}
        self.body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        self.messages = [{"role": "user", "content": "Where?"}]

    def ask(self, server):
        found = sent(server, self.path, self.body | {"messages": self.messages})
        if not self.body["stream"]:
            return found["content"]
        content = []
        for event in found:
            if event["type"] == "content_block_start":
                content.append(dict(event["content_block"]))
            elif event["type"] == "content_block_delta":
                block, delta = content[event["index"]], event["delta"]
                if delta["type"] == "input_json_delta":
                    block["input"] = json.loads(delta["partial_json"])
                else:
                    name = delta["type"].removesuffix("_delta")
                    block[name] += delta[name]
        return content

    def go_on(self, said, holds):
        kept = [b for b in said if holds or "thinking" not in b["type"]]
        uses = [b["id"] for b in said if b["type"] == "tool_use"]
        found = [{"type": "tool_result", "tool_use_id": use, "content": "found"} for use in uses]
        self.messages += [
            {"role": "assistant", "content": kept},
            {"role": "user", "content": found},
        ]

    def text(self, said):
        return "".join(b.get("text", "") for b in said)


class ResponsesClient:
    path = "/v1/responses"

    def __init__(self, kind, stream):
        tool = {"type": "function", **TOOL}
        self.body = {"model": kind, "stream": stream, "tools": [tool], "store": False}
        self.body["include"] = ["reasoning.encrypted_content"]
        self.input = [{"role": "user", "content": "Where?"}]

    def ask(self, server):
        found = sent(server, self.path, self.body | {"input": self.input})
        if not self.body["stream"]:
            return found["output"]
        done = [e for e in found if e["type"] == "response.output_item.done"]
        done.sort(key=lambda event: event["output_index"])  # a text may end after the first call
        assert [e["output_index"] for e in done] == list(range(len(done)))
        assert [e["item"] for e in done] == found[-1]["response"]["output"]
        return found[-1]["response"]["output"]

    def go_on(self, said, holds):
        calls = [item["call_id"] for item in said if item["type"] == "function_call"]
        self.input += [item for item in said if holds or item["type"] != "reasoning"]
        self.input += [
            {"type": "function_call_output", "call_id": call, "output": "found"} for call in calls
        ]

    def text(self, said):
        return "".join(p["text"] for item in said for p in item.get("content", ()))


CLIENTS: dict[str, Callable] = {
    "chat": ChatClient,
    "messages": MessagesClient,
    "responses": ResponsesClient,
}
CASES = list(product(KINDS, CLIENTS, (False, True)))


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize(("kind", "api", "stream"), CASES)
def test_who_holds_it_gives_it_to_any_server_and_for_others_it_is_remembered(
    servers, kind, api, stream, holds
):
    client = CLIENTS[api](kind, stream)
    said = client.ask(servers[0])
    client.go_on(said, holds=holds)

    assert client.text(client.ask(servers[1 if holds else 0])) == "It is there."


@pytest.mark.parametrize("api", CLIENTS)
def test_another_key_gets_nothing_of_what_is_remembered(servers, upstream, api):
    client = CLIENTS[api]("deepseek", False)
    said = client.ask(servers[0])
    client.go_on(said, holds=False)
    servers[0].key = "you"
    try:
        history = "input" if api == "responses" else "messages"
        body = client.body | {history: getattr(client, history)}
        answer = servers[0].post(client.path, body)
    finally:
        servers[0].key = "me"

    assert answer.status == 400
    assert "must be passed back" in answer.body.decode()
    assert "I should look" not in json.dumps(upstream.records[-1].body)


def test_each_api_hands_it_out_in_the_form_that_its_clients_know(servers):
    deep = ChatClient("deepseek", stream=False).ask(servers[0])
    gemini = ChatClient("gemini", stream=True).ask(servers[0])
    router = ChatClient("openrouter", stream=True).ask(servers[0])
    claude = MessagesClient("claude", stream=False).ask(servers[0])
    through_chat = ChatClient("claude", stream=False).ask(servers[0])
    items = ResponsesClient("gemini", stream=False).ask(servers[0])

    assert deep["reasoning_content"] == "I should look."
    assert [c.get("extra_content") for c in gemini["tool_calls"]] == [SIGNED, None]
    assert router["reasoning_details"] == DETAILS
    assert claude == [THOUGHT, REDACTED, {"type": "text", "text": "Well."}, *USES]
    assert through_chat["thinking_blocks"] == [THOUGHT, REDACTED]
    assert [item["type"] for item in items] == ["reasoning", "function_call", "function_call"]


def test_the_official_client_puts_a_streamed_call_and_its_signature_together(servers):
    with (
        openai.OpenAI(api_key="me", base_url=servers[0].base_url, max_retries=0) as client,
        client.chat.completions.stream(
            model="gemini", messages=[{"role": "user", "content": "Where?"}], tools=list(TOOLS)
        ) as stream,
    ):
        calls = stream.get_final_completion().choices[0].message.tool_calls

    assert [json.loads(call.function.arguments) for call in calls] == [u["input"] for u in USES]
    assert calls[0].model_extra["extra_content"] == SIGNED


def test_who_asks_for_no_thinking_and_calls_no_tool_gets_the_answer_alone(servers):
    for kind in KINDS:
        client = MessagesClient(kind, stream=False)
        del client.body["thinking"]
        client.go_on(client.ask(servers[0]), holds=True)
        assert [b["type"] for b in client.ask(servers[0])] == ["text"]
    bare = ResponsesClient("deepseek", stream=False)
    del bare.body["include"]
    assert {item["type"] for item in bare.ask(servers[0])} == {"message", "function_call"}


def test_what_was_made_elsewhere_goes_to_the_aggregator_and_to_no_proposer(servers, upstream):
    client = ChatClient("gemini", stream=False)
    calls = [CHAT_CALLS[0] | {"extra_content": SIGNED}, CHAT_CALLS[1]]
    client.go_on({"role": "assistant", "content": None, "tool_calls": calls}, holds=True)

    assert client.text(client.ask(servers[1])) == "It is there."
    proposed = [r.body for r in upstream.records if r.model == "p"]
    assert "c2ln" not in json.dumps(proposed)


def test_nothing_that_another_mixture_s_model_made_goes_to_this_one(servers, upstream):
    client = ChatClient("deepseek", stream=False)
    client.go_on(client.ask(servers[0]), holds=True)
    client.body["model"] = "gemini"
    servers[0].post(client.path, client.body | {"messages": client.messages})

    body = next(r.body for r in reversed(upstream.records) if r.model == "gemini")
    assert "I should look" not in json.dumps(body)


MISSING = {
    "gemini": "Function call is missing a thought_signature in functionCall parts.",
    "deepseek": "The `reasoning_content` in the thinking mode must be passed back to the API.",
    "claude": "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found"
    " `tool_use`. When `thinking` is enabled, a final `assistant` message must start with one.",
}


def lacks(kind, body):
    """Whether a request has nothing of what the provider wants, not even a stand-in."""
    if kind == "claude":
        return "thinking" in body
    said = body["messages"][1]
    return "reasoning_content" not in said and "extra_content" not in said["tool_calls"][0]


@pytest.mark.parametrize("kind", MISSING)
def test_where_it_is_lost_a_stand_in_is_sent_once_and_that_is_said(kind):
    async def play(wire: Wire) -> None:
        if lacks(kind, wire.voice.body):
            error = {"type": "invalid_request_error", "message": MISSING[kind]}
            await wire.reply(400, {"type": "error", "error": error})
        else:
            await honest(wire)

    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if kind == "claude" else {}
    call = Message("assistant", "", (ToolCall("t1", "look", "{}"),))
    events = []
    with running() as upstream:
        upstream.scripts[kind] = Script("It is there.", ever=play)
        request = second(asked(extra=thinking), call)
        answer = run(adapter(upstream, kind).complete(request, events.append))

    assert answer.text == "It is there."
    assert len(upstream.records) == 2
    assert any("lost" in e.notice for e in events if isinstance(e, Notice))
