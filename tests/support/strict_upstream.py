"""Upstreams that refuse a second turn without what they gave with the first."""

from __future__ import annotations

import json
from dataclasses import replace

from mixtura import Message, Request
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.protocols.provider_data.fields import MESSAGE_FIELDS, tool_call_fields
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


def _signed_function(number: int, **more):
    """A call whose function has the signature."""
    return call_delta(number, function=CHAT_CALLS[number]["function"] | more)


LITELLM = {"thought_signature": "c2ln"}
SUMMARY = {"type": "summary_text", "text": "I should ", "signature": "c2ln"}
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
CHAT_STEPS |= {
    # of both calls, on the function, in Google's own spelling; on the message at the end
    "gemini-function": [
        {"content": "Well."},
        _signed_function(0, extra_content=SIGNED),
        _signed_function(1, thoughtSignature="c2ln"),
        {"content": "", "extra_content": SIGNED},
    ],
    # the signature follows its call
    "gemini-late": [
        call_delta(0),
        {"tool_calls": [{"index": 0, "extra_content": SIGNED}]},
        call_delta(1),
        {"thought_signature": "c2ln"},
    ],
    "litellm": [
        {"reasoning_content": "I should look."},
        {"thinking_blocks": [THOUGHT], "provider_specific_fields": {"thinking_blocks": [THOUGHT]}},
        _signed_function(0, provider_specific_fields=LITELLM),
        call_delta(1, provider_specific_fields=LITELLM),
        {"provider_specific_fields": {"citation": None}},
    ],
    "copilot": [
        {"reasoning_text": "I should look."},
        {"reasoning_opaque": "c2ln"},
        call_delta(0),
        call_delta(1),
    ],
    "mistral": [
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "I should "}]}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "look."}]}]},
        {"content": "Well."},
        call_delta(0),
        call_delta(1),
    ],
    "databricks": [
        {"content": [{"type": "reasoning", "summary": [SUMMARY | {"signature": ""}]}]},
        {"content": [{"type": "reasoning", "summary": [SUMMARY | {"text": "look."}]}]},
        {"content": [{"type": "text", "text": "Well."}]},
        call_delta(0),
        call_delta(1),
    ],
    "part": [
        {"content": [{"type": "text", "text": "Well."}]},
        {"content": [{"type": "text", "text": "", "extra_content": SIGNED}]},
        call_delta(0),
        call_delta(1),
    ],
}
KINDS = (*CHAT_STEPS, "claude")
WELL = {"type": "text", "text": "Well."}
WANTED = {
    "deepseek": DEEP,
    "groq": PLAIN,
    "gemini": {},
    "openrouter": {"reasoning_details": DETAILS},
    "gemini-function": {"extra_content": SIGNED},
    "gemini-late": {"thought_signature": "c2ln"},
    "litellm": DEEP
    | {"thinking_blocks": [THOUGHT], "provider_specific_fields": {"thinking_blocks": [THOUGHT]}},
    "copilot": {"reasoning_text": "I should look.", "reasoning_opaque": "c2ln"},
    "mistral": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "I should look."}]}, WELL
        ]
    },
    "databricks": {
        "content": [
            {"type": "reasoning", "summary": [SUMMARY | {"text": "I should look."}]}, WELL
        ]
    },
    "part": {"content": [WELL | {"extra_content": SIGNED}]},
}  # fmt: skip
"""What a kind wants back on its message, beside its calls."""
SIGNED_CALLS = {
    "gemini": [{"extra_content": SIGNED}, {}],
    "gemini-function": [
        {"function": {"extra_content": SIGNED}}, {"function": {"thoughtSignature": "c2ln"}}
    ],
    "gemini-late": [{"extra_content": SIGNED}, {}],
    "litellm": [
        {"function": {"provider_specific_fields": LITELLM}}, {"provider_specific_fields": LITELLM}
    ],
}  # fmt: skip
"""What it wants back on its calls."""


def complaint(kind: str, body) -> str | None:
    """What a strict provider says of the second request of a turn; None when it is right."""
    said = next((m for m in body["messages"] if m["role"] == "assistant"), None)
    if said is None or "tools" not in body:
        return None
    if kind == "claude":
        content = [{k: v for k, v in b.items() if k != "cache_control"} for b in said["content"]]
        wanted = [THOUGHT, REDACTED, {"type": "text", "text": "Well."}, *USES]
        return None if content == wanted else f"expected thinking, found {content}"
    told = {name: said[name] for name in MESSAGE_FIELDS if name in said}
    told |= {"content": said["content"]} if isinstance(said["content"], list) else {}
    if told != WANTED[kind]:
        return f"must be passed back: {told}"
    signed = [tool_call_fields(call) for call in said["tool_calls"]]
    wanted = SIGNED_CALLS.get(kind, [{}, {}])
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
