"""Where a user's turn begins in a conversation, and what identifies it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mixtura.core.text import collapse_whitespace
from mixtura.core.types import ImagePart, Message, OtherPart, Request
from mixtura.protocols.content_parts import message_parts
from mixtura.protocols.openai.request_fingerprints import body_fingerprint

Shape = Sequence[Sequence[str]]
"""A mixture's models, layer by layer."""


_SYSTEM_ROLES = ("system", "developer")


_REMINDER = re.compile(
    r"(?i)<((?:system|context|token|environment|budget)[-_:]?"
    r"(?:reminder|warning|notice|note|info|usage|details|token_budget)|reminder)\b[^>]{0,200}>"
)
"""Opens what a front end puts between a user's words, another text at every step."""


def split_turn(request: Request) -> tuple[Request, tuple[Message, ...]]:
    """
    The request up to its turn's question, and what has come since: results of tools, and what
    the front end added for the model.

    The second is empty where an assistant's words are the last. What a user says right after a
    tool's result belongs to that: front ends put their reminders there.
    """
    messages = request.messages
    place = _question_index(messages)
    rest = messages[place + 1 :]
    if (
        not rest
        or rest[-1].role == "assistant"
        or not (has_tool_results(rest) or _has_only_input_messages(rest))
    ):
        return request, ()
    return replace(request, messages=messages[: place + 1]), rest


def _question_index(messages: Sequence[Message]) -> int:
    """Where the user's newest question stands; the last message where there is none."""
    question: int | None = None
    reminded: int | None = None
    before = ""
    for place, message in enumerate(messages):
        if message.role in _SYSTEM_ROLES:
            continue
        tells = message.role == "user" and not (
            _has_words(message) or _message_attachments(message)
        )
        if message.role == "user" and before != "tool":
            question, reminded = (question, place) if tells else (place, reminded)
        if not (tells and before == "tool"):
            before = message.role
    place_of_question = reminded if question is None else question
    return len(messages) - 1 if place_of_question is None else place_of_question


def has_tool_results(rest: Sequence[Message]) -> bool:
    """Whether a result of a tool is among *rest*."""
    return any(message.role == "tool" for message in rest)


def _has_only_input_messages(rest: Sequence[Message]) -> bool:
    return all(message.role in (*_SYSTEM_ROLES, "user") for message in rest)


def turn_key(request: Request, shape: Shape) -> str:
    """
    The same text for every call of one turn to mixtures of one shape.

    It depends on what people, models and tools had said when the question was put, and on the
    instructions in front of it, but for what changes in those from call to call: times, counts,
    random marks. How to answer (sampling, tools, marks for a cache) is no part of it.
    """
    messages = request.messages[: _question_index(request.messages) + 1]
    first = next((i for i, m in enumerate(messages) if m.role not in _SYSTEM_ROLES), len(messages))
    instructions = "\n\n".join(message.text for message in messages[:first])
    rows = [
        _message_key(message) for message in messages[first:] if message.role not in _SYSTEM_ROLES
    ]
    return body_fingerprint(
        {
            "instructions": strip_volatile_words(instructions),
            "said": [row for row in rows if any(row[1:])],
            "shape": repr(shape),
            "seed": request.sampling.seed,
            "draw": request.draw,
        }
    )


def _message_key(message: Message) -> list[Any]:
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return [message.role, _message_words(message), _message_attachments(message), calls]


def _message_words(message: Message) -> str:
    text = _message_text(message)
    if message.role == "user":
        return collapse_whitespace(_strip_reminders(text))
    return text.strip()


def _has_words(message: Message) -> bool:
    """Whether a user's message says anything beside a front end's reminders."""
    text = _strip_reminders(_message_text(message))
    return bool(text) and not text.isspace()


def _message_text(message: Message) -> str:
    return "\n".join(
        p.text for p in message_parts(message) if not isinstance(p, ImagePart | OtherPart)
    )


def _message_attachments(message: Message) -> list[Any]:
    """Its pictures and files."""
    parts = (part for part in message_parts(message) if isinstance(part, ImagePart | OtherPart))
    return [[part.url] if isinstance(part, ImagePart) else dict(part.raw) for part in parts]


def _strip_reminders(text: str) -> str:
    if "<" not in text:
        return text
    kept: list[str] = []
    at = 0
    folded = ""
    unclosed: set[str] = set()
    for opening in _REMINDER.finditer(text):
        closing = f"</{opening[1].lower()}>"
        # A text full of openings without an end is searched to its end once, not for each.
        if opening.start() < at or closing in unclosed:
            continue
        folded = folded or _lowercase_ascii(text)
        end = folded.find(closing, opening.end())
        if end < 0:
            unclosed.add(closing)
            continue
        kept.append(text[at : opening.start()])
        at = end + len(closing)
    return " ".join((*kept, text[at:])) if kept else text


