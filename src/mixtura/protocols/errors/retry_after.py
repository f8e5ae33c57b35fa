"""How long a provider asks to wait: in its headers, in fields of its error, in its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from mixtura.core.quantities import (
    DURATION,
    NUMBER_OF_UNITS,
    clamp_wait,
    parse_http_date,
    parse_wait,
    parse_wait_ms,
)
from mixtura.protocols.errors.bodies import iterate_objects, parse_error_body

_MS_HEADERS = ("retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms")
_HEADERS = ("retry-after", "x-retry-after")
_RESET = re.compile(r"(?:x-)?rate-?limit-reset(?!-after-ms)|anthropic-ratelimit-.*-reset$")
_COMBINED = re.compile(r"(?:remaining|\br)=0\b.*?\b(?:reset|t)=(\d+)")

_MS_FIELDS = re.compile(
    r"(?:retry|reset)[_-]?(?:after|in|delay)[_-]?(?:ms|millis(?:econds)?)", re.IGNORECASE
)
_FIELDS = re.compile(
    r"(?i)retry[_-]?(?:after|delay|in)(?:[_-]?s(?:ec(?:ond)?s?)?)?|resets?[_-]?(?:at|after|in|time)"
    r"(?:[_-]?s(?:ec(?:ond)?s?)?)?|estimated_time|quota[_-]?reset[_-]?(?:delay|time[_-]?stamp)|wait[_-]?seconds"
    r"|next[_-]?available[_-]?at"
)
_STATED_WAIT = re.compile(
    r"(?i)(?:(?:try|retry|wait|again|available|resets?|resume|back)\b[^.;\n]{0,40}?\b(?:in|after|for)"
    r"|please wait|retry_delay *\{\s*seconds:|retryDelay[\\\"':]+)"
    rf"(?: about| approximately| another)?[ :\\\"]*({DURATION}|{NUMBER_OF_UNITS}(?=[\s.,}}\\\"]|$))"
)
_WAITS = (
    _STATED_WAIT,
    re.compile(
        r"(?i)\b(?:try|retry|again|available|resets?)\b[^.;\n]{0,40}?\bin (\d+:\d\d:\d\d)\b"
    ),
    re.compile(rf"\bwait (?:about |at least |another )?({DURATION})", re.IGNORECASE),
    re.compile(  # not: at most 5 requests in 60 seconds
        r"(?i)\b(?:another|next|a new) (?:\w+ )?(?:request|call|message|attempt|try)\b"
        rf"(?: [a-z]+){{0,3}}? (?:in|after) (?:about )?({DURATION})"
    ),
    re.compile(rf"(?<![\d.])({NUMBER_OF_UNITS} ?(?:毫秒|秒|分钟|小时))(?:之?后|再|内?请?重试)"),
    re.compile(rf"\bcool-?down\b(?: period)?(?: of| is|:)? ({DURATION})", re.IGNORECASE),
)
_RETRY_AT = re.compile(
    r"(?i)(?:again|retry|resets?|available|wait)\b[^.;\n]{0,40}?\b(?:at|until|on|after)[ :]+"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?Z| ?UTC|[+-]\d\d:?\d\d)?)"
)


def parse_retry_after(
    headers: Mapping[str, str], body: bytes = b"", now: datetime | None = None
) -> float | None:
    """
    Seconds the upstream asks to wait: the longest of what its headers and its error say.

    Reads ``Retry-After`` (seconds or a date) and its forms in milliseconds, the families of
    ``x-ratelimit-reset-*`` ("1m30s", a Unix time) and ``anthropic-ratelimit-*-reset`` (a time)
    for what is used up, the same headers inside an error (OpenRouter), fields such as
    ``retryDelay``, and words ("try again in 2.4s"). Times are by the upstream's clock, where it
    states the time, whatever ours says; none is longer than ``quantities.LONGEST_CLOSURE``.
    """
    now = now or parse_http_date(headers.get("date")) or datetime.now(UTC)
    waits = [*_waits_in_headers(headers, now), parse_wait(wait_in_text(body), now)]
    for row in iterate_objects(body):
        waits += _waits_in_fields(row, now)
    return max((seconds for seconds in waits if seconds is not None), default=None)


def _waits_in_headers(headers: Mapping[str, str], now: datetime) -> Iterator[float | None]:
    lower = {name.lower(): value for name, value in headers.items()}
    yield from (parse_wait_ms(lower.get(name)) for name in _MS_HEADERS)
    yield from (parse_wait(lower.get(name), now) for name in _HEADERS)
    if combined := _COMBINED.search(lower.get("ratelimit", "")):
        yield parse_wait(combined[1], now)
    for name, value in lower.items():
        if _RESET.match(name):
            # Every answer carries these headers: a reset counts only where nothing remains.
            left = lower.get(name.replace("reset", "remaining"), "0")
            if left.strip() in ("0", "0.0", ""):
                yield parse_wait(value, now)


def _waits_in_fields(row: Mapping[str, Any], now: datetime) -> Iterator[float | None]:
    headers = row.get("headers")
    if isinstance(headers, dict):
        rows = cast("dict[Any, Any]", headers).items()
        texts = {str(k): str(v) for k, v in rows if isinstance(v, str | int | float)}
        yield from _waits_in_headers(texts, now)
    for name, value in row.items():
        if isinstance(value, dict) and _FIELDS.fullmatch(name):
            yield _protobuf_seconds(cast("dict[str, Any]", value))
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            continue
        if _MS_FIELDS.fullmatch(name):
            yield parse_wait_ms(str(value))
        elif _FIELDS.fullmatch(name):
            yield parse_wait(str(value), now)


def _protobuf_seconds(duration: Mapping[str, Any]) -> float | None:
    """Seconds of a duration in two whole numbers, as protocol buffers have it."""
    parts = [str(duration.get(name) or 0) for name in ("seconds", "nanos")]
    if not any(name in duration for name in ("seconds", "nanos")):
        return None
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
        return None
    return clamp_wait(int(parts[0]) + int(parts[1]) / 1e9)


def wait_in_text(body: bytes) -> str | None:
    """The wait that an error names in its words, as text; None where it names none."""
    # A refusal may quote the prompt, and each pattern reads all of the text.
    whole = body[:20_000].decode("utf-8", "replace")
    texts = (
        whole,
        parse_error_body(body).message if "\\u" in whole else "",
    )  # letters may be escaped
    matches = (pattern.search(text) for text in texts for pattern in (*_WAITS, _RETRY_AT))
    return next((one[1] for one in matches if one), None)
