"""The one HTTP client: posts JSON, reads events, keeps the clocks, names every failure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mixtura.clocks import Clocks, Timer
from mixtura.credentials import of_headers, of_settings, of_url
from mixtura.errors import (
    ContentFilterError,
    ContextOverflowError,
    MalformedError,
    ModelError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TimedOutError,
    UnavailableError,
)
from mixtura.json_text import LONGEST_MENDED, decoded
from mixtura.quantities import http_date, wait, wait_ms
from mixtura.redaction import Redactor, redacted, remember
from mixtura.sse import EventTooLargeError, Parser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from mixtura.line import Line

__all__ = [
    "Clocks", "Reply", "Secret", "Timer", "answer_too_large", "error_in_stream", "fetched",
    "looked_up", "posted", "refusal", "retry_after",
]  # fmt: skip

T = TypeVar("T")

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer as it comes, comments and frames included, unless a model has a bound of its
own; more is an attack or a bug: it is four bytes for each of 16 million tokens, or frames of 250
bytes for each of 256,000."""
LARGEST_ERROR = 64 * 1024
FRAME = 0.1
"""Seconds of a draft that are handed on together; a terminal is drawn ten times a second, too."""


class Secret:
    """A key that does not print itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def redactor_of(
    base_url: str | None,
    key: Secret | None,
    headers: Mapping[str, str],
    extra: Mapping[str, Any],
    known: Redactor | None,
) -> Redactor:
    """What knows the secrets that go to an upstream and to its proxy, beside those *known*."""
    from urllib.request import getproxies

    own = of_url(base_url or "") | of_headers(headers) | of_settings(extra)
    if key is not None:
        own.add(key.reveal())
    if known is None:
        for proxy in getproxies().values():
            own |= of_url(proxy)
        known, own = Redactor(own), set[str]()
    redactor = known.plus(own)
    remember(redactor.values)
    return redactor


_BLANK = b"\xef\xbb\xbf \t\r\n"
_EVENTS = ("text/event-stream", "text/plain", "application/octet-stream", "")


class Reply:
    """An upstream's answer under way."""

    def __init__(self, line: Line, timer: Timer, frame: float | None, largest: int) -> None:
        self._line = line
        self._timer = timer
        self._frame = frame
        self._largest = largest

    @property
    def headers(self) -> Mapping[str, str]:
        """By their names in lower case."""
        return self._line.headers

    async def read(self, take: Callable[[list[bytes]], bool]) -> bytes:
        """
        Give *take* the data of the events as they come, until it says that the answer is over.

        Returns at the stream's end, too; an answer that is no stream is returned whole. Raises
        what *take* raises, and ModelError; that is MalformedError where more comes than an
        answer may have.
        """
        parser = Parser()
        left = self._largest
        streams: bool | None = None
        whole: list[bytes] = []

        def fed(piece: bytes) -> bool:
            nonlocal left, streams
            left -= len(piece)
            if left < 0 or self._line.received > 2 * self._largest:  # with what frames it
                raise answer_too_large(self._largest)
            if streams is None and (begun := piece.lstrip(_BLANK)):
                streams = self._streams(begun)
            if not streams:
                whole.append(piece)
                if streams is False:
                    return False
            found = parser.feed(piece) if piece else parser.flush()
            return bool(found) and take(found)

        try:
            await self._line.each(fed, frame=self._frame)
        except EventTooLargeError as error:
            raise MalformedError(str(error)) from None
        return b"" if streams else b"".join(whole)

    def _streams(self, begun: bytes) -> bool:
        """Whether a body is events: some servers call them JSON or text, and JSON events."""
        if begun.startswith((b"{", b"[")):
            return False
        kind = self._line.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind in _EVENTS or begun.startswith((b":", b"data", b"event", b"id", b"retry"))

    def progressed(self) -> None:
        """A piece of the answer came: the clock between pieces starts anew."""
        self._timer.progressed()


