"""A Model whose answers lead to no suspect address, also while they stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mixtura.core.events import CallRestarted, Emit, Event, Token, ToolCallChunk
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import run_in_thread_if_large
from mixtura.patterns.web_addresses import (
    SuspectAddresses,
    defang,
    defang_json,
    find_strings,
    find_suspects,
    refang,
)

_LAST_SPACE = re.compile(r"\s(?=\S*\Z)")
# Chinese and Japanese have no spaces: a text is passed on behind their letters and marks, too, as
# long as nothing before them could belong to an address.
_IN_ADDRESS = re.compile(r"[:&\\%/@?]")
_WIDE_MARK = re.compile(
    r"[\u2014\u2018-\u201d\u2026\u3001\u3008-\u301f\uff01\uff08\uff09\uff0c\uff1b\uff1f]"
)
_WIDE = re.compile(
    _WIDE_MARK.pattern[:-1] + r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def defang_answer(answer: Completion, suspects: SuspectAddresses) -> tuple[Completion, list[str]]:
    """*answer* with its addresses of *suspects* defanged, and which those were."""
    message = answer.message
    calls = tuple(
        replace(call, arguments=defang_json(call.arguments, suspects))
        for call in message.tool_calls
    )
    strings = (find_strings(call.arguments) for call in message.tool_calls)
    texts = (answer.text, *(one for call in strings for one in call))
    found = list(dict.fromkeys(one for text in texts for one in suspects.found_in(text)))
    reasoning = defang(answer.reasoning, suspects)
    if (text := defang(answer.text, suspects)) != answer.text:
        message = replace(message, content=text)
        answer = replace(answer, logprobs=())  # they would spell it again
    return replace(answer, message=replace(message, tool_calls=calls), reasoning=reasoning), found


def defang_answers(
    answers: Sequence[Completion], suspects: SuspectAddresses
) -> list[tuple[Completion, list[str]]]:
    """Each of *answers* as `defang_answer` gives it."""
    return [defang_answer(answer, suspects) for answer in answers]


def count_defanged(answers: Sequence[Completion]) -> int:
    """Characters of *answers* in which addresses are looked for."""
    calls = (call.arguments for one in answers for call in one.message.tool_calls)
    return sum(len(one.text) + len(one.reasoning) for one in answers) + sum(map(len, calls))


class DefangedProposals(NamedTuple):
    """Proposals with the addresses defanged that one member alone names."""

    proposals: tuple[Completion, ...]
    found: tuple[list[str], ...]
    """What was defanged in each of the proposals."""
    suspects: SuspectAddresses
    named_by: Mapping[str, list[str]]
    """Suspect addresses, as they may be shown, by the member that names them."""


def defang_proposals(request: Request, proposals: Sequence[Completion]) -> DefangedProposals:
    """*proposals* with the addresses defanged that neither *request* nor another member names."""
    asked = "\n".join(message.text for message in request.messages)
    texts = [_with_arguments(one) for one in proposals]
    members = [one.model for one in proposals]
    suspects = find_suspects(asked, list(zip(members, texts, strict=True)))
    defanged = defang_answers(proposals, suspects)
    named_by: dict[str, list[str]] = {}
    for member in dict.fromkeys((*suspects.hosts.values(), *suspects.links.values())):
        own = [refang(text) for text, by in zip(texts, members, strict=True) if by == member]
        named_by[member] = list(dict.fromkeys(n for text in own for n in suspects.found_in(text)))
    answers, found = zip(*defanged, strict=True) if defanged else ((), ())
    return DefangedProposals(answers, found, suspects, named_by)


def _with_arguments(proposal: Completion) -> str:
    """Its text and the strings in the arguments of its tool calls, as they are behind escapes."""
    strings = (find_strings(call.arguments) for call in proposal.message.tool_calls)
    return "\n".join((proposal.text, *(one for call in strings for one in call)))


class DefangedWriter(Wrapper):
    """
    *model*, with the addresses of *suspects* in its answers as in ``hxxps://evil[.]example``.

    Streamed text waits for the end of its word or, in Chinese and Japanese, for the next letter
    that no address can go on behind; arguments of tool calls for their end. *found* has
    what was defanged in the last answer.
    """

    def __init__(self, model: Model, suspects: SuspectAddresses) -> None:
        super().__init__(model)
        self._suspects = suspects
        self.found: list[str] = []

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The model's answer. Raises what it raises."""
        if not self._suspects:
            return await ask_model(self._model, request, emit)
        stream = _WordStream(emit, self._suspects) if emit else None
        answer = await ask_model(self._model, request, stream.pass_on if stream else None)
        answer, self.found = await run_in_thread_if_large(
            count_defanged([answer]), defang_answer, answer, self._suspects
        )
        if stream:
            stream.finish(answer)
        return answer


