"""Upstreams that refuse a second turn without what they gave with the first."""

from __future__ import annotations

import json
from dataclasses import replace

from mixtura import Message, Request
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from tests.support.upstream import Script, Wire

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
