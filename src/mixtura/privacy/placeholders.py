"""Placeholders that stand for private items, and the items put back for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from mixtura.core.types import ReplacedItem

# A model may escape the brackets or the line, as Markdown and TeX want it; JSON doubles that.
_SLASHES = r"\\{0,4}"
PLACEHOLDER = re.compile(
    rf"{_SLASHES}\[(?P<label>[A-Z][A-Z0-9]{{0,23}}){_SLASHES}_(?P<number>\d{{1,9}}){_SLASHES}\]"
)
_BEGINNING = re.compile(
    rf"(?:\\{{1,4}}|{_SLASHES}\[(?:[A-Z][A-Z0-9]{{0,23}}"
    rf"(?:\\{{1,4}}|{_SLASHES}_(?:\d{{1,9}}{_SLASHES})?)?)?)\Z"
)
"""What may become a placeholder with the next piece."""
_LONGEST_BEGINNING = 64


class Placeholders:
    """The placeholders of one request: the same item has the same one wherever it stands."""

    def __init__(self) -> None:
        self._by_text: dict[str, ReplacedItem] = {}
        self._by_place: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()
        self._last: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._by_text)

    @property
    def items(self) -> tuple[ReplacedItem, ...]:
        """What was replaced, in the order in which it was found."""
        return tuple(self._by_text.values())

    def reserve_existing(self, text: str) -> None:
        """Never give out what looks like a placeholder in *text* already."""
        if "[" in text:
            self._taken.update((m["label"], m["number"]) for m in PLACEHOLDER.finditer(text))

    def stand_in(self, text: str, kind: str) -> str:
        """The placeholder of an item."""
        known = self._by_text.get(text)
        if known is not None:
            return known.placeholder
        number = self._last.get(kind, 0) + 1
        while (kind, str(number)) in self._taken:
            number += 1
        self._last[kind] = number
        item = ReplacedItem(f"[{kind}_{number}]", kind, text)
        self._by_text[text] = item
        self._by_place[kind, str(number)] = text
        return item.placeholder

    def restore(self, text: str, *, within_json: bool = False) -> str:
        """*text* with its items; *within_json*: as strings of JSON have them."""
        if "[" not in text:
            return text
        return PLACEHOLDER.sub(self._choose_item(within_json=within_json), text)

    def restore_row(self, texts: Iterable[str], *, within_json: bool = False) -> tuple[str, ...]:
        """The same for texts that follow each other: a placeholder may be cut between them."""
        rows = tuple(texts)
        choose = self._choose_item(within_json=within_json)
        whole = "".join(rows)
        found = [(*match.span(), choose(match)) for match in PLACEHOLDER.finditer(whole)]
        return replace_in_row(rows, found)

    def create_stream(self, *, within_json: bool = False) -> RestoringStream:
        """Puts the items back into a text that comes in pieces."""
        return RestoringStream(self, within_json=within_json)

    def _choose_item(self, *, within_json: bool) -> Callable[[re.Match[str]], str]:
        def choose_item(match: re.Match[str]) -> str:
            text = self._by_place.get((match["label"], match["number"]))
            if text is None:
                return match[0]
            return json.dumps(text, ensure_ascii=False)[1:-1] if within_json else text

        return choose_item


class RestoringStream:
    """Puts items back into a text that arrives in pieces, cut anywhere."""

    __slots__ = ("_held", "_placeholders", "_within_json")

    def __init__(self, placeholders: Placeholders, *, within_json: bool) -> None:
        self._placeholders = placeholders
        self._within_json = within_json
        self._held = ""

    def feed_text(self, piece: str) -> str:
        """Take in *piece*; what is decided of the text by now."""
        text = self._held + piece
        beginning = _BEGINNING.search(text, max(0, len(text) - _LONGEST_BEGINNING))
        cut = beginning.start() if beginning else len(text)
        self._held = text[cut:]
        return self._placeholders.restore(text[:cut], within_json=self._within_json)

    def finish(self) -> str:
        """The rest, at the text's end."""
        rest, self._held = self._held, ""
        return rest


def replace_in_row(
    texts: tuple[str, ...], found: Iterable[tuple[int, int, str]]
) -> tuple[str, ...]:
    """
    Texts that follow each other, with replacements of (begin, end) of all of them as one text, in
    order. What is cut over several goes into the first.
    """
    rows: list[str] = []
    spans = list(found)
    begin = first = 0
    for text in texts:
        end, at, parts = begin + len(text), begin, list[str]()
        while first < len(spans) and spans[first][1] <= begin:
            first += 1
        last = first
        while last < len(spans) and spans[last][0] < end:
            start, stop, new = spans[last]
            last += 1
            parts.append(text[at - begin : max(start, begin) - begin])
            if start >= begin:
                parts.append(new)
            at = min(stop, end)
        rows.append("".join(parts) + text[at - begin :])
        begin = end
    return tuple(rows)
