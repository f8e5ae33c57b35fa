"""The Python program in a model's reply: from its blocks of code, or from between its words."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mixtura.core.json_text import read_json_text
from mixtura.programs.python_syntax import NOT_PYTHON, parse_python
from mixtura.protocols.thoughts.parser import without_thoughts

PYTHON = ("", "python", "python3", "py", "py3", "python2", "ipython", "ipython3", "pycon", "code")
MAX_REPLY_CHARS = 60_000
"""Of a longer reply, or a longer prompt, only the end is read: a program takes much less."""
_MAX_THOUGHT_CHARS = 600_000
TRIES = 200
"""Ends of a program between words that are tried, for each of its beginnings."""
LETTERS_TRIED = 1_500_000
"""
Of a long reply fewer are tried, over all beginnings: each takes time in proportion to its length.
"""

_FENCE = re.compile(r"^( {0,3})(`{3,}|~{3,})([^\n]*)$")
_AT_THE_END = re.compile(r"(?<!`)`{3,}[ \t]*[\w+.-]*[ \t]*$")
_BEGINS = re.compile(r"^(?:from\s+\S+\s+import\b|import\s|def\s|async\s+def\s|class\s|@\w)")
_MARKS = re.compile(r"<\|[a-z_]{1,30}\|>\s*")
_PRE = re.compile(r"^[ \t]*<pre\b[^<>\n]*>[ \t]*(?:<code\b[^<>\n]*>)?", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)([^`\n]+)\1(?!`)")
_INDENT = re.compile(r"^(?: {4}|\t)", re.MULTILINE)
_LANGUAGE = re.compile(r"\s*(?:python3?|py)\s+")
_IMPORT = re.compile(
    r"^(?:from[ \t]+[\w.]+[ \t]+import|import)\b(?:[^\n(]{0,200}\([^()]{0,2000}\)|.*)", re.MULTILINE
)
_FOR_GOOD = re.compile(
    r"\b(?:fix\w*|corrected|final\w*|improved|updated|complete)\b", re.IGNORECASE
)
_FOR_SHOW = re.compile(
    r"(?i)\b(?:wrong|incorrect|not\s+(?:be\s+)?(?:correct|work\w*|right)|naive|buggy|broken|fails?|bad"
    r"|slow\w*|original|alternative\w*|another|usage|examples?|tests?)\b"
)


# A tag such as <think> or <answer> in a line of its own begins HTML, which would hide fences.
_MARKDOWN = MarkdownIt("commonmark").disable("html_block")


class CodeBlock(NamedTuple):
    """A fenced block of Python."""

    text: str
    shown: bool
    """
    Whether it is not the answer: the words before it call it a wrong try or another way, or
    the reply breaks off in it.
    """


def extract_program(reply: str, prompt: str, entry_point: str) -> str:
    """
    The program in a reply to *prompt*: its block with the function *entry_point*, or with a class
    that has it as a method, together with what other blocks define; else its text from the
    function's head on; else it is the function's body, and follows the *prompt*.

    Of several blocks with the function the last counts that is not called wrong or another way.
    """
    prompt = _cut_text(prompt, MAX_REPLY_CHARS)
    reply = _cut_text(reply.lstrip("\ufeff\u200b").replace("\r\n", "\n"), _MAX_THOUGHT_CHARS)
    reply = _cut_text(without_thoughts(reply), MAX_REPLY_CHARS)  # its programs are tries
    reply = _unwrap_reply(_MARKS.sub("", reply), entry_point)
    blocks, before = _read_blocks(reply)
    programs = [block for block in blocks if defines_name(block.text, entry_point)] or [
        block for block in blocks if class_with_method(block.text, entry_point)
    ]
    if programs:
        whole = [one for one in programs if not _is_stub(one.text, entry_point)] or programs
        chosen = next((one for one in reversed(whole) if not one.shown), whole[-1])
        others = [one for one in blocks if one not in programs]
        return _join_program(
            prompt, entry_point, [*_helper_definitions(others, chosen, blocks), chosen.text]
        )
    for text in (before, reply):
        if found := _program_between_words(text, entry_point):
            return _join_program(prompt, entry_point, [found])
    texts = [block.text for block in blocks]
    for body in (before, *texts[::-1], "\n".join(texts)):
        if found := _complete_function(prompt, body):
            return found
    if found := _program_between_words(
        _INDENT.sub("", reply), entry_point
    ):  # a block without fences
        return _join_program(prompt, entry_point, [found])
    spans = [_LANGUAGE.sub("", found[2], count=1).strip() for found in _SPAN.finditer(reply)]
    for span in reversed(spans):
        if _parse_or_none(span) and defines_name(span, entry_point):
            return _join_program(prompt, entry_point, [span])
    rest = "\n".join(texts) or reply
    if re.search(rf"^[ \t]*(?:async )?def {re.escape(entry_point)}\b", rest, re.MULTILINE):
        return _join_program(prompt, entry_point, [rest])
    return prompt + _indent_body(rest)


def _cut_text(text: str, most: int) -> str:
    """The last lines of a text that is longer than that many characters."""
    return text if len(text) <= most else text[-most:].partition("\n")[2] or text[-most:]


# ---- what a reply is wrapped in


def _unwrap_reply(reply: str, entry_point: str) -> str:
    """A reply out of its JSON or HTML, a session as the program it was."""
    if (field := _program_from_json(reply, entry_point)) is not None:
        reply = field
    if not re.search(r"^ {0,3}(?:```|~~~)", reply, re.MULTILINE):
        reply = "".join(_html_to_markdown(reply, entry_point))
        if re.search(rf"^>>> (?:async )?def {re.escape(entry_point)}\b", reply, re.MULTILINE):
            reply = _session_input(reply)
    return reply


def _program_from_json(reply: str, entry_point: str) -> str | None:
    """The program in a reply that is one object of JSON."""
    fenced = re.fullmatch(r"\s*```(?:json)?[ \t]*\n(.*)\n```\s*", reply, re.DOTALL | re.IGNORECASE)
    text = (fenced[1] if fenced else reply).strip()
    if not text.startswith("{"):
        return None
    try:
        read: Any = read_json_text(text)
    except ValueError:
        return None
    texts = [one for one in cast(dict[str, Any], read).values() if isinstance(one, str)]
    programs = [one for one in texts if f"def {entry_point}" in one]
    return programs[0] if len(programs) == 1 else None


def _html_to_markdown(reply: str, entry_point: str) -> Iterator[str]:
    """A reply whose HTML with the function in it is a block of Markdown."""
    at = 0
    while opened := _PRE.search(reply, at):
        end = reply.find("</pre>", opened.end())
        if end < 0:
            break
        inside = reply[opened.end() : end]
        yield reply[at : opened.start()]
        at = end + len("</pre>")
        if f"def {entry_point}" in inside:
            program = html.unescape(inside.strip().removesuffix("</code>"))
            # Four marks: the program itself may have three in a text of its own.
            yield f"\n````\n{program.strip()}\n````\n"
        else:
            yield reply[opened.start() : at]
    yield reply[at:]


def _session_input(session: str) -> str:
    """What was typed in a session of the interpreter, without what it answered."""
    lines = [line for line in session.split("\n") if line.startswith((">>>", "..."))]
    return "\n".join(line[4:] for line in lines)


# ---- blocks


def _read_blocks(reply: str) -> tuple[list[CodeBlock], str]:
    """The blocks of Python in a reply, and what stands before its first fence."""
    lines = list(_repair_fences("\n".join(map(_split_trailing_fence, reply.split("\n")))))
    tokens = _MARKDOWN.parse("\n".join(lines))
    blocks: list[CodeBlock] = []
    words = ""
    for token in tokens:
        if token.type == "fence":
            language = re.split(r"[\s,{}.:]+", token.info.strip().lstrip("{."))[0].lower()
            if language in PYTHON and token.content.strip():
                for_show = _FOR_SHOW.search(words) and not _FOR_GOOD.search(words)
                text = re.sub(r"\A(?:python3?|py)\n", "", token.content, flags=re.IGNORECASE)
                if re.match(r"\s*>>> ", text):
                    text = _session_input(text)
                blocks.append(CodeBlock(text, bool(for_show) or _breaks_off(token, lines)))
            words = ""
        elif token.type == "inline":
            words = token.content
    first = next((at for at, line in enumerate(lines) if _FENCE.match(line)), len(lines))
    return blocks, "\n".join(lines[:first])


def _breaks_off(token: Token, lines: Sequence[str]) -> bool:
    """Whether a reply ends inside of a block, which is therefore no program."""
    begin, end = token.map or (0, len(lines))
    closed = end - begin > 1 and _FENCE.match(lines[end - 1].strip())
    return not closed and end >= len(lines) and _parse_or_none(token.content) is None


def _split_trailing_fence(line: str) -> str:
    """A line of words with a fence behind them as two lines."""
    fence = _AT_THE_END.search(line) if "```" in line else None
    words = line[: fence.start()] if fence else ""
    if not fence or "`" in words or not any(map(str.isalpha, words)):
        return line
    return f"{words}\n{fence[0]}"


def _repair_fences(text: str) -> Iterator[str]:
    """The lines, where a fence that closes has nothing behind it, and one that opens closes one."""
    opened = ""
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if not fence or (opened and not fence[2].startswith(opened)):
            yield line
        elif not opened:
            opened = fence[2]
            yield line
        else:
            yield f"{fence[1]}{fence[2]}"
            rest = fence[3].strip()
            if re.fullmatch(r"(?:python3?|py|bash|sh|text)", rest, re.IGNORECASE):
                yield line
            else:
                opened = ""
                if rest:
                    yield rest


def _helper_definitions(
    others: Iterable[CodeBlock], chosen: CodeBlock, blocks: Sequence[CodeBlock]
) -> Iterator[str]:
    """What other blocks define: all of it before the program, behind it what the program names."""
    at = blocks.index(chosen)
    for block in others:
        tree = _parse_or_none(block.text)
        for part in tree.body if tree else ():
            if not isinstance(part, _DEFINITIONS):
                continue
            if blocks.index(block) < at or any(
                name in chosen.text for name in _defined_names(part)
            ):
                yield ast.unparse(part)


_DEFINITIONS = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign,
    ast.AnnAssign,
)  # fmt: skip


def _defined_names(part: ast.stmt) -> list[str]:
    """What a statement at the top of a program gives a name to."""
    if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [part.name]
    if isinstance(part, ast.Import | ast.ImportFrom):
        return [name.asname or name.name for name in part.names]
    targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
    return [one.id for one in targets if isinstance(one, ast.Name)]


# ---- programs


def _parse_or_none(text: str) -> ast.Module | None:
    try:
        return cast(ast.Module, parse_python(text))
    except NOT_PYTHON:
        return None


def defines_name(text: str, name: str) -> bool:
    """Whether a program gives *name* a value at its top; of one that is broken, by its head."""
    tree = _parse_or_none(text)
    if tree is None:
        return bool(re.search(rf"^(?:async )?def {re.escape(name)}\b", text, re.MULTILINE))
    return any(name in _defined_names(part) for part in tree.body)


def class_with_method(text: str, name: str) -> str | None:
    """The class at the top of a program that has the method *name*; None without one."""
    tree = _parse_or_none(text)
    classes = [part for part in tree.body if _has_method(part, name)] if tree else []
    return getattr(classes[-1], "name", None) if classes else None


def _has_method(part: ast.stmt, name: str) -> bool:
    return isinstance(part, ast.ClassDef) and any(name in _defined_names(one) for one in part.body)


def _is_stub(text: str, name: str) -> bool:
    """Whether the function *name* of a program has no body but words, ``...`` or ``pass``."""
    tree = _parse_or_none(text)
    parts = [*tree.body] if tree else []
    parts += [inner for part in parts if isinstance(part, ast.ClassDef) for inner in part.body]
    found = [part for part in parts if getattr(part, "name", "") == name]
    inside: list[ast.stmt] = getattr(found[-1], "body", []) if found else []
    return bool(inside) and all(
        isinstance(one, ast.Pass)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in inside
    )


def _program_between_words(text: str, entry_point: str) -> str | None:
    """The longest program with the function between words that are no program."""
    if f"def {entry_point}" not in text:
        return None
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if _BEGINS.match(line)][:8]
    ends = [at for at, line in enumerate(lines) if line[:1].strip()] + [len(lines)]
    most = max(1, min(TRIES, LETTERS_TRIED // (len(text) * max(1, len(starts)))))
    # Each start costs up to TRIES parses.
    for start in starts:
        for end in [at for at in ends if at > start][: -most - 1 : -1]:
            program = "\n".join(lines[start:end])
            if (tree := _parse_or_none(program)) and any(
                entry_point in _defined_names(p) or _has_method(p, entry_point) for p in tree.body
            ):
                return program
    return None


def _complete_function(prompt: str, body: str) -> str | None:
    """The prompt's function with *body*, however that is indented; None where it is no body."""
    first, _, others = body.lstrip("\n").partition("\n")
    lines = body.split("\n")
    ended = next((at for at, line in enumerate(lines) if line[:1].strip()), len(lines))
    forms = [body, _indent_body(body), f"    {first.lstrip()}\n{others}", "\n".join(lines[:ended])]
    for tried in forms:
        whole = f"{prompt.rstrip()}\n{tried}"
        tree = _parse_or_none(whole)
        last = tree.body[-1] if tree and tree.body else None
        # Words alone may be Python, too ("pass"): a body that never ends in something is none.
        ends = (ast.Return, ast.Raise, ast.Yield, ast.YieldFrom)
        function = isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef)
        if function and any(isinstance(one, ends) for one in ast.walk(last)):
            return whole
    return None


