"""Plain values, and calls of a function with them, read from text: never run as code."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

from mixtura.core.json_text import read_json_text
from mixtura.programs.python_syntax import NOT_PYTHON, parse_python, read_literal

MAX_PARSED_CHARS = 400_000
"""
Characters that are parsed to find the examples of one text: several for each that stands in it,
since where a value ends is found by trying. What comes then is not read.
"""
_CALCULATION = re.compile(r"\s*(?:[*+/%^=<>&|×·÷−→⇒➞]|-\s*[\d(\[]|-+>)")
"""What stands behind a number that is only the beginning of a sum, say."""
_ANOTHER = re.compile(
    r"[`*]*+(?:\.[\w.]|[,\s]*(?:\.\.|…)|,?\s+(?:or|to|through|for\s+(?:example|instance)|e\.g\.|say)\b"
    r"|\s+(?:and\s+)?-?[\d\"'\[{])",
    re.IGNORECASE,
)
"""What stands behind a value that is one of several."""
_UNIT = re.compile(
    r"\s+(?!(?:because|since|as|if|iff|when|whenever|for|and|but|while|whereas|where|with|in|on|due"
    r"|after|not|only|which|that|is|so|i\.e|at|here|then|otherwise|else|also|the|by|from|explanation"
    r"|note|input|output|example)\b)[a-z]",
    re.IGNORECASE,
)
"""The word behind a number that counts or measures something: 2 lists, 3.5 km, 5 choose 2."""
_DOCSTRING_END = re.compile(r'"""|\'\'\'')
_OTHER_BASE = re.compile(r"-?0[box]", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\w|,\d{3}\b)|(?:True|False|None)\b")
_WORDS_FOR_VALUES = {"true": "True", "false": "False", "null": "None", "none": "None"}


Comparison = Literal["equal", "any order", "changed argument"]


class Example(NamedTuple):
    """A call of the function with plain values, and what it returns."""

    arguments: str
    """The positional arguments as a tuple of Python literals, in Python's own writing."""
    result: str
    """The result as a Python literal."""
    comparison: Comparison = "equal"
    """What has to be the result: what the function returns, in any order; or its first argument."""


class LiteralReader:
    """
    Reads plain values, and calls of *function* with them, until `MAX_PARSED_CHARS` are parsed.

    All of them come as Python writes them; None stands for what is no plain value.
    """

    def __init__(self, function: str) -> None:
        self.function = function
        self._left = MAX_PARSED_CHARS

    def read(self, text: str) -> str | None:
        """The value that *text* is."""
        text = text.strip()
        self._left -= len(text) + 20
        if self._left < 0:
            return None
        try:
            value: Any = _read_value(text)
            written = repr(value)
            # An infinite number is written as a name, which no program knows. In a test a value
            # stands in further brackets, of which Python takes 200.
            again: Any = read_literal(f"(((({written}))))")
        except (*NOT_PYTHON, TypeError):
            return None
        return written if again == value and value is not Ellipsis else None

    def read_row(self, text: str, count: int) -> str | None:
        """So many values in *text* with commas between them, as the arguments of a call."""
        row = self.read(f"({text.strip().strip('`*').strip()},)")
        fits = row is not None and len(cast("tuple[Any, ...]", read_literal(row))) == count
        return f"{row[:-1]}, )" if row is not None and fits else None

    def read_call(self, source: str) -> str | None:
        """The arguments of a call of the function, as a tuple."""
        self._left -= len(source)
        node = _parse_expression(source) if self._left > 0 else None
        return None if node is None else self._read_arguments(node)

    def _read_arguments(self, node: ast.expr) -> str | None:
        if not isinstance(node, ast.Call) or node.keywords:
            return None
        if _called_name(node.func) != self.function:
            return None
        return join_arguments([self._read_node(argument) for argument in node.args])

    def _read_node(self, node: ast.expr) -> str | None:
        try:
            return self.read(ast.unparse(node))
        except (ValueError, RecursionError):  # of a number with thousands of digits, say
            return None

    def read_comparison(self, source: str) -> list[Example]:
        """The example of ``f(…) == …``."""
        self._left -= len(source)
        node = _parse_expression(source) if self._left > 0 else None
        return self._read_condition(node) if isinstance(node, ast.Compare) else []

    def read_assertion(self, line: str) -> list[Example]:
        """
        The examples of ``assert f(…) == …``, ``assert f(…)`` and ``assert not f(…)``, several of
        which ``and`` may join; a message behind them is no part of a result.
        """
        self._left -= len(line)
        parsed = (
            parse_or_none(line, "exec") if line.startswith("assert") and self._left > 0 else None
        )
        if not isinstance(parsed, ast.Module) or not isinstance(parsed.body[0], ast.Assert):
            return []
        test = parsed.body[0].test
        conditions = [test]
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            conditions = test.values
        return [example for one in conditions for example in self._read_condition(one)]

    def _read_condition(self, node: ast.expr) -> list[Example]:
        result: str | None
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.Is)):
            if len(node.ops) > 1:
                return []
            sides = [node.left, node.comparators[0]]
            if not isinstance(node.left, ast.Call):  # 4 == f(2)
                sides.reverse()
            node, result = sides[0], self._read_node(sides[1])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            node, result = node.operand, "False"
        else:
            result = "True"
        arguments = self._read_arguments(node)
        return [] if arguments is None or result is None else [Example(arguments, result)]

    def read_first(self, text: str) -> str | None:
        """What *text* begins with: a number, a text in quotes, or something in brackets."""
        text = text.strip()[:2000]
        if number := _NUMBER.match(text):
            return None if _CALCULATION.match(text, number.end()) else self.read(number[0])
        end = closing_end(text)
        return None if end is None else self.read(text[:end])

    def read_whole(self, text: str) -> str | None:
        """The value that *text* is, or begins with where only words follow."""
        text = text.strip().strip("`*").strip()
        found = self.read_longest(text)
        # Without brackets several values are several lines or arguments.
        return self.read(text) if found is None and closing_end(text) is not None else found

    def read_longest(self, text: str) -> str | None:
        """The longest value at the beginning of *text*: behind it words may follow."""
        text = text.strip().strip("`").strip()
        text = _DOCSTRING_END.split(text, 1)[0] or text
        has_marks = text.startswith(_OPENINGS)
        text = text[: 500 if has_marks else 100]
        if has_marks and closing_end(text) is None:
            return None
        ends = [match.start() for match in re.finditer(r"[\s,.;`#]|$", text)]
        for end in reversed(ends):
            written = text[:end].rstrip(".,;`")
            if (found := self.read(_WORDS_FOR_VALUES.get(written, written))) is not None:
                # A list without brackets may be a number (1,000), or go on with words.
                if found.startswith("(") and not written.startswith("("):
                    return None
                return None if _goes_on(written, text) else found
        return None


