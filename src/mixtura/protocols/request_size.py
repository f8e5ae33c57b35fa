"""How large a request is: everything in it that a model reads, also what is no message's text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from mixtura.core.types import ImagePart, Json, Message, OtherPart, Part, Request, TextPart

MESSAGE_OVERHEAD_TOKENS = 8
"""Tokens that stand around a message, or more."""
PICTURE_TOKENS = 1024
"""Tokens that a picture or a file is taken for, where that need not be the most."""
_MIN_DATA_LENGTH = 256
"""Letters from which on a text without any blank is data (base64), not words."""


def count_request_tokens(
    request: Request,
    tokens: Callable[[str], int],
    *,
    picture: int = 0,
    around: int = MESSAGE_OVERHEAD_TOKENS,
) -> int:
    """
    Tokens of a request's messages, calls, files, tools and response format.

    *tokens* counts those of a text; *picture* is what a picture is taken for, and the least of
    any other part; *around*: tokens around each message. Data (a file as base64) is taken for
    half as much as a text of its length.
    """
    asked = sum(
        count_message_tokens(m, tokens, picture=picture, around=around) for m in request.messages
    )
    described = sum(_json_tokens(tool, tokens) for tool in request.tools)
    form = request.response_format
    return asked + described + (_json_tokens(form, tokens) if form else 0)


def count_message_tokens(
    message: Message,
    tokens: Callable[[str], int],
    *,
    picture: int = 0,
    around: int = MESSAGE_OVERHEAD_TOKENS,
) -> int:
    """Tokens of one message, its calls and files, counted as in a request."""
    called = sum(tokens(call.name) + tokens(call.arguments) for call in message.tool_calls)
    if isinstance(message.content, str):
        return tokens(message.content) + called + around
    return called + around + sum(_part_tokens(part, tokens, picture) for part in message.content)


def _part_tokens(part: Part, tokens: Callable[[str], int], picture: int) -> int:
    match part:
        case TextPart(text):
            return tokens(text)
        case ImagePart():
            return picture
        case OtherPart(raw):
            return max(_json_tokens(raw, tokens), picture)


def _json_tokens(data: Json, tokens: Callable[[str], int]) -> int:
    counts = ((tokens(text), _is_base64_data(text)) for text in _all_strings(data))
    return sum(count // 2 if is_data else count for count, is_data in counts)


def _is_base64_data(text: str) -> bool:
    return (
        len(text) >= _MIN_DATA_LENGTH
        and text.isascii()
        and not any(map(str.isspace, text[:_MIN_DATA_LENGTH]))
    )


def _all_strings(data: Any) -> Iterator[str]:
    """Every name and value of JSON data, numbers as text; of any depth."""
    todo: list[Any] = [data]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            table = cast("Mapping[Any, Any]", value)
            todo += table.values()
            yield from map(str, table)
        elif isinstance(value, list | tuple):
            todo += cast("list[Any]", value)
        elif value is not None:
            yield str(value)
