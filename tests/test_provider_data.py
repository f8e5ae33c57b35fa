"""What an upstream wants back with its messages comes back to it, and to no one else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import product

import openai
import pytest

from mixtura import Aggregator, Layer, Message, Mixture, Notice, Proposer, Request, ToolCall
from mixtura.billing.forecast import forecast_calls
from mixtura.core.redaction import Redactor
from mixtura.core.types import ProviderData
from mixtura.engine.provider_data_cache import TurnMemory
from mixtura.models.anthropic import Anthropic
from mixtura.models.fake import echo
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.cache import Cached
from mixtura.protocols.openai.completion_json import completion_from_json, completion_json
from mixtura.protocols.provider_data.packing import pack_provider_data, unpack_provider_data
from mixtura.protocols.usage_estimates import estimate_usage
from tests.conftest import run
from tests.serving import serving
from tests.upstream import Script, Wire, honest, running

DEEP = {"reasoning_content": "I should look."}
SIGNED = {"google": {"thought_signature": "c2ln"}}
DETAILS = [
    {"type": "reasoning.text", "text": "I should look.", "signature": "abc", "index": 0},
    {"type": "reasoning.encrypted", "data": "ZW5j", "index": 1},
]
PLAIN = {"reasoning": "I should look."}
THOUGHT = {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmVk"}
REDACTED = {"type": "redacted_thinking", "data": "aGlkZGVu"}
USES = [
    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "a"}},
    {"type": "tool_use", "id": "t2", "name": "look", "input": {"at": "b"}},
]
TOOL = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
TOOLS = ({"type": "function", "function": TOOL},)
CHAT_CALLS = [
    {
        "id": use["id"],
        "type": "function",
        "function": {"name": "look", "arguments": json.dumps(use["input"])},
    }
    for use in USES
]


def call_delta(number: int, **more):
    return {"tool_calls": [{"index": number, **CHAT_CALLS[number], **more}]}


CHAT_STEPS = {
    "deepseek": [
        {"role": "assistant", "reasoning_content": "I should "},
        {"reasoning_content": "look."},
        {"content": "Well.", "reasoning_content": None},
        call_delta(0),
        call_delta(1),
    ],
    "groq": [{"reasoning": "I should "}, {"reasoning": "look."}, call_delta(0), call_delta(1)],
    "gemini": [call_delta(0, extra_content=SIGNED), call_delta(1)],
    "openrouter": [
        {"reasoning_details": [{"type": "reasoning.text", "text": "I should ", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "look.", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.text", "signature": "abc", "index": 0}]},
        {"reasoning_details": [DETAILS[1]]},
        call_delta(0),
        call_delta(1),
    ],
}
KINDS = (*CHAT_STEPS, "claude")
WANTED = {
    "deepseek": DEEP,
    "groq": PLAIN,
    "gemini": {},
    "openrouter": {"reasoning_details": DETAILS},
}


def complaint(kind: str, body) -> str | None:
    """What a strict provider says of the second request of a turn; None when it is right."""
    said = next((m for m in body["messages"] if m["role"] == "assistant"), None)
    if said is None or "tools" not in body:
        return None
    if kind == "claude":
        content = [{k: v for k, v in b.items() if k != "cache_control"} for b in said["content"]]
        wanted = [THOUGHT, REDACTED, {"type": "text", "text": "Well."}, *USES]
        return None if content == wanted else f"expected thinking, found {content}"
    names = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
    told = {name: said[name] for name in names if name in said}
    if told != WANTED[kind]:
        return f"must be passed back: {told}"
    signed = [call.get("extra_content") for call in said.get("tool_calls", ())]
    wanted = [SIGNED, None] if kind == "gemini" else [None, None]
    return None if signed == wanted else f"missing a thought_signature: {signed}"


async def play_chat(wire: Wire, deltas, reason="tool_calls") -> None:
    await wire.head()
    for delta in deltas:
        chunk = {"choices": [{"index": 0, "delta": delta}]}
        await wire.send(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    await wire.send(wire.voice.ending(reason))
    await wire.send(b"data: [DONE]\n\n")
    await wire.end()


async def play_claude(wire: Wire) -> None:
    def event(kind, **data):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()

    def blocks():
        pieces = [{"type": "thinking_delta", "thinking": text} for text in ("I should ", "look.")]
        pieces += [{"type": "signature_delta", "signature": text} for text in ("c2ln", "bmVk")]
        yield {"type": "thinking", "thinking": "", "signature": ""}, pieces
        yield REDACTED, []
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": "Well."}]
        for use in USES:
            written = json.dumps(use["input"])
            piece = {"type": "input_json_delta", "partial_json": written}
            yield use | {"input": {}}, [piece]

    await wire.head()
    await wire.send(wire.voice.opening())
    for index, (block, deltas) in enumerate(blocks()):
        await wire.send(event("content_block_start", index=index, content_block=block))
        for delta in deltas:
            await wire.send(event("content_block_delta", index=index, delta=delta))
        await wire.send(event("content_block_stop", index=index))
    delta = {"stop_reason": "tool_use"}
    await wire.send(event("message_delta", delta=delta, usage={"output_tokens": 9}))
    await wire.send(event("message_stop"))
    await wire.end()


def strict(kind: str) -> Script:
    """A model that calls two tools at once, and then wants its own data back."""

    async def play(wire: Wire) -> None:
        body = wire.voice.body
        if said := complaint(kind, body):
            error = {"type": "invalid_request_error", "message": said}
            await wire.reply(400, {"type": "error", "error": error})
        elif any(m["role"] == "assistant" for m in body["messages"]):
            await wire.head()
            await wire.send(wire.voice.opening())
            await wire.say("It is there.")
            await wire.send(wire.voice.ending("stop"))
            await wire.send(wire.voice.done)
            await wire.end()
        elif kind == "claude":
            await play_claude(wire)
        else:
            await play_chat(wire, CHAT_STEPS[kind])

    return Script(ever=play)


def adapter(upstream, kind: str, **more):
    cls, dialect = (Anthropic, "anthropic") if kind == "claude" else (OpenAI, "openai")
    return cls(kind, upstream.base_url(dialect), **more)


def results(calls):
    return tuple(Message("tool", "found", tool_call_id=call.id) for call in calls)


def second(first: Request, answer: Message) -> Request:
    return replace(first, messages=(*first.messages, answer, *results(answer.tool_calls)))


def asked(**more) -> Request:
    return Request((Message("user", "Where?"),), tools=TOOLS, **more)


# ---- the library


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_over_tools_gives_a_model_back_what_it_wants(kind):
    with running() as upstream:
        upstream.scripts[kind] = strict(kind)
        proposer = echo("p")
        team = Mixture(
            layers=(Layer((Proposer(proposer), Proposer(adapter(upstream, kind, name="twin")))),),
            aggregator=Aggregator(adapter(upstream, kind)),
        )

        async def loop():
            first = await adapter(upstream, kind).complete(asked())
            again = await team.complete(second(asked(), first.message))
            return first, again

        first, again = run(loop())
        bodies = [r.body for r in upstream.records if "tools" not in r.body]

    assert first.finish_reason == "tool_calls"
    assert again.text == "It is there."
    assert again.degraded == ()
    told = json.dumps([repr(proposer.asked), bodies])
    for secret in ("c2ln", "I should", "abc", "aGlk", "ZW5j"):
        assert secret not in told


@pytest.mark.parametrize("kind", KINDS)
def test_another_model_gets_nothing_of_it(kind):
    with running() as upstream:
        upstream.scripts[kind] = strict(kind)
        others = [
            OpenAI(kind, upstream.base_url("openai") + "/"),  # the same place
            OpenAI("other", upstream.base_url("openai")),
            Anthropic("other", upstream.base_url("anthropic")),
        ]

        async def loop():
            first = await adapter(upstream, kind).complete(asked())
            for other in others[1:]:
                await other.complete(second(asked(), first.message))

        run(loop())
        told = json.dumps([r.body for r in upstream.records if r.model == "other"])

    assert len(upstream.records) == 3
    for secret in ("c2ln", "I should", "abc", "aGlk", "ZW5j"):
        assert secret not in told


def test_a_fallback_gets_nothing_of_what_a_client_holds():
    holds = ToolCall("t1", "look", "{}", {"extra_content": SIGNED})
    said = Message("assistant", "", (holds,), provider_data=ProviderData("", DEEP))
    with running() as upstream:
        upstream.scripts["down"] = Script(ever=lambda wire: wire.reply(500, {"error": "down"}))
        team = Mixture(
            layers=(Layer((Proposer(echo("p")),)),),
            aggregator=Aggregator(
                OpenAI("down", upstream.base_url("openai")),
                fallbacks=(OpenAI("spare", upstream.base_url("openai")),),
            ),
        )
        run(team.complete(second(asked(), said)))
        bodies = {r.model: json.dumps(r.body) for r in upstream.records}

    assert "I should" in bodies["down"]
    assert "c2ln" in bodies["down"]
    assert "I should" not in bodies["spare"]
    assert "c2ln" not in bodies["spare"]


def test_plain_thoughts_go_back_while_tools_are_called_and_signed_ones_always():
    thinks = {"reasoning_content": "Hm.", "reasoning_details": DETAILS}

    async def play(wire: Wire) -> None:
        await play_chat(wire, [thinks, {"content": "Yes."}], "stop")

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=play)
        model = OpenAI("m", upstream.base_url("openai"))

        async def loop():
            plain = await model.complete(Request((Message("user", "Hi."),)))
            called = Message("assistant", "", (ToolCall("t1", "look", "{}"),))
            after = await model.complete(second(asked(), called))
            for answer in (plain, after):
                more = (*asked().messages, answer.message, Message("user", "And?"))
                await model.complete(Request(more))
            turn = (*second(asked(), called).messages, after.message, Message("user", "And?"))
            await model.complete(Request(turn, tools=TOOLS))

        run(loop())
        sent = [r.body["messages"] for r in upstream.records[2:]]

    found = [[m for m in body if m["role"] == "assistant"][-1] for body in sent]
    assert ["reasoning_content" in m for m in found] == [False, False, True]
    assert all(m["reasoning_details"] == DETAILS for m in found)


def test_an_answer_from_the_cache_still_has_it():
    kept = {}

    class Answers:
        get = staticmethod(kept.get)
        put = staticmethod(kept.__setitem__)

    with running() as upstream:
        upstream.scripts["gemini"] = strict("gemini")
        for _ in range(2):
            model = Cached(adapter(upstream, "gemini"), Answers(), identity="x")
            first = run(model.complete(asked()))
            again = run(model.complete(second(asked(), first.message)))

    assert again.text == "It is there."
    assert len(upstream.records) == 2


def test_no_secret_comes_out_in_it():
    key = "wQ7-hidden-value-9981"
    leaky = [
        {"reasoning_content": f"The key is {key[:9]}"},
        {"reasoning_content": f"{key[9:]}."},
        call_delta(0, extra_content={"google": {"thought_signature": key}}),
    ]
    with running() as upstream:
        upstream.scripts["m"] = Script(ever=lambda wire: play_chat(wire, leaky))
        model = OpenAI("m", upstream.base_url("openai"), redactor=Redactor([key]))
        answer = run(model.complete(asked()))

    assert key not in repr(answer)
    assert key not in pack_provider_data(answer.message)
    assert answer.message.provider_data.fields["reasoning_content"] == "The key is ***."


def test_who_counts_a_request_counts_it_too():
    heavy = ProviderData("", {"reasoning_content": "word " * 20_000})
    said = Message("assistant", "", (ToolCall("t1", "look", "{}"),), provider_data=heavy)
    light, whole = second(asked(), replace(said, provider_data=None)), second(asked(), said)

    def forecasts(request):
        (row,) = forecast_calls(echo("m"), request)
        return row.usage.prompt_tokens

    assert (
        estimate_usage(whole, "").prompt_tokens - estimate_usage(light, "").prompt_tokens >= 20_000
    )
    assert forecasts(whole) - forecasts(light) >= 50_000


def test_what_is_packed_comes_out_again_and_what_others_packed_is_passed_over():
    calls = (ToolCall("t1", "look", "{}", {"extra_content": SIGNED}), ToolCall("t2", "look", "{}"))
    data = ProviderData("o", DEEP, (THOUGHT, {"type": "text"}))
    message = Message("assistant", "x", calls, provider_data=data)
    bare = tuple(replace(call, provider_fields={}) for call in calls)

    found = unpack_provider_data(pack_provider_data(message), bare)

    assert found.provider_data == data
    assert [c.provider_fields for c in found.tool_calls] == [{"extra_content": SIGNED}, {}]
    for text in ("gAAAA", "mixtura1.", "mixtura1.e30", "mixtura1.%%%", "mixtura1.W10=", None, 3):
        assert (
            unpack_provider_data(text, bare) is None
            or unpack_provider_data(text, bare).provider_data == ProviderData()
        )


def test_a_completion_is_the_same_after_it_was_written_down():
    calls = (ToolCall("t1", "look", "{}", {"extra_content": SIGNED}),)
    message = Message("assistant", "", calls, provider_data=ProviderData("o", DEEP, (THOUGHT,)))
    answer = run(echo("m").complete(asked()))
    whole = replace(answer, message=message)

    found = completion_from_json(json.loads(json.dumps(completion_json(whole)))).message

    assert found.provider_data == message.provider_data
    assert found.tool_calls[0].provider_fields == calls[0].provider_fields


# ---- the memory of a turn


def remembered(memory, client="me", call="t1", arguments="{}", text="x"):
    data = ProviderData("o", {"reasoning_content": text})
    said = Message("assistant", "", (ToolCall(call, "look", arguments),), provider_data=data)
    memory.remember_answer(client, asked(), said)


def recalled(memory, client="me", call="t1", arguments="{}"):
    said = Message("assistant", "", (ToolCall(call, "look", arguments),))
    found = memory.restore_request(client, second(asked(), said)).messages[1].provider_data
    return found and found.fields["reasoning_content"]


def test_a_turn_is_remembered_for_its_client_alone():
    memory = TurnMemory()
    remembered(memory)

    assert recalled(memory) == "x"
    assert recalled(memory, client="you") is None
    assert recalled(memory, call="t2") is None


def test_calls_with_the_same_id_are_told_apart_by_what_they_say():
    memory = TurnMemory()
    for number in range(3):
        remembered(memory, call="call_0", arguments=f'{{"at": {number}}}', text=str(number))

    for number in range(3):
        assert recalled(memory, call="call_0", arguments=f'{{"at":{number}}}') == str(number)
    assert recalled(memory, call="call_0", arguments='{"at":7}') is None


def test_the_memory_is_bounded_in_number_size_and_age():
    now = [0.0]
    few = TurnMemory(most=10, clock=lambda: now[0])
    small = TurnMemory(most_bytes=10_000, clock=lambda: now[0])
    for number in range(50):
        remembered(few, call=f"t{number}")
        remembered(small, call=f"t{number}", text="y" * 1000)
    same = TurnMemory(most=10)
    for number in range(50):
        remembered(same, call="call_0", arguments=f"[{number}]")

    def there(memory):
        return [n for n in range(50) if recalled(memory, call=f"t{n}")]

    assert there(few) == list(range(40, 50))
    assert there(small)[-1] == 49
    assert len(there(small)) < 10
    assert sum(bool(recalled(same, call="call_0", arguments=f"[{n}]")) for n in range(50)) <= 10
    now[0] = 25 * 3600.0
    assert there(few) == []


# ---- through the server, for clients that hold it and for clients that do not

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


@pytest.mark.parametrize(("kind", "api", "stream"), CASES)
def test_a_client_that_holds_it_gives_it_back_to_any_server(servers, kind, api, stream):
    client = CLIENTS[api](kind, stream)
    said = client.ask(servers[0])
    client.go_on(said, holds=True)

    assert client.text(client.ask(servers[1])) == "It is there."


@pytest.mark.parametrize(("kind", "api", "stream"), CASES)
def test_for_a_client_that_holds_nothing_it_is_remembered(servers, kind, api, stream):
    client = CLIENTS[api](kind, stream)
    said = client.ask(servers[0])
    client.go_on(said, holds=False)

    assert client.text(client.ask(servers[0])) == "It is there."


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
