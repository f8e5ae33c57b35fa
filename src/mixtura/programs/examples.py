"""Examples of a function: calls and their results, from a question or from tests that are read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

MAX_EXAMPLES = 50
"""Examples of one text that are used."""
_RESULT_WORDS = (
    r"(?:#\s*)?(?:=+>|-+>|==?(?!=)|→|➞|⇒|returns?|(?:should|must|will)\s+(?:return|be|equal)"
    r"|gives|is)"
)
_OUTPUT_WORDS = (
    r"\b(?:output|result|answer|value)\s*(?:(?:should|must|will)\s+be|is|:|=)",
    r"\b(?:should|must|will)\s+(?:return|equal)|\breturns?\b|=+>|-+>|→|➞|⇒",
)
"""What stands before an output; the first ones say so more clearly."""
_CALCULATION = re.compile(r"\s*(?:[*+/%^=<>&|]|-\s*[\d(\[])")
"""What stands behind a number that is only the beginning of a sum, say."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\w|,\d{3}\b)|(?:True|False|None)\b")
_WORDS_FOR_VALUES = {"true": "True", "false": "False", "null": "None", "none": "None"}


class Example(NamedTuple):
    """A call of the function with plain values, and what it returns."""

    arguments: str
    """The positional arguments as a tuple of Python literals, in Python's own writing."""
    result: str
    """The result as a Python literal."""


def find_function(question: str) -> str | None:
    """The name of the last function whose head stands in *question*; None without one."""
    names = re.findall(r"^[ \t>]*(?:async )?def[ \t]+(\w+)[ \t]*\(", question, re.MULTILINE)
    return names[-1] if names else None


def read_examples(question: str, function: str) -> list[Example]:
    """
    The examples in *question*: doctests, calls with their result (``f(2) == 4``, ``f(2) -> 4``,
    ``f(2) returns 4``), and inputs with an output (``For n = 2, the result is 4``; ``Input: 2``
    above ``Output: 4``). Those with anything but literals are left out.
    """
    found = [
        *_read_doctests(question, function),
        *_read_lines(question, function),
        *_read_inputs(question, function),
    ]
    return list(dict.fromkeys(found))[:MAX_EXAMPLES]


def read_assertions(text: str, function: str) -> list[Example]:
    """The examples in tests that a model wrote: ``assert f(…) == …`` in lines of their own."""
    found: list[Example] = []
    for line in text.splitlines():
        stripped = line.strip().strip("`").strip()
        if stripped.startswith("assert "):
            found += _read_comparison(stripped.removeprefix("assert "), function)
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


def _read_doctests(question: str, function: str) -> Iterator[Example]:
    import doctest  # with a debugger and a test runner: only where a question is checked

    try:
        examples = doctest.DocTestParser().get_examples(question)
    except ValueError:  # prompts that are not followed by a space
        return
    for example in examples:
        if not example.want.strip() and "=" in example.source:  # the result stands in the call
            yield from _read_comparison(example.source, function, equalities_only=True)
        elif (arguments := _read_call(example.source, function)) is not None:
            # The docstring's end is no part of a result, nor are words on the lines below it.
            want = re.split(r'"""|\'\'\'', example.want)[0]
            whole, first = _read_literal(want), _read_literal(want.strip().partition("\n")[0])
            if (result := first if whole is None else whole) is not None:
                yield Example(arguments, result)


def _read_lines(question: str, function: str) -> Iterator[Example]:
    pattern = rf"(?<![\w.>])({re.escape(function)}\(.{{0,500}}?\))[\"'`]*\s*{_RESULT_WORDS}\s*(.+)"
    for line in question.splitlines():
        if line.lstrip().startswith((">>>", "def ")):
            continue
        for match in re.finditer(pattern, line):
            arguments = _read_call(match[1], function)
            result = _longest_literal(match[2])
            if arguments is not None and result is not None:
                yield Example(arguments, result)


