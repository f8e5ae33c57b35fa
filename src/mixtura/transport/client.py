"""The one HTTP client: posts JSON, reads events, minds timeouts (errors: ``upstream_errors``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mixtura.core.credentials import header_secrets, settings_secrets, url_secrets
from mixtura.core.errors import MalformedError, ModelError, RejectedError, TimedOutError
from mixtura.core.json_text import decode_json
from mixtura.core.redaction import Redactor, register_secrets
from mixtura.engine.background_work import run_in_thread_if_large
from mixtura.protocols.sse import EventTooLargeError, SseParser, split_json_lines
from mixtura.transport.timeouts import CallTimeouts, RequestTimer
from mixtura.transport.upstream_errors import error_from_response, error_from_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from mixtura.transport.base import Transport, TransportResponse

__all__ = [
    "CallTimeouts",
    "RequestTimer",
    "Secret",
    "UpstreamResponse",
    "add_key_origin",
    "answer_too_large_error",
    "describe_key_origin",
    "error_from_response",
    "error_from_stream",
    "get_json",
    "post_stream",
    "probe_json",
]  # fmt: skip

T = TypeVar("T")

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer as it comes, comments and frames included, unless a model has a bound of its
own; more is an attack or a bug: it is four bytes for each of 16 million tokens, or frames of 250
bytes for each of 256,000."""
LARGEST_ERROR = 64 * 1024
BATCH_SECONDS = 0.1
"""Seconds of a draft that are handed on together; a terminal is drawn ten times a second, too."""


class Secret:
    """A key that does not print itself; *origin*: where it came from, such as a variable's name."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str | None = None) -> None:
        self._value = value
        self.origin = origin

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __deepcopy__(self, _: object) -> Secret:
        return self  # it never changes

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled: make the model in the process that uses it")


def build_redactor(
    base_url: str | None,
    key: Secret | None,
    headers: Mapping[str, str],
    extra: Mapping[str, Any],
    known: Redactor | None,
) -> Redactor:
    """What knows the secrets that go to an upstream and to its proxy, beside those *known*."""
    from urllib.request import getproxies

    own = url_secrets(base_url or "") | header_secrets(headers) | settings_secrets(extra)
    if key is not None:
        own.add(key.reveal())
    if known is None:
        for proxy in getproxies().values():
            own |= url_secrets(proxy)
        known, own = Redactor(own), set[str]()
    redactor = known.with_values(own)
    register_secrets(redactor.values)
    return redactor


def add_key_origin(error: ModelError, origin: str) -> None:
    """Say in an *error* that refuses a key where that key came from; other errors stay."""
    if type(error) is RejectedError and error.status in (401, 403):
        error.args = (f"{error}; {origin}",)


def describe_key_origin(key: Secret | None) -> str:
    """Where the key of a call came from, in words."""
    if key is None:
        return "no API key was sent: set `api_key_env` to the variable that holds it"
    return f"the API key came from {key.origin or 'the program that made the call'}"


_LEADING_BLANKS = b"\xef\xbb\xbf \t\r\n"
_EVENT_STREAM_TYPES = ("text/event-stream", "text/plain", "application/octet-stream", "")


class UpstreamResponse:
    """An upstream's answer under way."""

    def __init__(
        self,
        response: TransportResponse,
        timer: RequestTimer,
        largest: int,
        batch_seconds: float | None,
        last_events: Sequence[bytes],
    ) -> None:
        self._response = response
        self._timer = timer
        self._batch_seconds = batch_seconds
        self._last_events = last_events
        self._largest = largest

    @property
    def headers(self) -> Mapping[str, str]:
        """By their names in lower case."""
        return self._response.headers

    async def read_events(self, take: Callable[[list[bytes]], bool]) -> bytes:
        """
        Give *take* the data of the events as they come, until it says that the answer is over.

        Returns at the stream's end, too; an answer that is no stream is returned whole. Raises
        what *take* raises, and ModelError; that is MalformedError where more comes than an
        answer may have.
        """
        parser = SseParser()
        left = self._largest
        streams: bool | None = None
        whole: list[bytes] = []

        def feed_parser(piece: bytes) -> bool:
            nonlocal left, streams
            left -= len(piece)
            if left < 0 or self._response.received_bytes > 2 * self._largest:  # with what frames it
                raise answer_too_large_error(self._largest)
            if streams is None and (begun := piece.lstrip(_LEADING_BLANKS)):
                streams = self._is_event_stream(begun)
            if not streams:
                whole.append(piece)
                if streams is False:
                    return False
            found = parser.feed(piece) if piece else parser.flush()
            return bool(found) and take(found)

        try:
            await self._response.read_body(
                feed_parser, batch_seconds=self._batch_seconds, end_markers=self._last_events
            )
        except EventTooLargeError as error:
            raise MalformedError(str(error)) from None
        body = b"" if streams else b"".join(whole)
        if rows := split_json_lines(body):  # events in the form of lines alone
            take(rows)
            return b""
        return body

    def _is_event_stream(self, begun: bytes) -> bool:
        """Whether a body is events: some servers call them JSON or text, and JSON events."""
        if begun.startswith((b"{", b"[")):
            return False
        kind = self._response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind in _EVENT_STREAM_TYPES or begun.startswith(
            (b":", b"data", b"event", b"id", b"retry")
        )

    def note_progress(self) -> None:
        """A piece of the answer came: the clock between pieces starts anew."""
        self._timer.note_progress()


