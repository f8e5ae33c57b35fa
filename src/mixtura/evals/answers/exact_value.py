"""The exact value of an expression of whole numbers, fractions, roots that come out, powers."""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, factorial, isqrt

MAX_BITS = 50_000
"""Bits of a number: what is larger is not worked out."""
MAX_FACTORIAL = 4000
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_MIXED = re.compile(r"\\frac{\d+}{\d+}")


def exact_value(text: str) -> Fraction | None:
    """The value of *text*, a formula without spaces; None where it has none, or no exact one."""
    try:
        return _ExactParser(text).parse()
    except (ValueError, ArithmeticError, RecursionError):  # whatever it is, math-verify may know it
        return None


class _ExactParser:
    """Raises ValueError for what is no such expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> Fraction:
        value = self._parse_sum()
        if self._at < len(self._text):
            raise ValueError(self._text[self._at :])
        return value

    def _next_token(self, *choices: str) -> str:
        for choice in choices:
            if self._text.startswith(choice, self._at):
                self._at += len(choice)
                return choice
        return ""

    def _parse_sum(self) -> Fraction:
        total = self._parse_product()
        while sign := self._next_token("+", "-"):
            more = self._parse_product()
            total = total + more if sign == "+" else total - more
        return total

    def _parse_product(self) -> Fraction:
        product = self._parse_power()
        while self._at < len(self._text) and self._text[self._at] not in "+-)}":
            product = (
                product / self._parse_power()
                if self._next_token("/")
                else product * self._parse_factor()
            )
        return _check_size(product)

    def _parse_factor(self) -> Fraction:
        self._next_token("*")
        return self._parse_power()

    def _parse_power(self) -> Fraction:
        if sign := self._next_token("-", "+"):
            return -self._parse_power() if sign == "-" else self._parse_power()
        base = self._parse_atom()
        while self._next_token("!"):
            if base.denominator != 1 or not 0 <= base <= MAX_FACTORIAL:
                raise ValueError("no factorial")
            base = Fraction(factorial(int(base)))
        if not self._next_token("^"):
            return base
        exponent = -self._parse_atom() if self._next_token("-") else self._parse_atom()
        # Asked before it is worked out: 9^9^9 has 370 million digits.
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if exponent.denominator != 1 or bits * abs(exponent) > MAX_BITS:
            raise ValueError("a power too far")
        return base ** int(exponent)

    def _parse_atom(self) -> Fraction:
        if number := _NUMBER.match(self._text, self._at):
            return self._parse_number(number)
        if self._next_token("\\frac"):
            return self._parse_braced() / self._parse_braced()
        if self._next_token("\\binom"):
            above, below = self._parse_braced(), self._parse_braced()
            if above.denominator != 1 or below.denominator != 1 or not 0 <= below <= above <= 5000:
                raise ValueError("no binomial")
            return Fraction(comb(int(above), int(below)))
        if self._next_token("\\sqrt"):
            index = self._parse_root_index()
            return _rational_root(self._parse_braced(), index)
        if self._text.startswith("{", self._at):
            return self._parse_braced()
        if self._next_token("("):
            inner = self._parse_sum()
            if not self._next_token(")"):
                raise ValueError("a bracket stays open")
            return inner
        raise ValueError(self._text[self._at :])

    def _parse_number(self, number: re.Match[str]) -> Fraction:
        """A number; `1\\frac{2}{3}` is a mixed one."""
        if len(number[0]) > MAX_BITS // 4:
            raise ValueError("too long")
        self._at = number.end()
        whole = Fraction(number[0])
        if "." not in number[0] and _MIXED.match(self._text, self._at):
            self._next_token("\\frac")
            return whole + self._parse_braced() / self._parse_braced()
        return whole

    def _parse_root_index(self) -> int:
        index = re.compile(r"\[(\d{1,2})\]").match(self._text, self._at)
        if not index:
            return 2
        self._at = index.end()
        return int(index[1])

    def _parse_braced(self) -> Fraction:
        inside = brace_group(self._text, self._at)
        if inside is None:
            raise ValueError(self._text[self._at :])
        self._at += len(inside) + 2
        return _ExactParser(inside).parse()


def _check_size(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * MAX_BITS:
        raise ValueError("too large")
    return value


def _rational_root(of: Fraction, index: int) -> Fraction:
    """The root where it is rational. Raises ValueError where it is not."""
    if of < 0 or not index:
        raise ValueError("no root")
    above, below = _integer_root(of.numerator, index), _integer_root(of.denominator, index)
    return Fraction(above, below)


def _integer_root(of: int, index: int) -> int:
    if index == 2:
        root = isqrt(of)
    else:
        low, high = 0, 1 << (of.bit_length() // index + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**index <= of else (low, middle - 1)
        root = low
    if root**index != of:
        raise ValueError("the root does not come out")
    return root


def brace_group(text: str, start: int) -> str | None:
    """What stands between the brace at *start* and the one that closes it; None without one."""
    if text[start : start + 1] != "{":
        return None
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start + 1 : at]
    return None
