"""The one HTTP client: posts JSON, reads events, keeps the clocks; ``refusals`` names failures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mixtura.apart import apart
from mixtura.clocks import Clocks, Timer
from mixtura.credentials import of_headers, of_settings, of_url
from mixtura.errors import MalformedError, TimedOutError
from mixtura.json_text import decoded
from mixtura.redaction import Redactor, remember
from mixtura.refusals import error_in_stream, refusal
from mixtura.retry_waits import retry_after
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


async def fetched(
    url: str,
    *,
    headers: Mapping[str, str],
    seconds: float,
    most: int = LARGEST_ANSWER,
    read: Callable[[bytes], Any] = decoded,
) -> Any:
    """
    GET a JSON document of at most so many bytes (a list of models, a health check), as *read*
    gives it: a large one in a thread. Raises ModelError.
    """
    from mixtura.connection import connections

    lines = await connections()
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            line = await lines.asked("GET", url, headers, b"", connect=None)
            try:
                body = await _read(line, most)
                if line.status != 200:
                    raise refusal(line.status, line.headers, body)
            finally:
                lines.left(line)
        return await apart(len(body), read, body)
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
