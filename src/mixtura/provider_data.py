"""What an endpoint wants back with a message that it wrote: kept, handed out, sent to no other."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from mixtura.json_text import DEEPEST, is_deeper
from mixtura.types import Json, Message, ProviderData, Request, ToolCall

JsonObject = dict[str, Any]

THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text")
"""Fields of a chat message with plain thoughts (DeepSeek, vLLM; OpenRouter, Groq; Copilot):
wanted back while tools are called, and by some refused elsewhere."""
SIGNED = ("reasoning_details", "reasoning_opaque", "extra_content", "thinking_blocks")
"""Fields of a chat message with signed or encrypted thoughts (OpenRouter, Copilot, Google,
LiteLLM): sent back with every message that has them."""
OF_A_CALL = ("extra_content", "provider_specific_fields", "thought_signature")
"""Fields of a tool call with its signature (Google, LiteLLM, other gateways)."""
OF_A_MESSAGE = (*THOUGHTS, *SIGNED)
_TEXTS = (*THOUGHTS, "reasoning_opaque", "thought_signature")
ROWS = ("reasoning_details", "thinking_blocks")
"""Those of them that are lists of objects."""
THINKING = ("thinking", "redacted_thinking")
"""Blocks of Anthropic's messages."""
_OF_A_BLOCK = {
    "thinking": ("thinking", "signature"), "redacted_thinking": ("data",), "tool_use": ("id",),
    "text": (),
}  # fmt: skip
"""The blocks that stand in ``ProviderData.blocks``, and their texts."""

MARK = "mixtura1."
"""Before what is handed out in a field that its API calls encrypted or signed."""


def origin_of(url: str, model: str) -> str:
    """The same for one model at one address, on any machine; the address cannot be read off it."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{(parts.netloc).rpartition('@')[2]}{parts.path}\n{model}"
    return blake2b(place.encode("utf-8", "replace"), digest_size=12).hexdigest()


def provider_bytes(message: Message) -> int:
    """About how many bytes it adds to a message, for whoever counts tokens."""
    calls = sum(_length(call.provider_fields) for call in message.tool_calls)
    if (data := message.provider_data) is None:
        return calls
    return calls + _length(data.fields) + sum(map(_length, data.blocks))


def _length(data: object) -> int:
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "replace"))
    if isinstance(data, Mapping):
        return sum(map(_length, cast("Mapping[str, object]", data).values()))
    if isinstance(data, list | tuple):
        return sum(map(_length, cast("Sequence[object]", data)))
    return 8


# ---- what there can be of it


def _has_its_type(name: str, value: object) -> bool:
    """Whether a field of a message or a call is of the type that its name stands for."""
    if name in _TEXTS:
        return isinstance(value, str)
    if name in ROWS:
        rows = cast("list[object]", value) if isinstance(value, list) else [None]
        fits = all(isinstance(row, dict) for row in rows)
    else:
        fits = isinstance(value, dict)
    return fits and not is_deeper(value, DEEPEST)


def _fields_named(names: Iterable[str], row: Mapping[str, Any]) -> JsonObject:
    """Those fields of *row* that are known and as they should be; all else is no one's."""
    return {
        name: row[name] for name in names if row.get(name) and _has_its_type(name, row[name])
    }  # fmt: skip


def _known_blocks(blocks: Iterable[Mapping[str, Any]]) -> Iterator[JsonObject]:
    """Thinking blocks and the marks of places, with nothing in them that is something else."""
    for block in blocks:
        if isinstance(kind := block.get("type"), str) and kind in _OF_A_BLOCK:
            texts = {k: block[k] for k in _OF_A_BLOCK[kind] if isinstance(block.get(k), str)}
            yield {"type": kind, **texts}


# ---- who gets it


def strip_provider_data(request: Request, *, unknown_only: bool = False) -> Request:
    """The request without any of it, or without that of which no one knows who made it."""

    def leave_out(message: Message) -> bool:
        data = message.provider_data
        signed = any(call.provider_fields for call in message.tool_calls)
        return (data is not None or signed) and not (unknown_only and data and data.origin)

    if not any(map(leave_out, request.messages)):
        return request
    rows = (_bare(m) if leave_out(m) else m for m in request.messages)
    return replace(request, messages=tuple(rows))


def _bare(message: Message) -> Message:
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    return replace(message, provider_data=None, tool_calls=calls)


