"""Findings of a review: read from members' JSON, held to the reviewed text, and merged."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Self

import msgspec

from mixtura.core.similarity import TfidfCorpus, count_words, split_words
from mixtura.core.types import Completion

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")
_OTHER_SEVERITIES: dict[str, Severity] = {
    "critical": "high", "blocker": "high", "severe": "high", "major": "high", "moderate": "medium",
    "warning": "medium", "minor": "low", "trivial": "low", "info": "low", "nit": "low",
}  # fmt: skip
"""What models say though they were asked for one of the three."""
FILE_HEADING = "=== FILE: {name} ==="
"""Stands above each reviewed file that is no diff; its lines are counted from there."""
NEAR_LINES = 2
"""So many lines apart, two findings may still be the same."""
SAME_WORDS = 0.5
"""Likeness (TF-IDF, cosine) of two findings without a place from which on they are the same."""
NEAR_WORDS = 0.2
"""The same, of their telling words, of two findings that quote lines near each other."""
SOME_WORDS = 0.01
"""The same of two findings that quote one line: they must have a telling word in common."""
_ORDINARY_WORDS = frozenset({
    "a", "about", "after", "also", "an", "and", "are", "as", "at", "be", "because", "been",
    "before", "being", "both", "but", "by", "can", "cannot", "could", "did", "do", "does",
    "done", "each", "even", "for", "from", "get", "had", "has", "have", "here", "how", "if",
    "in", "into", "is", "it", "its", "just", "like", "make", "makes", "may", "more", "most",
    "much", "must", "need", "needs", "never", "no", "nor", "not", "of", "off", "on", "one",
    "only", "or", "other", "our", "out", "over", "per", "should", "since", "so", "some", "such",
    "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those",
    "to", "too", "two", "up", "us", "use", "used", "uses", "using", "very", "was", "we", "were",
    "what", "when", "where", "which", "while", "who", "why", "will", "with", "without", "would",
    "you", "your",
})  # fmt: skip
"""Words that stand in any sentence: sharing one says nothing."""
_INITIALS = re.compile(r"\b[A-Z][A-Z0-9]+\b")

MAX_BRACES_TRIED = 1000
"""Braces of a reply that are tried as the beginning of an object: each takes time of its own."""
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NO_FILE = "/dev/null"
_HEADING = re.compile(re.escape(FILE_HEADING).replace(r"\{name\}", "(.*)"))
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]


class Finding(msgspec.Struct, frozen=True):
    """What one member reports."""

    problem: Text
    severity: Severity
    quote: Annotated[str, msgspec.Meta(max_length=4000)] = ""
    file: str | None = None
    line: int | None = None
    suggestion: Annotated[str, msgspec.Meta(max_length=4000)] | None = None


class _Reply(msgspec.Struct, frozen=True):
    findings: tuple[msgspec.Raw, ...]


class MemberFindings(NamedTuple):
    """The findings in a member's reply, and how many more could not be read."""

    findings: tuple[Finding, ...]
    unread: int


def parse_findings(reply: Completion) -> MemberFindings | None:
    """
    The findings in *reply*, each of the right form; None where it has no list of them. Of several
    lists the last one that is not empty counts: an empty one may be the form, repeated. Without
    one those count that stand alone, as in a list without a name or in one that breaks off.
    """
    lists: list[tuple[msgspec.Raw, ...]] = []
    alone: list[Finding] = []
    for text in _find_objects(reply.text):
        try:
            lists.append(msgspec.json.decode(text, type=_Reply).findings)
        except (msgspec.DecodeError, ValueError, RecursionError):
            if (one := _read_finding(text)) is not None:
                alone.append(one)
    rows = next((one for one in reversed(lists) if one), ())
    if alone and not rows:
        return MemberFindings(tuple(alone), int(reply.finish_reason == "length"))
    if not lists:
        return None
    found = [one for row in rows if (one := _read_finding(row)) is not None]
    return MemberFindings(tuple(found), len(rows) - len(found))


def _find_objects(text: str) -> Iterator[str]:
    """The JSON objects in *text*, without those in others; braces of prose are none."""
    decoder = json.JSONDecoder()
    begin = text.find("{")
    for _ in range(MAX_BRACES_TRIED):
        if begin < 0:
            return
        end = begin + 1
        with suppress(ValueError, RecursionError):
            _, end = decoder.raw_decode(text, begin)
            yield text[begin:end]
        begin = text.find("{", end)


