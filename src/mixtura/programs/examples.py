"""Examples of a function: calls and their results, from a question or from tests that are read."""

from __future__ import annotations

import builtins
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from mixtura.programs.function_heads import FunctionHead, read_head
from mixtura.programs.literals import (
    Comparison,
    Example,
    LiteralReader,
    closing_end,
    join_arguments,
)
from mixtura.programs.python_syntax import read_literal
from mixtura.programs.remarks import (
    ANY_ANSWER,
    ANY_ORDER,
    IN_PLACE,
    lines_say_wrong,
    words_say_wrong,
)

if TYPE_CHECKING:
    import doctest

MAX_EXAMPLES = 50
"""Examples of one text that are used."""
MAX_TEXT_CHARS = 60_000
"""Of a longer text only the end is read."""
MAX_LINE_CHARS = 2000
"""Of a longer line only the beginning is read."""
MAX_CALLS = 1000
"""Calls of one text that are looked at, and doctests: examples are soon found, or never."""
_RESULT_WORDS = re.compile(
    r"[\"'`]*+\s*+(?:#\s*)?"
    r"(?:=+>|-+>|==?(?!=)|→|➞|⇒|returns?|(?P<wanted>(?:should|must|will)\s+(?:return|be|equal))"
    r"|gives|is)\s*+"
)
_OUTPUT_WORDS = (
    r"\b(?:output|result|answer|value)\s*+(?:(?:should|must|will)\s+be|is|:|=)",
    r"\b(?:should|must|will)\s+(?:return|equal)|\breturns?\b|(?<!=)=++>|(?<!-)-++>|→|➞|⇒",
)
"""What stands before an output; the first ones say so more clearly."""
_EXPLANATION = re.compile(r"[\s>*`#-]*explanation\b", re.IGNORECASE)
_STEP = re.compile(r"[\s>*`#-]*(?:step|iteration|trace)\b", re.IGNORECASE)
_LIST_MARK = re.compile(r"\A(?:[-*•]|\d{1,2}[.)])\s+")
_HEAD = r"def[ \t]++(\w+)[ \t]*+\("
_TEST_NAME = re.compile(r"test(?:_|\Z)")
_NEGATION = re.compile(r"\bnot[ \t]*+\Z")
_OPERATOR = re.compile(r"(?:[-+*/%<>=!&|^@~]|\bnot)[ \t]*+\Z")
_OPERATION = re.compile(r"(?:\d|[)\]]|\b\w)[ \t]*[-+*/%<>=!&|^@]+[ \t]*\Z|[-~]\Z")
"""Behind something that is no word, or with no space: before a list's first call there is one."""
_CALLED = re.compile(
    r"^[ \t*`-]*+(?:>[ \t]++)?(?:assert(?:\s++(?:not\s++)?|\()|>>>[ \t]*+)(?:\w+\(\)\.)?(\w+)\(",
    re.MULTILINE,
)


def find_function(question: str) -> str | None:
    """
    The name of the last function whose head stands in *question*, at the beginning of a line or
    else in one; without a head, but those of tests, that of the function that most of its
    ``assert`` lines and doctests call. None where there is neither.
    """
    text, tests = _cut_text(question), list[str]()
    for head in (rf"^[ \t>]*+(?:async )?{_HEAD}", rf"\b{_HEAD}"):
        names: list[str] = re.findall(head, text, re.MULTILINE)
        if others := [name for name in names if not _TEST_NAME.match(name)]:
            return others[-1]
        tests += names
    called = Counter(name for name in _CALLED.findall(text) if not hasattr(builtins, name))
    return called.most_common(1)[0][0] if called else next(reversed(tests), None)


def _cut_text(text: str) -> str:
    """The end of a long text, of each long line its beginning: what is read takes bounded time."""
    lines = text[-MAX_TEXT_CHARS:].split("\n")
    return "\n".join(line[:MAX_LINE_CHARS] for line in lines)


