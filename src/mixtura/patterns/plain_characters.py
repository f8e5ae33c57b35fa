"""Digits, signs, fractions and powers of Unicode as a keyboard has them."""

from __future__ import annotations

import re
import unicodedata

LAST_LETTERS = 20_000
"""Characters at the end of a text in which its final answer is searched."""
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴-⁹]+")
_POWER = re.compile(rf"(?<=[0-9)\]}}]) ?{_RAISED.pattern}")
_SMALL_FRACTION = re.compile("([⁰¹²³⁴-⁹]{1,4})[⁄/]([₀-₉]{1,4})")
# Markdown's, and not TeX's spaces: ``~~26~~ 18``.
_STRIKETHROUGH = re.compile(r"(?<![\w}~\\])~~(?![~\s])[^~\n]{1,200}(?<!\s)~~(?!~)")
_SIGNS = str.maketrans({
    "−": "-", "﹣": "-", "－": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-",
    "٫": ".", "٬": ",", "×": "*",
    "⋅": "*", "·": "*", "÷": "/", "∕": "/", "⁄": "/", "’": "'", "＇": "'", "\u2009": "\u202f",
    "\u2007": "\u202f",
    "\u00a0": "\u202f", "≈": "=", "≃": "=", "⇒": "=", "→": "=",
})  # fmt: skip


def normalize_characters(text: str) -> str:
    """The end of a text with digits, signs, fractions and powers as on a keyboard."""
    text = text[-LAST_LETTERS:]
    if not text.isascii():
        # Joiners and direction marks stand within numbers of Arabic and Persian text.
        text = "".join(one for one in text if unicodedata.category(one) != "Cf")
        text = _SMALL_FRACTION.sub(_expand_small_fraction, text)
        text = "".join(map(_expand_fraction, text))
        text = _POWER.sub(_expand_power, text)
        text = _RAISED.sub("", text).translate(_SIGNS)
        # NFKC would make a plain space of it, which groups no digits here: it is put aside
        # meanwhile.
        text = unicodedata.normalize("NFKC", text.replace("\u202f", "\ue000")).replace(
            "\ue000", "\u202f"
        )
        text = "".join(_ascii_digit(one) for one in text).translate(_SIGNS)
    return re.sub(r"<\|[a-z_]{1,30}\|>", " ", _STRIKETHROUGH.sub(" ", text))


def _expand_small_fraction(match: re.Match[str]) -> str:
    return f" {match[1].translate(_SUPERSCRIPTS)}/{match[2].translate(_SUBSCRIPTS)} "


def _expand_fraction(one: str) -> str:
    """``½`` as `` 1/2 ``."""
    decomposition = unicodedata.decomposition(one) if one > "\x7f" else ""
    if not decomposition.startswith("<fraction>"):
        return one
    whole = unicodedata.normalize("NFKC", one).replace("⁄", "/")
    return f" {whole} " if not whole.endswith("/") else one


def _expand_power(match: re.Match[str]) -> str:
    return "^" + match[0].strip().translate(_SUPERSCRIPTS)


def _ascii_digit(one: str) -> str:
    if one <= "\x7f" or not one.isdecimal():
        return one
    return str(unicodedata.decimal(one))
