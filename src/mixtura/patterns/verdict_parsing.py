"""
Verdicts of rankers, judges and graders, read from the last line of their replies.

What a reply quotes or explains before that is no verdict: a proposal may contain one. A reply with
two different verdicts, each on a line of its own, has none.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from mixtura.core.json_text import read_json_text
from mixtura.core.text import strip_invisible
from mixtura.core.types import Completion

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LONGEST_LINE = 400
"""Characters of a line that can be a verdict: a longer one is prose."""

# Words that may lead to a verdict in its line: others may belong to a quotation.
LEADING = frozenset(
    """
    note so thus therefore hence accordingly and then now here finally overall in conclusion summary
    short sum all the my our this that final last own i we a an it its give given giving assign
    award conclude is as result
    """.split()  # noqa: SIM905 - a list of words is easier to read so
)
# A remark behind a verdict must not take it back, or leave it open.
_DOUBT = re.compile(
    r"(?i)\b(?:no|not|never|but|however|although|wait|unless|if|or|rather|instead|actually)\b|n't\b"
)
_TELLING = re.compile(
    r"(?i)\b(?:says?|said|writes?|wrote|written|reads?|claims?|states?|ends?|begins?|asks?|tells?"
    r"|contains?|quot\w+|instruct\w*|demands?|adds?|insists?|prompts?|reply|replies|injection"
    r"|example|like this)\b[^.!?]*$"
)
_OWN_WORDS = re.compile(
    r"(?:(?:so|thus|therefore|hence),? )?I (?:say|state|claim):$", re.IGNORECASE
)
_MARKER = re.compile(r"(?:>+\s*|#+\s*|[-*+•]\s+|[0-9]{1,2}[.)]\s+)+(?=\S)")
_FENCE = re.compile(r"\s*(?:```|~~~)\s*[\w+-]*\s*$")
CLOSING_TOKENS = re.compile(r"(?:\s*(?:<\|[^|<>\n]{1,40}\|>|</?s>|<eos>|<end_of_turn>))+\s*$")
_FONT = re.compile(r"\\(?:boxed|fbox|text|textbf|mathbf|mathrm|bm)\s*\{([^{}]*)\}")
_ESCAPE = re.compile(r"\\([\[\](){}*_`><#.~!|=-])")
_THOUGHT = re.compile(r"\s*<(think|thinking|thought|reasoning)>.*?(</\1>|\Z)", re.DOTALL)
_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-",
        "≫": ">>", "≪": "<<", "≈": "=", "≃": "=", "⟦": "[[", "⟧": "]]", "【": "[", "】": "]",
        "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "→": "->",
        "\u2028": "\n", "\u2029": "\n", "\x85": "\n", "\x0b": "\n", "\x0c": "\n", "\r": "\n",
    }
)  # fmt: skip
# A star or a tick behind a verdict belongs to it; a cross or a thumb down might take it back.
_PRAISE = re.compile("[\\s⭐🌟★☆✅✔☑✓👍🏆🥇🎉🎯\ufe0f]+$")
_SPREAD_TAG = re.compile(r"<(\w{1,20})>[ \t]*\n[ \t]*([^<>\n:=]{1,40}?)[ \t]*\n[ \t]*</\1>")
_HALVES = {"½": ".5", "¼": ".25", "¾": ".75"}


class VerdictForm(Protocol[T_co]):
    """How one kind of verdict is written, and read from a line."""

    @property
    def keys(self) -> str:
        """The pattern of its names: of a field in JSON, of what stands before it in a line."""
        ...

    def parse_named(self, line: str) -> T_co | None:
        """The verdict of a line that is nothing but one, with its name or in its own marks."""
        ...

    def parse_bare(self, line: str) -> T_co | None:
        """The verdict of a last line that is nothing but its value."""
        ...


@dataclass(frozen=True, slots=True)
class RegexVerdictForm(Generic[T]):
    """
    How one kind of verdict is written.

    *keys* and *value* are patterns: what stands before it (``Grade:``), and what it is;
    *rivals* finds in a remark what could be another. *parse* gives its value, None for none.
    """

    keys: str
    value: str
    parse: Callable[[re.Match[str]], T | None]
    rivals: str | Callable[[re.Match[str]], str]
    """A pattern, or that of the verdict that was found."""
    between: str = r":|=|->|=>|\bis\b:?"
    remark: str = r"(?!)"
    """What else may follow a value and belongs to it."""
    scale: str = ""
    """What may stand in brackets behind the name: ``Grade (1-10):``."""
    alone: bool = True
    """Whether a value counts also without a name before it."""

    def parse_named(self, line: str) -> T | None:
        """The verdict of a line that is nothing but one, with its name."""
        if tagged := re.fullmatch(rf"<({self.keys})>(.*)</\1>", line, re.IGNORECASE):
            line = f"{tagged[1]}: {tagged[2].strip()}"
        match = re.fullmatch(
            rf"(?P<lead>.*?)(?P<quote>[\"']?)\b(?:{self.keys})\b[\"')\]]*\s*{self.scale}"
            rf"(?:{self.between})\s*"
            rf"[\"'(\[{{]*{self.value}(?P<tail>.*)",
            line,
            re.IGNORECASE,
        )
        if match is None or not self._is_valid_lead(match["lead"], match["quote"]):
            return None
        return self.parse(match) if self._is_valid_tail(match) else None

    def parse_bare(self, line: str) -> T | None:
        """The verdict of a line that is nothing but its value."""
        match = re.fullmatch(
            rf"[\"'(\[{{]*{self.value}[\"')\]}}]*[.!]*(?P<tail>\s*\([^()]*\))?[.!]*",
            line,
            re.IGNORECASE,
        )
        if not self.alone or match is None or self._is_doubted(match["tail"] or "", match):
            return None
        return self.parse(match)

    def _is_valid_lead(self, lead: str, quote: str) -> bool:
        words = re.findall(r"[^\W_]+", lead.casefold())
        if quote and words:  # `It ends with "Grade: 8"` quotes
            return False
        return all(
            word in LEADING or re.fullmatch(self.keys, word, re.IGNORECASE) for word in words
        )

    def _is_valid_tail(self, match: re.Match[str]) -> bool:
        tail: str = match["tail"]
        tail = (
            tail.lstrip("\"')]}").rstrip(" .!\"')]}") if not tail.lstrip().startswith("(") else tail
        )
        if not tail.strip(" .!") or re.fullmatch(self.remark, tail, re.IGNORECASE):
            return True
        remark = re.fullmatch(
            r"\s*(?:\(.*\)[\s.!]*|[,;:.!]\s+.*|-\s+.*|\s(?:because|since)\b.*)", tail
        )
        return remark is not None and not self._is_doubted(tail, match)

    def _is_doubted(self, remark: str, match: re.Match[str]) -> bool:
        rivals = self.rivals if isinstance(self.rivals, str) else self.rivals(match)
        return bool(_DOUBT.search(remark) or re.search(rivals, remark))


def read_verdict(reply: Completion, form: VerdictForm[T]) -> T | None:
    """
    The verdict in the last line of a reply that came to its end.

    None where there is none, or where the reply gives two that differ, each on its own line.
    """
    # "Grade: 1" may be the beginning of 10.
    if reply.finish_reason != "stop":
        return None
    lines = split_reply_lines(reply.text)
    return read_verdict_lines(lines, form) if lines else None


def read_verdict_lines(lines: Sequence[ReplyLine], form: VerdictForm[T]) -> T | None:
    """The verdict in the last of *lines*; None as in ``read_verdict``."""
    *before, last = lines
    introduction = next((line for line in reversed(before) if line.quoted < last.quoted), None)
    if (before and _is_quote_introduction(before[-1])) or (
        last.quoted and introduction and _TELLING.search(introduction.text)
    ):
        return None
    verdict = _parse_line(last, form)
    if verdict is None:
        return None
    others = {form.parse_named(line.text) for line in unquoted_lines(before)} - {None, verdict}
    return None if others else verdict


def read_named_verdicts(
    lines: Sequence[ReplyLine], forms: Mapping[str, VerdictForm[T]]
) -> dict[str, T] | None:
    """
    The verdict that each name has in the last lines, which hold nothing else.

    None where one has none there, or anywhere in the reply another one.
    """
    verdicts: dict[str, T] = {}
    at = len(lines)
    while at and len(verdicts) < len(forms):
        at -= 1
        here = {name: _parse_line(lines[at], form) for name, form in forms.items()}
        there = {name: value for name, value in here.items() if value is not None}
        if not there or verdicts.keys() & there.keys():
            return None
        verdicts |= there
    if (at and _is_quote_introduction(lines[at - 1])) or len(verdicts) < len(forms):
        return None
    before = unquoted_lines(lines[:at])
    others = [
        name
        for name, form in forms.items()
        for line in before
        if form.parse_named(line.text) not in (None, verdicts[name])
    ]
    return None if others else {name: verdicts[name] for name in forms}


def unquoted_lines(lines: Sequence[ReplyLine]) -> list[ReplyLine]:
    """The lines that are no quotation."""
    before = [None, *lines]
    return [
        line
        for line, above in zip(lines, before, strict=False)
        if not line.quoted and not (above and _is_quote_introduction(above))
    ]


def _parse_line(line: ReplyLine, form: VerdictForm[T]) -> T | None:
    for verdict in (
        _parse_json_line(line, form),
        form.parse_named(line.text),
        form.parse_bare(line.text),
    ):
        if verdict is not None:
            return verdict
    return None


def _is_quote_introduction(line: ReplyLine) -> bool:
    """Whether what comes next is another's words."""
    text = line.text
    return text.endswith(":") and bool(_TELLING.search(text)) and not _OWN_WORDS.match(text)


