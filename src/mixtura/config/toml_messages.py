"""What tomllib and msgspec complain of, in the words of whoever writes the file."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Sequence

TOO_DEEP = "tables and lists are nested too deeply"
MAX_SHOWN = 70
"""Characters of a line that an error quotes."""

_UNQUOTED = re.compile(r"\s*([A-Za-z_]{1,30})\s*=\s*([A-Za-z][\w./:-]*)\s*(?:#.*)?")
_PLAIN_WORD = re.compile(r"[a-z0-9.-]{1,8}(?:[/:.-][a-z0-9.]{1,12}){0,4}")
_SECRET_NAME = re.compile("key|token|secret|password|authorization", re.IGNORECASE)
_PLAIN_SYNTAX = {
    "Cannot overwrite a value": "this key is in the file already",
    "Cannot declare": "this table is in the file already",
    "Illegal character '\\n'": "a string that begins in this line has no closing quotation mark",
    "Unterminated string": "a string has no closing quotation mark",
    "Expected '=' after a key": "expected KEY = VALUE",
    "Invalid statement": "expected KEY = VALUE or [TABLE]",
    "Invalid initial character for a key part": "expected a key",
    "Invalid value": "expected a quoted string, a number, true, false, a list or a table",
    "Expected ']' at the end of a table declaration": "the name of a table ends with ']'",
    "Expected newline or end of document": "expected the end of the line",
    "Unclosed array": "a list is not closed: expected ',' or ']'",
    "Unclosed inline table": "a table is not closed: expected ',' or '}'",
}
"""What tomllib's messages begin with, and what to say in their place."""
_PATTERN_ADVICE = {
    "^[0-9a-fA-F]{64}$": (
        "this is not the SHA-256 of a key (64 digits from 0 to f):"
        " `mixtura serve --new-key NAME` makes a key and its SHA-256"
    )
}
"""What to say of a text that does not match a pattern of the schema."""


def explain_syntax_error(text: str, error: ValueError | RecursionError) -> tuple[int, str]:
    """The line of what is wrong in *text*, which tomllib refused, and what that is."""
    if isinstance(error, tomllib.TOMLDecodeError):
        if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL):
            line = int(found[2])
            said = plain_syntax_message(found[1])
            return line, f"{said} (column {found[3]}){_line_advice(text, line)}"
        said = plain_syntax_message(str(error).removesuffix(" (at end of document)"))
        said = f"{said} (at the end of the file)"
        return text.count("\n") + 1, said
    # an error of Python's own says no place: the shortest beginning that has it ends there
    place = bisect_left(range(len(text)), True, key=lambda n: _fails_alike(text[: n + 1], error))
    problem = TOO_DEEP if isinstance(error, RecursionError) else "a number has too many digits"
    column = place - text.rfind("\n", 0, place)
    return text.count("\n", 0, place) + 1, f"{problem} (column {column})"


def plain_syntax_message(problem: str) -> str:
    """tomllib's complaint in the words of whoever writes the file."""
    for beginning, plain in _PLAIN_SYNTAX.items():
        if problem.startswith(beginning):
            return plain
    return problem[:1].lower() + problem[1:]


def _line_advice(text: str, line: int) -> str:
    """What to write in a line with one of the usual mistakes; empty where it has none."""
    lines = text.split("\n")
    written = lines[line - 1] if line <= len(lines) else ""
    if found := _SIGNS_IN_NAME.match(written):
        return f'; put such a name in quotation marks: [{found[1]}."{found[2].strip()}"]'
    if _CURLY_QUOTES.search(written):
        return '; quotation marks are straight: "…"'
    if _BACKSLASHES.search(written):
        return "; a text with backslashes, such as a path, goes into single quotes: 'C:\\…'"
    return _unquoted_text_advice(written)


_SIGNS_IN_NAME = re.compile(
    r"""\s*\[\[?\s*([\w-]{1,40})\s*\.\s*([\w.-]*[^\w."'\]-][^"'\]]{0,80})\]"""
)
"""A table's name with signs that a bare name may not have: ``[models.openai/gpt]``."""
_CURLY_QUOTES = re.compile("=\\s*[\u201c\u201d\u201e\u2018\u2019]")
_BACKSLASHES = re.compile(r"""=\s*"[^"]*\\[^"]*"\s*(?:#.*)?\Z""")


def _unquoted_text_advice(written: str) -> str:
    """What to write where a text stands without its quotation marks, the usual mistake."""
    if not (found := _UNQUOTED.fullmatch(written)):
        return ""
    # The value may be a key that was put here by mistake: only a plain word is repeated.
    plain = _PLAIN_WORD.fullmatch(found[2]) and not _SECRET_NAME.search(found[1])
    shown = found[2] if plain else "…"
    return f'; a string needs quotation marks: {found[1]} = "{shown}"'


def _fails_alike(text: str, error: Exception) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError) as found:
        return type(found) is type(error)
    return False


_PLAIN_TYPES = {
    "str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false",
    "array": "a list", "object": "a table",
}  # fmt: skip


def plain_message(problem: str) -> str:
    """msgspec's complaint in the words of whoever writes the file."""
    if found := re.fullmatch(r"Object missing required field (`.+`)", problem):
        return f"{found[1]} is missing"
    if found := re.search(r"matching regex '(.+)'", problem):
        return _PATTERN_ADVICE[found[1]]

    def plain_type_names(match: re.Match[str]) -> str:
        kinds = [kind for kind in match[1].split(" | ") if kind != "null"]
        return " or ".join(_PLAIN_TYPES.get(kind, kind) for kind in kinds)

    said = re.sub(r"`([a-z |]+)`", plain_type_names, problem)
    return said[:1].lower() + said[1:]


_TRACES = "traces are switched on by the variable OTEL_EXPORTER_OTLP_ENDPOINT, not in this file"
SET_ELSEWHERE = {"telemetry": _TRACES, "traces": _TRACES, "otel": _TRACES}
"""Tables that people look for here, and where their settings are."""


def explain_secret_place(path: Sequence[str | int]) -> str:
    """Where the secret belongs that was written at *path*."""
    if list(path[:2]) == ["serve", "keys"]:
        return (
            "A key never goes into this file: `mixtura serve --new-key NAME` makes one, and prints"
            " the `sha256` that belongs here."
        )
    return (
        "A key never goes into this file: set it in the environment and name the variable with"
        " `api_key_env`."
    )


def shorten(text: str) -> str:
    """The beginning of a line, as much as an error can quote."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
