"""Recognizes the small requests that chat front ends make: titles, tags, follow-ups."""

from __future__ import annotations

import re

from mixtura.core.text import compile_patterns
from mixtura.core.types import Request

_CONVERSATION = r"\b(?:this|the|our|following) (?:chat|conversation)\b|<chat_history>"
_LENGTH = (
    r"\b(?:\d|one|two|three|four|five|six|seven|eight|ten)\b[ -]?(?:to \d+ |- ?\d+ )?[- ]?words?\b"
)
_ONLY = r"\b(?:only|nothing else|no (?:punctuation|quotation|quotes)|without|or less|at most|max)\b"
_FORMS = tuple(
    compile_patterns(*form)
    for form in (
        # Open WebUI: titles, tags, follow-ups, search queries, completions of what is typed
        (r"^### Task:\s*\n", r"### (?:Guidelines|Output)\b", r"<chat_history>|### Chat History"),
        # LibreChat, Chatbox, NextChat, big-AGI and others: a title for the conversation
        (r"\btitle\b|\btopic\b", _CONVERSATION, _LENGTH, _ONLY),
    )
)
_TITLE_SIGNS = compile_patterns(
    r"\btitles?\b",
    r"\bconversation\b|\bchat\b|\bthread\b|\bsession\b",
    r"\bonly\b|\bnothing else\b|\bno (?:explanations?|other text|quotes)\b|\bsingle line\b",
)
"""Signs of instructions that ask for a title alone (opencode and others)."""
_TITLE_REQUEST = re.compile(
    r"(?i)(?:please )?(?:generate|write|create|make|give|suggest)\b[^\n]{0,40}\btitle\b[^\n]{0,60}"
    r"\b(?:conversation|chat|thread|session)\b[^\n]{0,40}(?:\n|:|$)"
)
MAX_FRONTEND_CHARS = 12_000
"""Characters of a message that may be one: a person's own long text is never taken for it."""


def is_frontend_request(request: Request) -> bool:
    """
    Whether a front end asks, not a person: its last message has the known form.

    All signs of a form must be there: a person who asks for a title is a person.
    """
    # Front ends offer no tools with these.
    if request.tools or not request.messages:
        return False
    last = request.messages[-1]
    if last.role != "user" or len(last.text) > MAX_FRONTEND_CHARS:
        return False
    text = last.text.strip()
    return any(all(sign.search(text) for sign in form) for form in _FORMS) or _is_title_instruction(
        request
    )


def _is_title_instruction(request: Request) -> bool:
    """Whether the instructions ask for nothing but a title, and the first message asks for one."""
    instructions = [m.text for m in request.messages if m.role in ("system", "developer")]
    questions = [m.text.strip() for m in request.messages if m.role == "user"]
    if not instructions or any(m.role in ("assistant", "tool") for m in request.messages):
        return False
    system = "\n".join(instructions)[:MAX_FRONTEND_CHARS]
    return all(sign.search(system) for sign in _TITLE_SIGNS) and bool(
        _TITLE_REQUEST.match(questions[0])
    )
