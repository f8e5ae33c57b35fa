"""TOML with the line of everything in it, so that an error can say where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import msgspec

from mixtura.core.credentials import is_secret_setting, settings_secrets
from mixtura.core.errors import ConfigError
from mixtura.core.quantities import is_unrepresentable
from mixtura.core.redaction import register_secrets
from mixtura.core.text import unknown_name_message

T = TypeVar("T")
Key = str | int

_TOKEN_PATTERN = re.compile(
    r'"""(?:\\[\s\S]|[^\\])*?"""|' + r"'''[\s\S]*?'''"
    r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'"
    r"|#[^\n]*|\n|[\[\]{},=]|[^\s\[\]{},=#\"']+"
)
_KEY_PATTERN = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


class TomlDocument:
    """A TOML file as read, and where its parts stand."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self._text = text
        self._places: dict[tuple[Key, ...], int] | None = None
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is one
            raise ConfigError(f"{source}: not valid TOML: {error}") from None
        register_secrets(settings_secrets(self.data))  # so that no error shows one
        for path in _non_finite_paths(self.data, []):
            raise self.error_at(path, f"{dotted_path(path)}: that must be a number with an end")

    def error_at(self, path: Sequence[Key], problem: str) -> ConfigError:
        """An error that begins with the file and the line of *path*."""
        said = f"{self.source}, line {self.line_number(path)}: {problem}"
        return ConfigError(said, located=True)

    def convert_part(self, path: Sequence[Key], kind: type[T]) -> T:
        """The part at *path* as a *kind*. Raises ConfigError with what is wrong in it."""
        part: Any = self.data
        for key in path:
            part = part[key]
        try:
            return msgspec.convert(part, kind)
        except msgspec.ValidationError as error:
            raise self._explain_error(path, kind, str(error)) from None

    def _explain_error(self, path: Sequence[Key], kind: type, said: str) -> ConfigError:
        problem, _, where = said.partition(" - at `$")
        inner = [*path, *_parse_error_path(where.rstrip("`"))]
        if found := re.fullmatch(r"Object contains unknown field `(.+)`", problem):
            key = found[1]
            known = _field_names(kind, inner[len(path) :])
            if name := self._quoted_name_advice(inner, key, known):
                return self.error_at([*inner, key], name)
            said = unknown_name_message("key", key, known)
            if is_secret_setting(key):
                said += " A key never stands in this file: `api_key_env` names its variable."
            return self.error_at([*inner, key], said)
        if found := re.fullmatch(r"Invalid enum value '(.*)'", problem):
            right = " or ".join(f"'{word}'" for word in _allowed_values(kind, inner[len(path) :]))
            return self.error_at(inner, f"{dotted_path(inner)}: expected {right}, got '{found[1]}'")
        return self.error_at(inner, f"{dotted_path(inner)}: {_plain_message(problem)}")

    def _quoted_name_advice(
        self, path: Sequence[Key], key: str, known: Sequence[str]
    ) -> str | None:
        """What to write for a table whose name has a dot and no quotes, where *key* is its rest."""
        part: Any = self.data
        for step in (*path, key):
            part = part[step]
        if len(path) != 2 or not isinstance(part, dict):
            return None
        names = [str(path[1]), key]
        while len(inner := cast(dict[str, Any], part)) == 1:
            following, part = next(iter(inner.items()))
            if following in known or not isinstance(part, dict):
                break
            names.append(following)
        name = ".".join(names)
        quoted = f'[{path[0]}."{name}"]'
        return f"a name with a dot is quoted: {quoted}, where '{name}' is one name"

    def line_number(self, path: Sequence[Key]) -> int:
        """The line, from 1, where *path* stands; that of the nearest thing around it."""
        if self._places is None:
            self._places = _find_line_numbers(self._text)
        for length in range(len(path), 0, -1):
            if (line := self._places.get(tuple(path[:length]))) is not None:
                return line
        return 1


def _non_finite_paths(value: Any, path: list[Key]) -> Iterator[list[Key]]:
    """Where numbers are that are none, or have no end: TOML has words for both."""
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _non_finite_paths(inner, [*path, key])
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            yield from _non_finite_paths(inner, [*path, index])
    elif is_unrepresentable(value):
        yield path


def dotted_path(path: Iterable[Key]) -> str:
    """A path as a person writes it: ``mixtures.best.layers[0]``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _parse_error_path(where: str) -> list[Key]:
    """msgspec's path (``.limits[0]``) as keys; ``[...]`` names no one place."""
    found = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", where)
    return [name or int(number) for name, number in found]


