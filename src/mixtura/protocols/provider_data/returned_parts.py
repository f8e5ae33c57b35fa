"""Thoughts and signatures among the parts of a message's content, and their way back there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mixtura.core.types import JsonObject
from mixtura.protocols.content_parts import THOUGHT_PART_TYPES
from mixtura.protocols.provider_data.fields import CALL_FIELDS, select_known_fields
from mixtura.protocols.provider_data.text_pieces import TextPieces, extend_text, join_pieces

_TEXT_TYPES = ("text", "output_text")
_TEXT_NAMES = ("thinking", "reasoning", "text", "data")
"""Fields of a part whose pieces are one text."""


def keep_part(part: Mapping[str, Any]) -> JsonObject | None:
    """What is kept of a part: a thought whole, of a text its signature; None for other parts."""
    kind = part.get("type")
    if kind in THOUGHT_PART_TYPES:
        return {k: _copy_rows(v) if isinstance(v, list) else v for k, v in part.items()}
    if kind in _TEXT_TYPES:
        return {"type": "text", **select_known_fields(CALL_FIELDS, part)}
    return None


def _copy_rows(rows: Any) -> list[Any]:
    """Copies of a part's own parts: more is added to them."""
    return [dict(row) if isinstance(row, dict) else row for row in rows]  # pyright: ignore


def is_worth_keeping(part: Mapping[str, Any]) -> bool:
    """Whether a part that is kept is more than the place of a text."""
    return part.get("type") in THOUGHT_PART_TYPES or len(part) > 1


class ContentPartCollector:
    """Puts the parts of a streamed content together: a thought comes in many."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: list[JsonObject] = []

    def add_part(self, part: Mapping[str, Any]) -> None:
        """Add a part to what came before, or to the last part if that goes on."""
        row = keep_part(part)
        if row is None:
            return
        last = self._rows[-1] if self._rows else None
        if last is None or last["type"] != row["type"] or last.get("signature"):
            self._rows.append(row)
            return
        for name, value in row.items():
            if name in _TEXT_NAMES and isinstance(value, str):
                extend_text(last, name, value)
            elif isinstance(value, list) and isinstance(last.get(name), list):
                last[name] = _extend_rows(cast("list[Any]", last[name]), cast("list[Any]", value))
            else:
                last[name] = value

    def collect_parts(self) -> list[JsonObject]:
        """The parts; none where all of them are texts without a signature."""
        if not any(map(is_worth_keeping, self._rows)):
            return []
        return [
            {k: _join_rows(v) if isinstance(v, list) else v for k, v in row.items()}
            for row in join_pieces(self._rows)
        ]


def _extend_rows(rows: list[Any], more: list[Any]) -> list[Any]:
    """The parts in a part: texts behind each other are one."""
    for row in more:
        last: Any = rows[-1] if rows else None
        if _is_bare_text(last) and _is_text(row):
            extend_text(last, "text", row["text"])
            last.update({k: v for k, v in row.items() if k not in ("type", "text")})
        else:
            rows.append(row)
    return rows


def _is_text(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("text"), str)  # pyright: ignore


def _is_bare_text(row: Any) -> bool:
    """Whether an object is a text without a signature yet."""
    if not isinstance(row, dict):
        return False
    text = cast("JsonObject", row)
    return isinstance(text.get("text"), str | TextPieces) and not text.get("signature")


def _join_rows(rows: Any) -> list[Any]:
    return [join_pieces([row])[0] if isinstance(row, dict) else row for row in rows]  # pyright: ignore


def restore_content(parts: Any, text: str) -> list[JsonObject]:
    """A content of the thoughts in *parts*, with *text* where the last of its texts stood."""
    rows = [row for part in cast("list[Any]", parts) if (row := keep_part(part))]
    places = [i for i, row in enumerate(rows) if row["type"] == "text"]
    if not places and text:
        return [*rows, {"type": "text", "text": text}]
    found: list[JsonObject] = []
    for i, row in enumerate(rows):
        if row["type"] != "text":
            found.append(row)
        elif said := text if i == places[-1] else "":
            found.append(row | {"text": said})
        elif is_worth_keeping(row):
            found.append(row | {"text": ""})
    return found