def _goes_on(written: str, text: str) -> bool:
    """Whether *text* makes something else of the value that is *written* at its beginning."""
    at, is_number = len(written), written[-1:].isdigit()
    return bool(
        _CALCULATION.match(text, at)
        or _ANOTHER.match(text, at)
        or (is_number and (_UNIT.match(text, at) or _OTHER_BASE.match(written)))
    )


def _read_value(text: str) -> Any:
    """The value that *text* is in Python, or a list or object in JSON. Raises as `read_literal`."""
    try:
        return read_literal(text)
    except (*NOT_PYTHON, TypeError):
        if not text.startswith(("[", "{")):
            raise
        return read_json_text(text)


def _called_name(called: ast.expr) -> str | None:
    """The name in ``f(…)``, and in ``Solution().f(…)``: a method of an object made without data."""
    if isinstance(called, ast.Name):
        return called.id
    made = called.value if isinstance(called, ast.Attribute) else None
    if isinstance(called, ast.Attribute) and isinstance(made, ast.Call):
        return None if made.args or made.keywords else called.attr
    return None


_OPENINGS = ("[", "(", "{", '"', "'")
_TEXTS_AND_BRACKETS = re.compile(
    r"""'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+"|(?P<opens>[\[({])|(?P<closes>[\])}])"""
)


def closing_end(text: str) -> int | None:
    """Where the text in quotes, or the bracket, ends that *text* begins with; None without end."""
    if not text.startswith(_OPENINGS):
        return None
    depth = 0
    for match in _TEXTS_AND_BRACKETS.finditer(text):
        depth += bool(match["opens"]) - bool(match["closes"])
        if depth <= 0:
            return match.end()
    return None


def _parse_expression(source: str) -> ast.expr | None:
    parsed = parse_or_none(source.strip(), "eval")
    return parsed.body if isinstance(parsed, ast.Expression) else None


def parse_or_none(source: str, mode: str) -> ast.AST | None:
    try:
        return parse_python(source, mode)
    except NOT_PYTHON:
        return None


def join_arguments(values: Sequence[str | None]) -> str | None:
    """The arguments of a call; None where a value is none."""
    known = [f"{value}, " for value in values if value is not None]
    return "(" + "".join(known) + ")" if len(known) == len(values) else None
