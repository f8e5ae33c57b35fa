"""An answer's content that comes as a list of parts: its text, thought, tool calls and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.core.errors import MalformedError
from mixtura.core.types import JsonObject
from mixtura.protocols.provider_data.returned_parts import is_worth_keeping, keep_part


def flatten_content(delta: JsonObject) -> None:
    """
    Turn content that is a list of parts into text, reasoning and calls, in place.

    Raises MalformedError for a part that is neither text nor an object with a type.
    """
    if isinstance(calls := delta.get("tool_calls"), dict):
        by_number = cast("JsonObject", calls)
        numbered = all(map(str.isdigit, by_number))
        delta["tool_calls"] = list(by_number.values()) if numbered else [by_number]
    for name in ("reasoning_content", "reasoning"):
        if isinstance(delta.get(name), dict | list):  # not kept as provider data in this form
            delta.setdefault("thinking", thought_text(delta.pop(name)))
    content = delta.get("content")
    if content is None or isinstance(content, str):
        return
    parts = _Parts([], [], [], [])
    for part in cast("list[Any]", content if isinstance(content, list) else [content]):
        parts.add_part(part)
    delta["content"], delta["left_out"] = "".join(parts.texts), parts.others
    if kept := _kept_parts(cast("list[Any]", content if isinstance(content, list) else [content])):
        delta["content_parts"] = kept
    # Some servers send a call as a part and as a field.
    if parts.calls and not delta.get("tool_calls"):
        delta["tool_calls"] = parts.calls
    if parts.thoughts:
        before = delta.get("reasoning_content") or ""
        delta["reasoning_content"] = "".join((before, *parts.thoughts))


def _kept_parts(content: list[Any]) -> list[JsonObject]:
    """What the provider wants back of a content's parts; none where they are plain texts."""
    rows = (
        cast("JsonObject", part) if isinstance(part, dict) else {"type": "text"} for part in content
    )
    kept = [row for part in rows if (row := keep_part(part))]
    return kept if any(map(is_worth_keeping, kept)) else []


class _Parts(NamedTuple):
    """The parts of a content, by kind."""

    texts: list[str]
    thoughts: list[str]
    calls: list[Any]
    others: list[str]

    def add_part(self, part: Any) -> None:
        match part:
            case {"thought": True, "text": str(text)}:
                self.thoughts.append(text)
            case str(text) | {"type": "text" | "output_text", "text": str(text)}:
                self.texts.append(text)
            case {"type": "thinking" | "reasoning", **more}:
                self.thoughts.append(_thinking_part_text(more))
            case (
                {"type": "refusal", "refusal": str(text)}
                | {"text": str(text) | {"value": str(text)}}
                | {"type": "text" | "output_text", "content": str(text)}
            ):
                self.texts.append(text)
            case list():
                for row in cast("list[Any]", part):
                    self.add_part(row)
            case None | bool() | {"text": None}:
                pass
            case int() | float():
                self.texts.append(msgspec.json.encode(part).decode())
            case {"type": "tool_use", "name": str()}:
                self.calls.append(part)
            case dict():
                kind = cast("JsonObject", part).get("type")
                self.others.append(kind if isinstance(kind, str) else "unknown")
            case _:
                raise MalformedError(f"the content of an answer is {type(part).__name__}, not text")


def thought_text(value: Any) -> str:
    """Reasoning text, given as text, as an object or as a list of either."""
    if isinstance(value, list):
        return "".join(map(thought_text, cast("list[Any]", value)))
    if isinstance(value, dict):
        return _thinking_part_text(cast("JsonObject", value))
    return value if isinstance(value, str) else ""


_THOUGHT_NAMES = ("thinking", "reasoning", "text", "summary", "content")


def _thinking_part_text(part: Mapping[str, Any]) -> str:
    """The text of a thinking part: under one of several names, as text or as parts again."""
    value = next((part[k] for k in _THOUGHT_NAMES if k in part), "")
    rows = cast("list[Any]", value if isinstance(value, list) else [value])
    texts: list[Any] = [row.get("text") if isinstance(row, dict) else row for row in rows]  # pyright: ignore
    return "".join(text for text in texts if isinstance(text, str))