def read_examples(question: str, function: str) -> list[Example]:
    """
    The examples in *question*: doctests, calls with their result (``f(2) == 4``, ``f(2) -> 4``,
    ``f(2) returns 4``), and inputs with an output (``For n = 2, the result is 4``; ``Input: 2``
    above ``Output: 4``). Those with anything but literals are left out, and outside of doctests and
    ``assert`` those that the function's head rules out, that the question calls wrong, or that are
    one of several right answers.
    """
    question, literals = _cut_text(question), LiteralReader(function)
    head = read_head(question, function)
    stated = [*_read_doctests(question, literals), *_read_asserts(question, literals)]
    told: list[Example] = []
    if not ANY_ANSWER.search(question):
        told += _read_lines(question, literals)
        told += _read_inputs(question, head, literals) if head and head.names else ()
    in_place = head is not None and (
        head.returns_nothing or (head.result is None and bool(IN_PLACE.search(question)))
    )
    comparison: Comparison = "any order" if ANY_ORDER.search(question) else "equal"
    told = [
        one._replace(comparison="changed argument" if in_place else comparison)
        for one in told
        if head is None or _fits_head(one, head, in_place)
    ]
    # Of two results of one call none is known to be right; what is written as code counts more.
    stated, found = list(dict.fromkeys(stated)), list(dict.fromkeys([*stated, *told]))
    kept = {*_with_one_result(stated), *_with_one_result(found)}
    return [one for one in found if one in kept][:MAX_EXAMPLES]


def _with_one_result(examples: Sequence[Example]) -> list[Example]:
    results = Counter(one.arguments for one in examples)
    return [one for one in examples if results[one.arguments] == 1]


def _fits_head(example: Example, head: FunctionHead, in_place: bool) -> bool:
    arguments = cast("tuple[Any, ...]", read_literal(example.arguments))
    result: Any = read_literal(example.result)
    if not head.takes(arguments):
        return False
    if in_place:
        return result is not None and bool(arguments) and head.takes([result])
    return head.may_return(result)


def read_assertions(text: str, function: str) -> list[Example]:
    """
    The examples in tests that a model wrote: ``assert f(…) == …``, with a message or without, in
    lines of their own or of a list.
    """
    literals = LiteralReader(function)
    found: list[Example] = []
    for line in _cut_text(text).splitlines():
        found += literals.read_assertion(_LIST_MARK.sub("", line.strip()).strip("`").strip())
    return list(dict.fromkeys(found))[:MAX_EXAMPLES]


def make_test(examples: Sequence[Example]) -> str:
    """
    A test whose `check` returns a list: whether each example holds; an exception is a no.

    Numbers with a fraction count as equal up to a millionth.
    """
    rows = ", ".join(f"({one.arguments}, {one.result})" for one in examples)
    how = [one.comparison for one in examples]
    return f"{_COMPARISON}EXAMPLES = [{rows}]\nCOMPARISONS = {how!r}\n{_CHECK}"


_COMPARISON = """\
def same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        try:
            return abs(a - b) <= 1e-6 * max(1.0, abs(b))
        except TypeError:
            return False
    if type(a) is not type(b):
        return False
    if a == b:
        return True
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return False
def in_order(value):
    if isinstance(value, (list, tuple)):
        return type(value)(sorted(map(in_order, value), key=repr))
    return value
"""
_CHECK = """\
def check(candidate):
    results = []
    for (arguments, expected), comparison in zip(EXAMPLES, COMPARISONS):
        try:
            found = candidate(*arguments)
            if comparison == "changed argument" and found is None:
                found = arguments[0]
            if comparison == "any order":
                found, expected = in_order(found), in_order(expected)
            results.append(same(found, expected))
        except Exception:
            results.append(False)
    return results
"""


def _read_doctests(question: str, literals: LiteralReader) -> Iterator[Example]:
    import doctest  # with a debugger and a test runner: only where a question is checked

    try:
        examples = doctest.DocTestParser().get_examples(question)
    except ValueError:  # prompts that are not followed by a space
        return
    lines = question.split("\n")  # as they are counted there
    rejected = _rejected_sessions(lines, examples[:MAX_CALLS], literals.function)
    for number, example in enumerate(examples[:MAX_CALLS]):
        if number in rejected or example.options.get(doctest.SKIP):
            continue
        if not example.want.strip() and "=" in example.source:  # the result stands in the call
            yield from literals.read_comparison(example.source)
        elif (arguments := literals.read_call(example.source)) is not None:
            if "..." in example.want and example.options.get(doctest.ELLIPSIS):
                continue
            # The docstring's end is no part of a result, nor are words on the lines below it; with
            # another value below it a result was printed.
            want = re.split(r'"""|\'\'\'', example.want)[0]
            first, _, below = want.strip().partition("\n")
            result = literals.read(want)
            if result is None and literals.read(below.strip().partition("\n")[0]) is None:
                result = literals.read(first)
            if result is not None:
                yield Example(arguments, result)


