"""TOML with the line of everything in it, so that an error can say where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec

from mixtura.config.mistakes import Mistakes
from mixtura.config.table_checks import (
    StandIn,
    TableMistake,
    find_table_mistakes,
    remove_mistakes,
)
from mixtura.config.toml_lines import MAX_DEPTH, Key, find_line_numbers
from mixtura.config.toml_messages import (
    SET_ELSEWHERE,
    TOO_DEEP,
    explain_secret_place,
    explain_syntax_error,
    plain_message,
    shorten,
)
from mixtura.core.credentials import is_secret_setting, settings_secrets
from mixtura.core.errors import ConfigError, NotAvailableHereError
from mixtura.core.quantities import is_unrepresentable
from mixtura.core.redaction import register_secrets
from mixtura.core.text import unknown_name_message

T = TypeVar("T")


class TomlDocument:
    """
    A TOML file as read, and where its parts stand.

    Where *packaged*, it is a file that comes with the program: errors quote its line, because
    the person who reads them has no such file open.
    """

    def __init__(self, text: str, source: str, *, packaged: bool = False) -> None:
        self.source = source
        self.packaged = packaged
        self.text = text = text.removeprefix("\ufeff")  # Windows' editors begin with a mark
        self._lines: dict[tuple[Key, ...], int] | None = None
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is one
            line, said = explain_syntax_error(text, error)
            raise ConfigError(f"{source}:{line}: not valid TOML: {said}", line=line) from None
        if path := _too_deep_path(self.data):
            raise self.error_at(path, TOO_DEEP)
        register_secrets(settings_secrets(self.data))  # so that no error shows one
        endless = [
            self.error_at(path, f"{dotted_path(path)}: {problem}")
            for path, problem in _find_wrong_numbers(self.data, [])
        ]
        if endless:
            raise ConfigError.combine(endless)

    def error_at(self, path: Sequence[Key], problem: str) -> ConfigError:
        """An error that begins with the file and the line of *path*."""
        line = self.line_number(path)
        if self.packaged:
            shown = shorten(self.text.splitlines()[line - 1].strip())
            return ConfigError(f"{self.source}, line {line} ({shown}): {problem}", line=line)
        return ConfigError(f"{self.source}:{line}: {problem}", line=line)

    @contextmanager
    def add_location(self, path: Sequence[Key], before: str = "") -> Generator[None]:
        """Add the file, the line of *path* and *before* to a ConfigError of this block."""
        try:
            yield
        except ConfigError as error:
            if error.has_location:
                raise
            found = self.error_at(path, f"{before}{error}")
            if type(error) is NotAvailableHereError:
                found = NotAvailableHereError(str(found), line=found.line)
            raise found from None

    def has_path(self, path: Sequence[Key]) -> bool:
        """Whether the file says something at *path*."""
        part: Any = self.data
        for key in path:
            if not isinstance(part, dict) or key not in part:
                return False
            part = cast("dict[Key, Any]", part)[key]
        return True

    def part_at(self, path: Sequence[Key]) -> Any:
        """What stands at *path*. Raises KeyError where nothing does."""
        part: Any = self.data
        for key in path:
            part = part[key]
        return part

    def convert_valid_part(
        self,
        path: Sequence[Key],
        kind: type[T],
        mistakes: Mistakes,
        *,
        without: Collection[str] = (),
        stand_in: StandIn | None = None,
    ) -> T | None:
        """
        What of the part at *path* is right, as a *kind*; what is wrong goes into *mistakes*.

        Keys that *without* names are left out, because what is wrong with them was said. *stand_in*
        keeps a list of which only some items are wrong.
        """
        part = self.part_at(path)
        if without:
            part = {key: value for key, value in part.items() if key not in without}
        wrong = list(find_table_mistakes(kind, part))
        for one in wrong:
            mistakes.add(self._explain_mistake(path, one))
        while wrong:  # what is taken out may be missed by what is around it
            if (part := remove_mistakes(part, wrong, stand_in)) is None:
                return None
            wrong = list(find_table_mistakes(kind, part))
        try:
            return msgspec.convert(part, kind)
        except msgspec.ValidationError as error:
            said = plain_message(str(error).partition(" - at `$")[0])
            mistakes.add(self.error_at(path, f"{dotted_path(path)}: {said}"))
            return None

    def _explain_mistake(self, path: Sequence[Key], mistake: TableMistake) -> ConfigError:
        inner = [*path, *mistake.path]
        if not mistake.problem:
            key = str(inner[-1])
            if name := self._quoted_name_advice(inner[:-1], key, mistake.allowed):
                return self.error_at(inner, name)
            said = unknown_name_message("key", key, mistake.allowed)
            if len(inner) > 1:
                said = f"{dotted_path(inner[:-1])}: {said}"
            if key in SET_ELSEWHERE and len(inner) == 1:
                said = f"unknown key '{key}': {SET_ELSEWHERE[key]}"
            if is_secret_setting(key):
                said += "" if said.endswith("?") else "."
                said += f" {explain_secret_place(inner)}"
            return self.error_at(inner, said)
        if found := re.fullmatch(r"Invalid enum value '(.*)'", mistake.problem):
            number = ["a number"] if mistake.takes_number else []
            right = " or ".join([*number, *(f"'{word}'" for word in mistake.allowed)])
            return self.error_at(inner, f"{dotted_path(inner)}: expected {right}, got '{found[1]}'")
        where = f"{dotted_path(inner)}: " if inner else ""
        said = f"{where}{plain_message(mistake.problem)}"
        if inner[-1:] == ["command"] and said.endswith("got a string"):
            said += ': write each word by itself, as in command = ["my-model", "--quiet"]'
        return self.error_at(inner, said)

    def _quoted_name_advice(
        self, path: Sequence[Key], key: str, known: Sequence[str]
    ) -> str | None:
        """What to write for a table whose name has a dot and no quotes, where *key* is its rest."""
        part: Any = self.data
        for step in (*path, key):
            part = part[step]
        if len(path) != 2 or not isinstance(part, dict):
            return None
        # An inline table under a misspelt key is no name with a dot.
        dotted = rf"{re.escape(str(path[1]))}\s*\.\s*{re.escape(key)}\b"
        if not re.search(dotted, self.text):
            return None
        names = [str(path[1]), key]
        while len(inner := cast(dict[str, Any], part)) == 1:
            following, part = next(iter(inner.items()))
            if following in known or not isinstance(part, dict):
                break
            names.append(following)
        name = ".".join(names)
        quoted = f'[{path[0]}."{name}"]'
        return f"put a name with a dot in quotation marks: {quoted}"

    def line_number(self, path: Sequence[Key]) -> int:
        """The line, from 1, where *path* stands; that of the nearest thing around it."""
        if self._lines is None:
            self._lines = find_line_numbers(self.text)
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(tuple(path[:length]))) is not None:
                return line
        return 1


def _too_deep_path(data: Mapping[str, Any]) -> list[Key] | None:
    """Where more is nested than any configuration has, and than recursion could read."""
    level: list[tuple[list[Key], Any]] = [([], data)]
    for _ in range(MAX_DEPTH):
        level = [
            ([*path, key], inner) for path, value in level for key, inner in _items_inside(value)
        ]
    return level[0][0] if level else None


def _items_inside(value: Any) -> Iterable[tuple[Key, Any]]:
    if isinstance(value, dict):
        return cast("dict[Key, Any]", value).items()
    return enumerate(cast("list[Any]", value)) if isinstance(value, list) else ()


def _find_wrong_numbers(value: Any, path: list[Key]) -> Iterator[tuple[list[Key], str]]:
    """Where numbers are that are none, have no end or are too large, and what is wrong."""
    for key, inner in _items_inside(value):
        yield from _find_wrong_numbers(inner, [*path, key])
    if is_unrepresentable(value):
        huge = "a whole number this large is out of range: at most 19 digits"
        yield path, huge if isinstance(value, int) else "write a finite number, not inf or nan"


def dotted_path(path: Iterable[Key]) -> str:
    """A path as a person writes it: ``mixtures.best.layers[0]``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text