def ends_by_telling(text: str) -> bool:
    """Whether the last line of *text* tells that another says something: what follows is his."""
    lines = split_reply_lines(text)
    return bool(lines) and bool(_TELLING.search(lines[-1].text.rstrip(":")))


class ReplyLine(NamedTuple):
    """A line of a reply as it is read: plain letters, without marks of layout."""

    text: str
    raw: str
    quoted: bool


def split_reply_lines(reply: str) -> list[ReplyLine]:
    """The lines of a reply that say something, without thoughts and marks of layout."""
    text = html.unescape(reply)
    text = strip_invisible(text.translate(_SIGNS))
    while opened := _THOUGHT.match(text):
        text = text[opened.end() :]
    # Some templates write the opening mark themselves: only the closing comes.
    text = plain_characters(text.rpartition("</think>")[2])
    lines: list[ReplyLine] = []
    fenced = False
    text = _SPREAD_TAG.sub(r"<\1>\2</\1>", text)
    for raw in _flatten_trailing_object(text).split("\n"):
        if _FENCE.match(raw):
            fenced = not fenced
            continue
        line = CLOSING_TOKENS.sub("", raw[: LONGEST_LINE + 1]).strip()
        quoted = fenced or line.startswith(">")
        for _ in range(3):  # a box around a font around a letter
            line = _FONT.sub(r"\1", line)
        line = _ESCAPE.sub(r"\1", line).replace("$", "")
        line = re.sub(r"\*+|`+|__+|~~", "", _strip_list_marker(line)).strip()
        line = _PRAISE.sub("", line)
        # Such a line still counts as one: what stands before it is not the last.
        if len(raw) > LONGEST_LINE:
            line = "…"
        if re.search(r"[^\W_]", line) or line == "…":
            lines.append(ReplyLine(_strip_list_marker(line), raw, quoted))
    return lines


