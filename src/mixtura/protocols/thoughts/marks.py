"""The marks around the thoughts of a model: what opens them, what closes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = "(?:think(?:ing)?|thoughts?|reasoning|reflections?|scratchpad|inner_monologue)"
_CAPITALS = _WORD.upper()
_NAME = rf"(?!(?:begin|start|end|no)[_-])(?:[a-z][a-z0-9_.-]{{0,20}}[:_-]|ant)?{_WORD}"
"""``<think>``, ``<mm:think>``, ``<longcat_think>``: a rule, to cover models to come."""
_ATTRIBUTE = r"""\s[a-z][a-z0-9_:.-]{0,19}=(?:"[^"<>\[◁]{0,40}"|'[^'<>\[◁]{0,40}')"""
_OF = r"(?:[_▁]of)?[_▁]"
_SAID = "(?:response|solution|answer)"
_TO = r"(?: to=[\w.:/-]{1,64})?"
# gpt-oss ("harmony"): whom a call is for stands before or behind the channel's name.
_HEADER = (
    rf"(?:<\|start\|>assistant{_TO})?<\|channel\|>(?:analysis|commentary|final){_TO}"
    rf"(?: ?<\|constrain\|>\w{{1,20}}| (?:code|json))?<\|message\|>"
)
_FORMS = {
    "tag_open": rf"<{_NAME}(?:{_ATTRIBUTE}){{0,3}}>",
    "tag_close": rf"</{_NAME}>",
    "bar_open": (
        rf"<[|｜](?:{_NAME}|(?:begin|start){_OF}{_WORD}|{_WORD}[_▁](?:begin|start)"
        r"|inner_prefix)[|｜]>"
    ),
    "bar_close": (
        rf"<(?:[|｜]/|/[|｜]){_NAME}[|｜]>|<[|｜](?:end{_OF}{_WORD}|{_WORD}[_▁]end"
        r"|inner_suffix)[|｜]>"
    ),
    "bar_frame": rf"<[|｜](?:begin|start|end){_OF}{_SAID}[|｜]>",
    # With small letters other names are headings and links of an answer.
    "square_open": rf"\[(?:think|(?-i:{_CAPITALS}))\]",
    "square_close": rf"\[/(?:think|(?-i:{_CAPITALS}))\]",
    "kimi_open": "◁think▷",
    "kimi_close": "◁/think▷",
    "gemma_open": r"<\|channel>thought",
    "gemma_close": r"<channel\|>",
    "unused_open": r"<(?:unused|ctrl)94>thought",  # MedGemma, Gemini
    "unused_close": r"<(?:unused|ctrl)95>",
    "harmony_header": _HEADER,
    "harmony_end": r"<\|(?:end|return|call)\|>",
}
MARK_PATTERN = re.compile("|".join(f"(?P<{k}>{form})" for k, form in _FORMS.items()), re.IGNORECASE)
"""No mark is the beginning of another or lies in another, so that the cuts never matter."""

_PARTIAL_MARK = re.compile(
    r"(?i)</?[|｜]?[|｜/]?[a-z0-9_▁:.-]{0,45}[|｜]?"
    rf"|<{_NAME}\s[^<>\[◁]{{0,220}}"
    r"|<\|(?:start|channel)\|>[\w .:/=-]{0,90}(?:<\|(?:channel|constrain)\|>[\w .:/=-]{0,90}){0,2}"
    r"(?:<(?:\|[a-z]{0,9}\|?)?)?"
    r"|<\|channel>[a-z]{0,7}|<(?:unused|ctrl)94>[a-z]{0,7}"
    r"|(?-i:a(?:n(?:a(?:l(?:y(?:s(?:i(?:s)?)?)?)?)?)?)?)"
    r"|\[/?[a-z]{0,11}"
    r"|◁/?[a-z]{0,5}"
)
"""What may be the beginning of a mark: every beginning of one is, and a few other texts."""
_MAX_MARK_LENGTH = 400
_FIRST_CHARACTER = re.compile(r"[<\[◁]")
_BARE_CLOSE = "assistantfinal"
_FIRST_OR_BARE_CLOSE = re.compile(rf"[<\[◁]|(?P<bare_close>{_BARE_CLOSE})")
BARE_OPENING = re.compile(r"(?P<bare_open>analysis)(?=[A-Z\"'“(0-9])")
"""
Harmony's first channel where a server has taken the control tokens out of the text: it counts
only where the text begins, and ``assistantfinal`` only in what it opened.
"""
_TAG_NAME = re.compile(_NAME)


@dataclass(frozen=True, slots=True)
class ThinkMark:
    """
    A mark around thoughts or answers.

    *kind*: ``open``, ``close``, ``end`` of one channel, ``final`` (the answer's own channel), or
    ``frame`` around an answer. *call*: what it opens is a call of a tool.
    """

    kind: str
    family: str
    name: str = ""
    call: bool = False


def find_mark(text: str, start: int, *, bare: bool = False) -> re.Match[str] | None:
    """
    The first mark at or behind *start*; much faster than a search for the marks themselves. With
    *bare*, one that is a mere word, too.
    """
    for first in (_FIRST_OR_BARE_CLOSE if bare else _FIRST_CHARACTER).finditer(text, start):
        if match := first if first.lastgroup else MARK_PATTERN.match(text, first.start()):
            return match
    return None


def mark_from_match(match: re.Match[str]) -> ThinkMark:
    """The mark that a match of ``MARK_PATTERN`` is."""
    return _build_mark(str(match.lastgroup), match[0].lower())


def _build_mark(group: str, text: str) -> ThinkMark:
    family, kind = group.split("_")
    if kind == "header":
        if " to=" in text:
            return ThinkMark("open", family, call=True)
        return ThinkMark("final" if "<|channel|>final" in text else "open", family)
    named = _TAG_NAME.search(text) if family == "tag" else None
    return ThinkMark(kind, family, named[0] if named else "")


def partial_mark_start(text: str, start: int = 0, *, bare: bool = False) -> int:
    """Where the end of *text* begins that may be the beginning of a mark; *bare* as above."""
    if bare:
        for begun in range(min(len(_BARE_CLOSE) - 1, len(text) - start), 0, -1):
            if text.endswith(_BARE_CLOSE[:begun]):
                return len(text) - begun
    for first in _FIRST_CHARACTER.finditer(text, max(len(text) - _MAX_MARK_LENGTH, start)):
        if _PARTIAL_MARK.fullmatch(text, first.start()):
            return first.start()
    return len(text)


def may_begin_mark(text: str, at: int) -> bool:
    """Whether all that is left of *text* may be the beginning of a mark."""
    return _PARTIAL_MARK.fullmatch(text, at) is not None


def may_contain_mark(text: str) -> bool:
    """Whether a mark may stand or begin in *text*."""
    return "<" in text or "[" in text or "◁" in text
