"""Untrusted text, made safe to show: to a model, to a terminal, in JSON."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Characters that a person does not see and a model does: controls, direction overrides, fillers,
# and all that Unicode lets a font pass over, down to the tags and the selectors of variants that
# can spell out whole texts. What emoji, Persian and Mongolian need stays: the joiners (U+200C,
# U+200D), U+FE0E, U+FE0F, U+180B to U+180F; but not three of them together, which no one writes.
INVISIBLE_CHARACTERS = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""As the inside of a class of a regular expression."""
_INVISIBLE = re.compile(f"[{INVISIBLE_CHARACTERS}]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_JOINERS = re.compile("[\u200c\u200d\ufe0e\ufe0f\u180b-\u180f]{3,}")
ANSI_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def strip_invisible(text: str) -> str:
    """
    The text without what a person who reads it would not see.

    In this order nothing that was taken out forms anew: no escape is left after the controls,
    and joiners are counted when all between them is gone.
    """
    if text.isascii():  # nearly all text is, and joiners and lone surrogates never are
        return _INVISIBLE.sub("", ANSI_ESCAPE.sub("", text)) if _CONTROLS.search(text) else text
    text = _LONE_SURROGATES.sub("\ufffd", text)
    text = _INVISIBLE.sub("", ANSI_ESCAPE.sub("", text)) if _INVISIBLE.search(text) else text
    return _JOINERS.sub("", text)


def sanitize_chunk(piece: str) -> str:
    """A piece of a stream that cannot steer a terminal, wherever it was cut."""
    visible = _JOINERS.sub("", _INVISIBLE.sub("", piece))
    # A carriage return overwrites the line that stands in a terminal.
    return _LONE_SURROGATES.sub("\ufffd", visible.replace("\r", ""))


def to_one_line(text: object) -> str:
    """A name or an error as a part of a line."""
    return " ".join(sanitize_chunk(strip_invisible(str(text))).split())


_STEP_CHARS = 64 * 1024
"""Characters that are taken apart at once: a thread that does it stops no other for long."""


def collapse_whitespace(text: str, most: int | None = None) -> str:
    """
    The text with one space between its words, and none around them.

    *most*: characters after which no more is looked at; what comes back may be a little longer.
    """
    if len(text) <= _STEP_CHARS:
        return " ".join(text.split())
    kept: list[str] = []
    size = 0
    open_word = False  # the step before ended within a word
    for at in range(0, len(text), _STEP_CHARS):
        step = text[at : at + _STEP_CHARS]
        words = " ".join(step.split())
        if words:
            glued = not kept or (open_word and not step[0].isspace())
            kept.append(words if glued else f" {words}")
            size += len(kept[-1])
        open_word = not step[-1].isspace()
        if most is not None and size > most:
            break
    return "".join(kept)


def escape_json(json: str, *, ascii_only: bool = False) -> str:
    """JSON text with the same data, and nothing in it that steers a terminal."""

    def unicode_escapes(match: re.Match[str]) -> str:
        pairs = match[0].encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{pairs[i : i + 4]}" for i in range(0, len(pairs), 4))

    safe = _LONE_SURROGATES.sub(
        unicode_escapes, _JOINERS.sub(unicode_escapes, _INVISIBLE.sub(unicode_escapes, json))
    )
    return re.sub(r"[^\x00-\x7f]", unicode_escapes, safe) if ascii_only else safe


def pluralize_count(number: int, word: str) -> str:
    """``1 token``, ``1,234 tokens``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def format_bytes(size: float) -> str:
    """``93 MB``, ``4.5 GB``: in powers of ten, as disks and downloads are sold."""
    return f"{size / 1e9:.1f} GB" if size >= 999.5e6 else f"{size / 1e6:.0f} MB"


def format_duration(seconds: float) -> str:
    """Seconds as a person reads them: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def compile_patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    """The patterns, to be found in upper case and lower case alike."""
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


MAX_CHOICES = 24
"""Names that an error lists; providers, the longest list that is useful, are fewer."""


def unknown_name_message(
    what: str, name: str, known: Iterable[str], listed: Iterable[str] | None = None
) -> str:
    """
    «unknown key 'layer': did you mean 'layers'?», or all that would be right.

    *listed*: the names to list where none is close, in this order, if not all that are *known*.
    """
    choices = sorted(known)
    lower = {choice.lower(): choice for choice in reversed(choices)}
    found = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    near = [lower[one] for one in found]
    if near:
        hint = " or ".join(f"'{n}'" for n in near)
        return f"unknown {what} '{name}': did you mean {hint}?"
    choices = choices if listed is None else list(listed)
    if not choices:
        return f"unknown {what} '{name}'"
    shown, more = choices[:MAX_CHOICES], len(choices) - MAX_CHOICES
    rest = f" and {more} more" if more > 0 else ""
    return f"unknown {what} '{name}': choose one of {', '.join(shown)}{rest}"
