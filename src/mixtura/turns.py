"""Proposals kept for the rest of a user's turn, so that an agent's loop asks for them once."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mixtura.part_forms import parts_of
from mixtura.types import Completion, ImagePart, Message, OtherPart, Request
from mixtura.wire import fingerprint_json

Shape = Sequence[Sequence[str]]
"""A mixture's models, layer by layer."""


class _Store:
    """What any conversations keep, the oldest first."""

    def __init__(self, most: int, letters: int) -> None:
        self.most = most
        self.letters = letters
        self.kept: OrderedDict[str, Sequence[Completion]] = OrderedDict()


class Turns:
    """
    The last *most* turns of any conversations, by what had been said when they began; *letters*:
    of all their proposals together.
    """

    def __init__(self, most: int = 256, letters: int = 16_000_000) -> None:
        self._store = _Store(most, letters)
        self._owner = ""

    def owned_by(self, owner: str) -> Turns:
        """The same turns, of which *owner* finds those that it put there itself."""
        own = Turns()
        own._store, own._owner = self._store, f"{owner}\n"
        return own

    def get(self, key: str) -> Sequence[Completion] | None:
        kept, key = self._store.kept, self._owner + key
        if key in kept:
            kept.move_to_end(key)
        return kept.get(key)

    def put(self, key: str, proposals: Sequence[Completion]) -> None:
        store, key = self._store, self._owner + key
        store.letters -= _letters(proposals) - _letters(store.kept.get(key, ()))
        store.kept[key] = proposals
        store.kept.move_to_end(key)
        while store.kept and (len(store.kept) > store.most or store.letters < 0):
            store.letters += _letters(store.kept.popitem(last=False)[1])


def _letters(proposals: Sequence[Completion]) -> int:
    return sum(len(proposal.text) + len(proposal.reasoning) for proposal in proposals)


# ---- where a turn begins

_SYSTEM = ("system", "developer")
_REMINDER = re.compile(
    r"<((?:system|context|token|environment|budget)[-_:]?"
    r"(?:reminder|warning|notice|note|info|usage|details|token_budget)|reminder)\b[^>]{0,200}>",
    re.IGNORECASE,
)
"""Opens what a front end puts between a user's words, another text at every step."""


def split(request: Request) -> tuple[Request, tuple[Message, ...]]:
    """
    The request up to its turn's question, and what has come since: what tools brought, and what
    the front end told the model about.

    The second is empty where an assistant's words are the last. What a user says right after a
    tool's result belongs to that: front ends put their reminders there.
    """
    messages = request.messages
    place = _question(messages)
    rest = messages[place + 1 :]
    if not rest or rest[-1].role == "assistant" or not (_calls_tools(rest) or _tells_only(rest)):
        return request, ()
    return replace(request, messages=messages[: place + 1]), rest


def _question(messages: Sequence[Message]) -> int:
    """Where the user's newest question stands; the last message where there is none."""
    asked: int | None = None
    reminded: int | None = None
    before = ""
    for place, message in enumerate(messages):
        if message.role in _SYSTEM:
            continue
        tells = message.role == "user" and not (_words(message) or _others(message))
        if message.role == "user" and before != "tool":
            asked, reminded = (asked, place) if tells else (place, reminded)
        if not (tells and before == "tool"):
            before = message.role
    found = reminded if asked is None else asked
    return len(messages) - 1 if found is None else found


def _calls_tools(rest: Sequence[Message]) -> bool:
    return any(message.role == "tool" for message in rest)


def _tells_only(rest: Sequence[Message]) -> bool:
    return all(message.role in (*_SYSTEM, "user") for message in rest)


def kept(turns: Turns | None, request: Request, shape: Shape) -> Sequence[Completion] | None:
    """This turn's proposals, when tools were called since they were made."""
    if turns is None or not _calls_tools(split(request)[1]):
        return None
    return turns.get(turn_key(request, shape))


def keep(
    turns: Turns | None, request: Request, shape: Shape, proposals: Sequence[Completion]
) -> None:
    """Proposals for the rest of the turn, where there may be one: where tools can be called."""
    if turns is not None and request.tools:
        turns.put(turn_key(request, shape), proposals)


# ---- the key of a turn


def turn_key(request: Request, shape: Shape) -> str:
    """
    The same text for every call of one turn to mixtures of one shape.

    It rests on what people, models and tools had said when the question was asked, and on the
    instructions in front of it, but for what changes in those from call to call: times, counts,
    random marks. How to answer (sampling, tools, marks for a cache) is no part of it.
    """
    messages = request.messages[: _question(request.messages) + 1]
    first = next((i for i, m in enumerate(messages) if m.role not in _SYSTEM), len(messages))
    instructions = "\n\n".join(message.text for message in messages[:first])
    said = [_said(message) for message in messages[first:] if message.role not in _SYSTEM]
    return fingerprint_json(
        {
            "instructions": stable_words(instructions),
            "said": [row for row in said if any(row[1:])],
            "shape": repr(shape),
            "seed": request.sampling.seed,
            "draw": request.draw,
        }
    )