def _indent_body(body: str) -> str:
    first = next((line for line in body.split("\n") if line.strip()), "")
    if first[:1].isspace():
        return body
    return "\n".join(f"    {line}" if line.strip() else line for line in body.split("\n"))


def _join_program(prompt: str, entry_point: str, parts: Sequence[str]) -> str:
    """What the prompt has before its function, and the parts; imports of the future first."""
    whole = "\n".join([_prompt_preamble(prompt, entry_point), *parts])
    tree = _parse_statements(whole)
    lines = whole.split("\n")
    future: list[str] = []
    for part in tree:
        if isinstance(part, ast.ImportFrom) and part.module == "__future__":
            end = part.end_lineno or part.lineno
            future.append(ast.unparse(part))
            # Blanked, not cut: the lines below keep the numbers that the tree has for them.
            lines[part.lineno - 1 : end] = [""] * (end - part.lineno + 1)
    return "\n".join([*future, *lines])


def _parse_statements(text: str) -> Sequence[ast.stmt]:
    """The statements; ``from __future__`` in a later line is no fault of grammar."""
    tree = _parse_or_none(text)
    return tree.body if tree else ()


def _prompt_preamble(prompt: str, entry_point: str) -> str:
    """
    What the prompt brings along before its function: imports, helpers. Neither tests, which would
    be run on the prompt's empty function, nor what they import it from.
    """
    tree = _parse_or_none(prompt)
    if tree is not None:
        heads = [at for at, part in enumerate(tree.body) if isinstance(part, _HEADS)]
        parts = tree.body[: heads[-1] if heads else -1]
    else:  # words may begin like an import ("from two lists")
        trees = [_parse_or_none(found) for found in _IMPORT.findall(prompt)]
        parts = [part for one in trees if one for part in one.body]
    return "\n".join(ast.unparse(part) for part in parts if not _is_for_tests(part, entry_point))


_HEADS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _is_for_tests(part: ast.stmt, entry_point: str) -> bool:
    """Whether a statement is a test, or an import that only tests of the function need."""
    if isinstance(part, ast.Import | ast.ImportFrom):
        return not {entry_point, "pytest"}.isdisjoint(_defined_names(part))
    return isinstance(part, ast.Assert)