@asynccontextmanager
async def posted(
    url: str,
    body: Any,
    *,
    headers: Mapping[str, str],
    clocks: Clocks,
    draft: bool = False,
    largest: int = LARGEST_ANSWER,
) -> AsyncGenerator[Reply, None]:
    """
    POST *body* as JSON, or bytes that are JSON already. Raises the ModelError that a refusal,
    a broken line or a clock means.

    *largest*: bytes of the answer; more of them are a MalformedError.

    The connection is closed when the block is left before the answer's end. The pieces of
    a *draft* come a few at a time, its end at once.
    """
    from mixtura.connection import connections

    frame = FRAME if draft else None
    timer = Timer(clocks)
    scope = asyncio.timeout(None)
    try:
        async with scope:
            timer.start(scope)
            lines = await connections()
            line = await lines.asked(
                "POST",
                url,
                {"Content-Type": "application/json", **headers},
                body if isinstance(body, bytes) else msgspec.json.encode(body),
                connect=clocks.connect,
            )
            try:
                if line.status != 200:
                    said = await _read(line, LARGEST_ERROR, cut=True)
                    raise refusal(line.status, line.headers, said)
                yield Reply(line, timer, frame, largest)
            finally:
                lines.left(line)
    except TimeoutError:
        if not scope.expired():
            raise
        raise TimedOutError(timer.reason()) from None
    finally:
        timer.stop()


async def fetched(url: str, *, headers: Mapping[str, str], seconds: float) -> Any:
    """GET a small JSON document (a list of models, a health check). Raises ModelError."""
    from mixtura.connection import connections

    lines = await connections()
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            line = await lines.asked("GET", url, headers, b"", connect=None)
            try:
                body = await _read(line, LARGEST_ANSWER)
                if line.status != 200:
                    raise refusal(line.status, line.headers, body)
            finally:
                lines.left(line)
        return decoded(body)
    except TimeoutError:
        if not scope.expired():
            raise
        raise TimedOutError(f"no answer within {seconds} s") from None
    except msgspec.DecodeError:
        raise MalformedError("the answer is not JSON") from None


def looked_up(url: str, kind: type[T], *, seconds: float) -> T | None:
    """
    A quick look at a local server, before any event loop runs; None when it does not answer.

    For asking whether Ollama is there: no proxies, no retries, no errors.
    """
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds) as reply:
            return decoded(reply.read(LARGEST_ERROR * 16), kind)
    except (HTTPException, OSError, ValueError):
        return None


async def _read(line: Line, limit: int, *, cut: bool = False) -> bytes:
    """A whole body. Raises MalformedError when it is larger; with *cut* its beginning is enough."""
    pieces: list[bytes] = []
    size = 0

    def take(piece: bytes) -> bool:
        nonlocal size
        size += len(piece)
        pieces.append(piece)
        if size > limit and not cut:
            raise answer_too_large(limit)
        return size > limit

    await line.each(take)
    return b"".join(pieces)[:limit] if cut else b"".join(pieces)


def answer_too_large(limit: int) -> MalformedError:
    """The error for an answer of more than *limit* bytes."""
    return MalformedError(f"an answer of more than {limit} bytes")


# ---- refusals: a status, headers and a body become one of our errors

_OVERFLOW = re.compile(
    r"context[ _-]?(?:length|window|size)|exceed_context|maximum context|prompt is too long"
    r"|input is too long|too many tokens|reduce the length|input token count",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[ _-]?(?:filter|policy|management)|responsible_ai|moderation|safety", re.IGNORECASE
)
_SPENT = re.compile(
    r"insufficient[ _](?:quota|balance|credits?|funds)|exceeded your current quota|billing"
    r"|credit balance|payment required|out of credits|spending limit|API usage limits"
    r"|key limit exceeded",
    re.IGNORECASE,
)
_TOO_FAST = re.compile(r"rate[ _]limit|per[ _]?min", re.IGNORECASE)
_OF_THE_DAY = re.compile(rb'quotaId\\*":\s*\\*"\w*PerDay')


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
    """The error that an HTTP refusal means."""
    said, kind = _message(body)
    text = f"{said} {kind}"
    what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    wait = retry_after(headers, body)
    error: ModelError
    if status == 402 or (status in (400, 403, 429) and _spent(said, kind, body)):
        error = QuotaError(what)
    elif status == 429:
        error = RateLimitedError(what).after(wait)
    elif status in (408, 409, 425) or status >= 500:
        error = UnavailableError(what)
        error.retry_after = wait
    elif status in (400, 413, 422) and _OVERFLOW.search(text):
        error = ContextOverflowError(what)
    elif status in (400, 403, 422) and _FILTERED.search(text):
        error = ContentFilterError(what)
    elif 400 <= status < 500:
        error = RejectedError(what)
        error.parameter = _parameter(body)
    else:
        error = MalformedError(f"{what}: not an answer")
    error.status = status
    return error


