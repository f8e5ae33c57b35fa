"""The provider's fields of a streamed chat message, put together from its deltas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from mixtura.core.json_text import MAX_DEPTH, is_deeper_than
from mixtura.core.types import Json, JsonObject
from mixtura.protocols.provider_data.fields import PLAIN_THOUGHT_FIELDS


class ProviderFieldAccumulator:
    """Puts the provider's fields of a chat message together from the deltas of a stream."""

    __slots__ = ("_details", "_texts", "_values")

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._details: list[JsonObject] = []
        self._values: JsonObject = {}

    def add_field(self, name: str, value: Any) -> None:
        """
        Add one field of a delta; a value of an unexpected type or nested too deeply is ignored.
        """
        if is_deeper_than(value, MAX_DEPTH):
            return
        if name in (*PLAIN_THOUGHT_FIELDS, "reasoning_opaque"):
            if isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
        elif name == "reasoning_details":
            for row in object_rows(value):
                self._add_detail(row)
        elif name == "thinking_blocks":
            for row in object_rows(value):
                self._add_thinking_block(row)
        elif isinstance(value, dict) and (name != "extra_content" or _has_signature(value)):
            merge_into(self._values.setdefault(name, {}), cast("JsonObject", value))

    def _add_detail(self, row: JsonObject) -> None:
        """Append to the last detail if index, type and id match, else begin a new one."""
        last = self._details[-1] if self._details else None
        if last is None or not _continues_detail(last, row):
            self._details.append(dict(row))
            return
        for key, value in row.items():
            if key in ("text", "summary", "data") and isinstance(value, str):
                _extend_text(last, key, value)
            elif value is not None:
                last[key] = value

    def _add_thinking_block(self, row: JsonObject) -> None:
        """Append to the last thinking block until that is signed, then begin a new one."""
        rows: list[JsonObject] = self._values.setdefault("thinking_blocks", [])
        last: JsonObject = rows[-1] if rows else {}
        if last.get("type") == row.get("type") == "thinking" and not last.get("signature"):
            _extend_text(last, "thinking", row.get("thinking") or "")
            last |= {"signature": row["signature"]} if row.get("signature") else {}
        else:
            rows.append(dict(row))

    def collect_fields(self, *, in_tool_turn: bool) -> JsonObject:
        """The fields to keep; plain thoughts only *in_tool_turn*, a turn that calls tools."""
        fields: JsonObject = {name: "".join(texts) for name, texts in self._texts.items()}
        if self._details:
            fields["reasoning_details"] = _join_pieces(self._details)
        fields |= {
            name: _join_pieces(cast("list[JsonObject]", value))
            if name == "thinking_blocks"
            else value
            for name, value in self._values.items()
            if value
        }
        return {k: v for k, v in fields.items() if in_tool_turn or k not in PLAIN_THOUGHT_FIELDS}


class _Pieces(list[str]):
    """A text as the pieces that it came in: joined once, not with every piece."""


def _extend_text(row: JsonObject, key: str, piece: str) -> None:
    pieces = row.get(key)
    if not isinstance(pieces, _Pieces):
        pieces = row[key] = _Pieces([pieces] if isinstance(pieces, str) else ())
    pieces.append(piece)


def _join_pieces(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """The rows with the pieces of each text joined."""
    return [
        {key: "".join(value) if isinstance(value, _Pieces) else value for key, value in row.items()}
        for row in rows
    ]


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
    """Whether Google's ``extra_content`` of a message has a thought's signature."""
    if not isinstance(value, dict):
        return False
    rows = cast("JsonObject", value)
    return "thought_signature" in rows or any(map(_has_signature, rows.values()))
