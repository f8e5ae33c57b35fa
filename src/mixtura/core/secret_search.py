"""Finds secrets in a text, however they are escaped, cut off or in whatever case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from mixtura.core.credentials import HIDDEN
from mixtura.core.escapes import Spelling, SpellingMatch, base64_spellings, spelling_of

MIN_HELD_CHARS = 3
"""Characters of a secret that a stream may show before it holds back what could be one."""
MAX_ESCAPED_HEAD = 40
"""Characters that the beginning of a secret may take where it is escaped."""
_MIN_CUT_CHARS = 8
"""Characters of a secret at the end of a text that are taken for one that was cut off."""
_MIN_FRAGMENT_CHARS = 12
"""The same in the middle of a text, if it is half of the secret, too."""


class SecretSpans(NamedTuple):
    """The spans of a text that are secrets."""

    spans: list[tuple[int, int]]
    held: int | None
    """From here on may be a secret, which the next piece decides; None where nothing is open."""


class SecretGroup:
    """Secrets that are searched for together; patterns are compiled at the first search."""

    def __init__(self, values: frozenset[str]) -> None:
        self._values = values

    @cached_property
    def spellings_by_first(self) -> dict[str, list[Spelling]]:
        """The spellings of all secrets, by their first character."""
        spellings: dict[str, list[Spelling]] = {}
        for value in sorted(self._values):
            for one in (spelling_of(value), *base64_spellings(value)):
                for first in one.first_characters:
                    spellings.setdefault(first, []).append(one)
        return spellings

    @cached_property
    def head_pattern(self) -> re.Pattern[str]:
        """Matches wherever a secret may begin."""
        heads = {
            first: "|".join(sorted({way.prefix_pattern(first) for way in ways}))
            for first, ways in self.spellings_by_first.items()
        }
        return re.compile("|".join(f"{re.escape(c)}(?:{rest})" for c, rest in heads.items()))


_NONE = 1 << 62
"""A position after the end of every text."""


class _HeadPositions:
    """Where in a text the secrets of one group may begin; no part of it is searched twice."""

    __slots__ = ("_at", "_pattern", "_text")

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern = pattern
        self._text = text
        self._at = -1

    def next(self, at: int) -> int:
        """The first place from *at* on."""
        if self._at < at:
            match = self._pattern.search(self._text, at)
            self._at = match.start() if match else _NONE
        return self._at


class SecretSearch:
    """Finds the secrets of *groups* in texts."""

    def __init__(self, groups: tuple[SecretGroup, ...]) -> None:
        self.groups = groups

    def may_contain_secret(self, text: str) -> bool:
        """Whether a secret may begin anywhere in *text*; False is certain, and fast."""
        # Nearly no text has one: this search is all that it costs.
        return any(group.head_pattern.search(text) for group in self.groups)

    def find_secrets(self, text: str, *, ended: bool) -> SecretSpans:
        """The secrets in *text*; unless it has *ended*, up to where one may begin."""
        spans: list[tuple[int, int]] = []
        at = 0
        heads = [_HeadPositions(group.head_pattern, text) for group in self.groups]
        while (begin := min((head.next(at) for head in heads), default=_NONE)) != _NONE:
            walks = self._match_spellings(text, begin)
            # To hold back from the first character would stall every stream that has that letter.
            if not ended and any(walk.open and walk.matched >= MIN_HELD_CHARS for walk in walks):
                return SecretSpans(spans, begin)
            end = max(
                (walk.redaction_end(_MIN_CUT_CHARS, _MIN_FRAGMENT_CHARS) for walk in walks),
                default=0,
            )
            if end:
                spans.append((begin, end))
            at = end or begin + 1
        return SecretSpans(spans, None)

    def find_whole_secrets(self, text: str) -> list[tuple[int, int]]:
        """The complete secrets in *text*, without one that may be cut off at its end."""
        result = self.find_secrets(text, ended=False)
        if result.held is None:
            return result.spans
        ends = [
            walk.end for walk in self._match_spellings(text, result.held) if walk.end is not None
        ]
        return [*result.spans, (result.held, max(ends))] if ends else result.spans

    def _match_spellings(self, text: str, at: int) -> list[SpellingMatch]:
        first = text[at]
        ways = (way for group in self.groups for way in group.spellings_by_first.get(first, ()))
        return [
            way.match_at(text, at) for way in ways if way.can_match(text, at, _MIN_FRAGMENT_CHARS)
        ]


def replace_spans(text: str, at: int, spans: Iterable[tuple[int, int]]) -> str:
    """*text* from *at* on, with ``***`` for each of *spans*."""
    parts: list[str] = []
    for begin, end in spans:
        parts += (text[at:begin], HIDDEN)
        at = end
    return "".join((*parts, text[at:]))
