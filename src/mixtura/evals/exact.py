"""The exact value of an expression of whole numbers, fractions, roots that come out, powers."""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, factorial, isqrt

LARGEST = 50_000
"""Bits of a number: what is larger is not worked out."""
LARGEST_FACTORIAL = 4000
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_MIXED = re.compile(r"\\frac{\d+}{\d+}")


def value(text: str) -> Fraction | None:
    """The value of *text*, a formula without spaces; None where it has none, or no exact one."""
    try:
        return _Sum(text).value()
    except (ValueError, ArithmeticError, RecursionError):
        return None


class _Sum:
    """Raises ValueError for what is no such expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> Fraction:
        found = self._sum()
        if self._at < len(self._text):
            raise ValueError(self._text[self._at :])
        return found

    def _next(self, *choices: str) -> str:
        for choice in choices:
            if self._text.startswith(choice, self._at):
                self._at += len(choice)
                return choice
        return ""

    def _sum(self) -> Fraction:
        found = self._product()
        while sign := self._next("+", "-"):
            more = self._product()
            found = found + more if sign == "+" else found - more
        return found

    def _product(self) -> Fraction:
        found = self._power()
        while self._at < len(self._text) and self._text[self._at] not in "+-)}":
            found = found / self._power() if self._next("/") else found * self._factor()
        return _small(found)

    def _factor(self) -> Fraction:
        self._next("*")
        return self._power()

    def _power(self) -> Fraction:
        if sign := self._next("-", "+"):
            return -self._power() if sign == "-" else self._power()
        base = self._atom()
        while self._next("!"):
            if base.denominator != 1 or not 0 <= base <= LARGEST_FACTORIAL:
                raise ValueError("no factorial")
            base = Fraction(factorial(int(base)))
        if not self._next("^"):
            return base
        exponent = -self._atom() if self._next("-") else self._atom()
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if exponent.denominator != 1 or bits * abs(exponent) > LARGEST:
            raise ValueError("a power too far")
        return base ** int(exponent)

    def _atom(self) -> Fraction:
        if number := _NUMBER.match(self._text, self._at):
            return self._number(number)
        if self._next("\\frac"):
            return self._braced() / self._braced()
        if self._next("\\binom"):
            above, below = self._braced(), self._braced()
            if above.denominator != 1 or below.denominator != 1 or not 0 <= below <= above <= 5000:
                raise ValueError("no binomial")
            return Fraction(comb(int(above), int(below)))
        if self._next("\\sqrt"):
            index = self._index()
            return _root(self._braced(), index)
        if self._text.startswith("{", self._at):
            return self._braced()
        if self._next("("):
            found = self._sum()
            if not self._next(")"):
                raise ValueError("a bracket stays open")
            return found
        raise ValueError(self._text[self._at :])

    def _number(self, number: re.Match[str]) -> Fraction:
        """A number; `1\\frac{2}{3}` is a mixed one."""
        if len(number[0]) > LARGEST // 4:
            raise ValueError("too long")
        self._at = number.end()
        found = Fraction(number[0])
        if "." not in number[0] and _MIXED.match(self._text, self._at):
            self._next("\\frac")
            return found + self._braced() / self._braced()
        return found

    def _index(self) -> int:
        found = re.compile(r"\[(\d{1,2})\]").match(self._text, self._at)
        if not found:
            return 2
        self._at = found.end()
        return int(found[1])

    def _braced(self) -> Fraction:
        inside = group(self._text, self._at)
        if inside is None:
            raise ValueError(self._text[self._at :])
        self._at += len(inside) + 2
        return _Sum(inside).value()


def _small(found: Fraction) -> Fraction:
    if max(found.numerator.bit_length(), found.denominator.bit_length()) > 2 * LARGEST:
        raise ValueError("too large")
    return found


def _root(of: Fraction, index: int) -> Fraction:
    """The root where it is rational. Raises ValueError where it is not."""
    if of < 0 or not index:
        raise ValueError("no root")
    above, below = _whole_root(of.numerator, index), _whole_root(of.denominator, index)
    return Fraction(above, below)


def _whole_root(of: int, index: int) -> int:
    if index == 2:
        found = isqrt(of)
    else:
        low, high = 0, 1 << (of.bit_length() // index + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**index <= of else (low, middle - 1)
        found = low
    if found**index != of:
        raise ValueError("the root does not come out")
    return found


def group(text: str, start: int) -> str | None:
    """What stands between the brace at *start* and the one that closes it; None without one."""
    if text[start : start + 1] != "{":
        return None
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start + 1 : at]
    return None