def _lowercase_ascii(text: str) -> str:
    """In lower case, letter for letter."""
    return text.lower() if text.isascii() else re.sub("[A-Z]", lambda m: m[0].lower(), text)


_HEADER = re.compile(r"^[ \t]*x-[\w-]+[ \t]*:.*$", re.MULTILINE | re.IGNORECASE)


_NAME_BEFORE_VALUE = re.compile(
    r"(?<![\w.-])([\w.-]++)[\"']?\s{0,8}[=:]\s{0,8}[\"']?(?=[^\s\"',;<>])",
)
"""A name before a value. It is tried once for every run of letters, however long that is."""


_NAMED_VALUE = re.compile(r"[^\s\"',;<>]+")


_VOLATILE_NAMES = (
    "id", "session", "request", "trace", "span", "nonce", "cch", "hash", "token", "uuid", "guid",
    "seed", "mark", "marke", "marker", "build", "revision", "commit", "salt",
)  # fmt: skip


_VOLATILE_NAME_ENDINGS = tuple(end for name in _VOLATILE_NAMES for end in (name, f"{name}s"))
"""How the names of values end that change from call to call."""


_SHORT_WORD = re.compile(r"\b[a-zA-Z]{2,9}\b")


_DATES = (
    "mon monday tue tues tueday tuesday wed wedday wednes wednesday thu thur thurs thuday thurday"
    " thursday fri friday sat satday satur saturday sun sunday jan january feb february mar march"
    " apr april may jun june jul july aug august sep sept september oct october nov november dec"
    " december am pm"
)


_DATE_WORDS = frozenset(_DATES.split())


_TOKEN = re.compile(r"[A-Za-z0-9_.:+/=@%&-]+")


_CASE_CHANGE = re.compile("[a-z][A-Z]")


_MAX_PAIR_DISTANCE = 10
"""Letters between the beginnings of two such pairs in what is random."""


_MARKS = re.compile("#(?:[ ,:]*#)+")


_DIGIT = re.compile("[0-9]")


# No word of a language has six in a row; y counts as a vowel.
_CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxz]{6}")


_SCANNED_EDGE_CHARS = 64 * 1024
"""Letters at either end of instructions in which what changes is looked for."""


def strip_volatile_words(instructions: str) -> str:
    """
    *instructions* without what a front end changes in them from call to call: reminders, header
    lines (``x-…: …``), times and dates, whatever has a digit in it, identifiers, random letters.

    The middle of very long ones counts as it stands, but for blanks: where that changes, another
    turn begins.
    """
    if len(instructions) <= 2 * _SCANNED_EDGE_CHARS:
        return _strip_volatile(instructions)
    head, tail = (
        _strip_volatile(instructions[:_SCANNED_EDGE_CHARS]),
        _strip_volatile(instructions[-_SCANNED_EDGE_CHARS:]),
    )
    # no blanks at all: what changes in the head may move where it is cut
    return "".join(
        "".join((head, instructions[_SCANNED_EDGE_CHARS:-_SCANNED_EDGE_CHARS], tail)).split()
    )


def _strip_volatile(instructions: str) -> str:
    text = _HEADER.sub(" ", _strip_reminders(instructions))
    text = _SHORT_WORD.sub(_mask_date_word, _mask_volatile_values(text))
    words = " ".join(_TOKEN.sub(_mask_volatile_token, text).split())
    return _MARKS.sub("#", words)


def _mask_volatile_values(text: str) -> str:
    """With a mark for each value whose name says that it changes."""
    kept: list[str] = []
    done = at = 0
    while (named := _NAME_BEFORE_VALUE.search(text, at)) is not None:
        at = named.end()
        if named[1].lower().endswith(_VOLATILE_NAME_ENDINGS):
            kept += (text[done:at], "#")
            value = _NAMED_VALUE.match(text, at)
            done = at = value.end() if value else at
    return "".join((*kept, text[done:]))


def _mask_date_word(word: re.Match[str]) -> str:
    return "#" if word[0].lower() in _DATE_WORDS else word[0]


def _mask_volatile_token(token: re.Match[str]) -> str:
    text = token[0]
    changes = _DIGIT.search(text) or _CONSONANTS.search(text) or _has_mixed_case(text)
    return "#" if changes else text


def _has_mixed_case(text: str) -> bool:
    """Whether small letters are followed by capitals three times, close to each other."""
    before = last = -2 * _MAX_PAIR_DISTANCE
    for pair in _CASE_CHANGE.finditer(text):
        at = pair.start()
        if at - last <= _MAX_PAIR_DISTANCE and last - before <= _MAX_PAIR_DISTANCE:
            return True
        before, last = last, at
    return False