def wanted_by(origin: str | None, message: Message) -> ProviderData | None:
    """What the endpoint *origin* gets back with *message*; None where it is another's."""
    data = message.provider_data
    if origin is None or data is None or data.origin not in ("", origin):
        return None
    return data


def fields_for(origin: str | None, messages: Sequence[Message]) -> list[JsonObject | None]:
    """
    The fields that stand beside each message's content for *origin*; None for the messages of
    others. Plain thoughts only in a turn that calls tools.
    """
    rows: list[JsonObject | None] = []
    calling = False
    for before, message in zip((None, *messages), messages, strict=False):
        if message.role == "user" and not (before and before.role == "tool"):
            calling = False
        calling = calling or message.role == "tool" or bool(message.tool_calls)
        data = wanted_by(origin, message)
        if data is None:
            rows.append(None)
        else:
            rows.append({k: v for k, v in data.fields.items() if calling or k not in THOUGHTS})
    return rows


_NOT_TAKEN = re.compile(
    r"unsupported|not (?:\w+ )?(?:supported|allowed|permitted|recogni[sz]ed|accepted)"
    r"|unexpected|unknown|unrecogni[sz]ed|n't support|extra[ _](?:inputs?|fields?|forbidden)"
    r"|(?:please )?remove",
    re.IGNORECASE,
)


def refused_field(said: str, messages: Sequence[Json]) -> str | None:
    """The field of its own messages that an endpoint does not take back, after all."""
    if not _NOT_TAKEN.search(said):
        return None
    for name in OF_A_MESSAGE:
        there = any(name in row or _on_a_call(name, row) for row in messages)
        if there and re.search(rf"(?<![a-z_]){name}(?![a-z_])", said):
            return name
    return None


def _on_a_call(name: str, row: Json) -> bool:
    return any(name in call for call in row.get("tool_calls") or ())


def without_fields(messages: Sequence[JsonObject], names: Collection[str]) -> list[JsonObject]:
    """Messages as JSON without *names*, their calls neither."""

    def bare(row: JsonObject) -> JsonObject:
        return {key: value for key, value in row.items() if key not in names}

    rows = map(bare, messages)
    return [
        row | {"tool_calls": [bare(call) for call in row["tool_calls"]]}
        if "tool_calls" in row
        else row
        for row in rows
    ]


# ---- an answer's


class FieldAssembly:
    """The fields of a chat message put together from the deltas in which they stream in."""

    __slots__ = ("_details", "_texts", "_values")

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._details: list[JsonObject] = []
        self._values: JsonObject = {}

    def add(self, name: str, value: Any) -> None:
        """
        One field of a delta; what has another type than the field, or is nested too deeply, is
        passed over.
        """
        if is_deeper(value, DEEPEST):
            return
        if name in (*THOUGHTS, "reasoning_opaque"):
            if isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
        elif name == "reasoning_details":
            for row in _objects(value):
                self._detail(row)
        elif name == "thinking_blocks":
            for row in _objects(value):
                self._block(row)
        elif isinstance(value, dict) and (name != "extra_content" or _has_signature(value)):
            merge_into(self._values.setdefault(name, {}), cast("JsonObject", value))

    def _detail(self, row: JsonObject) -> None:
        """A piece of a detail goes on with the last one of its index, type and id."""
        last = self._details[-1] if self._details else None
        if last is None or not _goes_on(last, row):
            self._details.append(dict(row))
            return
        for key, value in row.items():
            if key in ("text", "summary", "data") and isinstance(value, str):
                _extend_text(last, key, value)
            elif value is not None:
                last[key] = value

    def _block(self, row: JsonObject) -> None:
        """A piece of a thinking block goes on with the last one until that is signed."""
        rows: list[JsonObject] = self._values.setdefault("thinking_blocks", [])
        last: JsonObject = rows[-1] if rows else {}
        if last.get("type") == row.get("type") == "thinking" and not last.get("signature"):
            _extend_text(last, "thinking", row.get("thinking") or "")
            last |= {"signature": row["signature"]} if row.get("signature") else {}
        else:
            rows.append(dict(row))

    def fields(self, *, in_tool_turn: bool) -> JsonObject:
        """What is worth keeping of an answer."""
        found: JsonObject = {name: "".join(texts) for name, texts in self._texts.items()}
        if self._details:
            found["reasoning_details"] = _joined(self._details)
        found |= {
            name: _joined(cast("list[JsonObject]", value)) if name == "thinking_blocks" else value
            for name, value in self._values.items()
            if value
        }
        return {k: v for k, v in found.items() if in_tool_turn or k not in THOUGHTS}


