"""The number that a text comes to, however people write numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction

from mixtura.patterns.words import spelled

LONGEST = 200
"""Characters of a number: what is longer is none."""
LAST_LETTERS = 20_000
"""Characters at the end of a text in which its final answer is looked for."""
PART = 400
"""Characters behind a mark, or of a sentence, that are read as the answer."""


class UnclearError(ValueError):
    """An answer that names several numbers and settles on none."""


# ---- as on a keyboard

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴-⁹]+")
_POWER = re.compile(rf"(?<=[0-9)\]}}]) ?{_RAISED.pattern}")
_SMALL_FRACTION = re.compile("([⁰¹²³⁴-⁹]{1,4})[⁄/]([₀-₉]{1,4})")
# Markdown's, and not TeX's spaces: ``~~26~~ 18``.
_STRUCK = re.compile(r"(?<![\w}~\\])~~(?![~\s])[^~\n]{1,200}(?<!\s)~~(?!~)")
_SIGNS = str.maketrans({
    "−": "-", "﹣": "-", "－": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-",
    "٫": ".", "٬": ",", "×": "*",
    "⋅": "*", "·": "*", "÷": "/", "∕": "/", "⁄": "/", "’": "'", "＇": "'", "\u2009": "\u202f",
    "\u2007": "\u202f",
    "\u00a0": "\u202f", "≈": "=", "≃": "=", "⇒": "=", "→": "=",
})  # fmt: skip


def keyed(text: str) -> str:
    """The end of a text with digits, signs, fractions and powers as on a keyboard."""
    text = text[-LAST_LETTERS:]
    if not text.isascii():
        text = "".join(one for one in text if unicodedata.category(one) != "Cf")
        text = _SMALL_FRACTION.sub(_small_fraction, text)
        text = "".join(map(_fraction, text))
        text = _POWER.sub(_power, text)
        text = _RAISED.sub("", text).translate(_SIGNS)
        text = unicodedata.normalize("NFKC", text.replace("\u202f", "\ue000")).replace(
            "\ue000", "\u202f"
        )
        text = "".join(_digit(one) for one in text).translate(_SIGNS)
    return re.sub(r"<\|[a-z_]{1,30}\|>", " ", _STRUCK.sub(" ", text))


def _small_fraction(found: re.Match[str]) -> str:
    return f" {found[1].translate(_SUPERSCRIPTS)}/{found[2].translate(_SUBSCRIPTS)} "


def _fraction(one: str) -> str:
    """``½`` as `` 1/2 ``."""
    said = unicodedata.decomposition(one) if one > "\x7f" else ""
    if not said.startswith("<fraction>"):
        return one
    whole = unicodedata.normalize("NFKC", one).replace("⁄", "/")
    return f" {whole} " if not whole.endswith("/") else one


def _power(found: re.Match[str]) -> str:
    return "^" + found[0].strip().translate(_SUPERSCRIPTS)


def _digit(one: str) -> str:
    if one <= "\x7f" or not one.isdecimal():
        return one
    return str(unicodedata.decimal(one))


# ---- formulas as a person types them

_WRAPPING = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|mathit|operatorname|mbox|boldsymbol)\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(
    r"\\[dtc]?frac\s*(?:\{\s*(-?[0-9.]+)\s*\}|(-?[0-9]))\s*(?:\{\s*([0-9.]+)\s*\}|([0-9]))"
)
_ROOT = re.compile(
    r"(?P<times>(?<=[0-9)])\s*)?(?:\\sqrt|√|\bsqrt(?=\())\s*(?:\[(?P<index>[2-9])\]\s*)?"
    r"(?:\{\s*(?P<a>[0-9]{1,15})\s*\}|\(\s*(?P<b>[0-9]{1,15})\s*\)|(?P<c>[0-9]{1,15})(?![.,]?[0-9]))"
)
_TO_THE = re.compile(r"(?<=[0-9)])(?:\*\*| \*\* )(?=-?[0-9(])(?!-?[0-9.,]+ ?\*\*)")
_EXPONENT = re.compile(r"\^\s*\{\s*(-?[0-9]+)\s*\}")


def typed(text: str) -> str:
    """A formula as a person types it: 3/4 for a fraction, words without their fonts."""
    text = _WRAPPING.sub(r"\1", text)
    text = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", text)
    text = _EXPONENT.sub(r"^\1", text)
    text = _ROOT.sub(_root, text)
    text = re.sub(r"\\(?:times|cdot|ast)(?![a-z])", "*", text)
    text = re.sub(r"\\(?:approx|implies|Rightarrow|to|rightarrow)(?![a-z])", "=", text)
    text = re.sub(r"\\div(?![a-z])", "/", text).replace(r"\pounds", " ")
    text = re.sub(r"(?<=[0-9])(?:\{,\}|\\,|\\:|\\;|\\ |~|\\!,?)(?=[0-9]{3})", "\u202f", text)
    text = re.sub(r"\\[()\[\],;:! ]|\\left|\\right|\\displaystyle", " ", text)
    text = _TO_THE.sub("^", text.replace(r"\%", "%").replace(r"\$", " "))
    text = text.replace("**", "*" if re.search(r"\d\*\*\d", text) else " ")
    text = re.sub(
        r"[$€£¥₹₽₩]|\bUS\s*(?=[$0-9])|\b(?:USD|EUR|GBP|INR|Rs\.?|CHF)(?=\s*-?[0-9])", " ", text
    )
    return text.replace("`", " ").replace("_", "" if re.search(r"\d_\d{3}", text) else " ")


def _root(found: re.Match[str]) -> str:
    """A root that comes out as its value; any other as a sign that is no number."""
    index, of = int(found["index"] or 2), int(found["a"] or found["b"] or found["c"])
    root = round(of ** (1 / index))
    times = "*" if found["times"] is not None else ""
    return f"{times}{root} " if root**index == of else " √ "


# ---- one number

_DIGITS = (
    r"(?:[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9])"  # 1,80,000
    r"|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}(?![0-9])"  # 1.234,50
    r"|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9.])"  # 1.234.567
    r"|[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])"  # 1,234
    r"|[1-9][0-9]{0,2}(?:['\u202f ][0-9]{3})+(?:,[0-9]{1,2}(?![0-9,]))?(?![0-9])"  # 1 234
    r"|[0-9]+(?:,[0-9]{1,2}(?![0-9,])|(?<=0),[0-9]{3,}(?![0-9,]))?"  # 3,5
    r"|(?=\.[0-9]))"
)  # fmt: skip
_SIZES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "lakh": 10**5, "lakhs": 10**5, "crore": 10**7, "crores": 10**7,
    "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "bn": 10**9,
    "万": 10**4, "亿": 10**8, "億": 10**8,
}  # fmt: skip
_SIZE_WORD = "hundred|thousand|million|billion|trillion|lakhs?|crores?"
_SIZE = rf"(?:\s?({_SIZE_WORD})\b|(k|K|M|B|bn)(?![\w^])|\s?([万亿億]))?"
_LARGE = rf"(?:(?:{_SIZE_WORD})\b|(?:k|K|M|B|bn)(?![\w^])|[万亿億])"
_BARE = (
    rf"(?P<digits>{_DIGITS})(?P<rest>\.[0-9]+)?"
    r"(?P<exponent>[eE][-+]?[0-9]{1,2}(?![0-9]))?"
    rf"(?:(?P<mixed>\s+[0-9]{{1,4}}/[0-9]{{1,4}})(?![0-9./])|{_SIZE})"
)
_NUMBER = re.compile(rf"(?<![0-9A-Za-z_.,]){_BARE}")
_NEXT_NUMBER = re.compile(rf"\s*{_BARE}")


def _of(found: re.Match[str]) -> Fraction:
    """The value of a match of ``_NUMBER``, without a sign. Raises ValueError."""
    digits, rest = found["digits"], found["rest"] or ""
    if len(found[0]) > LONGEST:
        raise ValueError("too long")
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3}){2,}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[0-9]+(?:['\u202f ][0-9]{3})*,[0-9]{1,2}|0,[0-9]{3,}", digits):
        digits = digits.replace(",", ".")
    value = Fraction(re.sub("[,'\u202f ]", "", digits) + rest + (found["exponent"] or ""))
    if mixed := found["mixed"]:
        top, bottom = map(int, mixed.split("/"))
        if not bottom or top >= bottom or rest:
            raise ValueError("no mixed number")
        value += Fraction(top, bottom)
    size = next((one for one in found.groups()[-3:] if one), None)
    return value * _SIZES[size] if size else value


# ---- a sum

_STEP = re.compile(r"\s*(?:(?P<operator>[-+*/^x×()])|(?P<other>\S))")


class _Sum:
    """Reads ``16 - 3 * 2`` and the like. Raises ValueError where it is no sum, or has no value."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.numbers = 0

    def value(self) -> Fraction:
        found = self._sum()
        if self._text[self._at :].strip():
            raise ValueError("more than a sum")
        return found

    def _next(self, choices: str) -> str:
        found = _STEP.match(self._text, self._at)
        if found and (found["operator"] or "?") in choices:
            self._at = found.end()
            return found["operator"]
        return ""

    def _sum(self) -> Fraction:
        found = self._product()
        while sign := self._next("+-"):
            more = self._product()
            found = found + more if sign == "+" else found - more
        return found

    def _product(self) -> Fraction:
        found = self._power()
        while sign := self._next("*x×/"):
            other = self._power()
            if sign == "/" and not other:
                raise ValueError("a division by zero")
            found = found / other if sign == "/" else found * other
        return found

    def _power(self) -> Fraction:
        if sign := self._next("+-"):
            return -self._power() if sign == "-" else self._power()
        base = self._atom()
        if not self._next("^"):
            return base
        exponent = self._power()
        if exponent.denominator != 1 or abs(exponent) > 64 or (not base and exponent < 0):
            raise ValueError("a power too far")
        return base ** int(exponent)

    def _atom(self) -> Fraction:
        if self._next("("):
            found = self._sum()
            if not self._next(")"):
                raise ValueError("a bracket stays open")
            return found
        number = _NEXT_NUMBER.match(self._text, self._at)
        if not number or not (number["digits"] or number["rest"]):
            raise ValueError("no number")
        self._at = number.end()
        self.numbers += 1
        if self._text.startswith("%", self._at):
            self._at += 1
        return _of(number)