def _rejected_sessions(
    lines: Sequence[str], examples: Sequence[doctest.Example], function: str
) -> set[int]:
    """Which examples, of a session outside of a docstring, the words around it call wrong."""
    rejected: set[int] = set()
    session: list[int] = []
    for number, example in enumerate(examples):
        if example.indent:
            continue
        session.append(number)
        end = example.lineno + example.source.count("\n") + example.want.count("\n")
        following = examples[number + 1] if number + 1 < len(examples) else None
        if following and following.lineno <= end + 1 and not following.indent:
            continue
        # Words right below a result are taken for a part of it.
        shown = end - max(0, example.want.count("\n") - 1)
        if lines_say_wrong(lines, examples[session[0]].lineno, shown, function):
            rejected.update(session)
        session.clear()
    return rejected


def _read_asserts(question: str, literals: LiteralReader) -> Iterator[Example]:
    for line in question.splitlines():
        if line.lstrip().startswith(("assert ", "assert(")):
            yield from literals.read_assertion(line.strip())


def _read_lines(question: str, literals: LiteralReader) -> Iterator[Example]:
    begins = re.compile(rf"(?<![\w.>])(?:\w+\(\)\.)?{re.escape(literals.function)}\(")
    looked_at, lines = 0, question.splitlines()
    for at, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "def ", "assert ", "assert(")):
            continue
        places = list(islice(begins.finditer(line), MAX_CALLS - looked_at))
        looked_at += len(places)
        for number, begin in enumerate(places):
            # In f(1) + f(2) == 5 the second call has another result; before the first one such a
            # sign may be a list's.
            part_of_term = _OPERATOR if number else _OPERATION
            if any(one.search(line, 0, begin.start()) for one in (part_of_term, _NEGATION)):
                continue
            length = closing_end(line[begin.end() - 1 : begin.end() + 500])
            end = begin.end() - 1 + length if length else len(line)
            if (words := _RESULT_WORDS.match(line, end)) is None:
                continue
            arguments = literals.read_call(line[begin.start() : end])
            if arguments is None:
                continue
            if (result := literals.read_longest(line[words.end() :])) is None:
                continue
            following = places[number + 1].start() if number + 1 < len(places) else len(line)
            if words["wanted"] or not (
                words_say_wrong(line[: begin.start()], line[words.end() : following])
                or lines_say_wrong(lines, at, at + 1, literals.function)
            ):
                yield Example(arguments, result)


def _read_inputs(question: str, head: FunctionHead, literals: LiteralReader) -> Iterator[Example]:
    """Examples that name what goes in and what comes out, without a call."""
    start = re.compile(rf"\b{re.escape(head.names[0])}\s*+=(?!=)")
    explained = False
    for line in question.splitlines():
        explained = bool(line.strip() and (explained or _EXPLANATION.match(line)))
        if explained or _STEP.match(line) or line.lstrip().startswith(("def ", "assert ", ">>>")):
            continue
        if not (begin := start.search(line)):
            continue
        for words in _OUTPUT_WORDS:
            if end := re.compile(words, re.IGNORECASE).search(line, begin.end()):
                inputs, output = line[begin.start() : end.start()], line[end.end() :]
                if not words_say_wrong(line[: end.start()], output):
                    yield from _read_pair(inputs, output, question, head.names, literals)
                break
    for inputs, output in _input_blocks(question, literals):
        yield from _read_pair(inputs, output, question, head.names, literals)