class _Pieces(list[str]):
    """A text in the pieces that it came in: joined once, not with every piece."""


def _extend_text(row: JsonObject, key: str, piece: str) -> None:
    pieces = row.get(key)
    if not isinstance(pieces, _Pieces):
        pieces = row[key] = _Pieces([pieces] if isinstance(pieces, str) else ())
    pieces.append(piece)


def _joined(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """The rows with each text in one."""
    return [
        {key: "".join(value) if isinstance(value, _Pieces) else value for key, value in row.items()}
        for row in rows
    ]


def _goes_on(last: JsonObject, row: JsonObject) -> bool:
    if row.get("type") != last.get("type") or row.get("index") != last.get("index"):
        return False
    if row.get("type") == "reasoning.encrypted":
        return False
    return row.get("id") in (None, last.get("id")) or last.get("id") is None


def merge_into(whole: JsonObject, more: Json) -> None:
    """Put what *more* adds into *whole*, object by object: only what is new is looked at."""
    for key, value in more.items():
        old = whole.get(key)
        if isinstance(value, dict):
            inner = cast("JsonObject", old) if isinstance(old, dict) else {}
            merge_into(inner, cast("Json", value))  # a copy: it is another's
            whole[key] = inner
        elif value is not None:
            whole[key] = value


def _objects(value: Any) -> Iterator[JsonObject]:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    return (cast("JsonObject", row) for row in rows if isinstance(row, dict))


def _has_signature(value: Any) -> bool:
    """Whether Google's ``extra_content`` of a message is more than a mark of a thought."""
    if not isinstance(value, dict):
        return False
    rows = cast("JsonObject", value)
    return "thought_signature" in rows or any(map(_has_signature, rows.values()))


# ---- in the form of chat completions


def chat_fields(message: Message) -> JsonObject:
    """What stands on an assistant message for a client, in the words that its provider used."""
    if (data := message.provider_data) is None:
        return {}
    blocks = [dict(block) for block in data.blocks if block.get("type") in THINKING]
    return dict(data.fields) | ({"thinking_blocks": blocks} if blocks else {})


def from_chat(row: Mapping[str, Any]) -> ProviderData | None:
    """What a client gives back on an assistant message; None where there is nothing."""
    found = FieldAssembly()
    for name in (*THOUGHTS, *SIGNED):
        if row.get(name) is not None:
            found.add(name, row[name])
    fields = found.fields(in_tool_turn=True)
    blocks = tuple(fields.get("thinking_blocks", ()))
    calls = any(call_fields(call) for call in _objects(row.get("tool_calls")))
    return ProviderData("", fields, blocks) if fields or blocks or calls else None


def call_fields(row: Mapping[str, Any]) -> JsonObject:
    """The provider's fields of a tool call."""
    return _fields_named(OF_A_CALL, row)


# ---- Anthropic's blocks


def thinking_in_place(
    blocks: Sequence[Json], texts: Sequence[Json], calls: Sequence[Json]
) -> list[JsonObject]:
    """
    An assistant's content with its thinking blocks where they stood.

    *blocks* as ``ProviderData`` has them; *texts* and *calls* are the message's own blocks.
    Where they no longer fit the places that are marked, the thinking comes first.
    """
    ids = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
    thinking = [dict(block) for block in blocks if block.get("type") in THINKING]
    if ids != [str(call.get("id")) for call in calls]:
        return [*thinking, *map(dict, texts), *map(dict, calls)]
    rows: list[JsonObject] = []
    text, call = list(texts), iter(calls)
    for block in blocks:
        match block.get("type"):
            case "tool_use":
                rows.append(dict(next(call)))
            case "text":
                rows += map(dict, text)
                text = []
            case kind if kind in THINKING:
                rows.append(dict(block))
            case _:  # a block that stands for nothing here
                pass
    begun = next((i for i, row in enumerate(rows) if row["type"] not in THINKING), len(rows))
    rows[begun:begun] = map(dict, text)
    first = next((i for i, row in enumerate(rows) if row["type"] in THINKING), 0)
    if first:  # a stream of ours puts it behind a text that went out already
        last = first
        while last < len(rows) and rows[last]["type"] in THINKING:
            last += 1
        rows = [*rows[first:last], *rows[:first], *rows[last:]]
    return rows


def anthropic_blocks(message: Message) -> list[JsonObject]:
    """
    What an assistant message has for a client of Anthropic's messages, with marked places.

    Another API's data goes into the signature of a block of ours.
    """
    if (data := message.provider_data) is None:
        return []
    theirs = [block for block in data.blocks if block.get("type") in THINKING]
    if data.blocks and not any(map(_seems_ours, theirs)):
        return [dict(block) for block in data.blocks]
    thought = next((data.fields[name] for name in THOUGHTS if data.fields.get(name)), "")
    thought = thought or "".join(str(block.get("thinking") or "") for block in theirs)
    packed = pack(message)
    if thought:
        return [{"type": "thinking", "thinking": thought, "signature": packed}]
    return [{"type": "redacted_thinking", "data": packed}]


def _seems_ours(block: Json) -> bool:
    """
    Whether an upstream's block would be taken for one of ours when a client gives it back: such
    a one is handed out within one of ours, and comes back to that upstream alone.
    """
    return any(str(block.get(name) or "").startswith(MARK) for name in ("signature", "data"))


def from_anthropic(blocks: Sequence[Json], calls: Sequence[ToolCall]) -> Message | None:
    """
    What a client gives back, on an otherwise empty message with its *calls*; *blocks*: all of
    its content, of which only thinking is read. None where there is nothing.
    """
    told = [block for block in blocks if block.get("type") in THINKING]
    if not told:
        return None
    for block in told:
        if found := unpack(block.get("signature") or block.get("data"), calls):
            return found
    places = (
        block if block in told else {"type": block.get("type"), "id": block.get("id")}
        for block in blocks
    )
    rows = tuple({k: v for k, v in place.items() if v is not None} for place in places)
    return Message("assistant", "", tuple(calls), provider_data=ProviderData(blocks=rows))


# ---- as plain data


def to_json(message: Message) -> JsonObject | None:
    """A message's provider data, which ``restore`` puts back; None where it has none."""
    if (data := message.provider_data) is None:
        return None
    calls = [call.provider_fields for call in message.tool_calls]
    return {
        "origin": data.origin, "fields": data.fields, "blocks": list(data.blocks), "calls": calls
    }  # fmt: skip


def restore(message: Message, kept: Mapping[str, Any] | None) -> Message:
    """*message* with what ``to_json`` wrote of it."""
    if kept is None:
        return message
    data = ProviderData(kept["origin"], kept["fields"], tuple(kept["blocks"]))
    calls = tuple(
        replace(call, provider_fields=fields)
        for call, fields in zip(message.tool_calls, kept["calls"], strict=True)
    )
    return replace(message, provider_data=data, tool_calls=calls)


# ---- in one text, for fields that are called encrypted


def pack(message: Message) -> str:
    """All of a message's provider data as one text, for a client to hold."""
    data = message.provider_data or ProviderData()
    calls = {call.id: call.provider_fields for call in message.tool_calls if call.provider_fields}
    body = {
        "origin": data.origin, "fields": data.fields, "blocks": list(data.blocks), "calls": calls
    }  # fmt: skip
    return MARK + base64.urlsafe_b64encode(msgspec.json.encode(body)).decode()


class _Packed(msgspec.Struct):
    origin: str = ""
    fields: dict[str, Any] = {}
    blocks: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}


def unpack(text: object, calls: Iterable[ToolCall]) -> Message | None:
    """An empty assistant message with *calls* and what ``pack`` wrote; None for another's text."""
    if not isinstance(text, str) or not text.startswith(MARK):
        return None
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(text[len(MARK) :]), type=_Packed)
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return None
    # Anyone can write such a text: what it may say is what the fields of an API may say.
    own = {id_: call_fields(fields) for id_, fields in found.calls.items()}
    given = tuple(replace(call, provider_fields=own.get(call.id, {})) for call in calls)
    fields = _fields_named(OF_A_MESSAGE, found.fields)
    data = ProviderData(found.origin, fields, tuple(_known_blocks(found.blocks)))
    return Message("assistant", "", given, provider_data=data)
