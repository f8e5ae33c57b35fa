"""
uvicorn's HTTP protocol, with bounds on the size and time of a request's head.

uvicorn documents that its ``http`` setting takes a protocol class, and not what such a class may
touch: this is the one module that builds on the names of uvicorn's own (`UVICORN_NAMES`), none of
which begins with an underscore. Its timeouts begin with a whole head, it has no limit for the size
of one, and it closes at once; a protocol from nothing would be its 600 lines again. A version of
uvicorn that has other names fails the test of this list before it serves anyone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mixtura.server.host_checks import TARGET_HOST_KEY
from mixtura.server.request_body import BODY_RECEIVED_KEY

UVICORN_NAMES = (
    "connection_made", "connection_lost", "data_received", "on_message_begin",
    "on_headers_complete", "on_response_complete", "on_message_complete", "send_400_response",
    "cycle", "flow", "headers", "loop", "scope", "transport", "url",
)  # fmt: skip
"""What is used or replaced of ``HttpToolsProtocol``."""
BODY_HEADERS = (b"content-length", b"transfer-encoding")
"""Headers of a request that has a body."""
MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request's head, beyond which it is refused."""
LINGER_SECONDS = 5.0
"""Seconds in which the rest of a request that was answered early is read and discarded."""


class _LingeringTransport:
    """
    A connection that is closed only after the rest of a request was read: closed at once, the
    system would reset it for a client that still sends, and the answer would be lost.
    """

    def __init__(self, transport: Any, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHttpProtocol(HttpToolsProtocol):
    """A request's head comes within *head_timeout* seconds, of at most ``MAX_HEAD_BYTES``."""

    head_timeout = 30.0
    _alarm: asyncio.TimerHandle | None = None
    _begun = False
    _head: int | None = None
    """Bytes of a head that is not whole yet; None while it has only begun."""
    _rest: asyncio.TimerHandle | None = None
    """Ends a connection whose request was answered before its end."""
    _ending = False
    """Nothing that comes is read any more."""

    @classmethod
    def with_head_timeout(cls, seconds: float) -> type[BoundedHttpProtocol]:
        """
        A protocol whose *head_timeout* is *seconds*: uvicorn takes a class and no arguments.
        """
        return type("Protocol", (cls,), {"head_timeout": seconds})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._alarm = self.loop.call_later(self.head_timeout, transport.close)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        super().data_received(data)
        if not self._begun:  # nearly always: the head came as one
            if self._alarm is None and self.cycle and self.cycle.response_complete:
                # an empty line, or a body that no one wants: no request, and uvicorn's own clock
                # for lines without one was stopped by it
                self._alarm = self.loop.call_later(self.head_timeout, self.transport.close)
            return
        if self._alarm is None:
            self._alarm = self.loop.call_later(self.head_timeout, self._refuse_late_head)
        if self._head is not None:
            self._head += len(data)
        else:  # behind another request, most of the piece may be that one's body
            self._head = 0 if self.cycle else len(data)
        if self._head > MAX_HEAD_BYTES:
            self.send_400_response(f"The head is larger than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._cancel_head_timer()
        self._begun, self._head = True, None

    def on_headers_complete(self) -> None:
        self._cancel_head_timer()
        if not self.url.startswith(b"/"):  # else uvicorn would pass over the host in it
            scheme, sign, rest = self.url.partition(b"://")
            if sign:
                web = scheme.lower() in (b"http", b"https")
                host = re.split(b"[/?#]", rest, maxsplit=1)[0] if web else b""
                cast("dict[str, Any]", self.scope)[TARGET_HOST_KEY] = host
        super().on_headers_complete()
        if any(name in BODY_HEADERS for name, _ in self.headers):
            self.cycle.transport = cast(
                "Any", _LingeringTransport(self.transport, self._close_gracefully)
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and self.cycle.response_complete and self._rest is None:
            self._rest = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _close_gracefully(self) -> None:
        """Close once the rest of the request has come, or its time is over."""
        if not self.cycle.more_body or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._ending = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self._rest = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._rest is not None and not self._ending:
            self._rest.cancel()
            self._rest = None
        cast("dict[str, Any]", self.scope)[BODY_RECEIVED_KEY] = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        if self._rest is not None:
            self._rest.cancel()
        super().connection_lost(exc)

    def _cancel_head_timer(self) -> None:
        self._begun = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _refuse_late_head(self) -> None:
        self.send_400_response(f"The head did not come within {self.head_timeout:g} s.")
