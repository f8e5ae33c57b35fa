"""Replaces secrets (keys, passwords, secret headers) in texts, data, errors and logprobs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate
from typing import Any, cast

import msgspec

from mixtura.core.context_values import hold_value
from mixtura.core.credentials import HIDDEN, is_secret
from mixtura.core.redacting_stream import RedactingStream
from mixtura.core.secret_search import SecretGroup, SecretSearch, replace_spans

SCAN_CHUNK_CHARS = 256 * 1024
"""Characters that are searched in one go."""


class Redactor:
    """
    Knows secrets, and replaces them by ``***`` in texts, data, errors and streams.

    Finds them in any case and however they are escaped (URL, JSON, HTML, base64). Values that
    are too short or too plain to be a key ("x", "ollama") are not secrets.
    """

    def __init__(self, values: Iterable[str] = (), *, within: Redactor | None = None) -> None:
        own = frozenset(filter(is_secret, map(str.strip, values)))
        groups = within.search.groups if within else ()
        self.search = SecretSearch((*groups, SecretGroup(own)) if own else groups)
        self.values: frozenset[str] = own | within.values if within else own
        self._larger: dict[frozenset[str], Redactor] = {}

    def __bool__(self) -> bool:
        return bool(self.values)

    def __repr__(self) -> str:
        return f"Redactor({len(self.values)} secrets)"

    def learn_values(self, values: Iterable[str]) -> None:
        """Hide *values* too from now on, wherever this redactor is used already."""
        more = frozenset(filter(is_secret, map(str.strip, values))) - self.values
        if more:
            self.search = SecretSearch((*self.search.groups, SecretGroup(more)))
            self.values |= more
            self._larger.clear()

    def with_values(self, values: Iterable[str]) -> Redactor:
        """A redactor that also knows *values*; this one where they are known already."""
        more = frozenset(filter(is_secret, map(str.strip, values)))
        if more <= self.values:
            return self
        if more not in self._larger:
            # A server meets ever more values: one redactor for each of them would grow without end.
            if len(self._larger) >= _MAX_DERIVED:
                self._larger.clear()
            self._larger[more] = Redactor(more - self.values, within=self)
        return self._larger[more]

    def redact_text(self, text: str, *, ended: bool = True) -> str:
        """*text* without secrets; *ended*: also without one that is cut off at its end."""
        # A regular expression holds the interpreter: other threads run between the parts.
        if len(text) > SCAN_CHUNK_CHARS and ended:
            parts = self.create_stream()
            rows = [
                parts.feed_text(text[at : at + SCAN_CHUNK_CHARS])
                for at in range(0, len(text), SCAN_CHUNK_CHARS)
            ]
            return "".join((*rows, parts.finish()))
        if not self.search.may_contain_secret(text):
            return text
        if ended:
            spans = self.search.find_secrets(text, ended=True).spans
        else:
            spans = self.search.find_whole_secrets(text)
        return replace_spans(text, 0, spans)

    def redact_data(self, data: Any) -> Any:
        """The same data without secrets in any of its strings and keys."""
        if isinstance(data, str):
            return self.redact_text(data)
        if isinstance(data, list | tuple):
            return [self.redact_data(value) for value in cast("Sequence[Any]", data)]
        if isinstance(data, dict):
            rows = cast("dict[Any, Any]", data).items()
            return {self.redact_data(key): self.redact_data(value) for key, value in rows}
        return data

    def redact_rows(self, rows: Sequence[Any]) -> list[Any]:
        """
        The same rows without secrets, also without one that is split over several rows.

        The strings at the same path in each row are searched as one text, then all strings in
        order; every string that holds a piece of a secret is hidden.
        """
        safe: list[Any] = self.redact_data(rows)
        if not self.values:
            return safe
        places: dict[tuple[str, ...], list[tuple[Any, Any]]] = {}
        _collect_text_places(safe, (), places)
        # A client puts the strings of several rows together again; so does this search.
        every = [place for group in places.values() for place in group]
        for group in (row for row in (*places.values(), every) if len(row) > 1):
            texts = [holder[key] for holder, key in group]
            spans = self.search.find_secrets("".join(texts), ended=True).spans
            for (holder, key), begin, end in zip(group, *_text_bounds(texts), strict=True):
                if any(start < end and begin < stop for start, stop in spans):
                    holder[key] = HIDDEN
        return safe

    def redact_inputs(self, texts: Sequence[str]) -> list[str]:
        """Inputs of several calls, each of them JSON, without a secret that is split over them."""
        safe = [self.redact_json(text) for text in texts]
        if not self.values:
            return safe
        read = [_parse_object(text) for text in safe]
        rows = zip(safe, read, self.redact_rows(read), strict=True)
        return [
            text if row == hidden else msgspec.json.encode(hidden).decode()
            for text, row, hidden in rows
        ]

    def redact_json(self, text: str) -> str:
        """JSON text without secrets, however they are escaped; unchanged where there is none."""
        safe = self.redact_text(text)
        if not self.values or "\\" not in safe:
            return safe
        try:
            data = msgspec.json.decode(safe)
        except (msgspec.DecodeError, RecursionError):
            return safe
        hidden = self.redact_data(data)
        return safe if hidden == data else msgspec.json.encode(hidden).decode()

    def redact_logprobs(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Log-probabilities of tokens; tokens that are part of a secret are hidden."""
        kept = [dict(row) for row in rows]
        if not self.values:
            return kept
        tokens = [str(row.get("token", "")) for row in kept]
        spans = self.search.find_secrets("".join(tokens), ended=True).spans
        # A token's bytes may spell what its text, with replacement characters, does not show.
        spelled = self._has_secret_in_bytes(kept)
        at = 0
        for row, token in zip(kept, tokens, strict=True):
            begin, at = at, at + len(token)
            if any(start < at and begin < end for start, end in spans):
                row.update(token=HIDDEN, bytes=None, top_logprobs=[])
            elif spelled:
                row.update(bytes=None, top_logprobs=[])
            elif row.get("top_logprobs"):
                row["top_logprobs"] = self.redact_data(row["top_logprobs"])
        return kept

    def redact_error(self, error: BaseException) -> None:
        """Take the secrets out of an exception, its causes and its contexts, in place."""
        todo: list[BaseException] = [error]
        seen: set[int] = set()
        while todo and self.values:
            this = todo.pop()
            if id(this) in seen:
                continue
            seen.add(id(this))
            self._redact_exception(this)
            for link in ("__cause__", "__context__"):
                other = getattr(this, link)
                if other is None:
                    continue
                self._redact_exception(other)
                message = str(other)
                if self.redact_text(message) != message:
                    # Another library composes its text anew each time: it has to go as a whole.
                    setattr(this, link, None)
                else:
                    todo.append(other)

    def create_stream(self) -> RedactingStream:
        """A redactor of a text that arrives in pieces."""
        return RedactingStream(self.search)

    def _redact_exception(self, error: BaseException) -> None:
        error.args = tuple(self.redact_data(part) for part in error.args)
        for name, value in vars(error).items():
            if isinstance(value, str | list | dict):
                setattr(error, name, self.redact_data(value))

    def _has_secret_in_bytes(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the tokens' bytes spell a secret that their texts do not show."""
        try:
            whole = b"".join(bytes(row.get("bytes") or ()) for row in rows)
        except (TypeError, ValueError):
            return True
        text = whole.decode("utf-8", "replace")
        return self.redact_text(text) != text and self.redact_text(
            joined := "".join(str(row.get("token", "")) for row in rows)
        ) == joined  # fmt: skip


_MAX_DERIVED = 256
"""Redactors with more values that one keeps for the next call."""


def _collect_text_places(
    holder: Any, path: tuple[str, ...], places: dict[tuple[str, ...], list[tuple[Any, Any]]]
) -> None:
    """The strings in *holder*, by the keys that lead to them; positions in lists do not count."""
    named = isinstance(holder, dict)
    rows = cast("dict[str, Any]", holder).items() if named else enumerate(cast("list[Any]", holder))
    for key, value in rows:
        inner = (*path, str(key)) if named else path
        if isinstance(value, str):
            if value:
                places.setdefault(inner, []).append((holder, key))
        elif isinstance(value, dict | list):
            _collect_text_places(value, inner, places)


def _text_bounds(texts: Iterable[str]) -> tuple[list[int], list[int]]:
    """Where each text begins and ends in their concatenation."""
    ends = list(accumulate(map(len, texts)))
    return [0, *ends[:-1]], ends


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


_CURRENT: ContextVar[Redactor | None] = ContextVar("redactor", default=None)
NO_SECRETS = Redactor()
_process_redactor = NO_SECRETS


def register_secrets(values: Iterable[str]) -> None:
    """Keep *values* out of all that this process logs or prints of errors."""
    global _process_redactor  # noqa: PLW0603 - a log knows no configuration
    _process_redactor = _process_redactor.with_values(values)


def process_redactor() -> Redactor:
    """The redactor of every secret that this process has met."""
    return _process_redactor


def current_redactor() -> Redactor:
    """The redactor of the current call; that of the process outside a call."""
    return _CURRENT.get() or _process_redactor


@contextmanager
def use_redactor(redactor: Redactor) -> Generator[Redactor]:
    """Make *redactor*, with the secrets of the current one, current in this block."""
    outer = _CURRENT.get()
    with hold_value(_CURRENT, outer.with_values(redactor.values) if outer else redactor):
        yield current_redactor()


def redact_secrets(text: str) -> str:
    """*text* without the secrets of the current call and of this process."""
    # A call's redactor need not know what another call of this process registered.
    return _process_redactor.redact_text(current_redactor().redact_text(text))
