"""Messages of a chat request rearranged for a model that refuses them as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from mixtura.core.types import JsonObject, Part
from mixtura.protocols.content_parts import (
    CACHE_MARK,
    PICTURE_STAND_IN,
    THOUGHT_PART_TYPES,
    part_from_json,
    part_kind,
    stand_in_text,
)

SYSTEM_ROLES = ("system", "developer")

# ---- instructions


def has_scattered_instructions(messages: Sequence[JsonObject]) -> bool:
    """Whether there are instructions elsewhere than in one message in front."""
    places = [i for i, m in enumerate(messages) if m["role"] in SYSTEM_ROLES]
    return places not in ([], [0])


def gather_instructions(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """
    One message of instructions in front. Later ones go into the user's message beside them,
    which leaves the prefix that a prompt cache knows as it was; else to the front, too.
    """
    front: list[JsonObject] = []
    rows: list[JsonObject] = []
    waiting: list[Any] = []
    for message in messages:
        last = rows[-1] if rows else None
        if message["role"] not in SYSTEM_ROLES:
            if waiting and message["role"] == "user":
                message = _prefix_content(message, waiting)  # noqa: PLW2901
            elif waiting:
                front += [{"content": content} for content in waiting]
            waiting = []
            rows.append(message)
        elif not rows:
            front.append(message)
        elif last is not None and last["role"] == "user":
            # In the user's message beside it: the prefix that a cache knows stays as it was.
            rows[-1] = last | {"content": join_contents(last["content"], message["content"])}
        else:
            waiting.append(message["content"])
    front += [{"content": content} for content in waiting]
    if not front:
        return rows
    content = front[0]["content"]
    for more in front[1:]:
        content = join_contents(content, more["content"])
    role = front[0].get("role", "system")
    return [{"role": role, "content": content}, *rows]


def _prefix_content(message: JsonObject, before: Sequence[Any]) -> JsonObject:
    content = message["content"]
    for one in reversed(before):
        content = join_contents(one, content)
    return message | {"content": content}


def move_instructions_to_user(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Every instruction in front of the first user's message, in the same message."""
    instructions = [m for m in messages if m["role"] in SYSTEM_ROLES]
    others = [m for m in messages if m["role"] not in SYSTEM_ROLES]
    if not any(content_text(m["content"]) for m in instructions):
        return others
    first = next((i for i, m in enumerate(others) if m["role"] == "user"), None)
    contents = [m["content"] for m in instructions]
    if first is None:
        return [_prefix_content({"role": "user", "content": ""}, contents), *others]
    others[first] = _prefix_content(others[first], contents)
    return others


def join_contents(before: Any, after: Any) -> Any:
    """The contents of two messages as one: a text where both are."""
    if isinstance(before, str) and isinstance(after, str):
        return "\n\n".join(filter(None, (before, after)))
    return [*_content_rows(before), *_content_rows(after)]


def _content_rows(content: Any) -> list[JsonObject]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(cast("list[JsonObject]", content or []))


def content_text(content: Any) -> str:
    """The words of a message's content."""
    return content if isinstance(content, str) else "".join(r.get("text", "") for r in content)


# ---- parts

PART_KINDS = {
    "pictures": "a picture", "files": "a file", "sound": "a sound recording", "videos": "a video",
}  # fmt: skip
"""What a model may not take, as ``part_kind`` has it."""

_KIND_PATTERNS = {
    "pictures": r"images?|pictures?|vision|multi-?modal(?:ity)?|image[ _](?:url|input|content)s?",
    "files": r"files?|documents?|pdfs?|file[ _](?:input|content|part)s?",
    "sound": r"audio|sound|input[ _]audio|audio[ _](?:input|content)s?",
    "videos": r"videos?|video[ _](?:url|input|content)s?",
}
_REFUSAL_TEMPLATE = (
    r"(?:not|n't) support(?:ed)?(?: \w+)? (?:{words})"
    r"|(?:{words})['\"` ]*(?:\w+ )?(?:is|are)? ?not (?:supported|enabled|allowed)"
    r"|unsupported[^.]{{0,40}}\b(?:{words})\b|unknown variant ['\"`](?:{words})"
)
_PICTURE_REFUSALS = r"|not a multi-?modal model|support image input|mmproj"