def _read_inputs(question: str, function: str) -> Iterator[Example]:
    """Examples that name what goes in and what comes out, without a call."""
    if not (names := _parameter_names(question, function)):
        return
    start = rf"\b{re.escape(names[0])}\s*=(?!=)"
    for line in question.splitlines():
        if line.lstrip().startswith(("def ", "assert ", ">>>")):
            continue
        if not (begin := re.search(start, line)):
            continue
        for words in _OUTPUT_WORDS:
            if end := re.compile(words, re.IGNORECASE).search(line, begin.end()):
                yield from _read_pair(line[begin.start() : end.start()], line[end.end() :], names)
                break
    blocks = r"\bInputs?\s*:\s*(.{1,2000}?)\n?[ \t>*-]*\bOutput\s*:[ \t]*(.+)"
    for match in re.finditer(blocks, question, re.DOTALL | re.IGNORECASE):
        yield from _read_pair(match[1], match[2].partition("\n")[0], names)


def _read_pair(inputs: str, output: str, names: Sequence[str]) -> Iterator[Example]:
    values: list[str] = []
    for name in names:
        named = re.search(rf"(?<![\w.]){re.escape(name)}\s*(?:=(?!=)|:)\s*", inputs)
        if named is None and len(names) > 1:
            return
        value = _first_literal(inputs[named.end() :] if named else inputs.strip())
        if value is None:
            return
        values.append(value)
    if (result := _longest_literal(output)) is not None:
        yield Example("(" + "".join(f"{value}, " for value in values) + ")", result)


def _parameter_names(question: str, function: str) -> list[str]:
    """Names of the parameters of *function* in its last head; none where it cannot be read."""
    heads = re.findall(
        rf"^[ \t>]*def[ \t]+{re.escape(function)}[ \t]*\((.*?)\)\s*(?:->[^\n]*)?:",
        question, re.MULTILINE | re.DOTALL,
    )  # fmt: skip
    if not heads:
        return []
    try:
        parsed = ast.parse(f"def f({heads[-1]}): pass").body[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    assert isinstance(parsed, ast.FunctionDef)
    return [argument.arg for argument in parsed.args.args]


def _first_literal(text: str) -> str | None:
    """The literal that *text* begins with: a number, a text in quotes, or something in brackets."""
    text = text.strip()[:2000]
    if number := _NUMBER.match(text):
        return None if _CALCULATION.match(text, number.end()) else _read_literal(number[0])
    if not text.startswith(("[", "(", "{", '"', "'")):
        return None
    for end in re.finditer(r"[\])}\"']", text[1:]):
        if (found := _read_literal(text[: end.end() + 1])) is not None:
            return found
    return None


def _read_comparison(source: str, function: str, *, equalities_only: bool = False) -> list[Example]:
    try:
        node = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.Is)):
        if len(node.ops) > 1:
            return []
        call, result = ast.unparse(node.left), ast.unparse(node.comparators[0])
    elif equalities_only:
        return []
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        call, result = ast.unparse(node.operand), "False"
    else:
        call, result = ast.unparse(node), "True"
    arguments, value = _read_call(call, function), _read_literal(result)
    return [] if arguments is None or value is None else [Example(arguments, value)]


def _read_call(source: str, function: str) -> str | None:
    """The arguments of a call of *function* with literals, as a tuple; None for anything else."""
    try:
        node = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)) or node.keywords:
        return None
    if node.func.id != function:
        return None
    values = [_read_literal(ast.unparse(argument)) for argument in node.args]
    if any(value is None for value in values):
        return None
    return "(" + "".join(f"{value}, " for value in values) + ")"


def _longest_literal(text: str) -> str | None:
    """The longest literal at the beginning of *text*: behind it words may follow."""
    text = text.strip().strip("`").strip()[:500]
    ends = [match.start() for match in re.finditer(r"[\s,.;`#]|$", text)]
    for end in reversed(ends):
        written = text[:end].rstrip(".,;`")
        if (found := _read_literal(_WORDS_FOR_VALUES.get(written, written))) is not None:
            return None if _CALCULATION.match(text, len(text[:end])) else found
    return None


def _read_literal(text: str) -> str | None:
    """*text* as Python writes its value; None where it is no plain value."""
    try:
        value: Any = ast.literal_eval(text.strip())
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return repr(value) if value is not Ellipsis else None
