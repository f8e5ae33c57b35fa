"""Examples of a function: calls and their results, from a question or from tests that are read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mixtura.programs.python_syntax import NOT_PYTHON, parse_python, read_literal

MAX_EXAMPLES = 50
"""Examples of one text that are used."""
MAX_TEXT_CHARS = 60_000
"""Of a longer text only the end is read."""
MAX_LINE_CHARS = 2000
"""Of a longer line only the beginning is read."""
MAX_PARSED_CHARS = 400_000
"""
Characters that are parsed to find the examples of one text: several for each that stands in it,
since where a value ends is found by trying. What comes then is not read.
"""
_RESULT_WORDS = (
    r"(?:#\s*)?(?:=+>|-+>|==?(?!=)|→|➞|⇒|returns?|(?:should|must|will)\s+(?:return|be|equal)"
    r"|gives|is)"
)
_OUTPUT_WORDS = (
    r"\b(?:output|result|answer|value)\s*+(?:(?:should|must|will)\s+be|is|:|=)",
    r"\b(?:should|must|will)\s+(?:return|equal)|\breturns?\b|(?<!=)=++>|(?<!-)-++>|→|➞|⇒",
)
"""What stands before an output; the first ones say so more clearly."""
_CALCULATION = re.compile(r"\s*(?:[*+/%^=<>&|]|-\s*[\d(\[])")
"""What stands behind a number that is only the beginning of a sum, say."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\w|,\d{3}\b)|(?:True|False|None)\b")
_LIST_MARK = re.compile(r"\A(?:[-*•]|\d{1,2}[.)])\s+")
_WORDS_FOR_VALUES = {"true": "True", "false": "False", "null": "None", "none": "None"}


class Example(NamedTuple):
    """A call of the function with plain values, and what it returns."""

    arguments: str
    """The positional arguments as a tuple of Python literals, in Python's own writing."""
    result: str
    """The result as a Python literal."""


def find_function(question: str) -> str | None:
    """The name of the last function whose head stands in *question*; None without one."""
    heads = r"^[ \t>]*+(?:async )?def[ \t]++(\w+)[ \t]*+\("
    names = re.findall(heads, _cut_text(question), re.MULTILINE)
    return names[-1] if names else None


def _cut_text(text: str) -> str:
    """The end of a long text, of each long line its beginning: what is read takes bounded time."""
    lines = text[-MAX_TEXT_CHARS:].split("\n")
    return "\n".join(line[:MAX_LINE_CHARS] for line in lines)


def read_examples(question: str, function: str) -> list[Example]:
    """
    The examples in *question*: doctests, calls with their result (``f(2) == 4``, ``f(2) -> 4``,
    ``f(2) returns 4``), and inputs with an output (``For n = 2, the result is 4``; ``Input: 2``
    above ``Output: 4``). Those with anything but literals are left out.
    """
    question, literals = _cut_text(question), _LiteralReader(function)
    found = [
        *_read_doctests(question, literals),
        *_read_lines(question, literals),
        *_read_inputs(question, literals),
    ]
    return list(dict.fromkeys(found))[:MAX_EXAMPLES]


def read_assertions(text: str, function: str) -> list[Example]:
    """
    The examples in tests that a model wrote: ``assert f(…) == …``, with a message or without, in
    lines of their own or of a list.
    """
    literals = _LiteralReader(function)
    found: list[Example] = []
    for line in _cut_text(text).splitlines():
        found += literals.read_assertion(_LIST_MARK.sub("", line.strip()).strip("`").strip())
    return list(dict.fromkeys(found))[:MAX_EXAMPLES]


