"""Proposals kept for the rest of a user's turn, so that an agent's loop asks for them once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from mixtura.types import Completion, Message, Request
from mixtura.wire import fingerprint

Shape = Sequence[Sequence[str]]
"""A mixture's models, layer by layer."""


class Turns:
    """
    The last *most* turns of any conversations, by what had been said when they began; *letters*:
    of all their proposals together.
    """

    def __init__(self, most: int = 256, letters: int = 16_000_000) -> None:
        self._most = most
        self._letters = letters
        self._kept: OrderedDict[str, Sequence[Completion]] = OrderedDict()

    def get(self, key: str) -> Sequence[Completion] | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, proposals: Sequence[Completion]) -> None:
        self._letters -= _letters(proposals) - _letters(self._kept.get(key, ()))
        self._kept[key] = proposals
        self._kept.move_to_end(key)
        while self._kept and (len(self._kept) > self._most or self._letters < 0):
            self._letters += _letters(self._kept.popitem(last=False)[1])


def _letters(proposals: Sequence[Completion]) -> int:
    return sum(len(proposal.text) + len(proposal.reasoning) for proposal in proposals)


def split(request: Request) -> tuple[Request, tuple[Message, ...]]:
    """
    The request up to its turn's question, and what tools have brought since.

    The second is empty unless tools' results are the last that was said. What a user says
    right after one belongs to it: front ends put their reminders there.
    """
    messages = request.messages
    asked = [
        i
        for i, m in enumerate(messages)
        if m.role == "user" and (i == 0 or messages[i - 1].role != "tool")
    ]
    if not asked or not _since_tools(messages[asked[-1] + 1 :]):
        return request, ()
    return replace(request, messages=messages[: asked[-1] + 1]), messages[asked[-1] + 1 :]


def _since_tools(rest: Sequence[Message]) -> bool:
    """Whether *rest* ends in tools' results, with or without a word of the user's."""
    return any(m.role == "tool" for m in rest) and rest[-1].role != "assistant"


def kept(turns: Turns | None, request: Request, shape: Shape) -> Sequence[Completion] | None:
    """This turn's proposals, when tools were called since they were made."""
    if turns is None or not split(request)[1]:
        return None
    return turns.get(turn_key(request, shape))


def keep(
    turns: Turns | None, request: Request, shape: Shape, proposals: Sequence[Completion]
) -> None:
    """Proposals for the rest of the turn, where there may be one: where tools can be called."""
    if turns is not None and request.tools:
        turns.put(turn_key(request, shape), proposals)


def turn_key(request: Request, shape: Shape) -> str:
    """The same text for every call of one turn to mixtures of one shape."""
    asked, _ = split(request)
    return fingerprint(asked, repr(shape))
