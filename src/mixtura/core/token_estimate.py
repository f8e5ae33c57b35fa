"""
How many tokens a text, a message or a request has, where no upstream has counted them yet.

There is one walk over a request and one split of a text's bytes, with two measures of them.
``ESTIMATE`` is the likely number: what fits into a window, what a minute's limit takes, what the
token count endpoints say, what a call used whose upstream did not report it. ``UPPER_BOUND`` is
the number that a cap on spending sets aside: a cap has to hold with a tokenizer that makes twice
as many tokens as usual, but to fit drafts by that would cut them to half of what they may have.

Two other numbers are no estimates of this kind: ``reports`` reckons the paper's costs by the
paper's own letters per token, and ``engine.background_work`` looks at bytes.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from mixtura.core.types import ImagePart, Json, Message, OtherPart, Part, Request, TextPart

DEFAULT_ANSWER_TOKENS = 4096
"""Tokens of an answer without max_tokens, at most; under a spending cap sent as max_tokens."""
USUAL_ANSWER_TOKENS = 1024
"""Tokens that an answer without max_tokens is likely to have, at most."""
_MIN_DATA_LENGTH = 256
"""Letters from which on a text without any blank is data (base64), not words."""
_WORD_BYTES = (string.ascii_lowercase + string.whitespace).encode()
"""Small letters and blanks, of which tokens take several; of the rest few or none."""
_ASCII_BYTES = bytes(range(128))

# Bytes per token of o200k, cl100k, llama 3 and an older Claude, measured on prose, code, JSON and
# 18 languages: 3.5 and more for words, about 2 for digits and signs, 2 to 6 for other scripts.
_WORD_BYTES_A_TOKEN = 3.5
_SIGN_BYTES_A_TOKEN = 2
_OTHER_SCRIPT_BYTES_A_TOKEN = 3


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, rather too many than too few; 1 for an empty one."""
    data = text.encode("utf-8", "replace")
    rest = len(data.translate(None, _WORD_BYTES))
    other_scripts = 0 if len(data) == len(text) else len(data.translate(None, _ASCII_BYTES))
    return 1 + int(
        (len(data) - rest) / _WORD_BYTES_A_TOKEN
        + (rest - other_scripts) / _SIGN_BYTES_A_TOKEN
        + other_scripts / _OTHER_SCRIPT_BYTES_A_TOKEN
    )


def token_upper_bound(text: str) -> int:
    """
    More tokens than a tokenizer makes of a text that people or programs write.

    Two small letters or blanks count as one token, every other byte as one: capitals, digits,
    punctuation and the bytes of rare characters may each be a token. Only small letters drawn
    at random are more (by a tenth).
    """
    data = text.encode("utf-8", "replace")
    rest = len(data.translate(None, _WORD_BYTES))
    return rest + (len(data) - rest) // 2 + 1


def text_of_tokens(tokens: int) -> str:
    """A text that stands for one of so many tokens where only an upper bound is wanted."""
    return "xx" * tokens


class TokenMeasure(NamedTuple):
    """How the tokens of a request are counted: those of a text, and what has no text."""

    of_text: Callable[[str], int]
    message: int
    """Tokens that stand around a message."""
    request: int
    """Tokens that stand around all of them."""
    picture: int
    """Tokens that a picture is taken for, and the least of any other part that is no text."""


ESTIMATE = TokenMeasure(estimate_tokens, message=8, request=0, picture=1024)
UPPER_BOUND = TokenMeasure(token_upper_bound, message=16, request=16, picture=4096)


def count_request_tokens(request: Request, measure: TokenMeasure = ESTIMATE) -> int:
    """
    Tokens of a request's messages, calls, files, provider data, tools and response format.

    Data (a file as base64) is taken for half as much as a text of its length.
    """
    asked = sum(count_message_tokens(message, measure) for message in request.messages)
    described = sum(_json_tokens(tool, measure) for tool in request.tools) if request.tools else 0
    form = request.response_format
    return measure.request + asked + described + (_json_tokens(form, measure) if form else 0)


def estimate_call_tokens(request: Request) -> int:
    """Tokens that a call is likely to take: what it asks, and what it may answer."""
    return count_request_tokens(request) + (request.sampling.max_tokens or USUAL_ANSWER_TOKENS)


def count_message_tokens(message: Message, measure: TokenMeasure = ESTIMATE) -> int:
    """Tokens of one message, its calls, files and provider data, counted as in a request."""
    of_text = measure.of_text
    if isinstance(message.content, str) and not (message.tool_calls or message.provider_data):
        return measure.message + of_text(message.content)  # nearly every message
    called = sum(of_text(call.name) + of_text(call.arguments) for call in message.tool_calls)
    around = called + measure.message + _provider_data_tokens(message, of_text)
    if isinstance(message.content, str):
        return around + of_text(message.content)
    return around + sum(_part_tokens(part, measure) for part in message.content)


def _part_tokens(part: Part, measure: TokenMeasure) -> int:
    match part:
        case TextPart(text):
            return measure.of_text(text)
        case ImagePart():
            return measure.picture
        case OtherPart(raw):
            return max(_json_tokens(raw, measure), measure.picture)


def _provider_data_tokens(message: Message, of_text: Callable[[str], int]) -> int:
    data = message.provider_data
    beside = [data.fields, *data.blocks] if data else []
    signed = [call.provider_fields for call in message.tool_calls if call.provider_fields]
    return sum(map(of_text, _all_strings([*beside, *signed])))


def _json_tokens(data: Json, measure: TokenMeasure) -> int:
    counts = ((measure.of_text(text), _is_base64_data(text)) for text in _all_strings(data))
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
