"""Examples of a function: calls and their results, from a question or from tests that are read."""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mixtura.programs.literals import Example, LiteralReader, join_arguments, parse_or_none

MAX_EXAMPLES = 50
"""Examples of one text that are used."""
MAX_TEXT_CHARS = 60_000
"""Of a longer text only the end is read."""
MAX_LINE_CHARS = 2000
"""Of a longer line only the beginning is read."""
_RESULT_WORDS = (
    r"(?:#\s*)?(?:=+>|-+>|==?(?!=)|→|➞|⇒|returns?|(?:should|must|will)\s+(?:return|be|equal)"
    r"|gives|is)"
)
_OUTPUT_WORDS = (
    r"\b(?:output|result|answer|value)\s*+(?:(?:should|must|will)\s+be|is|:|=)",
    r"\b(?:should|must|will)\s+(?:return|equal)|\breturns?\b|(?<!=)=++>|(?<!-)-++>|→|➞|⇒",
)
"""What stands before an output; the first ones say so more clearly."""
_LIST_MARK = re.compile(r"\A(?:[-*•]|\d{1,2}[.)])\s+")
_HEAD = r"def[ \t]++(\w+)[ \t]*+\("
_TEST_NAME = re.compile(r"test(?:_|\Z)")
_NEGATION = re.compile(r"\bnot[ \t]*+\Z")
_OPERATOR = re.compile(r"(?:[-+*/%<>=!&|^@~]|\bnot)[ \t]*+\Z")
_CALLED = re.compile(
    r"^[ \t*`-]*+(?:>[ \t]++)?(?:assert\s++(?:not\s++)?|>>>[ \t]*+)(?:\w+\(\)\.)?(\w+)\(",
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
    above ``Output: 4``). Those with anything but literals are left out.
    """
    question, literals = _cut_text(question), LiteralReader(function)
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


def _read_doctests(question: str, literals: LiteralReader) -> Iterator[Example]:
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


def _read_lines(question: str, literals: LiteralReader) -> Iterator[Example]:
    name = re.escape(literals.function)
    begins = re.compile(rf"(?<![\w.>])(?:\w+\(\)\.)?{name}\(")
    pattern = re.compile(rf"(.{{0,500}}?\))[\"'`]*+\s*+{_RESULT_WORDS}\s*+(.+)")
    for line in question.splitlines():
        if line.lstrip().startswith((">>>", "def ")):
            continue
        if line.lstrip().startswith("assert "):
            yield from literals.read_assertion(line.strip())
            continue
        for number, begin in enumerate(begins.finditer(line)):
            # In f(1) + f(2) == 5 the second call has another result; before the first one such a
            # sign may be a list's.
            part_of_term = _OPERATOR if number else _NEGATION
            if part_of_term.search(line, 0, begin.start()):
                continue
            if (match := pattern.match(line, begin.end())) is None:
                continue
            arguments = literals.read_call(begin[0] + match[1])
            if arguments is None:
                continue
            if (result := literals.read_longest(match[2])) is not None:
                yield Example(arguments, result)


def _read_inputs(question: str, literals: LiteralReader) -> Iterator[Example]:
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


# What Markdown and HTML put around a word or a value.
_TAG = r"</?[a-z]++>"
_MARKS = rf"(?:[ \t*`]|{_TAG})*"
_INPUT_WORD = re.compile(rf"\bInputs?{_MARKS}:(?:[ \t*`\n]|{_TAG})*", re.IGNORECASE)
_OUTPUT_WORD = re.compile(
    rf"\bOutput{_MARKS}:{_MARKS}(?:\n(?:[ \t>]*+```[a-z]*+\n)?(?!\d+[.)]\s)[ \t>*`]*+)?",
    re.IGNORECASE,
)
_OPEN_TAG = re.compile(r"<[a-z]{1,20}\Z")
_BRACKET = re.compile(r"\\([\[\]])(?=[^\"']*$)", re.MULTILINE)
"""One that Markdown escapes, with no text in quotes behind it."""
_MAX_INPUT_CHARS = 2000


def _input_blocks(question: str) -> Iterator[tuple[str, str]]:
    """What stands between an ``Input:`` and the next ``Output:``, and in the line behind these."""
    at = 0
    while begin := _INPUT_WORD.search(question, at):
        end = _OUTPUT_WORD.search(question, begin.end(), begin.end() + _MAX_INPUT_CHARS + 100)
        at = begin.end()
        if end is None:
            continue
        inputs = _without_marks_at_end(question[begin.end() : end.start()])
        output = question[end.end() :].partition("\n")[0]
        if inputs and output:
            at = end.end() + len(output)
            yield inputs, output


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
    inputs: str, output: str, names: Sequence[str], literals: LiteralReader
) -> Iterator[Example]:
    inputs, output = _BRACKET.sub(r"\1", inputs), _BRACKET.sub(r"\1", output)
    forms = (rf"(?<![\w.]){re.escape(name)}`?+\s*+(?:=(?!=)|:)[\s`]*+" for name in names)
    named = [re.search(form, inputs) for form in forms]
    arguments: str | None = None
    if len(names) > 1 and not any(named):
        arguments = literals.read_row(inputs, len(names))
    elif len(names) == 1 or all(named):
        values = [literals.read_first(inputs[one.end() if one else 0 :]) for one in named]
        arguments = join_arguments(values)
    if arguments is not None and (result := literals.read_longest(output)) is not None:
        yield Example(arguments, result)


def _parameter_names(question: str, function: str) -> list[str]:
    """
    Names of the parameters of *function* in its last head, without a method's `self`; none where it
    cannot be read.
    """
    begin = rf"\bdef[ \t]++{re.escape(function)}[ \t]*+\("
    begins = [match.end() for match in re.finditer(begin, question)]
    for at in reversed(begins[-10:]):
        # A head is shorter than this.
        head = question[at : at + 4000]
        if not (end := re.search(r"\)\s*+(?:->[^\n]*)?:|\)(?=`)", head)):
            continue
        parsed = parse_or_none(f"def f({head[: end.start()]}): pass", "exec")
        if isinstance(parsed, ast.Module) and isinstance(parsed.body[0], ast.FunctionDef):
            names = [argument.arg for argument in parsed.body[0].args.args]
            return names[1:] if names[:1] in (["self"], ["cls"]) else names
        return []
    return []