def _spent(said: str, kind: str, body: bytes) -> bool:
    """
    Whether money or a quota is used up, rather than that calls came too fast.

    Its code decides where it has one: some providers speak of billing and of a quota
    whenever they slow someone down.
    """
    if _SPENT.search(kind) or _OF_THE_DAY.search(body):
        return True
    slowed = _told_wait(body) or _TOO_FAST.search(f"{said} {kind}")
    return not slowed and bool(_SPENT.search(said))


def error_in_stream(body: bytes, headers: Mapping[str, str]) -> ModelError:
    """An error object inside a 200 stream: the status it names, else 500, decides."""
    found = _json(body)
    inner = found.get("error", found) if isinstance(found, dict) else found  # pyright: ignore
    status = 500
    if isinstance(inner, dict):
        for key in ("status", "code", "status_code"):
            value = inner.get(key)  # pyright: ignore
            if isinstance(value, int) and 400 <= value < 600:
                status = value
                break
        else:
            named = (_STATUS_OF.get(str(inner.get(key))) for key in ("code", "type"))  # pyright: ignore
            status = next((known for known in named if known), 500)
    return refusal(status, headers, body)


_STATUS_OF: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "exceed_context_size_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
}


def _json(body: bytes) -> Any:
    """An error's body; None for what is no JSON, or too large to be an error's."""
    try:
        return decoded(body) if len(body) <= LONGEST_MENDED else None
    except msgspec.DecodeError:
        return None


def _message(body: bytes) -> tuple[str, str]:
    """What an error body says, and its type and code; whatever its shape."""
    found = _json(body)
    if found is None:
        return _plain(body), ""
    if isinstance(found, list) and found:
        found = found[0]  # pyright: ignore
    if isinstance(found, str):
        return redacted(found)[:500], ""
    if not isinstance(found, dict):
        return "", ""
    inner: Any = found.get("error", found)  # pyright: ignore
    if isinstance(inner, str):
        return redacted(inner)[:500], ""
    if not isinstance(inner, dict):
        return "", ""
    said = inner.get("message") or inner.get("detail") or ""  # pyright: ignore
    kind = " ".join(str(inner[k]) for k in ("type", "code", "param") if inner.get(k))  # pyright: ignore
    return redacted(str(said))[:500], kind  # pyright: ignore


def _parameter(body: bytes) -> str | None:
    """The part of a request that an error body names in a field of its own."""
    found = _json(body)
    # OpenAI: {"error": {"param": …}}; FastAPI: {"detail": [{"loc": ["body", …]}]}
    match found:
        case {"error": {"param": str(name)}} | {"param": str(name)}:
            return name
        case {"detail": [{"loc": [_, str(name), *_]}, *_]}:
            return name
        case {"message": {"detail": [{"loc": [_, str(name), *_]}, *_]}}:
            return name
        case _:
            return None


def _plain(body: bytes) -> str:
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    return redacted(" ".join(text.split()))[:200]


def retry_after(
    headers: Mapping[str, str], body: bytes = b"", now: datetime | None = None
) -> float | None:
    """
    Seconds the upstream asks to wait: the longest of what its headers and its error say.

    Reads ``retry-after-ms``, ``Retry-After`` (seconds or a date), the OpenAI family's
    ``x-ratelimit-reset-*`` ("1m30s", a Unix time) and Anthropic's ``anthropic-ratelimit-*-reset``
    (a time), the last two only for what is used up; and "try again in 2.4s" in the *body*.
    Times are by the upstream's clock, where it tells the time, whatever ours says; none is
    longer than ``quantities.LONGEST_WAIT``.
    """
    now = now or http_date(headers.get("date")) or datetime.now(UTC)
    found = [
        wait_ms(headers.get("retry-after-ms")),
        wait(headers.get("retry-after"), now),
        wait(_told_wait(body), now),
    ]
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("x-ratelimit-reset") or (
            lower.startswith("anthropic-ratelimit-") and lower.endswith("-reset")
        ):
            left = headers.get(lower.replace("reset", "remaining"), "0")
            if left.strip() in ("0", ""):
                found.append(wait(value, now))
    return max((seconds for seconds in found if seconds is not None), default=None)


_TOLD_WAIT = re.compile(
    rb"(?:(?:try again|retry) (?:in|after)|retryDelay\\*\":) *\\*\"?"
    rb"((?:[0-9]+(?:\.[0-9]+)?(?:ms|[hms]))+)",
    re.IGNORECASE,
)


def _told_wait(body: bytes) -> str | None:
    """The wait that an error names in its words, or in Google's ``RetryInfo``."""
    found = _TOLD_WAIT.search(body)
    return found[1].decode() if found else None