# ---- an answer

_ASIDE = re.compile(r"(?<=[\w%.\])])\s*\((?![^()]*\)\s*[-+*/^=])[^()]*\)|\[\^?[0-9]{1,3}\]")
_AT_ONCE = re.compile(r"(?<=[0-9])\([0-9+*/. -]+\)")
_DENIED = re.compile(
    r"\b(?:not|isn't|rather than|instead of|no longer)\s+(?:only\s+|just\s+)?"
    r"(?:[a-z]+\s+){0,3}?-?[0-9][^,.;]{0,60}?(?=\bbut\b|[,;]|\.(?![0-9])|$)",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"-?[0-9][^?\n]{0,40}\?\s*(?:no|nope|wait)\b[\s,.:;!-]*(?=[^\n]*[0-9])", re.IGNORECASE
)
_NEGATIVE = re.compile(
    r"(?:(?<![-0-9)])(?<![0-9)] )\bnegative|(?<![\s\S])\s*minus)\s+(?=\.?[0-9])", re.IGNORECASE
)
_REASON = re.compile(
    r"[,;]?\s*\b(?:since|because|given that|as (?:she|he|it|they|there|we|you))\b.*$", re.IGNORECASE
)
_RANGE = re.compile(
    r"([0-9][0-9.,]*)\s*(?:-|to|or|and|oder|bis|ou|o)\s*([0-9][0-9.,]*)(?![0-9.,]*\s*[-+*/=^])",
    re.IGNORECASE,
)
_LIST = re.compile(r"[^\w.]*[0-9][0-9.]*(?:[,;]\s+(?:and\s+)?\$?-?[0-9][0-9.]*)+[^\w.]*\.?\s*")
_GOES_ON = re.compile(r",[0-9]|:[0-9]")
_CLOCK = re.compile(r"(?<=[0-9]):00\b")
_NAMED = re.compile(r"(?<![\w.])([a-zA-Z](?:_?[0-9])?)\s*=\s*-?[0-9.]+")
_MONEY = re.compile(
    r"([0-9][0-9,]*)\s*dollars?\s+(?:and\s+)?([0-9]{1,2})\s*cents?\b", re.IGNORECASE
)
_WORDS_BEFORE = re.compile(
    r"^(?:[^\W\d_][\w.']{0,20}\s+){0,6}?"
    r"(?:(?<=\w\s)(?<!\bis\s)(?<!\bof\s)(?<!\bwas\s)(?<!\babout\s)-\s+)?(?=[-+(.]?\s?[0-9(])"
)
# "Answer - 18": with spaces on both sides it parts a word from its number.
_SIGN = re.compile(r"(?:^|[=:(,;$]|\b(?:is|was|of|about|minus))\s*-\s*$|(?<=[\s$=:(])-$")
_MIXED = re.compile(
    r"(?<![\w.,/*+^()=-])([0-9]{1,4})-([0-9]{1,2})/([0-9]{1,3})(?![0-9./])(?!\s*[-+*/^(])"
)
"""A whole number and a fraction: ``1-1/2``."""