def _refusal_pattern(kind: str, words: str) -> re.Pattern[str]:
    more = _PICTURE_REFUSALS if kind == "pictures" else ""
    return re.compile(_REFUSAL_TEMPLATE.format(words=words) + more, re.IGNORECASE)


_REFUSAL_PATTERNS = {kind: _refusal_pattern(kind, words) for kind, words in _KIND_PATTERNS.items()}


def refused_part_kind(error_text: str, messages: Sequence[JsonObject]) -> str | None:
    """Which kind of part that *messages* have an *error_text* refuses; None for none."""
    kinds = {part_kind(part) for message in messages for part in _content_parts(message)}
    sent = (kind for kind, name in PART_KINDS.items() if name in kinds)
    return next((kind for kind in sent if _REFUSAL_PATTERNS[kind].search(error_text)), None)


def without_part_kind(messages: Sequence[JsonObject], kind: str) -> list[JsonObject]:
    """
    *messages* with a line of text in place of each part of a kind. Raises MalformedError for a part
    that is no object.
    """
    name = PART_KINDS[kind]

    def replace_part(row: JsonObject) -> JsonObject:
        part = part_from_json(row)
        if part_kind(part) != name:
            return row
        return {
            "type": "text",
            "text": PICTURE_STAND_IN if kind == "pictures" else stand_in_text(part),
        }

    return [
        message | {"content": [replace_part(row) for row in message["content"]]}
        if any(part_kind(part) == name for part in _content_parts(message))
        else message
        for message in messages
    ]


def _content_parts(message: JsonObject) -> list[Part]:
    content = message.get("content")
    return (
        list(map(part_from_json, cast("list[Any]", content))) if isinstance(content, list) else []
    )


def has_cache_marks(messages: Sequence[JsonObject]) -> bool:
    """Whether a part has a mark of where a prompt cache may cut."""
    return any(CACHE_MARK in row for message in messages for row in _listed_rows(message))


def without_cache_marks(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same without marks of where a prompt cache may cut."""
    return [
        message | {"content": [_without_cache_mark(row) for row in message["content"]]}
        if any(CACHE_MARK in row for row in _listed_rows(message))
        else message
        for message in messages
    ]


def _without_cache_mark(row: JsonObject) -> JsonObject:
    return {name: value for name, value in row.items() if name != CACHE_MARK}


def has_text_lists(messages: Sequence[JsonObject]) -> bool:
    """Whether a content is a list of nothing but texts, and a model's own thoughts."""
    return any(_is_all_text(message) for message in messages)


def with_plain_texts(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Contents that are lists of texts as one text each."""
    return [
        message | {"content": "\n".join(_texts_of(message))} if _is_all_text(message) else message
        for message in messages
    ]


def has_null_content(messages: Sequence[JsonObject]) -> bool:
    """Whether a message has calls and no text, which the protocol writes as null."""
    return any("content" in message and message["content"] is None for message in messages)


def with_empty_texts(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Contents that are null as empty texts."""
    return [m | {"content": ""} if m.get("content", "") is None else m for m in messages]


def has_thought_parts(messages: Sequence[JsonObject]) -> bool:
    """Whether a content has a model's own thoughts among its parts."""
    return any(r.get("type") in THOUGHT_PART_TYPES for m in messages for r in _listed_rows(m))


def without_thought_parts(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Contents without the thoughts among their parts; of texts alone as one text."""
    changed = [
        m | {"content": [r for r in _listed_rows(m) if r.get("type") not in THOUGHT_PART_TYPES]}
        if has_thought_parts([m])
        else m
        for m in messages
    ]
    plain = with_plain_texts(changed)
    return [
        flat if before is not after else after
        for before, after, flat in zip(messages, changed, plain, strict=True)
    ]


def _is_all_text(message: JsonObject) -> bool:
    rows = _listed_rows(message)
    return bool(rows) and all(row.get("type") in ("text", *THOUGHT_PART_TYPES) for row in rows)


def _texts_of(message: JsonObject) -> list[str]:
    """The texts of a list of texts and thoughts."""
    return [row["text"] for row in _listed_rows(message) if row.get("type") == "text"]


def _listed_rows(message: JsonObject) -> list[JsonObject]:
    content = message.get("content")
    return cast("list[JsonObject]", content) if isinstance(content, list) else []
