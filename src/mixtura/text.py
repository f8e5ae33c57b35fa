"""Text that nobody trusts, made safe to show: to a model, to a terminal, in JSON."""

from __future__ import annotations

import re

# Characters that a person does not see and a model does: controls, tags, direction overrides,
# zero-width space and kin. The joiners (U+200C, U+200D) stay: emoji and Persian need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_HALVES = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """The text without what a person who reads it would not see."""
    return _UNSEEN.sub("", _ANSI.sub("", text)) if _UNSEEN.search(text) else text


def printable(piece: str) -> str:
    """A piece of a stream that cannot steer a terminal, wherever it was cut."""
    return _HALVES.sub("\ufffd", _UNSEEN.sub("", piece).replace("\r", ""))


def one_line(text: object) -> str:
    """A name or an error as a part of a line."""
    return " ".join(printable(visible(str(text))).split())


def escaped(json: str, *, ascii_only: bool = False) -> str:
    """JSON text with the same data, and nothing in it that steers a terminal."""

    def units(match: re.Match[str]) -> str:
        pairs = match[0].encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{pairs[i : i + 4]}" for i in range(0, len(pairs), 4))

    safe = _HALVES.sub(units, _UNSEEN.sub(units, json))
    return re.sub(r"[^\x00-\x7f]", units, safe) if ascii_only else safe


def plural(number: int, word: str) -> str:
    """``1 token``, ``1,234 tokens``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
