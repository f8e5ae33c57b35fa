"""JSON Schema (2020-12): whether a schema is one, and what in some data does not match it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast
from urllib.parse import unquote

from mixtura.core.json_text import read_json_text
from mixtura.core.text import unknown_name_message

Schema = Mapping[str, Any] | bool

MAX_PROBLEMS = 20
"""Mismatches that are listed of one value: more help no one."""
MAX_MESSAGE_CHARS = 200
"""Of a mismatch, which quotes the data."""


class SchemaError(ValueError):
    """The schema itself is wrong: says where."""


def find_mismatches(schema: Schema, data: Any) -> list[str]:
    """What in *data* does not match *schema*, each with its place; empty where all does.

    A place is written as in JSONPath: ``$.people[0].age``. Raises SchemaError for a reference in
    the schema that leads nowhere, out of it, or in a circle.
    """
    from referencing.exceptions import Unresolvable

    try:
        errors: list[Any] = list(islice(_find_validator(schema).iter_errors(data), MAX_PROBLEMS))
    except Unresolvable as error:
        raise SchemaError(f"a reference leads nowhere: {error}") from None
    except RecursionError:
        raise SchemaError("its references lead in a circle, or the data is too deep") from None
    return [f"{error.json_path}: {_shorten(str(error.message))}" for error in errors]


def read_json_answer(text: str) -> Any:
    """
    The data of an answer that is JSON, alone or in a fence. Raises ValueError for anything else,
    NaN, Infinity and more than MAX_REQUEST_DEPTH levels too.
    """
    fenced = _FENCED.match(text)
    return read_json_text(fenced[1] if fenced else text, _refuse_constant)


_FENCED = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def check_schema(schema: Any) -> None:
    """Raises SchemaError for what is no schema, or has keywords or references that are none."""
    from jsonschema import Draft202012Validator, exceptions

    if not isinstance(schema, (Mapping, bool)):
        raise SchemaError('$: a schema is an object, as in {"type": "object"}')
    rules: Any = Draft202012Validator(
        Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    problems: Any = rules.iter_errors(schema)
    try:
        error = cast("Any", exceptions).best_match(problems)
        if error is not None:
            # Of several forms that it could have, the first is the plainest.
            plainest = error.context[0] if error.context else error
            raise SchemaError(f"{error.json_path}: {_shorten(str(plainest.message))}")
        for part in _iterate_subschemas(cast("Schema", schema)):
            _check_keywords(part, cast("Schema", schema))
    except RecursionError:
        raise SchemaError("it is nested too deep") from None


def _iterate_subschemas(schema: Schema) -> Iterator[Mapping[str, Any]]:
    """*schema* and every schema in it."""
    from referencing.jsonschema import DRAFT202012

    if isinstance(schema, Mapping):
        yield schema
        parts: Any = DRAFT202012.subresources_of(cast("Any", schema))
        for part in parts:
            yield from _iterate_subschemas(part)


def _check_keywords(part: Mapping[str, Any], root: Schema) -> None:
    from jsonschema import Draft202012Validator

    known = {*cast("Mapping[str, Any]", Draft202012Validator.VALIDATORS), *_OTHER_KEYWORDS}
    # Nobody checks a keyword that does not exist: a typing error would let anything pass.
    if unknown := sorted(key for key in part if key not in known and not key.startswith("x-")):
        raise SchemaError(unknown_name_message("keyword", unknown[0], known))
    reference = part.get("$ref")
    if isinstance(reference, str):
        if not reference.startswith("#"):
            raise SchemaError(f"$ref: {reference}: only references into this file are followed")
        _resolve_pointer(root, reference)


def _resolve_pointer(root: Schema, reference: str) -> None:
    """Raises SchemaError where a JSON pointer leads nowhere; anchors are left to the library."""
    here = cast("Any", root)
    for step in reference.removeprefix("#").split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        try:
            here = cast("Any", here[int(key)] if isinstance(here, list) else here[key])
        except (KeyError, IndexError, ValueError, TypeError):
            raise SchemaError(f"$ref: there is no {reference}") from None


_OTHER_KEYWORDS = frozenset((
    "$schema", "$id", "$anchor", "$dynamicAnchor", "$vocabulary", "$comment", "$defs",
    "definitions",
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "then", "else", "minContains", "maxContains", "contentEncoding", "contentMediaType",
    "contentSchema", "strict",
))  # fmt: skip
"""Keywords that demand nothing by themselves."""


def requires_everything(schema: Any) -> bool:
    """Whether each object in *schema* lists all its properties as required and allows no others.

    That is what OpenAI asks of a schema that is to be kept strictly.
    """
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return all(map(requires_everything, cast("Sequence[Any]", schema)))
    if not isinstance(schema, Mapping):
        return True
    table = cast("Mapping[str, Any]", schema)
    if "properties" in table or table.get("type") == "object":
        names = set(table.get("properties", {}))
        if (
            table.get("additionalProperties") is not False
            or set(table.get("required", ())) != names
        ):
            return False
    return all(map(requires_everything, table.values()))


def _find_validator(schema: Schema) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import EMPTY_REGISTRY

    # A registry of its own: the library's default would fetch what a reference points to.
    registry: Registry[Any] = EMPTY_REGISTRY
    return Draft202012Validator(schema, registry=registry)


def _shorten(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_CHARS else f"{message[:MAX_MESSAGE_CHARS]} …"


def object_schema(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """The schema of an object with these *properties* alone; *required*: all, if none is named."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required or properties),
        "additionalProperties": False,
    }