def make_test(examples: Sequence[Example]) -> str:
    """
    A test whose `check` returns a list: whether each example holds; an exception is a no.

    Numbers with a fraction count as equal up to a millionth.
    """
    pairs = ", ".join(f"({one.arguments}, {one.result})" for one in examples)
    return (
        "def same(a, b):\n"
        "    if isinstance(a, float) or isinstance(b, float):\n"
        "        try:\n"
        "            return abs(a - b) <= 1e-6 * max(1.0, abs(b))\n"
        "        except TypeError:\n"
        "            return False\n"
        "    return type(a) is type(b) and a == b\n"
        f"EXAMPLES = [{pairs}]\n"
        "def check(candidate):\n"
        "    results = []\n"
        "    for arguments, expected in EXAMPLES:\n"
        "        try:\n"
        "            results.append(same(candidate(*arguments), expected))\n"
        "        except Exception:\n"
        "            results.append(False)\n"
        "    return results\n"
    )


def _read_doctests(question: str, literals: _LiteralReader) -> Iterator[Example]:
    import doctest  # with a debugger and a test runner: only where a question is checked

    try:
        examples = doctest.DocTestParser().get_examples(question)
    except ValueError:  # prompts that are not followed by a space
        return
    for example in examples:
        if not example.want.strip() and "=" in example.source:  # the result stands in the call
            yield from literals.read_comparison(example.source)
        elif (arguments := literals.read_call(example.source)) is not None:
            # The docstring's end is no part of a result, nor are words on the lines below it.
            want = re.split(r'"""|\'\'\'', example.want)[0]
            whole, first = literals.read(want), literals.read(want.strip().partition("\n")[0])
            if (result := first if whole is None else whole) is not None:
                yield Example(arguments, result)


def _read_lines(question: str, literals: _LiteralReader) -> Iterator[Example]:
    name = re.escape(literals.function)
    pattern = (
        rf"(?<![\w.>])((?:\w+\(\)\.)?{name}\(.{{0,500}}?\))[\"'`]*+\s*+{_RESULT_WORDS}\s*+(.+)"
    )
    for line in question.splitlines():
        if line.lstrip().startswith((">>>", "def ")):
            continue
        if line.lstrip().startswith("assert "):
            yield from literals.read_assertion(line.strip())
            continue
        for match in re.finditer(pattern, line):
            arguments = literals.read_call(match[1])
            if arguments is None:
                continue
            if (result := literals.read_longest(match[2])) is not None:
                yield Example(arguments, result)


def _read_inputs(question: str, literals: _LiteralReader) -> Iterator[Example]:
    """Examples that name what goes in and what comes out, without a call."""
    if not (names := _parameter_names(question, literals.function)):
        return
    start = rf"\b{re.escape(names[0])}\s*+=(?!=)"
    for line in question.splitlines():
        if line.lstrip().startswith(("def ", "assert ", ">>>")):
            continue
        if not (begin := re.search(start, line)):
            continue
        for words in _OUTPUT_WORDS:
            if end := re.compile(words, re.IGNORECASE).search(line, begin.end()):
                inputs, output = line[begin.start() : end.start()], line[end.end() :]
                yield from _read_pair(inputs, output, names, literals)
                break
    for inputs, output in _input_blocks(question):
        yield from _read_pair(inputs, output, names, literals)


_INPUT_WORD = re.compile(r"\bInputs?\s*+:\s*+", re.IGNORECASE)
_OUTPUT_WORD = re.compile(r"\bOutput\s*+:[ \t]*+", re.IGNORECASE)
_MAX_INPUT_CHARS = 2000


def _input_blocks(question: str) -> Iterator[tuple[str, str]]:
    """What stands between an ``Input:`` and the next ``Output:``, and in the line behind that."""
    at = 0
    while begin := _INPUT_WORD.search(question, at):
        end = _OUTPUT_WORD.search(question, begin.end(), begin.end() + _MAX_INPUT_CHARS + 100)
        at = begin.end()
        if end is None:
            continue
        inputs = question[begin.end() : end.start()].rstrip(" \t>*-").removesuffix("\n")
        output = question[end.end() :].partition("\n")[0]
        if inputs and output:
            at = end.end() + len(output)
            yield inputs, output


