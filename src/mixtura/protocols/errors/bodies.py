"""What an error's body says, whatever its shape: words, codes, a parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.core.json_text import MAX_REPAIRED_BYTES, decode_json
from mixtura.core.redaction import redact_secrets

MAX_MESSAGE_LENGTH = 500
"""Characters of a provider's words that are kept for a message."""
_MAX_DEPTH = 8
"""Levels of objects that are looked into."""

_MESSAGE_FIELDS = (
    "message", "detail", "msg", "error_msg", "error_message", "errorMessage", "status_msg",
    "error_description", "description", "faultstring", "reason", "title",
)  # fmt: skip
_CODE_FIELDS = (
    "status", "code", "status_code", "type", "__type", "error_code", "errcode", "http_code",
    "reason",
)  # fmt: skip
_COUNT_FIELDS = ("n_prompt_tokens", "n_ctx")
"""Counts that llama.cpp states in fields beside its message."""


class ErrorBody(NamedTuple):
    """What can be read from an error's body."""

    message: str = ""
    """Its text, without a secret, cut to ``MAX_MESSAGE_LENGTH``."""
    kind: str = ""
    """Its type, code and parameter, in one text."""
    codes: tuple[object, ...] = ()
    """Everything in it that may be a status or a code, as it came."""
    parameter: str | None = None
    """The part of a request that it is about, where a field of its own names it."""
    numbers: str = ""
    """Counts of tokens from fields of their own."""


def parse_error_body(body: bytes) -> ErrorBody:
    """What an error's body says. What is no JSON is taken as text."""
    value = _decode_body(body)
    if value is None:
        return ErrorBody(_plain_text(body))
    if isinstance(value, list) and value:
        value = cast("list[Any]", value)[0]
    if isinstance(value, str):
        return ErrorBody(redact_secrets(value)[:MAX_MESSAGE_LENGTH])
    if not isinstance(value, dict):
        return ErrorBody()
    row = cast("dict[str, Any]", value)
    inner = _inner_error(row)
    if isinstance(inner, str):
        return ErrorBody(
            redact_secrets(inner)[:MAX_MESSAGE_LENGTH],
            _error_kind(row),
            _error_codes(row),
            _error_parameter(row),
        )
    if not inner:
        return ErrorBody(codes=_error_codes(row))
    numbers = " ".join(f"{name}: {inner[name]}" for name in _COUNT_FIELDS if name in inner)
    return ErrorBody(
        redact_secrets(_error_words(inner))[:MAX_MESSAGE_LENGTH],
        _error_kind(inner),
        (*_error_codes(inner), *(_error_codes(row) if inner is not row else ())),
        _error_parameter(row),
        numbers,
    )


def is_error_object(row: Mapping[str, Any]) -> bool:
    """Whether an object that brings no answer is an error, in any provider's form."""
    if row.get("choices") or row.get("content"):
        return False
    if row.get("error") or row.get("errors") or row.get("fault") or row.get("object") == "error":
        return True
    status = row.get("base_resp")
    if isinstance(status, dict):  # MiniMax
        return cast("dict[str, Any]", status).get("status_code") not in (0, None)
    if row.get("success") is False or row.get("error_code") or row.get("errcode"):
        return True
    if row.get("detail"):
        return True
    words = any(isinstance(row.get(name), str) and row[name] for name in _MESSAGE_FIELDS)
    return words and any(_is_failure_code(row.get(name)) for name in _CODE_FIELDS)


_FAILURE_WORDS = re.compile(
    r"(?i)err|limit|invalid|exceed|insufficient|denied|quota|unauthori|fail|overload|throttl|exception"
    r"|arrear|balance|exhausted|unavailable|forbidden|timeout"
)


def _is_failure_code(code: object) -> bool:
    """Whether a code or a status is one of a failure, not of progress."""
    if isinstance(code, bool) or not isinstance(code, str | int):
        return False
    text = str(code)
    return (
        int(text) >= 400 if text.isdigit() and len(text) < 9 else bool(_FAILURE_WORDS.search(text))
    )


def has_error_content(error: object) -> bool:
    """Whether an error's field has an error in it: not one whose every value is empty."""
    if isinstance(error, dict):
        return any(cast("dict[str, Any]", error).values())
    return bool(error)


