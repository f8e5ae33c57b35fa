"""What a command-line tool writes, read as pieces of an answer, tokens and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from mixtura.core.errors import MalformedError
from mixtura.core.json_text import map_texts
from mixtura.core.quantities import parse_token_count, redacted_excerpt
from mixtura.core.text import ANSI_ESCAPE
from mixtura.core.types import Usage
from mixtura.protocols.openai.usage import usage_from_counts

_OPEN_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,2000}\x1b?)?\Z")
_HALF = re.compile("[\ud800-\udfff]")
_OBJECT = re.compile(r"\{")
_OBJECTS_TRIED = 64
"""Braces in what a tool writes that may be the beginning of its object."""
_DECODER = json.JSONDecoder(strict=False)
_COUNTS = (
    "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
)  # fmt: skip
MAX_DOUBTS = 8

OutputFormat = Literal["text", "json", "lines"]
"""Text as it is; one JSON object; or a JSON object a line, while it answers."""


class OutputRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is read from a JSON object that a tool writes, if it is one of those in *where*."""

    where: dict[str, str | bool] = {}
    piece: str | None = None
    """The path of a piece of the answer."""
    answer: str | None = None
    """The path of a whole answer; where pieces came, they are it already."""
    error: str | None = None
    """The path of an error; where an answer follows, it was none for good."""
    finish_reason: str | None = None
    """The path of the reason why the answer ended; the last one counts."""
    prompt_tokens: tuple[str, ...] = ()
    cached_tokens: tuple[str, ...] = ()
    cache_write_tokens: tuple[str, ...] = ()
    completion_tokens: tuple[str, ...] = ()
    reasoning_tokens: tuple[str, ...] = ()


class CommandOutput:
    """
    The standard output of a tool as it comes in: ``add_text`` gives the answer's new pieces.

    Raises MalformedError where it should be JSON, and at its end is not.
    """

    def __init__(self, output: OutputFormat, rules: Sequence[OutputRule]) -> None:
        self._output, self._rules = output, rules
        self._open: list[str] = []
        """What may yet change its meaning: an escape, a line, an object that has not ended."""
        self._counts: dict[str, int] = {}
        self.doubts: list[str] = []
        """Counts that make no sense."""
        self._has_pieces = False
        self._whole: list[str] = []
        self.error: str | None = None
        """What the tool itself says went wrong."""
        self.finish_reason: object = None
        """Why the answer ended, in the tool's words; None where it does not say."""
        self.other_lines: list[str] = []
        """Lines between the objects that are no JSON."""

    @property
    def usage(self) -> Usage | None:
        """The tokens that the tool told; None where it told none, or some that cannot be."""
        if not self._counts or self.doubts:
            return None
        return usage_from_counts(self._counts, self.doubts)

    def add_text(self, text: str) -> str:
        """The pieces of the answer in what was written now."""
        if self._output == "json":
            self._open.append(text)
            return ""
        if self._output == "lines":
            return self._add_lines(text)
        text = "".join((*self._open, text))
        held = _OPEN_ESCAPE.search(text)
        ready = text[: held.start()] if held else text
        ready, carriage = (ready[:-1], "\r") if ready.endswith("\r") else (ready, "")
        self._open = [carriage + (held[0] if held else "")]
        return ANSI_ESCAPE.sub("", ready).replace("\r\n", "\n")

    def _add_lines(self, text: str) -> str:
        # A line may come in thousands of pieces: each is looked at once.
        first, *others = text.split("\n")
        self._open.append(first)
        if not others:
            return ""
        *whole, rest = others
        lines = ("".join(self._open), *whole)
        self._open = [rest]
        return "".join(self._read_line(line) for line in lines)

    def end(self) -> str:
        """What is left of the answer, when the tool has ended."""
        rest, self._open = "".join(self._open), []
        if self._output == "text":
            return "" if rest.startswith("\x1b") else rest.replace("\r", "")
        if self._output == "json":
            self._read_object(_parse_object(rest))
            left = ""
        else:
            left = self._read_line(rest)
        return left if self._has_pieces else left + "\n\n".join(self._whole)

    def _read_line(self, line: str) -> str:
        line = line.strip().removeprefix("\ufeff")
        if not line:
            return ""
        try:
            value = _decode_json(line)
        except (ValueError, RecursionError):
            self.other_lines.append(line)
            return ""
        return (
            self._read_object(cast("Mapping[str, Any]", value)) if isinstance(value, dict) else ""
        )

    def _read_object(self, value: Mapping[str, Any]) -> str:
        pieces: list[str] = []
        for rule in self._rules:
            if any(_find_first(value, path) != wanted for path, wanted in rule.where.items()):
                continue
            if rule.piece and isinstance(piece := _find_first(value, rule.piece), str) and piece:
                pieces.append(_replace_surrogates(piece))
                self._has_pieces, self.error = True, None
            if rule.answer and isinstance(whole := _find_first(value, rule.answer), str):
                self._whole.append(_replace_surrogates(whole))
                self.error = None
            if rule.finish_reason:
                self.finish_reason = _find_first(value, rule.finish_reason) or self.finish_reason
            if rule.error and (error := _find_first(value, rule.error)):
                self.error = _error_words(error)
            self._add_counts(rule, value)
        return "".join(pieces)

    def _add_counts(self, rule: OutputRule, value: Mapping[str, Any]) -> None:
        for name in _COUNTS:
            for path in getattr(rule, name):
                for count in _find_all(value, path.split(".")):
                    number = parse_token_count(count)
                    if number is None and len(self.doubts) < MAX_DOUBTS:
                        self.doubts.append(f"{name} {redacted_excerpt(count)}")
                    self._counts[name] = self._counts.get(name, 0) + (number or 0)


def _replace_surrogates(text: str) -> str:
    """*text* without halves of characters, which JSON can hold and no other text."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _error_words(error: object) -> str:
    try:
        return _replace_surrogates(str(error))
    except RecursionError:
        return "an error that is nested too deep"


def _parse_object(text: str) -> Mapping[str, Any]:
    """The JSON object in *text*; notices before and behind it are passed over."""
    starts = [found.start() for found in _OBJECT.finditer(text)][:_OBJECTS_TRIED]
    for start in starts:
        try:
            value, _ = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if value:
            return cast("Mapping[str, Any]", _replace_halves(value))
    if starts:
        raise MalformedError("its output is not the JSON that was asked for")
    return {}


def _decode_json(text: str) -> Any:
    """JSON with bare control characters, too; half of a surrogate pair is U+FFFD."""
    value = _DECODER.decode(text)
    return _replace_halves(value) if "\\u" in text else value


def _replace_halves(value: Any) -> Any:
    return map_texts(value, lambda text: _HALF.sub("\ufffd", text))


def _find_first(value: object, path: str) -> object:
    return next(_find_all(value, path.split(".")), None)


def _find_all(value: object, path: Sequence[str]) -> Iterator[object]:
    """What stands at a path; ``*`` is every field of an object."""
    if not path:
        yield value
    elif isinstance(value, dict):
        fields = cast("Mapping[str, object]", value)
        inner = fields.values() if path[0] == "*" else [fields.get(path[0])]
        for one in inner:
            if one is not None:
                yield from _find_all(one, path[1:])
