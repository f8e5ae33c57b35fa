"""One HTTP/1.1 connection: sends requests, receives their answers, is kept or closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from mixtura.core.errors import UnavailableError
from mixtura.transport.address import Origin
from mixtura.transport.batched_reads import BatchedReads
from mixtura.transport.response_reader import ResponseReader

WRITE_SLICE_BYTES = 256 * 1024
"""Bytes of a request that are handed to the system at once."""
DRAIN_SECONDS = 0.05
"""Seconds that an answer which is over may take until the connection says so, too."""


class Http1Connection(asyncio.BufferedProtocol):
    """
    One connection and the exchange under way on it.

    *view*: the buffer that is read into. *batched*: reads drafts in batches, None to read every
    piece by itself; its poller reads the socket instead of the event loop, unless TLS does.
    *release* is called when no one reads on, *gone* when the connection is closed.
    """

    def __init__(
        self,
        origin: Origin,
        view: memoryview,
        batched: BatchedReads | None,
        release: Callable[[Http1Connection], None],
        gone: Callable[[Http1Connection], object],
    ) -> None:
        self.origin = origin
        self.transport: asyncio.Transport
        self.expires = self.idle_since = 0.0
        self.response = ResponseReader(
            batched.timer if batched else None,
            closed=self._handle_close,
            refuse=self.abort,
            release=lambda: release(self),
        )
        self._loop = asyncio.get_running_loop()
        self._view = view
        over_tls = origin.secure or (origin.proxy is not None and origin.proxy.secure)
        self._poller = batched.poller if batched and not over_tls else None
        self._fd = -1
        self._gone = gone
        self._full = False
        self._lost = False
        self._drain_timer: asyncio.TimerHandle | None = None

    @property
    def is_reusable(self) -> bool:
        """Whether it may serve another exchange, once this one is complete."""
        return self.response.keep_alive

    # ---- an exchange

    async def send_request(self, head: bytes, body: bytes = b"", *, early: bool = False) -> None:
        """
        Send a request; return when its answer's body begins, with *early* when its head is there.

        Raises ModelError when the connection breaks before that.
        """
        response = self.response
        response.reset()
        response.head_suffices = early
        if self._lost:
            response.error = UnavailableError("the connection broke before it was used")
        elif len(body) <= WRITE_SLICE_BYTES:
            self.transport.write(head + body)
        else:
            await self._send_large_request(head, body)
        while not response.has_body_begun:
            await response.wait_for_data()
        if response.error and not response.pieces:
            raise response.error

    async def _send_large_request(self, head: bytes, body: bytes) -> None:
        """A large request, as fast as it is taken in; a server may answer before its end."""
        response = self.response
        response.head_suffices = True
        self.transport.write(head)
        rest = memoryview(body)
        while rest and not response.has_body_begun:
            self.transport.write(rest[:WRITE_SLICE_BYTES])
            rest = rest[WRITE_SLICE_BYTES:]
            while self._full and not response.has_body_begun:
                await response.wait_for_data()
        response.keep_alive = response.keep_alive and not rest
        response.head_suffices = False

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        if self._poller is not None:
            # Before Python 3.11.4 a transport begins to read after this call, even if it was told
            # not to: two would read one socket, and one would take a broken connection's error.
            self._loop.call_soon(self._read_by_poller)

    def _read_by_poller(self) -> None:
        if self._lost or self.transport.is_closing():
            return
        assert self._poller is not None
        self.transport.pause_reading()
        self._fd = self.transport.get_extra_info("socket").fileno()
        self._poller.register_reader(self._fd, self.response)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.response.handle_data(bytes(self._view[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._handle_close(exc)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.response.wake_waiter()

    def _handle_close(self, error: Exception | None) -> None:
        """The other side closed, or the connection broke."""
        if self._lost:
            return
        self._lost, self.response.keep_alive = True, False
        self._close_transport()
        if not self.response.idle:
            self.response.handle_end(error)

    # ---- between exchanges

    def mark_idle(self) -> None:
        """No exchange is under way; data that comes now closes the connection."""
        self._cancel_drain_timer()
        self.response.reset()
        self.response.idle = True
        self.idle_since = self._loop.time()

    def drain_body(self, drained: Callable[[Http1Connection], None]) -> None:
        """No one reads on, but the body's end is near: call *drained* then, or close."""
        self.response.drained = lambda: drained(self)
        self._drain_timer = self._loop.call_later(DRAIN_SECONDS, self.abort)

    def use_tls_transport(self, transport: asyncio.Transport) -> None:
        """The connection goes through a tunnel from now on; its exchanges begin anew."""
        self.transport = transport
        self.response.restart_parser()

    def abort(self) -> None:
        """Close at once."""
        self.response.keep_alive = False
        self.response.discard_batch()
        self.response.idle = True
        self._close_transport()

    def _close_transport(self) -> None:
        self._cancel_drain_timer()
        if self._poller is not None:
            self._poller.unregister_reader(self._fd, self.response)
        self.transport.abort()
        self._gone(self)

    def _cancel_drain_timer(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