def value(part: str, *, last: bool = False) -> Fraction | None:
    """
    What a short text of an answer comes to: of several numbers the first, or the *last*.

    None where there is no number. Raises UnclearError where it names several on purpose.
    """
    part = _told(part[:PART])
    if found := _MONEY.search(part):
        return Fraction(found[1].replace(",", "")) + Fraction(int(found[2]), 100)
    names = _NAMED.findall(part)
    if len(set(names)) > 1 and not last:
        raise UnclearError(part)
    behind = part.rpartition("=")[2]
    said = behind if "=" in part and _numbers(behind) else part
    if (whole := _worked_out(said)) is not None:
        return whole
    if ":" in said and _numbers(said.rpartition(":")[2]) and not re.search(r"[0-9]:[0-9]", said):
        return value(said.rpartition(":")[2], last=last)
    every = _numbers(said)
    if not last and (_listed(said) or "√" in said or (_RANGE.search(said) and len({*every}) != 1)):
        raise UnclearError(part)
    if not every:
        return None
    return every[-1] if last else every[0]


def _told(part: str) -> str:
    """A part without what it only says beside the answer."""
    part = _MIXED.sub(_mixed, _CLOCK.sub("", typed(part)))
    part = _NEGATIVE.sub("-", _DENIED.sub(" ", part))
    part = _TAKEN_BACK.sub(" ", part)
    if not _AT_ONCE.search(part):
        for _ in range(3):
            bare = _ASIDE.sub(" ", part)
            if not _numbers(bare):
                break
            part = bare
    bare = _REASON.sub("", part)
    return bare if _numbers(bare) else part


