"""TOML with the line of everything in it, so that an error can say where."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from mixtura.config.toml_lines import MAX_DEPTH, Key, find_line_numbers
from mixtura.core.credentials import is_secret_setting, settings_secrets
from mixtura.core.errors import ConfigError
from mixtura.core.quantities import is_unrepresentable
from mixtura.core.redaction import register_secrets
from mixtura.core.text import unknown_name_message

T = TypeVar("T")
TOO_DEEP = "tables and lists are nested too deeply"


class TomlDocument:
    """A TOML file as read, and where its parts stand."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self._text = text = text.removeprefix("\ufeff")  # Windows' editors begin with a mark
        self._lines: dict[tuple[Key, ...], int] | None = None
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is one
            said = _explain_syntax_error(text, error)
            raise ConfigError(f"{source}: not valid TOML: {said}") from None
        if path := _too_deep_path(self.data):
            raise self.error_at(path, TOO_DEEP)
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
        if self._lines is None:
            self._lines = find_line_numbers(self._text)
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(tuple(path[:length]))) is not None:
                return line
        return 1


def _explain_syntax_error(text: str, error: ValueError | RecursionError) -> str:
    """What is wrong in *text*, which tomllib refused, with its line and column."""
    if isinstance(error, tomllib.TOMLDecodeError):
        end = f"(at {_describe_position(text, len(text))}, the end of the file)"
        return str(error).replace("(at end of document)", end)
    # an error of Python's own says no place: the shortest beginning that has it ends there
    place = bisect_left(range(len(text)), True, key=lambda n: _fails_alike(text[: n + 1], error))
    problem = TOO_DEEP if isinstance(error, RecursionError) else "a number has too many digits"
    return f"{problem} (at {_describe_position(text, place)})"


def _fails_alike(text: str, error: Exception) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError) as found:
        return type(found) is type(error)
    return False


def _describe_position(text: str, at: int) -> str:
    """The words of tomllib for a place: ``line 2, column 1``."""
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


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


def _non_finite_paths(value: Any, path: list[Key]) -> Iterator[list[Key]]:
    """Where numbers are that are none, or have no end: TOML has words for both."""
    for key, inner in _items_inside(value):
        yield from _non_finite_paths(inner, [*path, key])
    if is_unrepresentable(value):
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