@dataclass(slots=True)
class _WordStream:
    """Tokens passed on at the ends of words; those of nested members as they are."""

    emit: Emit
    suspects: SuspectAddresses
    waiting: list[Token] = field(default_factory=list[Token])
    """Pieces of a word that has not ended, all of one kind."""
    held_calls: list[ToolCallChunk] = field(default_factory=list[ToolCallChunk])
    may_be_address: bool = False
    """Whether what waits could be the beginning of a link."""

    def pass_on(self, event: Event) -> None:
        """Take an event of the model's; its answer's text is passed on word by word."""
        if not all(position.role == "aggregator" for position in event.at):
            self.emit(event)
        elif isinstance(event, Token):
            self._add(event)
        elif isinstance(event, ToolCallChunk):
            self.held_calls.append(event)
        else:
            if isinstance(event, CallRestarted):
                self._clear()
                self.held_calls.clear()
            self.emit(event)

    def _add(self, token: Token) -> None:
        kind = (token.reasoning, token.at, token.refusal)
        if self.waiting and kind != (
            (last := self.waiting[-1]).reasoning, last.at, last.refusal,
        ):  # fmt: skip
            self._flush()
        cut = space.end() if (space := _LAST_SPACE.search(token.text)) else 0
        if cut:
            token = self._pass_on_until(token, cut)
        if cut := self._find_wide_cut(token.text):
            token = self._pass_on_until(token, cut)
        if token.text:
            self.waiting.append(token)
            self.may_be_address |= bool(_IN_ADDRESS.search(token.text))

    def _pass_on_until(self, token: Token, cut: int) -> Token:
        """Pass on what waits and *token* up to *cut*; the rest of it."""
        self.waiting.append(_token_like(token, token.text[:cut]))
        self._flush()
        return _token_like(token, token.text[cut:], 0)

    def _find_wide_cut(self, text: str) -> int:
        """Behind which letter *text* can be cut, as no suspect reaches over it; 0 for none."""
        if self.may_be_address or text.isascii():
            return 0
        unsafe = _IN_ADDRESS.search(text)
        mark = _WIDE_MARK if self.suspects.have_wide_names else _WIDE
        found = list(mark.finditer(text, 0, unsafe.start() if unsafe else len(text)))
        return found[-1].end() if found else 0

    def _flush(self) -> None:
        if self.waiting:
            text = "".join(token.text for token in self.waiting)
            pieces = sum(token.pieces for token in self.waiting)
            shown = defang(text, self.suspects)
            self.emit(_token_like(self.waiting[-1], shown, max(pieces, 1)))
        self._clear()

    def _clear(self) -> None:
        self.waiting.clear()
        self.may_be_address = False

    def finish(self, answer: Completion) -> None:
        """What still waits: the last word, and the tool calls of *answer*."""
        self._flush()
        at = self.held_calls[0].at if self.held_calls else ()
        for index, call in enumerate(answer.message.tool_calls if self.held_calls else ()):
            self.emit(ToolCallChunk(index, call.id, call.name, "", at))
            self.emit(ToolCallChunk(index, call.id, call.name, call.arguments, at))


def _token_like(like: Token, text: str, pieces: int | None = None) -> Token:
    """A token of the same place and kind with another text."""
    count = like.pieces if pieces is None else pieces
    return Token(text, like.at, like.reasoning, count, like.refusal)
