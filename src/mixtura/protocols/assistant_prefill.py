"""Conversations that end with an assistant's words, for models that refuse a begun answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mixtura.core.types import JsonObject

CONTINUE_REQUEST = "Go on with your last message exactly where it ends. Do not repeat any of it."
"""The user's message behind a begun answer, for models that refuse one at the end."""

_ASSISTANT = (
    r"(?:[`'\"]*assistant\b[`'\"]*|[`'\"]+model\b[`'\"]+|\bmodel(?= (?:message|turn|role))"
    r"|(?<=role )model\b)"
)
_ROLE = r"(?:the )?(?:role )?[`'\"(]*(?:of )?(?:a |an )?(?:user|human|tool)"
# No API has a code for this refusal: it is known by its words only, at many providers.
_REFUSED = re.compile(
    r"(?is)pre[- ]?fill(?:ing|ed)?\b"
    r"|(?:must|should|has to|needs? to|ensure that .{0,60}requests?)"
    r" (?:always |alternate .{0,40}\band )?"
    rf"(?:end|finish) (?:with|in|on) (?:a |an )?{_ROLE}"
    r"|(?:last|final) (?:message|turn|role|content|entry)(?:'s role)?\b.{0,40}"
    r"(?:must|should|has to|needs? to|can only)(?: be| have| come)?(?: from)?(?: the)?"
    rf"(?: role)? ?{_ROLE}"
    r"|(?:last|final) (?:message|turn|role)\b.{0,30}"
    r"(?:cannot|can't|can not|must not|may not|should not) (?:be|have|come)\b.{0,20}assistant"
    r"|expected last role user|add_generation_prompt|continue_final_message"
    rf"|conversation (?:must|should|has to) end with (?:a |an )?{_ROLE}"
    rf"|\b(?:end(?:s|ed|ing)?|finish(?:es|ing)?) (?:with|in|on) (?:an? |the )?(?:role )?"
    rf"{_ASSISTANT}"
    rf"|(?:last|final) (?:message|turn|role|entry|item)\b.{{0,30}}\b(?:is|was|has|be|have|come)"
    rf"(?: from| by)?(?: an?| the)?(?: role)?[ :=]*{_ASSISTANT}"
    rf"|(?:last|final) (?:\w+(?:'s)? )?role[ :=]*{_ASSISTANT}"
    rf"|{_ASSISTANT} (?:message|turn|role)s? (?:in|at|as) (?:the )?(?:final|last|end)\b"
    rf"|{_ASSISTANT} (?:message|turn|role)s?\b.{{0,20}}(?:cannot|can't|can not|must not|may not"
    r"|should not) (?:be|come|stand)(?: in| at| as)?(?: the)? (?:last|final|end)\b"
    rf"|(?:last|final) {_ASSISTANT} (?:message|turn)s? must (?:start|begin) with a thinking"
    rf"|continu(?:e|ing|ation)\b.{{0,20}}{_ASSISTANT}.{{0,30}} not (?:supported|allowed)"
    r"|最后一(?:条|个).{0,20}(?:role|角色|消息).{0,20}(?:user|用户|(?:不能|不得|不可).{0,8}assistant)"
)


def is_prefill_refused(message: str, messages: Sequence[JsonObject]) -> bool:
    """Whether a refusal's *message* is about the assistant's words that *messages* end with."""
    return ends_with_assistant(messages) and bool(_REFUSED.search(message))


def ends_with_assistant(messages: Sequence[JsonObject]) -> bool:
    """Whether *messages* end with an assistant's words, and not with calls of tools."""
    last = messages[-1] if messages else {}
    return last.get("role") == "assistant" and not last.get("tool_calls")


def with_continue_request(messages: list[JsonObject]) -> list[JsonObject]:
    """
    *messages* with a request of the user's to go on behind such an end; unchanged where there is
    none.
    """
    if not ends_with_assistant(messages):
        return messages
    parts = isinstance(messages[-1].get("content"), list)
    content: Any = [{"type": "text", "text": CONTINUE_REQUEST}] if parts else CONTINUE_REQUEST
    return [*messages, {"role": "user", "content": content}]
