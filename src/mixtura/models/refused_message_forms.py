"""Forms of messages that some models refuse: how a refusal shows it, and how to do without."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, cast

from mixtura.core.errors import RejectedError
from mixtura.core.types import JsonObject
from mixtura.prompts.proposer_view import NO_IMAGES_NOTICE
from mixtura.protocols import message_layout
from mixtura.protocols.assistant_prefill import with_continue_request
from mixtura.protocols.content_parts import CACHE_MARK

LATER_INSTRUCTIONS = "later instructions"
BEGUN_ANSWER = "a begun answer"
_SYSTEM, _DEVELOPER = "the role system", "the role developer"
_CACHE_MARKS, _LISTS, _NULLS = "cache marks", "texts in parts", "empty contents"
_THOUGHTS = "thoughts in parts"


def _developer_as_system(messages: Sequence[JsonObject]) -> list[JsonObject]:
    return [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]


MESSAGE_CHANGES: Mapping[str, Callable[[list[JsonObject]], list[JsonObject]]] = {
    _DEVELOPER: _developer_as_system,
    LATER_INSTRUCTIONS: message_layout.gather_instructions,
    _SYSTEM: message_layout.move_instructions_to_user,
    **{k: partial(message_layout.without_part_kind, kind=k) for k in message_layout.PART_KINDS},
    _CACHE_MARKS: message_layout.without_cache_marks,
    BEGUN_ANSWER: with_continue_request,
    _THOUGHTS: message_layout.without_thought_parts,
    _LISTS: message_layout.with_plain_texts,
    _NULLS: message_layout.with_empty_texts,
}
"""The forms, each with the change of messages that avoids it; in the order of applying them."""
MESSAGE_FORM_NOTICES = {
    _SYSTEM: "does not accept a system message: its text is put before the first user message",
    _DEVELOPER: "does not accept a developer message: it is sent as a system message",
    LATER_INSTRUCTIONS: "accepts instructions only in the first message: later ones are moved",
    "pictures": NO_IMAGES_NOTICE,
    **{
        kind: f"does not accept {kind}: each is replaced by a line of text"
        for kind in message_layout.PART_KINDS
        if kind != "pictures"
    },
    _CACHE_MARKS: "does not accept cache marks: they were left out",
    _THOUGHTS: "does not accept thoughts as parts of a message: they were left out",
    _LISTS: "does not accept texts in parts: they are joined",
    _NULLS: "does not accept a message without text: an empty text is added to its calls",
    BEGUN_ANSWER: "does not accept a prefilled answer: it is asked to continue the text instead",
}

_NO_ROLE = re.compile(
    r"(?is)(system|developer)['\"` ]*(?:role|message|instruction|prompt)?s?\b.{0,40}"
    r"\b(?:not (?:be )?(?:supported|enabled|allowed|permitted|accepted)|unsupported)"
    r"|(?:not|n't) (?:support|accept|allow|take)(?: an?| any| the)? ['\"`]?(system|developer)"
    r"|roles must alternate user/assistant"
    r"|only user and assistant roles|should be '(?:user|assistant)' or '(?:user|assistant)'"
    r"|(?:first message|conversation|messages) must (?:be|have|start|begin)\b.{0,30}\buser"
    r"|only user,? (?:and )?assistant(?:,? and tool)? roles"
    r"|(?:unknown|invalid|unexpected|unsupported|bad|illegal) (?:message )?role[ :='\"`]+system"
    r"|roles? .{0,40}\bgot[ '\"`]+system"
    r"|\broles?\b(?!.{0,80}\bsystem\b).{0,30}"
    r"\b(?:one of|in|either|be)\b.{0,4}\b(?:user|assistant)\b"
)
_NO_DEVELOPER = re.compile(
    r"(?i)\bdeveloper\b|(?:unknown|invalid|unexpected|unsupported|bad|illegal) (?:message )?role"
    r"|\b(?:should|must) be\b.{0,20}\b(?:system|user|assistant)\b.{0,12}"
    r"\b(?:system|user|assistant)\b"
)
"""The role is newer than the others: a refusal of any role is first taken for one of this role."""
_NO_LISTS = re.compile(
    r"(?is)content\b.{0,60}\b(?:a |valid )?string|invalid type: sequence, expected a string"
    r"|messages\b.{0,40}\b(?:value )?(?:must|should) be a (?:valid )?string"
    r"|type string with value array"
)
_NO_NULLS = re.compile(
    r"(?is)\bcontent\b.{0,60}(?:\bnull\b|<?\bnil\b|\bNone\b|\brequired\b|\bmissing\b|\bempty\b)"
    r"|(?:\bnull\b|<?\bnil\b|\bNone\b|\bmissing\b).{0,40}\bcontent\b"
)
_NO_THOUGHTS = re.compile(
    r"(?:not|n't) (?:be )?(?:support|accept|allow|permit|recogni[sz]e|valid|match)\w*"
    r"|unsupported|unknown|unexpected|invalid|unrecogni[sz]ed|\b(?:must|should) be\b|\bexpected\b",
    re.IGNORECASE,
)
"""Words that refuse; where a content has thoughts among its parts, another try without is cheap."""
_ABOUT_ROLES = re.compile(
    r"\b(?:system|developer|roles?|instructions?)\b|alternat|\b(?:first|last) message\b"
    r"|\border of (?:the )?messages|\bmessage order|系统(?:消息|提示|指令)|角色",
    re.IGNORECASE | re.ASCII,  # so that a Chinese character ends a word
)


def chat_messages(body: JsonObject) -> list[JsonObject]:
    """The messages of a *body* in the form of chat completions; none where its API has another."""
    rows = body.get("messages")
    return cast("list[JsonObject]", rows) if _is_list(rows, _is_chat_message) else []


def _is_chat_message(row: Any) -> bool:
    if not isinstance(row, dict) or "content" not in row:
        return False
    message = cast("JsonObject", row)
    content = message["content"]
    return isinstance(message.get("role"), str) and (
        content is None or isinstance(content, str) or _is_list(content, _is_object)
    )


def _is_object(part: Any) -> bool:
    return isinstance(part, dict)


def _is_list(rows: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(rows, list) and all(map(of, cast("list[Any]", rows)))


def reshape_messages(messages: list[JsonObject], refused: Collection[str]) -> list[JsonObject]:
    """*messages* without the forms in *refused*."""
    for name, change in MESSAGE_CHANGES.items():
        if name in refused:
            messages = change(messages)
    return messages


def refused_message_form(error: RejectedError, messages: Sequence[JsonObject]) -> str | None:
    """The form that *messages* have and *error* refuses, else None."""
    said = str(error)
    if kind := message_layout.refused_part_kind(said, messages):
        return kind
    if CACHE_MARK in said and message_layout.has_cache_marks(messages):
        return _CACHE_MARKS
    if message_layout.has_null_content(messages) and (
        _NO_NULLS.search(said) or _NO_LISTS.search(said)
    ):
        return _NULLS
    names = ("thinking", "reasoning", "content", "part")
    if (
        any(n in said for n in names)
        and _NO_THOUGHTS.search(said)
        and message_layout.has_thought_parts(messages)
    ):
        return _THOUGHTS
    if _NO_LISTS.search(said) and message_layout.has_text_lists(messages):
        return _LISTS
    return _refused_role(error, messages)


def _refused_role(error: RejectedError, messages: Sequence[JsonObject]) -> str | None:
    said = str(error)
    about_role = error.parameter is not None and error.parameter.endswith("role")
    roles = {m["role"] for m in messages}
    if "developer" in roles and _NO_DEVELOPER.search(said):
        return _DEVELOPER
    if not _NO_ROLE.search(said) and not about_role:
        return None
    if message_layout.has_scattered_instructions(messages):
        return LATER_INSTRUCTIONS
    return _SYSTEM if roles & set(message_layout.SYSTEM_ROLES) else None


def may_refuse_later_instructions(error: RejectedError, messages: Sequence[JsonObject]) -> bool:
    """
    Whether *error* mentions instructions or roles in any words, and *messages* have instructions
    elsewhere than in front: it is worth a try to move them.
    """
    return bool(_ABOUT_ROLES.search(str(error))) and message_layout.has_scattered_instructions(
        messages
    )