def _read_pair(
    inputs: str, output: str, names: Sequence[str], literals: _LiteralReader
) -> Iterator[Example]:
    values: list[str] = []
    for name in names:
        named = re.search(rf"(?<![\w.]){re.escape(name)}\s*+(?:=(?!=)|:)\s*+", inputs)
        if named is None and len(names) > 1:
            return
        value = literals.read_first(inputs[named.end() :] if named else inputs.strip())
        if value is None:
            return
        values.append(value)
    if (result := literals.read_longest(output)) is not None:
        yield Example("(" + "".join(f"{value}, " for value in values) + ")", result)


def _parameter_names(question: str, function: str) -> list[str]:
    """
    Names of the parameters of *function* in its last head, without a method's `self`; none where it
    cannot be read.
    """
    begin = rf"^[ \t>]*+def[ \t]++{re.escape(function)}[ \t]*+\("
    begins = [match.end() for match in re.finditer(begin, question, re.MULTILINE)]
    for at in reversed(begins[-10:]):
        # A head is shorter than this.
        head = question[at : at + 4000]
        if not (end := re.search(r"\)\s*+(?:->[^\n]*)?:", head)):
            continue
        parsed = _parse_or_none(f"def f({head[: end.start()]}): pass", "exec")
        if isinstance(parsed, ast.Module) and isinstance(parsed.body[0], ast.FunctionDef):
            names = [argument.arg for argument in parsed.body[0].args.args]
            return names[1:] if names[:1] in (["self"], ["cls"]) else names
        return []
    return []


class _LiteralReader:
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
            value: Any = read_literal(text)
            written = repr(value)
            # An infinite number is written as a name, which no program knows.
            again: Any = read_literal(written)
        except (*NOT_PYTHON, TypeError):
            return None
        return written if again == value and value is not Ellipsis else None

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
        values = [self._read_node(argument) for argument in node.args]
        if any(value is None for value in values):
            return None
        return "(" + "".join(f"{value}, " for value in values) + ")"

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
            _parse_or_none(line, "exec") if line.startswith("assert") and self._left > 0 else None
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
        end = _closing_end(text)
        return None if end is None else self.read(text[:end])

    def read_longest(self, text: str) -> str | None:
        """The longest value at the beginning of *text*: behind it words may follow."""
        text = text.strip().strip("`").strip()[:500]
        ends = [match.start() for match in re.finditer(r"[\s,.;`#]|$", text)]
        for end in reversed(ends):
            written = text[:end].rstrip(".,;`")
            if (found := self.read(_WORDS_FOR_VALUES.get(written, written))) is not None:
                # A list without brackets may be a number (1,000), or go on with words.
                if found.startswith("(") and not written.startswith("("):
                    return None
                return None if _CALCULATION.match(text, len(text[:end])) else found
        return None


def _called_name(called: ast.expr) -> str | None:
    """The name in ``f(…)``, and in ``Solution().f(…)``: a method of an object made without data."""
    if isinstance(called, ast.Name):
        return called.id
    made = called.value if isinstance(called, ast.Attribute) else None
    if isinstance(called, ast.Attribute) and isinstance(made, ast.Call):
        return None if made.args or made.keywords else called.attr
    return None


_TEXTS_AND_BRACKETS = re.compile(
    r"""'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+"|(?P<opens>[\[({])|(?P<closes>[\])}])"""
)


def _closing_end(text: str) -> int | None:
    """Where the text in quotes, or the bracket, ends that *text* begins with."""
    if not text.startswith(("[", "(", "{", '"', "'")):
        return None
    depth = 0
    for match in _TEXTS_AND_BRACKETS.finditer(text):
        depth += bool(match["opens"]) - bool(match["closes"])
        if depth <= 0:
            return match.end()
    return None


def _parse_expression(source: str) -> ast.expr | None:
    parsed = _parse_or_none(source.strip(), "eval")
    return parsed.body if isinstance(parsed, ast.Expression) else None


def _parse_or_none(source: str, mode: str) -> ast.AST | None:
    try:
        return parse_python(source, mode)
    except NOT_PYTHON:
        return None