def _said(message: Message) -> list[Any]:
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return [message.role, _words(message), _others(message), calls]


def _words(message: Message) -> str:
    text = "\n".join(p.text for p in parts_of(message) if not isinstance(p, ImagePart | OtherPart))
    return " ".join(_without_reminders(text).split()) if message.role == "user" else text.strip()


def _others(message: Message) -> list[Any]:
    """Its pictures and files."""
    parts = (part for part in parts_of(message) if isinstance(part, ImagePart | OtherPart))
    return [[part.url] if isinstance(part, ImagePart) else dict(part.raw) for part in parts]


def _without_reminders(text: str) -> str:
    kept: list[str] = []
    at = 0
    folded = ""
    unclosed: set[str] = set()
    for opening in _REMINDER.finditer(text):
        closing = f"</{opening[1].lower()}>"
        if opening.start() < at or closing in unclosed:
            continue
        folded = folded or _folded(text)
        end = folded.find(closing, opening.end())
        if end < 0:
            unclosed.add(closing)
            continue
        kept.append(text[at : opening.start()])
        at = end + len(closing)
    return " ".join((*kept, text[at:])) if kept else text


def _folded(text: str) -> str:
    """In lower case, letter for letter."""
    return text.lower() if text.isascii() else re.sub("[A-Z]", lambda m: m[0].lower(), text)


_HEADER = re.compile(r"^[ \t]*x-[\w-]+[ \t]*:.*$", re.MULTILINE | re.IGNORECASE)
_NAMED = re.compile(
    r"(?<![\w.-])([\w.-]++)[\"']?\s{0,8}[=:]\s{0,8}[\"']?(?=[^\s\"',;<>])",
)
"""A name before a value. It is tried once for every run of letters, however long that is."""
_NAMED_VALUE = re.compile(r"[^\s\"',;<>]+")
_CHANGING = (
    "id", "session", "request", "trace", "span", "nonce", "cch", "hash", "token", "uuid", "guid",
    "seed", "mark", "marke", "marker", "build", "revision", "commit", "salt",
)  # fmt: skip
_CHANGING_ENDS = tuple(end for name in _CHANGING for end in (name, f"{name}s"))
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
_PAIR = re.compile("[a-z][A-Z]")
_PAIRS_APART = 10
"""Letters between the beginnings of two such pairs in what is random."""
_MARKS = re.compile("#(?:[ ,:]*#)+")
_DIGIT = re.compile("[0-9]")
_CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxz]{6}")
_LONG = 64 * 1024
"""Letters at either end of instructions in which what changes is looked for."""


def stable_words(instructions: str) -> str:
    """
    *instructions* without what a front end changes in them from call to call: reminders, header
    lines (``x-…: …``), times and dates, whatever has a digit in it, identifiers, random letters.

    The middle of very long ones counts as it stands, but for blanks: where that changes, another
    turn begins.
    """
    if len(instructions) <= 2 * _LONG:
        return _stable(instructions)
    head, tail = _stable(instructions[:_LONG]), _stable(instructions[-_LONG:])
    # no blanks at all: what changes in the head may move where it is cut
    return "".join("".join((head, instructions[_LONG:-_LONG], tail)).split())


def _stable(instructions: str) -> str:
    text = _HEADER.sub(" ", _without_reminders(instructions))
    text = _SHORT_WORD.sub(_stable_word, _without_values(text))
    words = " ".join(_TOKEN.sub(_stable_token, text).split())
    return _MARKS.sub("#", words)


def _without_values(text: str) -> str:
    """With a mark for each value whose name says that it changes."""
    kept: list[str] = []
    done = at = 0
    while (named := _NAMED.search(text, at)) is not None:
        at = named.end()
        if named[1].lower().endswith(_CHANGING_ENDS):
            kept += (text[done:at], "#")
            value = _NAMED_VALUE.match(text, at)
            done = at = value.end() if value else at
    return "".join((*kept, text[done:]))


def _stable_word(word: re.Match[str]) -> str:
    return "#" if word[0].lower() in _DATE_WORDS else word[0]


def _stable_token(token: re.Match[str]) -> str:
    text = token[0]
    changes = _DIGIT.search(text) or _CONSONANTS.search(text) or _mixes_cases(text)
    return "#" if changes else text


def _mixes_cases(text: str) -> bool:
    """Whether small letters are followed by capitals three times, close to each other."""
    before = last = -2 * _PAIRS_APART
    for pair in _PAIR.finditer(text):
        at = pair.start()
        if at - last <= _PAIRS_APART and last - before <= _PAIRS_APART:
            return True
        before, last = last, at
    return False
