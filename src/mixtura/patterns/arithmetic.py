"""The exact value of one written number, and of a sum such as 16 - 3 * 2."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_NUMBER_CHARS = 200
"""Characters of the longest text that is taken for a number."""
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
LARGE_SIZE_PATTERN = rf"(?:(?:{_SIZE_WORD})\b|(?:k|K|M|B|bn)(?![\w^])|[万亿億])"
_BARE = (
    rf"(?P<digits>{_DIGITS})(?P<rest>\.[0-9]+)?"
    r"(?P<exponent>[eE][-+]?[0-9]{1,2}(?![0-9]))?"
    rf"(?:(?P<mixed>\s+[0-9]{{1,4}}/[0-9]{{1,4}})(?![0-9./])|{_SIZE})"
)
NUMBER_PATTERN = re.compile(rf"(?<![0-9A-Za-z_.,]){_BARE}")
_NEXT_NUMBER = re.compile(rf"\s*{_BARE}")


def parse_match(match: re.Match[str]) -> Fraction:
    """
    The value of a match of ``NUMBER_PATTERN``, without a sign. Raises ValueError where it is too
    long or no proper mixed number.
    """
    digits, rest = match["digits"], match["rest"] or ""
    if len(match[0]) > MAX_NUMBER_CHARS:
        raise ValueError("too long")
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3}){2,}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[0-9]+(?:['\u202f ][0-9]{3})*,[0-9]{1,2}|0,[0-9]{3,}", digits):
        digits = digits.replace(",", ".")
    value = Fraction(re.sub("[,'\u202f ]", "", digits) + rest + (match["exponent"] or ""))
    if mixed := match["mixed"]:
        top, bottom = map(int, mixed.split("/"))
        if not bottom or top >= bottom or rest:
            raise ValueError("no mixed number")
        value += Fraction(top, bottom)
    size = next((one for one in match.groups()[-3:] if one), None)
    return value * _SIZES[size] if size else value


_STEP = re.compile(r"\s*(?:(?P<operator>[-+*/^x×()])|(?P<other>\S))")

MAX_DEPTH = 50
"""Brackets, signs and powers within each other: no answer has more."""
MAX_BITS = 8192
"""Of a number on the way, above and below its line: some 2,500 digits."""


class ArithmeticParser:
    """Evaluates sums such as ``16 - 3 * 2``. Raises ValueError where a text is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self.numbers = 0

    def parse_value(self) -> Fraction:
        """The value of the whole text. Raises ValueError where it is not one sum."""
        value = self._parse_sum()
        if self._text[self._at :].strip():
            raise ValueError("more than a sum")
        return value

    def _take_operator(self, choices: str) -> str:
        match = _STEP.match(self._text, self._at)
        if match and (match["operator"] or "?") in choices:
            self._at = match.end()
            return match["operator"]
        return ""

    def _parse_sum(self) -> Fraction:
        value = self._parse_product()
        while sign := self._take_operator("+-"):
            more = self._parse_product()
            value = _check_size(value + more if sign == "+" else value - more)
        return value

    def _parse_product(self) -> Fraction:
        value = self._parse_power()
        while sign := self._take_operator("*x×/"):
            other = self._parse_power()
            if sign == "/" and not other:
                raise ValueError("a division by zero")
            value = _check_size(value / other if sign == "/" else value * other)
        return value

    def _parse_power(self) -> Fraction:
        # Every bracket, sign and power passes here.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("too many brackets within each other")
        try:
            return self._parse_signed_power()
        finally:
            self._depth -= 1

    def _parse_signed_power(self) -> Fraction:
        if sign := self._take_operator("+-"):
            # A sign binds looser than a power, as in mathematics: -2^2 is -4.
            return -self._parse_power() if sign == "-" else self._parse_power()
        base = self._parse_atom()
        if not self._take_operator("^"):
            return base
        exponent = self._parse_power()
        # An exact power grows with its exponent: 9^9^9 would fill the memory.
        if exponent.denominator != 1 or abs(exponent) > 64 or (not base and exponent < 0):
            raise ValueError("a power too far")
        if _count_bits(base) * abs(exponent) > MAX_BITS:  # ((9^64)^64)^64, too
            raise ValueError("a power too far")
        return base ** int(exponent)

    def _parse_atom(self) -> Fraction:
        if self._take_operator("("):
            value = self._parse_sum()
            if not self._take_operator(")"):
                raise ValueError("a bracket stays open")
            return value
        number = _NEXT_NUMBER.match(self._text, self._at)
        if not number or not (number["digits"] or number["rest"]):
            raise ValueError("no number")
        self._at = number.end()
        self.numbers += 1
        if self._text.startswith("%", self._at):
            self._at += 1
        return parse_match(number)


def _count_bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _check_size(value: Fraction) -> Fraction:
    if _count_bits(value) > MAX_BITS:
        raise ValueError("a number too large")
    return value
