"""The ways in which a text may be written: as it is, in any case, or escaped for somewhere."""

from __future__ import annotations

import base64
import re
from functools import cache, cached_property
from typing import NamedTuple

_LEAST_BASE64 = 8
"""Characters of base64 that are enough to recognize a text."""
_NAMED = {"&": ("&amp;",), "<": ("&lt;",), ">": ("&gt;",), '"': ("&quot;",), "'": ("&apos;",)}
_MAX_JSON_NESTING = 4
"""How often JSON in JSON is escaped."""
_SHORT_ESCAPES = {"\n": "n", "\t": "t", "\r": "r"}
_STARTS = "%\\\\&"
"""What escapes begin with, inside a character class."""


class SpellingMatch(NamedTuple):
    """How far a text goes along with a spelling."""

    length: int
    """Characters of the spelling."""
    matched: int
    """Characters of it that the text has."""
    reached: int
    """Where in the text the last of them ends."""
    end: int | None
    """Where the whole of it ends, if it is there."""
    open: bool
    """The text ended before that was decided."""

    def redaction_end(self, cut: int, fragment: int) -> int:
        """
        Where in the text ends what has to go; 0 where nothing has.

        That is the whole of it; at the text's end also a beginning of *cut* characters or
        two thirds of it; elsewhere one of *fragment* characters that is half of it.
        """
        if self.end is not None:
            return self.end
        if self.open:
            enough = self.matched >= cut or 3 * self.matched >= 2 * self.length
        else:
            enough = self.matched >= fragment and 2 * self.matched >= self.length
        return self.reached if enough else 0


class Spelling:
    """A text as a row of characters, each of which may be written in several ways."""

    def __init__(self, ways: tuple[tuple[str, ...], ...]) -> None:
        self._ways = ways
        self._least: dict[int, tuple[re.Pattern[str], int]] = {}

    @cached_property
    def first_characters(self) -> frozenset[str]:
        """What it may begin with."""
        return frozenset(way[0] for way in self._ways[0])

    def prefix_pattern(self, first: str) -> str:
        """A pattern for what may follow *first*, up to the third character."""
        escaped = [way for way in self._ways[0] if way[0] == first and len(way) > 1]
        rest = ["|".join(re.escape(way[1:]) for way in escaped)] if escaped else []
        if first in self._ways[0]:
            second, third = (_character_class(ways) for ways in self._ways[1:3])
            rest.append(f"{second}{third}|[{_STARTS}]")
        return "|".join(rest)

    def can_match(self, text: str, at: int, fragment: int) -> bool:
        """
        Whether a walk from *at* on can find what has to go, where that takes *fragment* characters
        and half of it. One look, so that a text full of beginnings costs little.
        """
        least = min(max(fragment, -(-len(self._ways) // 2)), len(self._ways))
        if least not in self._least:
            ways = self._ways[:least]
            pattern = re.compile("".join(f"(?:{'|'.join(map(re.escape, way))})" for way in ways))
            self._least[least] = pattern, sum(max(map(len, way)) for way in ways)
        pattern, longest = self._least[least]
        return len(text) - at < longest or pattern.match(text, at) is not None

    def match_at(self, text: str, at: int) -> SpellingMatch:
        """How far *text* from *at* on goes along with this spelling."""
        ways, size = self._ways, len(text)
        best, reached, end, is_open = 0, at, None, False
        todo = [(at, 0)]
        seen: set[tuple[int, int]] = set()
        while todo:
            here, number = todo.pop()
            if number > best or (number == best and here > reached):
                best, reached = number, here
            if number == len(ways):
                end = max(end or 0, here)
                continue
            if here == size:
                is_open = True
                continue
            for way in ways[number]:
                if text.startswith(way, here):
                    step = (here + len(way), number + 1)
                    if step not in seen:
                        seen.add(step)
                        todo.append(step)
                # The text ends within an escape: the next piece may complete it.
                elif size - here < len(way) and way.startswith(text[here:]):
                    is_open, reached = True, max(reached, size if number == best else reached)
        return SpellingMatch(len(ways), best, reached, end, is_open)


def _character_class(ways: tuple[str, ...]) -> str:
    plain = "".join(re.escape(way) for way in ways if len(way) == 1)
    return f"[{plain}{_STARTS}]"


def spelling_of(text: str) -> Spelling:
    """*text* in any case, each character as it is or escaped for a URL, JSON or HTML."""
    return Spelling(tuple(map(_character_spellings, text)))


def base64_spellings(text: str) -> list[Spelling]:
    """
    The parts of base64 that *text* determines wherever it stands in the encoded data: one for
    each of the three offsets.
    """
    data = text.encode()
    cores: dict[str, None] = {}
    for before in range(3):
        # the characters at both ends depend on what stands beside it
        bits = 8 * (before + len(data))
        whole = base64.b64encode(bytes(before) + data).decode()
        core = whole[-(-8 * before // 6) : bits // 6]
        if len(core) >= _LEAST_BASE64:
            cores[core] = None
    return [Spelling(tuple(map(_base64_character_spellings, core))) for core in cores]


@cache
def _character_spellings(character: str) -> tuple[str, ...]:
    cases = dict.fromkeys((character, character.lower(), character.upper()))
    spellings: dict[str, None] = {}
    # Some letters have no case of one letter: upper() of ß is SS.
    for each in (case for case in cases if len(case) == 1):
        spellings |= dict.fromkeys((each, *_character_escapes(each)))
    return tuple(spellings)


def _character_escapes(character: str) -> list[str]:
    number = ord(character)
    octets = [f"%{octet:02x}" for octet in character.encode("utf-8", "surrogatepass")]
    percents = "".join(octets)
    spellings = [percents, percents.upper(), percents.replace("%", "%25")]
    units = character.encode("utf-16-be", "surrogatepass").hex()
    for digits in (units, units.upper()):
        # JSON's escapes are UTF-16: a character beyond it is a pair.
        pairs = "".join(f"\\u{digits[i : i + 4]}" for i in range(0, len(digits), 4))
        spellings += [pairs.replace("\\", "\\" * 2**depth) for depth in range(_MAX_JSON_NESTING)]
    entities = [f"&#{digits};" for digits in (f"{number}", f"{number:03}", f"x{number:x}")]
    for entity in (*entities, f"&#x{number:X};", *_NAMED.get(character, ())):
        spellings += [entity, entity.replace("&", "&amp;")]
    if character == " ":
        spellings.append("+")
    if character in _SHORT_ESCAPES:
        spellings += [
            "\\" * 2**depth + _SHORT_ESCAPES[character] for depth in range(_MAX_JSON_NESTING)
        ]
    elif character == "\\":
        spellings += ["\\" * 2**depth for depth in range(1, _MAX_JSON_NESTING + 1)]
    elif not character.isalnum():  # JSON, once and in JSON again; Markdown; a shell
        spellings += [
            "\\" * (2**depth - 1) + character for depth in range(1, _MAX_JSON_NESTING + 1)
        ]
    return spellings


@cache
def _base64_character_spellings(character: str) -> tuple[str, ...]:
    # The URL-safe alphabet, and what a URL's query makes of these two.
    others = {"+": "-", "/": "_"}.get(character, "")
    if not others:
        return (character,)
    octet = f"%{ord(character):02x}"
    return (character, others, octet, octet.upper(), f"\\{character}")