def _mixed(found: re.Match[str]) -> str:
    whole, top, bottom = found.groups()
    return f"{whole} {top}/{bottom}" if int(top) < int(bottom) else found[0]


def _worked_out(said: str) -> Fraction | None:
    """The value of a text that is one number or one sum, units left out."""
    bare = re.sub(
        rf"(?<=[0-9%)kKMB万亿億])\s*(?!x\s*[0-9(]|[eE][-+]?[0-9]|{_LARGE})[^\W\d_]{{1,30}}(?:/[a-z]{{1,12}})?(?:\^-?[0-9])?(?!\w)",
        " ",
        said,
    )
    bare = bare.strip(" \t,;:!?*#~°<>\"'{}|\\").rstrip(". ")
    bare = _WORDS_BEFORE.sub("", bare)
    reading = _Sum(bare)
    try:
        found = reading.value()
    except ValueError:
        return None
    two = re.fullmatch(r"\s*[0-9.,]+\s*-\s*[0-9.,]+\s*%?\s*", bare)
    if two and found < 0:
        raise UnclearError(said)
    return found


def _listed(said: str) -> bool:
    """Whether there is a list of numbers, or one goes on as no number does: 1,2,3 or 4:30."""
    if _LIST.fullmatch(said) and len({*_numbers(said)}) > 1:
        return True
    return any(_GOES_ON.match(said, found.end()) for found in _NUMBER.finditer(said))


def _numbers(said: str) -> list[Fraction]:
    """Every number of a text that is one, fractions and signs with it."""
    return list(_each(said))


def _each(said: str) -> Iterator[Fraction]:
    end = 0
    for found in _NUMBER.finditer(said):
        if found.start() < end or not (found["digits"] or found["rest"]):
            continue
        end = found.end()
        try:
            number = _of(found)
            if over := re.compile(r"\s*/\s*([0-9]+)(?![\w.]*[0-9])").match(said, end):
                end = over.end()
                number /= int(over[1])
            elif raised := re.compile(r"\s*\^\s*(-?[0-9]{1,2})(?![0-9])").match(said, end):
                number, end = number ** int(raised[1]), raised.end()
                if times := re.search(r"([0-9.]+)\s*\*\s*$", said[: found.start()]):
                    number *= Fraction(times[1].strip(".") or "1")
        except (ValueError, ZeroDivisionError):
            continue
        yield -number if _SIGN.search(said[max(0, found.start() - 12) : found.start()]) else number


def anywhere(text: str) -> Fraction | None:
    """The number that a text without a mark ends in: the last of its last sentence with one."""
    for line in reversed(text.splitlines()):
        if not re.search(r"[0-9]", line):
            continue
        for sentence in reversed(re.split(r"(?<=[.!?])\s+(?=\S)", line[-2000:])):
            if not re.search(r"[0-9]", sentence):
                continue
            if (found := value(sentence[-PART:], last=True)) is not None:
                return found
    return None


def in_words(part: str) -> Fraction | None:
    """The number that a part spells: twelve, two and a half."""
    return spelled(_told(part[:PART]))


def is_number(text: str) -> bool:
    """Whether a text is one number and nothing else but its unit."""
    try:
        return _worked_out(typed(keyed(text))) is not None
    except UnclearError:
        return False
