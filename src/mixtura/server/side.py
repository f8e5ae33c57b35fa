"""The small requests that chat front ends make on the side: titles, tags, follow-ups."""

from __future__ import annotations

import re

from mixtura.types import Request

_CONVERSATION = r"\b(?:this|the|our|following) (?:chat|conversation)\b|<chat_history>"
_LENGTH = (
    r"\b(?:\d|one|two|three|four|five|six|seven|eight|ten)\b[ -]?(?:to \d+ |- ?\d+ )?[- ]?words?\b"
)
_ONLY = r"\b(?:only|nothing else|no (?:punctuation|quotation|quotes)|without|or less|at most|max)\b"
_FORMS = tuple(
    tuple(re.compile(sign, re.IGNORECASE) for sign in form)
    for form in (
        # Open WebUI: titles, tags, follow-ups, search queries, completions of what is typed
        (r"^### Task:\s*\n", r"### (?:Guidelines|Output)\b", r"<chat_history>|### Chat History"),
        # LibreChat, Chatbox, NextChat, big-AGI and others: a title for the conversation
        (r"\btitle\b|\btopic\b", _CONVERSATION, _LENGTH, _ONLY),
    )
)
LONGEST = 12_000
"""Characters of a message that may be one: a person's own long text is never taken for it."""


def is_side(request: Request) -> bool:
    """
    Whether a front end asks, not a person: its last message has the known form.

    All signs of a form must be there: a person who asks for a title is a person.
    """
    if request.tools or not request.messages:
        return False
    last = request.messages[-1]
    if last.role != "user" or len(last.text) > LONGEST:
        return False
    text = last.text.strip()
    return any(all(sign.search(text) for sign in form) for form in _FORMS)
