"""Steps of reading requests and writing answers that several APIs share."""

from __future__ import annotations

import codecs
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
    """A body as plain data. Raises ApiError for what is no JSON object, or nested too deeply."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        raw = large_json.decode(body)
        data = _decoder.decode(body) if not isinstance(raw, dict) else cast("dict[str, Any]", raw)
    except RecursionError:
        raise ApiError(400, _TOO_DEEP_TEXT) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not a JSON object: {error}") from None
    # Nearly no body has so many brackets: then there is nothing to look through.
    flat = body.count(b"{") + body.count(b"[") <= MAX_REQUEST_DEPTH
    if not flat and is_deeper_than(data, MAX_REQUEST_DEPTH):
        raise ApiError(400, _TOO_DEEP_TEXT)
    return data


def decode_fields(body: bytes, to: type[T]) -> T:
    """A body as a struct. Raises ApiError naming what is wrong in it."""
    return convert_struct(decode_body(body), to, {})


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
        problem, _, where = str(error).partition(" - at `")
    where = at + where.rpartition("$")[2].rstrip("`")
    where = where.removeprefix(".")
    # msgspec's messages begin with a capital; ours put the parameter in front.
    problem = problem[:1].lower() + problem[1:]
    if missing := re.fullmatch(r"object missing required field `(\w+)`", problem):
        param = f"{where}.{missing[1]}" if where else missing[1]
        raise ApiError(400, f"`{param}` is missing", param=param, code="missing_required_parameter")
    hint = right.get(re.sub(r"\[[^]]*\]", "[]", where))
    what = problem + (f"; it can be {hint}" if hint else "")
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


# Each fix converts the whole body again.
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


def parse_stop_sequences(
    given: str | Sequence[str] | None, *, most: int | None = None
) -> tuple[str, ...] | None:
    """
    Texts that an answer ends before; empty ones say nothing. Raises ApiError where there are more
    than *most*.
    """
    texts = tuple(filter(None, [given] if isinstance(given, str) else given or ()))
    if most is not None and len(texts) > most:
        message = f"`stop`: there are {len(texts)} texts, it can have {most}"
        raise ApiError(400, message, param="stop")
    return texts or None


def as_list(value: Any) -> list[Any]:
    """A list of a body that no type has been checked of; empty for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_dict(value: Any) -> dict[str, Any]:
    """An object of a body that no type has been checked of; empty for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def check_unsupported_parameters(raw: Mapping[str, Any], cannot: Mapping[str, str]) -> None:
    """
    Raises ApiError for a parameter that is known and not supported, unless its value is empty.
    """
    for name, why in cannot.items():
        # Some clients send every parameter, empty where it is unused.
        if raw.get(name) not in (None, False, "", [], {}):
            raise ApiError(
                400, f"{why}: leave `{name}` out", param=name, code="unsupported_parameter"
            )


def check_tool_names(tools: Sequence[str], chosen: Iterable[str], *, where: str) -> None:
    """Raises ApiError where two of *tools* have one name, or *chosen* has an unknown one."""
    known: set[str] = set()
    for number, name in enumerate(tools):
        if name in known:
            param = f"tools[{number}].name"
            raise ApiError(400, f"`{param}`: there are two tools called {name!r}", param=param)
        known.add(name)
    for name in chosen:
        if name not in known:
            raise ApiError(400, f"`{where}`: there is no tool {name!r} in `tools`", param=where)


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
        # Clients answer a call by its id: two of one id could not be told apart.
        yield call if new else replace(call, id=f"{prefix}{index}")


def with_call_ids(answer: Completion, prefix: str) -> Completion:
    """*answer* with calls that each have an id of their own, as ``calls_with_ids`` gives them."""
    calls = answer.message.tool_calls
    if len({call.id for call in calls if call.id}) == len(calls):
        return answer
    named = tuple(calls_with_ids(answer, prefix))
    return replace(answer, message=replace(answer.message, tool_calls=named))
