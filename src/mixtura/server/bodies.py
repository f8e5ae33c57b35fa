"""What reading requests and writing answers has in common in several APIs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar, cast

import msgspec

from mixtura import large_json
from mixtura.json_text import DEEPEST_ASKED, is_deeper
from mixtura.server.dialect import Refused
from mixtura.types import Completion, Part, TextPart, ToolCall, Usage, total

T = TypeVar("T")

NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_decoder = msgspec.json.Decoder(dict[str, Any])


# ---- requests


def decoded(body: bytes) -> dict[str, Any]:
    """A body as plain data. Raises Refused."""
    try:
        raw = large_json.decode(body)
        found = _decoder.decode(body) if not isinstance(raw, dict) else cast("dict[str, Any]", raw)
    except RecursionError:
        raise Refused(400, _TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body is not a JSON object: {error}") from None
    flat = body.count(b"{") + body.count(b"[") <= DEEPEST_ASKED  # most are: nothing to look through
    if not flat and is_deeper(found, DEEPEST_ASKED):
        raise Refused(400, _TOO_DEEP)
    return found


_TOO_DEEP = (
    "the body is nested too deeply: its objects and lists may stand in each other"
    f" {DEEPEST_ASKED} levels deep"
)


def converted(raw: Any, to: type[T], right: Mapping[str, str], at: str = "") -> T:
    """
    *raw* as a struct. Raises Refused, which names the parameter and says what would be right.

    *right* has that for parameters of few values, by their path without numbers; *at* is the
    place of *raw* in the body.
    """
    try:
        return _convert(raw, to)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `")
    where = at + where.rpartition("$")[2].rstrip("`")
    where = where.removeprefix(".")
    said = said[:1].lower() + said[1:]
    if missing := re.fullmatch(r"object missing required field `(\w+)`", said):
        param = f"{where}.{missing[1]}" if where else missing[1]
        raise Refused(400, f"`{param}` is missing", param=param, code="missing_required_parameter")
    hint = right.get(re.sub(r"\[[^]]*\]", "[]", where))
    what = said + (f"; it can be {hint}" if hint else "")
    raise Refused(400, f"`{where}`: {what}" if where else what, param=where or None)


def _convert(raw: Mapping[str, Any], to: type[T]) -> T:
    """*raw* as a struct; a whole number may be written as 4096.0, as official servers take it."""
    for _ in range(MOST_MENDED):
        try:
            return msgspec.convert(raw, to)
        except msgspec.ValidationError as error:
            if not (wrong := _NOT_WHOLE.search(str(error))) or not _made_whole(raw, wrong[1]):
                raise
    return msgspec.convert(raw, to)


MOST_MENDED = 32
_NOT_WHOLE = re.compile(r"^Expected `int\b[^`]*`, got `float` - at `\$\.([^`]+)`$")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def _made_whole(raw: Mapping[str, Any], path: str) -> bool:
    """Write the number at *path* without its .0; false where it is another number."""
    steps = [int(number) if number else name for name, number in _STEP.findall(path)]
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


def stops(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Texts that an answer ends before; empty ones say nothing."""
    texts = [given] if isinstance(given, str) else given or ()
    return tuple(filter(None, texts)) or None


def as_list(value: Any) -> list[Any]:
    """A list of a body that no type has been checked of; empty for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_table(value: Any) -> dict[str, Any]:
    """The same for an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def check_known(raw: Mapping[str, Any], cannot: Mapping[str, str]) -> None:
    """Raises Refused for a parameter that we know and cannot honour; an empty one asks nothing."""
    for name, said in cannot.items():
        if raw.get(name) not in (None, False, "", [], {}):
            raise Refused(
                400, f"{said}: leave `{name}` out", param=name, code="unsupported_parameter"
            )


def check_tools(tools: Sequence[str], chosen: Iterable[str], *, where: str) -> None:
    """Tools by name, and those that a choice names. Raises Refused."""
    known: set[str] = set()
    for number, name in enumerate(tools):
        if name in known:
            param = f"tools[{number}].name"
            raise Refused(400, f"`{param}`: there are two tools called {name!r}", param=param)
        known.add(name)
    for name in chosen:
        if name not in known:
            raise Refused(400, f"`{where}`: there is no tool {name!r} in `tools`", param=where)


def function(
    name: str, description: str | None, parameters: Any, strict: bool | None
) -> dict[str, Any]:
    """A tool in the words of chat completions."""
    optional = {"description": description, "parameters": parameters, "strict": strict}
    given = {key: value for key, value in optional.items() if value is not None}
    return {"type": "function", "function": {"name": name} | given}


def plain(parts: Sequence[Part], between: str) -> str | tuple[Part, ...]:
    """Parts that are all text as one text: most servers take no parts outside a user's message."""
    texts = [part.text for part in parts if isinstance(part, TextPart) and not part.extra]
    return between.join(texts) if len(texts) == len(parts) else tuple(parts)


# ---- answers


def used(answers: Sequence[Completion]) -> Usage:
    """Every token that the answers took: those of proposers, retries and lost calls, too."""
    return total([charge for answer in answers for charge in answer.charges])


def named_calls(answer: Completion, prefix: str) -> Iterator[ToolCall]:
    """An answer's calls, each with an id of its own: some models give none, or one to several."""
    seen: set[str] = set()
    for index, call in enumerate(answer.message.tool_calls):
        new = call.id and call.id not in seen
        seen.add(call.id)
        yield call if new else replace(call, id=f"{prefix}{index}")
