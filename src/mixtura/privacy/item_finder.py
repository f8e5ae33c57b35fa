"""What finds private items in a text: patterns, words, recognizers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, cast

from mixtura.core.arguments import check_function, check_items, check_mapping, wrong_kind
from mixtura.core.errors import ModelError
from mixtura.privacy.item_kinds import KINDS

Recognizer = Callable[[str], Iterable[tuple[int, int, str]]]
"""Finds items in a text: where each begins and ends, and its kind in a word (``name``)."""
MAX_KEPT_TEXTS = 256
"""Texts whose items are kept: each layer is shown the same conversation."""
MAX_KEPT_CHARS = 20_000
"""Of one whose items are kept."""
_JSON_ESCAPE = re.compile(r"(?<!\\)\\+(?:u[0-9A-Fa-f]{4}|[nrtbf])")
_LABEL = re.compile(r"[^A-Z0-9]+")

LEAST_KNOWN_CHARS = 4
"""An item as long as that is replaced wherever it stands again, also where it was not found."""
MAX_ALTERNATIVES = 64
"""Texts that one pattern looks for: at each character it may try them all."""


class FoundItem(NamedTuple):
    """A private item in a text."""

    begin: int
    end: int
    kind: str


class PrivateItems:
    """
    Finds private items in texts.

    *kinds*: which of ``email``, ``phone``, ``iban``, ``card``, ``ip``, ``key``, by default all.
    *patterns*: regular expressions by the kind that they find; where one has a group, the group is
    the item. *words* are found as they are, in any case. *recognizers* find what no pattern can,
    such as names. Raises ValueError for an unknown kind or a pattern that is none, TypeError for
    what is no list of them.
    """

    def __init__(
        self,
        *,
        kinds: Collection[str] | None = None,
        patterns: Mapping[str, str | Iterable[str]] | None = None,
        words: Iterable[str] = (),
        recognizers: Iterable[Recognizer] = (),
    ) -> None:
        wanted = KINDS if kinds is None else _check_texts("kinds", kinds)
        if patterns is not None:
            check_mapping("patterns", patterns, "a dict of regular expressions")
            _check_texts("patterns", patterns)
        if unknown := [kind for kind in wanted if kind not in KINDS]:
            raise ValueError(f"no kind is called {unknown[0]!r}: there are {', '.join(KINDS)}")
        self._kinds = {kind: find for kind, find in KINDS.items() if kind in wanted}
        self._patterns = [
            (compile_pattern(pattern), item_label(kind))
            for kind, rows in (patterns or {}).items()
            for pattern in (
                [rows] if isinstance(rows, str) else _check_texts(f"patterns[{kind!r}]", rows)
            )
        ]
        self._words = _compile_words(_check_texts("words", words))
        if not isinstance(recognizers, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_kind("recognizers", "a list of functions of a text", recognizers)
        self.recognizers = tuple(recognizers)
        for number, recognizer in enumerate(self.recognizers):
            check_function(f"recognizers[{number}]", recognizer, "a function of a text")
        self._find_kept = lru_cache(MAX_KEPT_TEXTS)(self._find)

    def find(self, text: str) -> tuple[FoundItem, ...]:
        """The items in a text, none of which overlap. Raises ModelError: a recognizer failed."""
        # What is remembered of all requests is small, however large their texts are.
        return (self._find_kept if len(text) <= MAX_KEPT_CHARS else self._find)(text)

    def _find(self, text: str) -> tuple[FoundItem, ...]:
        # In JSON in a text, `\n` in front of an item is no letter of it.
        blank = _JSON_ESCAPE.sub(lambda match: " " * len(match[0]), text)
        found = [
            FoundItem(begin, end, item_label(kind))
            for kind, find in self._kinds.items()
            for shown in ((text,) if blank == text else (text, blank))
            for begin, end in find(shown)
        ]
        for pattern, kind in self._patterns:
            group = 1 if pattern.groups else 0
            found += [FoundItem(*match.span(group), kind) for match in pattern.finditer(text)]
        if self._words is not None:
            found += [FoundItem(*match.span(), "WORD") for match in self._words.finditer(text)]
        for recognize in self.recognizers:
            found += _recognized_items(recognize, text)
        return join_overlapping(found)


def _check_texts(name: str, value: object) -> tuple[str, ...]:
    """The texts of a collection. Raises TypeError for anything else."""
    # A text is a collection, too: its letters would be found, and it would not.
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise wrong_kind(name, "a list of texts", value)
    return check_items(name, tuple(cast("Iterable[object]", value)), str, "a list of texts")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of a user's. Raises ValueError for one that is none, or that finds nothing."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if compiled.search(""):
        raise ValueError(f"{pattern!r} also matches the empty text")
    return compiled


def item_label(kind: str) -> str:
    """How a kind is called in a placeholder: capitals and digits."""
    label = _LABEL.sub("", kind.upper())[:20]
    return label if label[:1].isalpha() else f"ITEM{label}"


def join_overlapping(found: Iterable[FoundItem]) -> tuple[FoundItem, ...]:
    """The items in order; those that overlap are one, of the kind of the longest."""
    joined: list[FoundItem] = []
    longest = 0
    for item in sorted(found, key=lambda item: (item.begin, -item.end)):
        size = item.end - item.begin
        if size <= 0:
            continue
        if joined and item.begin < joined[-1].end:
            last = joined[-1]
            kind = item.kind if size > longest else last.kind
            joined[-1] = FoundItem(last.begin, max(last.end, item.end), kind)
            longest = max(size, longest)
        else:
            joined.append(item)
            longest = size
    return tuple(joined)


def _compile_words(words: Iterable[str]) -> re.Pattern[str] | None:
    rows = sorted({word.strip() for word in words if word.strip()}, key=len, reverse=True)
    if not rows:
        return None
    return re.compile("|".join(map(bounded_pattern, rows)), re.IGNORECASE)


def bounded_pattern(text: str) -> str:
    """A pattern that finds *text* where it is no part of a word."""
    # In Chinese and Japanese a word has no space around it.
    before = "(?<![A-Za-z0-9_])" if text[0].isascii() and text[0].isalnum() else ""
    after = "(?![A-Za-z0-9_])" if text[-1].isascii() and text[-1].isalnum() else ""
    return f"{before}{re.escape(text)}{after}"


class KnownTexts:
    """
    Finds *texts*, each of at least ``LEAST_KNOWN_CHARS``, where they are no part of a word: in a
    time that does not grow with how many there are.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = frozenset(texts)
        self._pattern: re.Pattern[str] | None = None
        self._sizes: dict[str, list[int]] = {}
        """The lengths of those that begin with some characters, the longest first."""
        if len(self._texts) <= MAX_ALTERNATIVES:
            rows = sorted(self._texts, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(bounded_pattern, rows)) or r"(?!)")
            return
        sizes: dict[str, set[int]] = {}
        for text in self._texts:
            sizes.setdefault(text[:LEAST_KNOWN_CHARS], set()).add(len(text))
        self._sizes = {begin: sorted(rows, reverse=True) for begin, rows in sizes.items()}

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where they stand, in order; none overlap."""
        if self._pattern is not None:
            yield from (match.span() for match in self._pattern.finditer(text))
            return
        at, sizes = 0, self._sizes
        while at <= len(text) - LEAST_KNOWN_CHARS:
            for size in sizes.get(text[at : at + LEAST_KNOWN_CHARS], ()):
                end = at + size
                known = end <= len(text) and text[at:end] in self._texts
                if known and _stands_alone(text, at, end):
                    yield at, end
                    at = end
                    break
            else:
                at += 1


def _stands_alone(text: str, begin: int, end: int) -> bool:
    """As ``bounded_pattern`` has it."""
    first, last = text[begin], text[end - 1]
    before, after = text[begin - 1 : begin], text[end : end + 1]
    return not (
        (first.isascii() and first.isalnum() and _is_word_character(before))
        or (last.isascii() and last.isalnum() and _is_word_character(after))
    )


def _is_word_character(sign: str) -> bool:
    return sign.isascii() and (sign.isalnum() or sign == "_")


def _recognized_items(recognize: Recognizer, text: str) -> list[FoundItem]:
    name = getattr(recognize, "__name__", type(recognize).__name__)
    try:
        rows = [
            FoundItem(max(int(begin), 0), min(int(end), len(text)), item_label(str(kind)))
            for begin, end, kind in recognize(text)
        ]
    except Exception as error:  # noqa: BLE001 - other people's code
        # What it says could hold the text, and without it nothing may be sent.
        said = f"nothing was sent: the recognizer {name} failed with {type(error).__name__}"
        raise ModelError(said) from None
    return rows
