"""What is never shown: keys, passwords and secret headers, in whatever text they come back."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.credentials import HIDDEN, is_secret
from mixtura.escapes import Spelling, Walk, base64_spellings, spelling

HEAD = 3
"""Characters of a secret that a stream may show before it holds back what could be one."""
_CONTEXT = 40
"""Characters that such a head may take where they are escaped."""
_CUT = 8
"""Characters of a secret at the end of a text that are taken for one that was cut off."""
_FRAGMENT = 12
"""The same in the middle of a text, if it is half of the secret, too."""


AT_ONCE = 256 * 1024
"""Letters that are looked through in one go."""


class Found(NamedTuple):
    """Where in a text a secret stands, or begins and may go on."""

    spans: list[tuple[int, int]]
    held: int | None
    """From here on the next piece decides; None where nothing is open."""


class Redactor:
    """
    Knows secrets, and replaces them by ``***`` in texts, data, errors and streams.

    Finds them in any case and however they are escaped (URL, JSON, HTML, base64). Values that
    are too short or too plain to be a key ("x", "ollama") are not secrets.
    """

    def __init__(self, values: Iterable[str] = (), *, within: Redactor | None = None) -> None:
        own = frozenset(filter(is_secret, map(str.strip, values)))
        groups = within.groups if within else ()
        self.groups = (*groups, _Group(own)) if own else groups
        self.values = own | within.values if within else own
        self._larger: dict[frozenset[str], Redactor] = {}

    def __bool__(self) -> bool:
        return bool(self.values)

    def __repr__(self) -> str:
        return f"Redactor({len(self.values)} secrets)"

    def plus(self, values: Iterable[str]) -> Redactor:
        """One that knows *values*, too."""
        more = frozenset(filter(is_secret, map(str.strip, values)))
        if more <= self.values:
            return self
        if more not in self._larger:
            if len(self._larger) >= _MOST_LARGER:
                self._larger.clear()
            self._larger[more] = Redactor(more - self.values, within=self)
        return self._larger[more]

    # ---- what it does

    def text(self, text: str, *, ended: bool = True) -> str:
        """*text* without a secret; *ended*: a secret cut off at its end is one, too."""
        if len(text) > AT_ONCE and ended:  # others have a turn between the parts
            parts = self.stream()
            rows = [parts.feed(text[at : at + AT_ONCE]) for at in range(0, len(text), AT_ONCE)]
            return "".join((*rows, parts.finish()))
        if not any(group.heads.search(text) for group in self.groups):
            return text
        spans = self.find(text, ended=True).spans if ended else self._whole(text)
        return _replaced(text, 0, spans)

    def data(self, data: Any) -> Any:
        """The same data without a secret in any of its texts and keys."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, list | tuple):
            return [self.data(value) for value in cast("Sequence[Any]", data)]
        if isinstance(data, dict):
            rows = cast("dict[Any, Any]", data).items()
            return {self.data(key): self.data(value) for key, value in rows}
        return data

    def across(self, rows: Sequence[Any]) -> list[Any]:
        """
        The same rows without a secret, one that is cut over them neither: the texts that stand at
        the same place in each are looked through as one, then all texts one after the other, and
        the pieces of a secret all go.
        """
        safe: list[Any] = self.data(rows)
        if not self.values:
            return safe
        places: dict[tuple[str, ...], list[tuple[Any, Any]]] = {}
        _places(safe, (), places)
        every = [place for found in places.values() for place in found]
        for found in (row for row in (*places.values(), every) if len(row) > 1):
            texts = [holder[key] for holder, key in found]
            spans = self.find("".join(texts), ended=True).spans
            for (holder, key), begin, end in zip(found, *_bounds(texts), strict=True):
                if any(start < end and begin < stop for start, stop in spans):
                    holder[key] = HIDDEN
        return safe

    def inputs(self, texts: Sequence[str]) -> list[str]:
        """Inputs of several calls, each of them JSON, without a secret that is cut over them."""
        safe = [self.json(text) for text in texts]
        if not self.values:
            return safe
        read = [_read(text) for text in safe]
        rows = zip(safe, read, self.across(read), strict=True)
        return [
            text if row == hidden else msgspec.json.encode(hidden).decode()
            for text, row, hidden in rows
        ]

    def json(self, text: str) -> str:
        """JSON text without a secret, however its strings are escaped; the same where none is."""
        safe = self.text(text)
        if not self.values or "\\" not in safe:
            return safe
        try:
            data = msgspec.json.decode(safe)
        except (msgspec.DecodeError, RecursionError):
            return safe
        hidden = self.data(data)
        return safe if hidden == data else msgspec.json.encode(hidden).decode()

    def logprobs(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Log-probabilities of tokens; those that a secret is spread over tell nothing of it."""
        kept = [dict(row) for row in rows]
        if not self.values:
            return kept
        tokens = [str(row.get("token", "")) for row in kept]
        spans = self.find("".join(tokens), ended=True).spans
        spelled = self._spelled(kept)
        at = 0
        for row, token in zip(kept, tokens, strict=True):
            begin, at = at, at + len(token)
            if any(start < at and begin < end for start, end in spans):
                row.update(token=HIDDEN, bytes=None, top_logprobs=[])
            elif spelled:
                row.update(bytes=None, top_logprobs=[])
            elif row.get("top_logprobs"):
                row["top_logprobs"] = self.data(row["top_logprobs"])
        return kept

    def error(self, error: BaseException) -> None:
        """Take the secrets out of an exception, and out of those that led to it."""
        todo: list[BaseException] = [error]
        seen: set[int] = set()
        while todo and self.values:
            this = todo.pop()
            if id(this) in seen:
                continue
            seen.add(id(this))
            self._tell(this)
            for link in ("__cause__", "__context__"):
                other = getattr(this, link)
                if other is None:
                    continue
                self._tell(other)
                if self.text(said := str(other)) != said:  # its words are not ours to change
                    setattr(this, link, None)
                else:
                    todo.append(other)

    def stream(self) -> Stream:
        """For a text that comes in pieces."""
        return Stream(self)

    def _tell(self, error: BaseException) -> None:
        error.args = tuple(self.data(part) for part in error.args)
        for name, value in vars(error).items():
            if isinstance(value, str | list | dict):
                setattr(error, name, self.data(value))

    def _spelled(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the tokens' bytes have a secret in them."""
        try:
            whole = b"".join(bytes(row.get("bytes") or ()) for row in rows)
        except (TypeError, ValueError):
            return True
        said = whole.decode("utf-8", "replace")
        return self.text(said) != said and self.text(
            joined := "".join(str(row.get("token", "")) for row in rows)
        ) == joined  # fmt: skip

    # ---- how it finds them

    def find(self, text: str, *, ended: bool) -> Found:
        """Where secrets stand in *text*; unless it has *ended*, up to where one may begin."""
        spans: list[tuple[int, int]] = []
        at = 0
        heads = [_Heads(group.heads, text) for group in self.groups]
        while (begin := min((head.next(at) for head in heads), default=_NONE)) != _NONE:
            walks = self._walks(text, begin)
            if not ended and any(walk.open and walk.matched >= HEAD for walk in walks):
                return Found(spans, begin)
            end = max((walk.masks(_CUT, _FRAGMENT) for walk in walks), default=0)
            if end:
                spans.append((begin, end))
            at = end or begin + 1
        return Found(spans, None)

    def _whole(self, text: str) -> list[tuple[int, int]]:
        """Where whole secrets stand, whatever the text ends with."""
        found = self.find(text, ended=False)
        if found.held is None:
            return found.spans
        ends = [walk.end for walk in self._walks(text, found.held) if walk.end is not None]
        return [*found.spans, (found.held, max(ends))] if ends else found.spans

    def _walks(self, text: str, at: int) -> list[Walk]:
        first = text[at]
        ways = (way for group in self.groups for way in group.spellings.get(first, ()))
        return [way.walk(text, at) for way in ways if way.can_mask(text, at, _FRAGMENT)]


class _Group:
    """Secrets that are looked for together, made ready at the first look."""

    def __init__(self, values: frozenset[str]) -> None:
        self._values = values

    @cached_property
    def spellings(self) -> dict[str, list[Spelling]]:
        """How each secret may be written, by the first characters of those ways."""
        found: dict[str, list[Spelling]] = {}
        for value in sorted(self._values):
            for one in (spelling(value), *base64_spellings(value)):
                for first in one.firsts:
                    found.setdefault(first, []).append(one)
        return found

    @cached_property
    def heads(self) -> re.Pattern[str]:
        """Wherever a secret may begin."""
        heads = {
            first: "|".join(sorted({way.head(first) for way in ways}))
            for first, ways in self.spellings.items()
        }
        return re.compile("|".join(f"{re.escape(c)}(?:{rest})" for c, rest in heads.items()))


_NONE = 1 << 62
"""Behind the end of every text."""


class _Heads:
    """Where in a text the secrets of one group may begin; no part of it is searched twice."""

    __slots__ = ("_at", "_pattern", "_text")

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern = pattern
        self._text = text
        self._at = -1

    def next(self, at: int) -> int:
        """The first place from *at* on."""
        if self._at < at:
            found = self._pattern.search(self._text, at)
            self._at = found.start() if found else _NONE
        return self._at


class Stream:
    """
    Takes secrets out of a text that comes in pieces, cut anywhere.

    Shows each piece at once; from the third character of what could be a secret on, it waits
    until that is decided.
    """

    __slots__ = ("_held", "_redactor", "_searches", "_shown")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._searches = tuple(group.heads.search for group in redactor.groups)
        self._shown: str = ""
        """The last characters that went out."""
        self._held: str = ""
        """What waits for the next piece."""

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        if not self._searches:
            return piece
        if self._held:
            return self._decided(piece, ended=False)
        seen = self._shown + piece
        for search in self._searches:
            if search(seen):
                return self._decided(piece, ended=False)
        escaped = "%" in seen or "\\" in seen or "&" in seen  # nearly always: no secret here
        self._shown = seen[-_CONTEXT:] if escaped else seen[1 - HEAD :]
        return piece

    @property
    def waits(self) -> bool:
        """What came may be the beginning of a secret."""
        return bool(self._held)

    def passes(self, piece: str) -> bool:
        """Take *piece* in if nothing in it may be of a secret; else leave all as it was."""
        before = self._shown, self._held
        if self._held or self.feed(piece) != piece:
            self._shown, self._held = before
            return False
        return True

    def finish(self) -> str:
        """What is left at the stream's end."""
        return self._decided("", ended=True) if self._held else ""

    def _decided(self, piece: str, *, ended: bool) -> str:
        text = self._shown + self._held + piece
        out = len(self._shown)
        found = self._redactor.find(text, ended=ended)
        spans = [(max(begin, out), end) for begin, end in found.spans]
        after = max((end for _, end in spans), default=0)
        if found.held is None:
            self._held = ""
            self._shown = text[max(after, len(text) - _CONTEXT) :]
            return _replaced(text, out, spans)
        until = max(found.held, out)
        self._shown, self._held = text[found.held : until], text[until:]
        return _replaced(text[:until], out, spans)


_MOST_LARGER = 256


def _places(
    holder: Any, path: tuple[str, ...], found: dict[tuple[str, ...], list[tuple[Any, Any]]]
) -> None:
    """Where the texts in *holder* stand, by the keys that lead to them; lists have no keys."""
    named = isinstance(holder, dict)
    rows = cast("dict[str, Any]", holder).items() if named else enumerate(cast("list[Any]", holder))
    for key, value in rows:
        inner = (*path, str(key)) if named else path
        if isinstance(value, str):
            if value:
                found.setdefault(inner, []).append((holder, key))
        elif isinstance(value, dict | list):
            _places(value, inner, found)


def _bounds(texts: Iterable[str]) -> tuple[list[int], list[int]]:
    """Where each text begins and ends in all of them together."""
    ends = list(accumulate(map(len, texts)))
    return [0, *ends[:-1]], ends


def _read(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


def _replaced(text: str, at: int, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    for begin, end in spans:
        parts += (text[at:begin], HIDDEN)
        at = end
    return "".join((*parts, text[at:]))


# ---- what is known here

_CURRENT: ContextVar[Redactor | None] = ContextVar("redactor", default=None)
NOTHING = Redactor()
_known = NOTHING


def remember(values: Iterable[str]) -> None:
    """Let whatever this process logs or prints of errors be without *values*."""
    global _known  # noqa: PLW0603 - a log knows no configuration
    _known = _known.plus(values)


def known() -> Redactor:
    """Knows every secret that this process has met."""
    return _known


def current() -> Redactor:
    """Knows the secrets of the call that is under way."""
    return _CURRENT.get() or _known


@contextmanager
def in_use(redactor: Redactor) -> Generator[Redactor]:
    """In this block *redactor*, beside whoever is in use already, is the current one."""
    outer = _CURRENT.get()
    token = _CURRENT.set(outer.plus(redactor.values) if outer else redactor)
    try:
        yield current()
    finally:
        _CURRENT.reset(token)


def redacted(text: str) -> str:
    """*text* without what the call under way, and this process, know as a secret."""
    return _known.text(current().text(text))