def _flatten_trailing_object(text: str) -> str:
    """The text with a JSON object at its end, if there is one, on a line of its own."""
    end = text.rstrip("` \n~").rfind("}") + 1
    if not text[:end].rstrip().endswith("}") or text[end:].strip("` \n~"):
        return text
    for start in [match.start() for match in re.finditer(r"^\s*\{", text[:end], re.MULTILINE)][-4:]:
        try:
            read_json_text(text[start:end])
        except ValueError:
            continue
        return f"{text[:start]}\n{' '.join(text[start:end].split())}{text[end:]}"
    return text


def _strip_list_marker(line: str) -> str:
    marker = _MARKER.match(line)
    return line[marker.end() :] if marker else line


def plain_characters(text: str) -> str:
    """Wide, stylized and other languages' digits and signs as they are on a keyboard."""
    if text.isascii():
        return text
    return "".join(
        c if c.isascii() else _plain_character(c, text[at - 1] if at else "")
        for at, c in enumerate(text)
    )


def _plain_character(character: str, before: str) -> str:
    if character in _HALVES:
        return _HALVES[character] if before.isdecimal() else "?"
    # 10² is not 102.
    if unicodedata.decomposition(character).startswith(("<super>", "<sub>", "<fraction>")):
        return "?"
    # Digits of every script: a grade of an Arabic or Hindi judge counts.
    digit = unicodedata.decimal(character, None)
    plain = str(digit) if digit is not None else unicodedata.normalize("NFKC", character)
    return plain.translate(_SIGNS)


