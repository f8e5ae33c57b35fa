"""What reading requests and writing answers has in common in several APIs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar, cast

import msgspec

from mixtura.core import large_json
from mixtura.core.json_text import MAX_REQUEST_DEPTH, is_deeper_than
from mixtura.core.types import Completion, Part, TextPart, ToolCall, Usage, sum_usage
from mixtura.server.apis.base import ApiError

T = TypeVar("T")

NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_decoder = msgspec.json.Decoder(dict[str, Any])


# ---- requests


def decode_body(body: bytes) -> dict[str, Any]:
    """A body as plain data. Raises ApiError."""
    try:
        raw = large_json.decode(body)
        found = _decoder.decode(body) if not isinstance(raw, dict) else cast("dict[str, Any]", raw)
    except RecursionError:
        raise ApiError(400, _TOO_DEEP_TEXT) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not a JSON object: {error}") from None
    flat = (
        body.count(b"{") + body.count(b"[") <= MAX_REQUEST_DEPTH
    )  # most are: nothing to look through
    if not flat and is_deeper_than(found, MAX_REQUEST_DEPTH):
        raise ApiError(400, _TOO_DEEP_TEXT)
    return found


_TOO_DEEP_TEXT = (
    "the body is nested too deeply: its objects and lists may stand in each other"
    f" {MAX_REQUEST_DEPTH} levels deep"
)


def convert_struct(raw: Any, to: type[T], right: Mapping[str, str], at: str = "") -> T:
    """
    *raw* as a struct. Raises ApiError, which names the parameter and says what would be right.

    *right* has that for parameters of few values, by their path without numbers; *at* is the
    place of *raw* in the body.
    """
    try:
        return _convert_leniently(raw, to)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `")
    where = at + where.rpartition("$")[2].rstrip("`")
    where = where.removeprefix(".")
    said = said[:1].lower() + said[1:]
    if missing := re.fullmatch(r"object missing required field `(\w+)`", said):
        param = f"{where}.{missing[1]}" if where else missing[1]
        raise ApiError(400, f"`{param}` is missing", param=param, code="missing_required_parameter")
    hint = right.get(re.sub(r"\[[^]]*\]", "[]", where))
    what = said + (f"; it can be {hint}" if hint else "")
    raise ApiError(400, f"`{where}`: {what}" if where else what, param=where or None)


def _convert_leniently(raw: Mapping[str, Any], to: type[T]) -> T:
    """*raw* as a struct; a whole number may be written as 4096.0, as official servers take it."""
    for _ in range(MAX_NUMBER_FIXES):
        try:
            return msgspec.convert(raw, to)
        except msgspec.ValidationError as error:
            if not (wrong := _FLOAT_FOR_INTEGER.search(str(error))) or not _make_whole_number(
                raw, wrong[1]
            ):
                raise
    return msgspec.convert(raw, to)


MAX_NUMBER_FIXES = 32
_FLOAT_FOR_INTEGER = re.compile(r"^Expected `int\b[^`]*`, got `float` - at `\$\.([^`]+)`$")
_PATH_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def _make_whole_number(raw: Mapping[str, Any], path: str) -> bool:
    """Write the number at *path* without its .0; false where it is another number."""
    steps = [int(number) if number else name for name, number in _PATH_STEP.findall(path)]
    table: Any = raw
    try:
        for step in steps[:-1]:
            table = table[step]
        number = table[steps[-1]]
    except (LookupError, TypeError):
        return False
    if not isinstance(number, float) or not number.is_integer():
        return False
    table[steps[-1]] = int(number)
    return True


def parse_stop_sequences(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Texts that an answer ends before; empty ones say nothing."""
    texts = [given] if isinstance(given, str) else given or ()
    return tuple(filter(None, texts)) or None


def as_list(value: Any) -> list[Any]:
    """A list of a body that no type has been checked of; empty for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_dict(value: Any) -> dict[str, Any]:
    """The same for an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def check_unsupported_parameters(raw: Mapping[str, Any], cannot: Mapping[str, str]) -> None:
    """Raises ApiError for a parameter that we know and cannot honour; an empty one asks nothing."""
    for name, said in cannot.items():
        if raw.get(name) not in (None, False, "", [], {}):
            raise ApiError(
                400, f"{said}: leave `{name}` out", param=name, code="unsupported_parameter"
            )


def check_tool_names(tools: Sequence[str], chosen: Iterable[str], *, where: str) -> None:
    """Tools by name, and those that a choice names. Raises ApiError."""
    known: set[str] = set()
    for number, name in enumerate(tools):
        if name in known:
            param = f"tools[{number}].name"
            raise ApiError(400, f"`{param}`: there are two tools called {name!r}", param=param)
        known.add(name)
    for name in chosen:
        if name not in known:
            raise ApiError(400, f"`{where}`: there is no tool {name!r} in `tools`", param=where)


def function_tool(
    name: str, description: str | None, parameters: Any, strict: bool | None
) -> dict[str, Any]:
    """A tool in the words of chat completions."""
    optional = {"description": description, "parameters": parameters, "strict": strict}
    given = {key: value for key, value in optional.items() if value is not None}
    return {"type": "function", "function": {"name": name} | given}


def join_text_parts(parts: Sequence[Part], between: str) -> str | tuple[Part, ...]:
    """Parts that are all text as one text: most servers take no parts outside a user's message."""
    texts = [part.text for part in parts if isinstance(part, TextPart) and not part.extra]
    return between.join(texts) if len(texts) == len(parts) else tuple(parts)


# ---- answers


def total_usage(answers: Sequence[Completion]) -> Usage:
    """Every token that the answers took: those of proposers, retries and lost calls, too."""
    return sum_usage([charge for answer in answers for charge in answer.charges])


def calls_with_ids(answer: Completion, prefix: str) -> Iterator[ToolCall]:
    """An answer's calls, each with an id of its own: some models give none, or one to several."""
    seen: set[str] = set()
    for index, call in enumerate(answer.message.tool_calls):
        new = call.id and call.id not in seen
        seen.add(call.id)
        yield call if new else replace(call, id=f"{prefix}{index}")