def _read_finding(row: msgspec.Raw | str) -> Finding | None:
    try:
        return msgspec.convert(_mend_fields(msgspec.json.decode(row, type=dict[str, Any])), Finding)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _mend_fields(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a finding in the form that was asked for, where it is plain what they mean."""
    severity, line = row.get("severity"), row.get("line")
    if isinstance(severity, str):
        said = severity.strip().casefold()
        row["severity"] = _OTHER_SEVERITIES.get(said, said)
    if isinstance(line, str | float):  # "12", "12-14", 12.0
        number = re.match(r"\D{0,10}([0-9]{1,9})", str(line))
        row["line"] = int(number[1]) if number else None
    return {name: value for name, value in row.items() if value is not None and value != ""}


# ---- where a quote stands


class SourceLine(NamedTuple):
    """A line of the reviewed text: of which file, which line of it, and its words."""

    file: str | None
    line: int
    text: str
    plain: str
    """The words without doubled space and marks of a diff."""


def index_lines(material: str) -> list[SourceLine]:
    """Every line of a diff, of files under their headings, or of a plain text, with its place."""
    reader = _LineReader()
    lines = [line.removesuffix("\r") for line in material.split("\n")]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        reader.read(line, following)
    return reader.rows


@dataclass(slots=True)
class _LineReader:
    """Reads lines one by one; in a hunk of a diff it knows how many are left."""

    rows: list[SourceLine] = field(default_factory=list[SourceLine])
    file: str | None = None
    number: int = 0
    old_left: int = 0
    new_left: int = 0
    in_diff: bool = False
    old_file: str | None = None
    is_deleted: bool = False
    """Whether the file is no more: its lines have the numbers that they had."""
    in_hunk: bool = False
    """Also behind the lines that a hunk says it has: people and models count wrongly."""

    def read(self, line: str, following: str) -> None:
        if (heading := _HEADING.fullmatch(line)) is not None:
            self.file, self.number = heading[1], 0
            self.in_diff = self.in_hunk = self.is_deleted = False
        elif (hunk := _HUNK.match(line)) is not None:
            self.number = int(hunk[1] if self.is_deleted else hunk[3]) - 1
            self.old_left, self.new_left = int(hunk[2] or 1), int(hunk[4] or 1)
            self.in_diff = self.in_hunk = True
        elif line.startswith("diff --git "):
            self.in_diff, self.in_hunk = True, False
        elif self.in_hunk and (self.old_left > 0 or self.new_left > 0):
            self._read_in_hunk(line)
        elif line.startswith("--- ") and following.startswith("+++ "):
            self.in_diff, self.in_hunk = True, False
            self.old_file = _read_file_name(line, "a/")
        elif self.in_diff and line.startswith("+++ "):
            new = _read_file_name(line, "b/")
            self.is_deleted = new == _NO_FILE and self.old_file is not None
            self.file, self.in_hunk = self.old_file if self.is_deleted else new, False
        elif self.in_hunk:
            self._read_in_hunk(line)
        elif not self.in_diff:
            self.number += 1
            self._add(self.number, line)

    def _read_in_hunk(self, line: str) -> None:
        if line.startswith("\\"):  # "\ No newline at end of file"
            return
        if line.startswith("-"):
            self.old_left -= 1
            self._add(self.number + 1, line[1:])
            self.number += self.is_deleted
            return
        self.number += 1
        self.new_left -= 1
        self.old_left -= not line.startswith("+")
        self._add(self.number, line[1:])

    def _add(self, number: int, text: str) -> None:
        self.rows.append(SourceLine(self.file, number, text, _plain_line(text)))


def _read_file_name(line: str, side: str) -> str:
    """The name in a line such as ``+++ b/pay.py``, also where git quotes one in other scripts."""
    name = line[4:].partition("\t")[0]
    if len(name) > 1 and name[0] == name[-1] == '"':
        with suppress(UnicodeError):
            name = name[1:-1].encode("ascii").decode("unicode_escape").encode("latin-1").decode()
    return name.removeprefix(side)


def find_quote(finding: Finding, lines: Sequence[SourceLine]) -> SourceLine | None:
    """
    The line that a finding quotes, the nearest to the one that it names; None where none is like
    that.
    """
    plain = (_plain_line(line) for line in finding.quote.splitlines())
    quoted = next((line for line in plain if line), "")
    if not quoted:
        return None
    there = [row for row in lines if quoted in row.plain]
    named = [row for row in there if finding.file and row.file and _same_file(row.file, finding)]
    return min(named or there, key=lambda row: abs(row.line - (finding.line or 0)), default=None)


def _plain_line(line: str) -> str:
    """A line without its space at the ends, doubled space and the marks of a diff."""
    return " ".join(line.strip().removeprefix("+").removeprefix("-").split())


def _same_file(file: str, finding: Finding) -> bool:
    named = finding.file or ""
    return file == named or file.endswith(f"/{named}") or named.endswith(f"/{file}")


# ---- merged


@dataclass(slots=True, eq=False)
class MergedFinding:
    """The same finding of one or more members; the first one's words stand for it."""

    first: Finding
    place: SourceLine | None
    """Where its quote stands in the text; None where it stands nowhere."""
    words: _FindingWords
    """Of its first finding."""
    evidence: dict[str, Finding] = field(default_factory=dict[str, Finding])
    """By the members' names."""

    def to_json(self, members: int) -> dict[str, Any]:
        """As the documented JSON."""
        first, place = self.first, self.place
        severities = [one.severity for one in self.evidence.values()]
        return {
            "problem": first.problem,
            "severity": min(severities, key=SEVERITIES.index),
            "file": place.file if place else first.file,
            "line": place.line if place else first.line,
            "quote_found": place is not None,
            "found_by": len(self.evidence),
            "of": members,
            "suggestion": first.suggestion,
            "evidence": [
                {"member": name, "problem": one.problem, "quote": one.quote}
                for name, one in self.evidence.items()
            ],
        }


def merge_findings(
    found: Sequence[tuple[str, Sequence[Finding]]], material: str
) -> list[MergedFinding]:
    """
    The findings of all members (by name), the same ones together: at the same line with a telling
    word in common, up to two lines apart with several; without a line, in much the same words.
    What most found is first, then what is gravest.
    """
    lines = index_lines(material)
    groups: list[MergedFinding] = []
    for name, findings in found:
        before = _GroupsBefore(groups)
        for one in findings:
            place, words = find_quote(one, lines), _FindingWords.of(one)
            same = before.take_same(place, words)
            if same is None:
                same = MergedFinding(one, place, words)
                groups.append(same)
            same.evidence[name] = one
    return sorted(groups, key=_rank)


def _rank(group: MergedFinding) -> tuple[int, int, str, int]:
    row = group.to_json(0)
    return (
        -row["found_by"], SEVERITIES.index(row["severity"]), row["file"] or "", row["line"] or 0,
    )  # fmt: skip


class _FindingWords(NamedTuple):
    """The words of a finding, counted: all of its problem, and the telling ones."""

    every: Counter[str]
    telling: Counter[str]

    @classmethod
    def of(cls, finding: Finding) -> Self:
        return cls(count_words(finding.problem), count_words(_telling_words(finding)))


class _GroupsBefore:
    """
    The groups that a member's findings may belong to: those that others found, less those that it
    has found by now. A word is rare where it stands in few of these, each of which is one text,
    however many members wrote it: else the more members agree, the less alike they would be.
    """

    def __init__(self, groups: Iterable[MergedFinding]) -> None:
        self._groups = list(groups)
        self._every = TfidfCorpus(group.words.every for group in self._groups)
        self._telling = TfidfCorpus(group.words.telling for group in self._groups)

    def take_same(self, place: SourceLine | None, words: _FindingWords) -> MergedFinding | None:
        """The group most like a finding, if any is like enough; it is taken out of these."""
        self._every.add(words.every)
        self._telling.add(words.telling)
        same = self._find_same(place, words)
        self._every.remove(words.every)
        self._telling.remove(words.telling)
        if same is not None:
            self._groups.remove(same)
            self._every.remove(same.words.every)
            self._telling.remove(same.words.telling)
        return same

    def _find_same(self, place: SourceLine | None, words: _FindingWords) -> MergedFinding | None:
        every = self._every.build_vector(words.every)
        telling = self._telling.build_vector(words.telling)
        best: tuple[float, MergedFinding] | None = None
        for group in self._groups:
            if place and group.place:
                if not _is_near(place, group.place):
                    continue
                likeness = self._telling.compare(telling, group.words.telling)
                needed = SOME_WORDS if place.line == group.place.line else NEAR_WORDS
            else:
                likeness = self._every.compare(every, group.words.every)
                needed = SAME_WORDS
            if likeness >= needed and (best is None or likeness > best[0]):
                best = likeness, group
        return best[1] if best else None


def _telling_words(finding: Finding) -> str:
    """
    The words of a finding that say what it is about: no ordinary ones, and of those of up to three
    letters initials and words of the line that it quotes alone.
    """
    named = {*_INITIALS.findall(finding.problem), *split_words(finding.quote)}
    short = {word.casefold() for word in named}
    return " ".join(
        word
        for word in split_words(finding.problem)
        # In a script without spaces a letter is a word.
        if word not in _ORDINARY_WORDS and (len(word) > 3 or word in short or word >= "\u0e00")
    )


def _is_near(one: SourceLine, other: SourceLine) -> bool:
    return one.file == other.file and abs(one.line - other.line) <= NEAR_LINES
