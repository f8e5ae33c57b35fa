"""Every place where a table of a file does not fit the type that is to be read from it."""

from __future__ import annotations

import copy
import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec

from mixtura.config.toml_lines import Key

Path = tuple[Key, ...]


class TableMistake(NamedTuple):
    """What is wrong at one place."""

    path: Path
    problem: str
    """In msgspec's words; of a key that does not exist, nothing."""
    allowed: tuple[str, ...] = ()
    """The keys, or the words, that may stand there."""
    takes_number: bool = False
    """Whether a number may stand there, too."""


def find_table_mistakes(kind: Any, value: object, path: Path = ()) -> Iterator[TableMistake]:
    """
    Every place inside *value* that is no *kind*; msgspec itself names the first one only.

    *kind* is a type as annotations have it: structs, lists, dictionaries, and what is in them.
    """
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        if (struct := _find_struct(kind)) is not None:
            yield from _find_struct_mistakes(struct, table, path)
            return
        if (inner := _find_item_type(kind, (dict,))) is not None:
            for key, item in table.items():
                yield from find_table_mistakes(inner, item, (*path, key))
            return
    if isinstance(value, list) and (inner := _find_item_type(kind, (list, tuple))) is not None:
        for number, item in enumerate(cast("list[Any]", value)):
            yield from find_table_mistakes(inner, item, (*path, number))
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problem = str(error).partition(" - at `$")[0]
        yield TableMistake(path, problem, _allowed_words(kind), float in _union_members(kind))


def _find_struct_mistakes(
    struct: type[msgspec.Struct], table: Mapping[str, Any], path: Path
) -> Iterator[TableMistake]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    misspelt: set[str] = set()
    for key, item in table.items():
        if key in fields:
            yield from find_table_mistakes(fields[key].type, item, (*path, key))
        else:
            misspelt.update(difflib.get_close_matches(key, fields))
            yield TableMistake((*path, key), "", tuple(fields))
    for key, field in fields.items():
        # A key that is there under a misspelt name is one mistake, not two.
        if field.required and key not in table and key not in misspelt:
            yield TableMistake(path, f"Object missing required field `{key}`")


class StandIn(NamedTuple):
    """An *item* that takes the place of a wrong one in the list of lists under *key*."""

    key: str
    item: str

    def put_into(self, data: Any, mistake: TableMistake) -> bool:
        """Whether *mistake* is about that list, or about a list that is missing, and is mended."""
        is_missing = not mistake.path and mistake.problem.endswith(f" field `{self.key}`")
        if not isinstance(data, dict) or not (is_missing or mistake.path[:1] == (self.key,)):
            return False
        match mistake.path[1:]:
            case (int(row), int(place), *_):
                data[self.key][row][place] = self.item
            case (int(row), *_):
                data[self.key][row] = [self.item]
            case _:
                data[self.key] = [[self.item]]
        return True


def remove_mistakes(
    data: Any, mistakes: Iterable[TableMistake], stand_in: StandIn | None = None
) -> Any:
    """
    A copy of *data* without what *mistakes* are about; None where nothing of it can stay.

    What is wrong in a list takes the whole list with it: its other items would move; but a
    *stand_in* takes the place of what is wrong under its key.
    """
    data = copy.deepcopy(data)
    for mistake in mistakes:
        if stand_in is not None and stand_in.put_into(data, mistake):
            continue
        cut = next((i for i, key in enumerate(mistake.path) if isinstance(key, int)), None)
        path = mistake.path[:cut]
        if not path:
            return None
        part: Any = data
        for key in path[:-1]:
            part = cast("dict[Key, Any]", part).get(key) if isinstance(part, dict) else None
        if isinstance(part, dict):
            cast("dict[Key, Any]", part).pop(path[-1], None)
    return data


def _union_members(kind: Any) -> Sequence[Any]:
    """The types that a union is of, and any other type itself."""
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return [one for part in typing.get_args(kind) for one in _union_members(part)]
    return (kind,)


def _find_struct(kind: Any) -> type[msgspec.Struct] | None:
    for one in _union_members(kind):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None


def _find_item_type(kind: Any, containers: tuple[type, ...]) -> Any:
    """The type of what is in a list, or of the values of a dictionary."""
    for one in _union_members(kind):
        inner = typing.get_args(one)
        if typing.get_origin(one) not in containers:
            continue
        if len(inner) == 1 or inner[1] is ...:
            return inner[0]
        if typing.get_origin(one) is dict:
            return inner[1]
    return None


def _allowed_words(kind: Any) -> tuple[str, ...]:
    for one in _union_members(kind):
        if typing.get_origin(one) is Literal:
            return tuple(map(str, typing.get_args(one)))
    return ()