@asynccontextmanager
async def post_stream(
    url: str,
    body: Any,
    *,
    headers: Mapping[str, str],
    timeouts: CallTimeouts,
    draft: bool = False,
    largest: int = LARGEST_ANSWER,
    last_events: Sequence[bytes] = (),
    transport: Transport | None = None,
) -> AsyncGenerator[UpstreamResponse, None]:
    """
    POST *body* as JSON, or bytes that are JSON already. Raises the ModelError that a refusal,
    a broken line or a clock means.

    *largest*: bytes of the answer; more of them are a MalformedError. *transport*: what sends it,
    None for our own client.

    The connection is closed when the block is left before the answer's end. The pieces of
    a *draft* come a few at a time; its end comes at once, when it contains one of *last_events*.
    """
    batch_seconds = BATCH_SECONDS if draft else None
    timer = RequestTimer(timeouts)
    scope = asyncio.timeout(None)
    try:
        async with scope:
            timer.start(scope)
            response = await (transport or _built_in_transport()).send_request(
                "POST",
                url,
                {"Content-Type": "application/json", **headers},
                body if isinstance(body, bytes) else msgspec.json.encode(body),
                connect=timeouts.connect,
            )
            try:
                if response.status != 200:
                    said = await _read_body(response, LARGEST_ERROR, cut=True)
                    raise error_from_response(response.status, response.headers, said)
                yield UpstreamResponse(response, timer, largest, batch_seconds, last_events)
            finally:
                response.close()
    except TimeoutError:
        if not scope.expired():
            raise
        raise TimedOutError(timer.timeout_reason()) from None
    finally:
        timer.stop()


async def get_json(
    url: str,
    *,
    headers: Mapping[str, str],
    seconds: float,
    most: int = LARGEST_ANSWER,
    read: Callable[[bytes], Any] = decode_json,
    transport: Transport | None = None,
) -> Any:
    """
    GET a JSON document of at most so many bytes (a list of models, a health check), as *read*
    gives it: a large one in a thread. Raises ModelError.
    """
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            response = await (transport or _built_in_transport()).send_request(
                "GET", url, headers, b"", connect=None
            )
            try:
                body = await _read_body(response, most)
                if response.status != 200:
                    raise error_from_response(response.status, response.headers, body)
            finally:
                response.close()
        return await run_in_thread_if_large(len(body), read, body)
    except TimeoutError:
        if not scope.expired():
            raise
        raise TimedOutError(f"no answer within {seconds} s") from None
    except msgspec.DecodeError:
        raise MalformedError("the answer is not JSON") from None


def probe_json(url: str, kind: type[T], *, seconds: float) -> T | None:
    """
    A quick look at a local server, before any event loop runs; None when it does not answer.

    For asking whether Ollama is there: no proxies, no retries, no errors.
    """
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds) as reply:
            return decode_json(reply.read(LARGEST_ERROR * 16), kind)
    except (HTTPException, OSError, ValueError):
        return None


def _built_in_transport() -> Transport:
    from mixtura.transport.pool import BUILT_IN  # loads ssl and the parser

    return BUILT_IN


async def _read_body(response: TransportResponse, limit: int, *, cut: bool = False) -> bytes:
    """A whole body. Raises MalformedError when it is larger; with *cut* its beginning is enough."""
    pieces: list[bytes] = []
    size = 0

    def take_piece(piece: bytes) -> bool:
        nonlocal size
        size += len(piece)
        pieces.append(piece)
        if size > limit and not cut:
            raise answer_too_large_error(limit)
        return size > limit

    await response.read_body(take_piece)
    return b"".join(pieces)[:limit] if cut else b"".join(pieces)


def answer_too_large_error(limit: int) -> MalformedError:
    """The error for an answer of more than *limit* bytes."""
    return MalformedError(f"the answer has more than {limit} bytes")
