"""The provider's fields of a streamed chat message, put together from its deltas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from mixtura.core.json_text import MAX_DEPTH, is_deeper_than
from mixtura.core.types import Json, JsonObject
from mixtura.protocols.provider_data.fields import (
    LIST_FIELDS,
    PLAIN_THOUGHT_FIELDS,
    SIGNATURE_TEXTS,
)
from mixtura.protocols.provider_data.returned_parts import ContentPartCollector
from mixtura.protocols.provider_data.text_pieces import extend_text, join_pieces


class ProviderFieldAccumulator:
    """Puts the provider's fields of a chat message together from the deltas of a stream."""

    __slots__ = ("_details", "_parts", "_texts", "_values")

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._details: list[JsonObject] = []
        self._values: JsonObject = {}
        self._parts = ContentPartCollector()

    def add_field(self, name: str, value: Any) -> None:
        """
        Add one field of a delta; a value of an unexpected type or nested too deeply is ignored.
        """
        if is_deeper_than(value, MAX_DEPTH):
            return
        if name in (*PLAIN_THOUGHT_FIELDS, "reasoning_opaque"):
            if isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
        elif name in LIST_FIELDS:
            add_row = {
                "reasoning_details": self._add_detail,
                "thinking_blocks": self._add_thinking_block,
                "content_parts": self._parts.add_part,
            }[name]
            for row in object_rows(value):
                add_row(row)
        elif name in SIGNATURE_TEXTS:
            if isinstance(value, str) and value:
                self._values[name] = value
        elif isinstance(value, dict) and _has_signature(value):
            merge_into(self._values.setdefault(name, {}), cast("JsonObject", value))

    def _add_detail(self, row: JsonObject) -> None:
        """Append to the last detail if index, type and id match, else begin a new one."""
        last = self._details[-1] if self._details else None
        if row.get("type") == "reasoning.encrypted" and row in self._details:
            return  # a whole message after its deltas
        if last is None or not _continues_detail(last, row):
            self._details.append(dict(row))
            return
        for key, value in row.items():
            if key in ("text", "summary", "data") and isinstance(value, str):
                extend_text(last, key, value)
            elif value is not None:
                last[key] = value

    def _add_thinking_block(self, row: JsonObject) -> None:
        """Append to the last thinking block until that is signed, then begin a new one."""
        rows: list[JsonObject] = self._values.setdefault("thinking_blocks", [])
        if row.get("type") == "redacted_thinking" and row in rows:
            return
        last: JsonObject = rows[-1] if rows else {}
        if last.get("type") == row.get("type") == "thinking" and not last.get("signature"):
            extend_text(last, "thinking", row.get("thinking") or "")
            last |= {"signature": row["signature"]} if row.get("signature") else {}
        else:
            rows.append(dict(row))

    def collect_fields(self, *, in_tool_turn: bool) -> JsonObject:
        """The fields to keep; plain thoughts only *in_tool_turn*, a turn that calls tools."""
        fields: JsonObject = {name: "".join(texts) for name, texts in self._texts.items()}
        if self._details:
            fields["reasoning_details"] = join_pieces(self._details)
        fields |= {
            name: join_pieces(cast("list[JsonObject]", value))
            if name == "thinking_blocks"
            else value
            for name, value in self._values.items()
            if value
        }
        if parts := self._parts.collect_parts():
            fields["content_parts"] = parts
        return {k: v for k, v in fields.items() if in_tool_turn or k not in PLAIN_THOUGHT_FIELDS}


def _continues_detail(last: JsonObject, row: JsonObject) -> bool:
    if row.get("type") != last.get("type") or row.get("index") != last.get("index"):
        return False
    # Encrypted data comes whole: two pieces of it are two details.
    if row.get("type") == "reasoning.encrypted":
        return False
    return row.get("id") in (None, last.get("id")) or last.get("id") is None


def merge_into(whole: JsonObject, more: Json) -> None:
    """Merge *more* into *whole*, object by object, in place."""
    for key, value in more.items():
        old = whole.get(key)
        if isinstance(value, dict):
            inner = cast("JsonObject", old) if isinstance(old, dict) else {}
            merge_into(inner, cast("Json", value))  # copied: the caller owns it
            whole[key] = inner
        elif value is not None:
            whole[key] = value


def object_rows(value: Any) -> Iterator[JsonObject]:
    """The objects of a list; none for anything else."""
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    return (cast("JsonObject", row) for row in rows if isinstance(row, dict))


def _has_signature(value: Any) -> bool:
    """Whether an object of Google's or a gateway's has a thought's signature."""
    if isinstance(value, list):
        return any(map(_has_signature, cast("list[Any]", value)))
    if not isinstance(value, dict):
        return False
    rows = cast("JsonObject", value)
    return not _SIGNATURE_NAMES.isdisjoint(rows) or any(map(_has_signature, rows.values()))


_SIGNATURE_NAMES = {*SIGNATURE_TEXTS, "thought_signatures", "signature"}