# What Markdown and HTML put around a word or a value.
_TAG = r"</?[a-z]++>"
_MARKS = rf"(?:[ \t*`]|{_TAG})*"
_INPUT_WORD = re.compile(rf"\bInputs?{_MARKS}:(?:[ \t*`\n]|{_TAG})*", re.IGNORECASE)
_OUTPUT_WORD = re.compile(
    r"\b(?:(?P<unwanted>actual|current|wrong|incorrect|my|your)[ \t]+"
    r"|(?:expected|desired|correct)[ \t]+)?"
    rf"Output{_MARKS}:{_MARKS}(?:\n(?:[ \t>]*+```[a-z]*+\n)?(?!\d+[.)]\s)[ \t>*`]*+)?",
    re.IGNORECASE,
)
_OPEN_TAG = re.compile(r"<[a-z]{1,20}\Z")
_BRACKET = re.compile(r"\\([\[\]])(?=[^\"']*$)", re.MULTILINE)
"""One that Markdown escapes, with no text in quotes behind it."""
_MAX_INPUT_CHARS = 2000


_EXPECTED = re.compile(
    rf"{_MARKS}>?[ \t-]*Expected(?:[ \t]+\w+)?{_MARKS}:{_MARKS}(.*)", re.IGNORECASE
)
"""Below a failed test's output."""
_NEXT_LABEL = re.compile(
    r"(?:explanation|note|constraints?|examples?|pass|return)\Z", re.IGNORECASE
)


def _input_blocks(question: str, literals: LiteralReader) -> Iterator[tuple[str, str]]:
    """What stands between an ``Input:`` and the next ``Output:``, and in the line behind these."""
    at = 0
    while begin := _INPUT_WORD.search(question, at):
        limit = begin.end() + _MAX_INPUT_CHARS + 100
        ends = list(islice(_OUTPUT_WORD.finditer(question, begin.end(), limit), 2))
        at = begin.end()
        if not ends:
            continue
        inputs = _without_marks_at_end(question[begin.end() : ends[0].start()])
        end = ends[-1] if ends[0]["unwanted"] else ends[0]
        if end["unwanted"]:
            continue
        output, _, below = question[end.end() :].partition("\n")
        if inputs and output:
            at = end.end() + len(output)
            if expected := _EXPECTED.match(below):
                yield inputs, expected[1]
            elif not _is_more_output(below.partition("\n")[0], literals):
                yield inputs, output


def _is_more_output(line: str, literals: LiteralReader) -> bool:
    """Whether the line below an output is the next one of several that are printed."""
    text = line.strip(" \t>*`")
    if not text or _NEXT_LABEL.match(text):
        return False
    return (
        bool(re.fullmatch(r"-?[\w.]+(?:\s+-?\d[\d.]*)*", text)) or literals.read(text) is not None
    )


def _without_marks_at_end(text: str) -> str:
    """*text* without the white space, marks of Markdown and HTML tags before the next label."""
    while True:
        shorter = text.rstrip(" \t\n>*`#-")
        is_tag = text[len(shorter) :].startswith(">")
        tag = _OPEN_TAG.search(shorter, max(0, len(shorter) - 21)) if is_tag else None
        if tag is None:
            return shorter
        text = shorter[: tag.start()]


def _read_pair(
    inputs: str, output: str, question: str, names: Sequence[str], literals: LiteralReader
) -> Iterator[Example]:
    inputs, output = _BRACKET.sub(r"\1", inputs), _BRACKET.sub(r"\1", output)
    forms = (rf"(?<![\w.]){re.escape(name)}`?+\s*+(?:=(?!=)|:)[\s`]*+" for name in names)
    named = [re.search(form, inputs) for form in forms]
    arguments: str | None = None
    if all(named):
        values = [literals.read_first(inputs[one.end() :]) for one in named if one]
        arguments = join_arguments(values)
    elif len(names) == 1:
        arguments = join_arguments([literals.read_whole(inputs)])
    elif not any(named):
        arguments = literals.read_row(inputs, len(names))
    if arguments is None or not _may_be_arguments(arguments, names, question):
        return
    if (result := literals.read_longest(output)) is not None:
        yield Example(arguments, result)


def _may_be_arguments(arguments: str, names: Sequence[str], question: str) -> bool:
    """
    Whether inputs are a call's arguments: not all of them under their names, not calls of a class
    in a list, and not in braces, which some write around lists.
    """
    for value in cast("tuple[Any, ...]", read_literal(arguments)):
        if isinstance(value, set) or (isinstance(value, dict) and names[0] in value):
            return False
        if isinstance(value, list) and value:
            first: Any = cast("list[Any]", value)[0]
            if isinstance(first, str) and re.search(rf"\bclass {re.escape(first)}\b", question):
                return False
    return True