def _field_names(kind: type, path: Sequence[Key]) -> tuple[str, ...]:
    """The names that msgspec would have taken at *path* inside *kind*."""
    info = _struct_type_info(_type_info_at(kind, path))
    return tuple(f.encode_name for f in info.fields) if info is not None else ()


def _allowed_values(kind: type, path: Sequence[Key]) -> tuple[str, ...]:
    """The words that may stand at *path* inside *kind*, where only some may."""
    return getattr(_type_info_at(kind, path), "values", ())


def _type_info_at(kind: type, path: Sequence[Key]) -> Any:
    """What msgspec knows of the place at *path* inside *kind*."""
    info: Any = msgspec.inspect.type_info(kind)
    for key in path:
        info = _child_type_info(info, key)
    return info


def _child_type_info(info: Any, key: Key) -> Any:
    struct = _struct_type_info(info)
    if struct is not None:
        return next((f.type for f in struct.fields if f.encode_name == key), None)
    for option in getattr(info, "types", (info,)):
        if hasattr(option, "value_type"):
            return option.value_type
        if hasattr(option, "item_type"):
            return option.item_type
    return None


def _struct_type_info(info: Any) -> Any:
    for option in getattr(info, "types", (info,)):
        if isinstance(option, msgspec.inspect.StructType):
            return option
    return None


def _split_dotted_key(text: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in _KEY_PATTERN.findall(text))


_PLAIN_TYPES = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "array": "a list", "object": "a table",
}  # fmt: skip


def _plain_message(problem: str) -> str:
    """msgspec's complaint in the words of whoever writes the file."""
    if found := re.fullmatch(r"Object missing required field (`.+`)", problem):
        return f"{found[1]} is missing"

    def plain_type_names(match: re.Match[str]) -> str:
        kinds = [kind for kind in match[1].split(" | ") if kind != "null"]
        return " or ".join(_PLAIN_TYPES.get(kind, kind) for kind in kinds)

    said = re.sub(r"`([a-z |]+)`", plain_type_names, problem)
    return said[:1].lower() + said[1:]


# ---- where things stand: a walk over the tokens of a file that tomllib has accepted


def _find_line_numbers(text: str) -> dict[tuple[Key, ...], int]:
    """The line of every table, key and element, by its path."""
    walk = _LineScanner(text)
    walk.scan_file()
    return walk.found


class _LineScanner:
    def __init__(self, text: str) -> None:
        self.found: dict[tuple[Key, ...], int] = {}
        self._tokens: list[tuple[str, int]] = []
        line = 1
        for match in _TOKEN_PATTERN.finditer(text):
            if not match[0].startswith("#"):
                self._tokens.append((match[0], line))
            line += match[0].count("\n")
        self._at = 0

    def scan_file(self) -> None:
        table: tuple[Key, ...] = ()
        while self._at < len(self._tokens):
            piece, line = self._next_token()
            if piece == "[":
                table = self._scan_header()
                self.found.setdefault(table, line)
            elif piece != "\n":
                self._at -= 1
                self._scan_assignment(table)

    def _next_token(self) -> tuple[str, int]:
        piece = self._tokens[self._at]
        self._at += 1
        return piece

    def _scan_header(self) -> tuple[Key, ...]:
        """After an opening bracket: the table's path; ``[[x]]`` counts as ``[x]``."""
        words: list[str] = []
        while self._at < len(self._tokens) and (piece := self._next_token()[0]) != "\n":
            words += [piece] if piece not in "[]" else []
        return _split_dotted_key("".join(words))

    def _scan_assignment(self, inside: tuple[Key, ...]) -> None:
        words: list[str] = []
        line = self._tokens[self._at][1]
        while (piece := self._next_token()[0]) != "=":
            words.append(piece)
        names = _split_dotted_key("".join(words))
        for length in range(1, len(names) + 1):
            self.found.setdefault(inside + names[:length], line)
        self._scan_value(inside + names)

    def _scan_value(self, path: tuple[Key, ...]) -> None:
        piece, _ = self._next_token()
        if piece == "[":
            self._scan_array(path)
        elif piece == "{":
            while (piece := self._next_token()[0]) != "}":
                if piece not in (",", "\n"):
                    self._at -= 1
                    self._scan_assignment(path)

    def _scan_array(self, path: tuple[Key, ...]) -> None:
        index = 0
        while (piece := self._next_token())[0] != "]":
            if piece[0] == ",":
                index += 1
            elif piece[0] != "\n":
                self.found[(*path, index)] = piece[1]
                self._at -= 1
                self._scan_value((*path, index))