def _parse_json_line(line: ReplyLine, form: VerdictForm[T]) -> T | None:
    """The verdict in a line that is one JSON object."""
    start = line.raw.find("{")
    if start < 0 or line.raw[:start].strip(" `*>"):
        return None
    try:
        # As pairs: a name that stands twice must not hide another verdict.
        rows: Any = json.loads(line.raw[start:].strip(" `*"), object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    return _parse_json_fields(cast(list[tuple[str, Any]], rows), form)


def _parse_json_fields(rows: Iterable[tuple[str, Any]], form: VerdictForm[T]) -> T | None:
    """The verdict among the fields of an object; None where two of its names differ."""
    verdicts: set[T | None] = set()
    for name, value in rows:
        if re.fullmatch(form.keys, name.strip(), re.IGNORECASE):
            written = isinstance(value, str | int | float) and not isinstance(value, bool)
            verdicts.add(form.parse_named(f"{name}: {value}") if written else None)
    return verdicts.pop() if len(verdicts) == 1 else None


# ---- numbers


def number_form(
    keys: str, most: float | None = None, *, named: bool = False
) -> RegexVerdictForm[float]:
    """
    A number behind a name or alone, out of *most* where it says of how many.

    *named*: only ``:`` and ``=`` stand between.
    """

    def parse_number(match: re.Match[str]) -> float | None:
        scales: list[str | None] = [match["of"], match.groupdict().get("most")]
        bounds = {10.0 if one.lower() == "ten" else float(one) for one in scales if one}
        # "8 of 5" or "80/100" is on another scale than the one that was asked for.
        if bounds - {most}:
            return None
        return float(match["number"])

    return RegexVerdictForm(
        keys=keys,
        value=r"(?P<number>[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)(?![0-9])"
        r"(?:[\"')\]}\s]*(?:/|\b(?:out )?of\b)\s*(?P<of>[0-9]{1,3}(?:\.0)?|ten)(?![0-9/]|\.[0-9]))?"
        r"(?:\s+(?:points?|stars?))?",
        parse=parse_number,
        rivals=r"[0-9]",
        scale=r"(?:[(\[]\s*(?:from\s+|[01]\s*(?:-|to)\s*|out of\s+|of\s+|/\s*){1,2}"
        r"(?P<most>[0-9]{1,3}|ten)\s*[)\]][\"']*\s*)?",
        between=r":|=" if named else r":|=|->|=>|\bis\b:?|\bof\b:?",
    )


def parse_named_number(reply: Completion, key: str) -> float | None:
    """
    The number of the last line, named *key* or alone.

    An answer that was cut off counts only where the number is all of it.
    """
    form = number_form(key, 10 if key == "score" else None, named=True)
    if reply.finish_reason == "stop":
        return read_verdict(reply, form)
    lines = split_reply_lines(reply.text)
    return form.parse_bare(lines[0].text) if len(lines) == 1 else None