def encode_error_event(data: bytes) -> bytes:
    """What a stream calls an error, JSON or text, as an object that is one; empty for nothing."""
    data = data.strip()
    value = _decode_body(data)
    if isinstance(value, dict) and is_error_object(cast("dict[str, Any]", value)):
        return data
    if value is None:
        value = _plain_text(data.removesuffix(b"null"))
    return msgspec.json.encode({"error": value}) if value else b""


def is_error_json(data: bytes) -> bool:
    """Whether *data* is the JSON of an error, as ``is_error_object`` says."""
    value = _decode_body(data)
    return isinstance(value, dict) and is_error_object(cast("dict[str, Any]", value))


def iterate_objects(body: bytes) -> Iterator[dict[str, Any]]:
    """Every object of a body, those in texts that are JSON themselves, too."""
    yield from _walk_objects(_decode_body(body), _MAX_DEPTH)


def _walk_objects(data: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth <= 0:
        return
    if isinstance(data, dict):
        row = cast("dict[str, Any]", data)
        yield row
        for value in row.values():
            yield from _walk_objects(value, depth - 1)
    elif isinstance(data, list):
        # An error may quote the whole request: its rows are not looked through.
        for value in cast("list[Any]", data)[:64]:
            yield from _walk_objects(value, depth - 1)
    elif isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
        yield from _walk_objects(_decode_body(data.encode("utf-8", "replace")), depth - 1)


def _decode_body(body: bytes) -> Any:
    """An error's body; None for what is no JSON, or too large to be an error's."""
    try:
        return decode_json(body) if len(body) <= MAX_REPAIRED_BYTES else None
    except msgspec.DecodeError:
        return None


def _inner_error(row: Mapping[str, Any]) -> Any:
    """The object or text that is the error: the body itself, or what stands in it."""
    # Some servers send an error field of nulls with every answer.
    if not has_error_content(row.get("error")):
        choices = row.get("choices")
        first = cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else None
        for place in (first, row.get("x_groq")):  # OpenRouter, Groq
            if isinstance(place, dict) and has_error_content(place.get("error")):  # pyright: ignore
                return _inner_error(cast("dict[str, Any]", place))
    for name in ("error", "errors", "base_resp", "fault"):
        value = row.get(name)
        if isinstance(value, list) and value:
            value = cast("list[Any]", value)[0]
        if isinstance(value, dict) or (isinstance(value, str) and value and name == "error"):
            inner: Any = cast("Any", value)
            if isinstance(inner, str) and inner.strip().isidentifier() and _error_words(row):
                return row  # {"error": "invalid_request", "message": …}
            return inner
    return row


def _error_words(inner: Mapping[str, Any]) -> str:
    message = next((inner[name] for name in _MESSAGE_FIELDS if inner.get(name)), "")
    if isinstance(message, dict):  # {"message": {"detail": …}}
        message = _error_words(cast("dict[str, Any]", message)) or cast("object", message)
    whole = str(message)
    metadata: Any = inner.get("metadata")
    raw: Any = cast("dict[str, Any]", metadata).get("raw") if isinstance(metadata, dict) else None
    if raw:  # OpenRouter: the error of the provider behind it
        text = raw if isinstance(raw, str) else msgspec.json.encode(raw).decode()
        behind = parse_error_body(text.encode("utf-8", "replace"))
        more = " ".join(filter(None, (behind.message, behind.kind, behind.numbers))) or text
        whole = f"{whole}: {more}" if whole else more
    return whole


def _error_kind(inner: Mapping[str, Any]) -> str:
    names = ("type", "code", "param", "status", "__type", "error_code", "error")
    return " ".join(str(inner[k]) for k in names if isinstance(inner.get(k), str | int))


def _error_codes(inner: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(inner[name] for name in _CODE_FIELDS if isinstance(inner.get(name), str | int))


def _error_parameter(row: Mapping[str, Any]) -> str | None:
    """The part of a request that an error body names in a field of its own."""
    # OpenAI: {"error": {"param": …}}; FastAPI: {"detail": [{"loc": ["body", …]}]}
    match row:
        case {"error": {"param": str(name)}} | {"param": str(name)}:
            return name
        case {"detail": [{"loc": [_, str(name), *_]}, *_]}:
            return name
        case {"message": {"detail": [{"loc": [_, str(name), *_]}, *_]}}:
            return name
        case _:
            return None


def _plain_text(body: bytes) -> str:
    # A proxy answers in HTML.
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    return redact_secrets(" ".join(text.split()))[:200]
