"""Reads the answer of one HTTP/1.1 exchange: its head, its body as it comes, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from mixtura.core.errors import UnavailableError
from mixtura.transport.base import Sink
from mixtura.transport.batched_reads import BatchTimer, HeldPieces
from mixtura.transport.connection_errors import broken_connection_error
from mixtura.transport.decompression import BodyFeed

LARGEST_HEAD = 64 * 1024
"""Bytes in a row that are no body: a head, what is between chunks, what follows them."""


class ResponseReader:
    """
    Reads the answers that come over one connection, one after the other.

    The body is handed to its sink straight from the event loop's callback: a task that woke
    up for every piece of a stream would cost more than all that is done with the piece.

    Each is a `TransportResponse` while its exchange lasts.

    *timer*: ends the batches of drafts; None reads no batches. *closed* is called when the other
    side closed, with the error if there was one; *refuse* when data comes that no one asked for;
    *release* when no one reads on.
    """

    def __init__(
        self,
        timer: BatchTimer | None,
        *,
        closed: Callable[[Exception | None], None],
        refuse: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self.keep_alive = False
        """The connection may serve another exchange, once this one is complete."""
        self.pieces: list[bytes] = []
        """Pieces of the body that were not handed on yet."""
        self.on_body = self.pieces.append
        self._closed = closed
        self._refuse = refuse
        self.close = release
        """No one reads on: the connection is kept for the next request, or closed."""
        self._loop = asyncio.get_running_loop()
        self._timer = timer
        self._waiter: asyncio.Future[None] | None = None
        self._batch: HeldPieces | None = None
        self.restart_parser()
        self.reset()

    def reset(self) -> None:
        """Make ready for the next exchange."""
        self.status = 0
        self.headers: dict[str, str] = {}
        """By their names in lower case."""
        self.complete = False
        self.enough = False
        """The sink needs no more, though the body may go on."""
        self.error: BaseException | None = None
        self.received_bytes = 0
        """Bytes that came, heads and chunk frames included."""
        self.idle = False
        """No exchange is under way."""
        self.head_suffices = False
        """Whoever waits for the body waits for the head only."""
        self.drained: Callable[[], None] | None = None
        """Called at the answer's end, when its body is read by no one."""
        self._other = 0
        self._feed: BodyFeed | None = None
        self._context: Context | None = None
        self.discard_batch()
        self._batch = None
        self._going_on = False
        self.pieces.clear()

    def restart_parser(self) -> None:
        """What comes from now on is the beginning of an answer."""
        self._parser = HttpResponseParser(self)

    # ---- waiting

    @property
    def has_data(self) -> bool:
        """Anything of an answer came."""
        return bool(self._other or self.status)

    @property
    def has_body_begun(self) -> bool:
        return bool(
            self.pieces or self.complete or self.error or (self.head_suffices and self.status)
        )

    async def wait_for_data(self) -> None:
        """Wait until ``has_body_begun`` may have changed, or the connection takes more data."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake_waiter(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read_body(
        self, sink: Sink, *, batch_seconds: float | None = None, end_markers: Sequence[bytes] = ()
    ) -> None:
        """
        Hand the body to *sink* until it has enough or the body ends.

        What comes within *batch_seconds* after the last piece is held back until they are over,
        unless it contains one of *end_markers* or ends the body. Raises what *sink* raises, and
        UnavailableError when the connection breaks before the end.
        """
        feed = BodyFeed(sink, self.pieces, self.headers.get("content-encoding", ""))
        self._feed, self._context = feed, copy_context()
        # without a chunked body's last chunk, an end has no sign of its own
        if batch_seconds is not None and self._timer and "content-length" not in self.headers:
            self._batch = HeldPieces(batch_seconds, end_markers, self._timer, self._parse_data)
        self._waiter = waiter = self._loop.create_future()
        try:
            if self.pieces or self.complete or self.error:
                self._deliver_body()
            await waiter
        finally:
            self._waiter = self._feed = None
        if self.error and not self.enough:
            raise self.error

    # ---- what the connection receives

    def handle_data(self, data: bytes) -> None:
        """Parse a piece of data, or hold it back until its batch ends."""
        if self._batch is None:
            self._parse_data(data)
        else:
            self._batch.add_piece(data)

    def discard_batch(self) -> None:
        if self._batch is not None:
            self._batch.discard()

    def handle_close(self, error: OSError | None) -> None:
        self._closed(error)

    def handle_end(self, error: Exception | None) -> None:
        """No more data comes: the other side closed, or the connection broke with *error*."""
        if self._batch is not None:
            self._batch.flush_batch()
        if self.complete or self.error:
            return
        if error is None and self.status and not self._has_known_length:
            self.complete = True  # without a length, a body ends with its connection
        else:
            self.error = broken_connection_error(error, midway=bool(self.status))
        self._notify_reader()

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("a second response to one request")
        self.status, self.headers = 0, {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:  # a trailer
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # else it is not yet the answer
            self.status = status
            self.keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.complete = bool(self.status)

    @property
    def _has_known_length(self) -> bool:
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        return chunked or "content-length" in self.headers

    # ---- handing on

    def _parse_data(self, data: bytes) -> None:
        if self.idle or self.complete:  # no one asked
            self._refuse()
            return
        self._other += len(data)
        self.received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.keep_alive = False
            if not self.complete:
                self.error = UnavailableError("the connection broke: the response is not HTTP")
        else:
            if self.pieces:
                self._other = 0
            elif self._other > LARGEST_HEAD and not self.complete:
                self.error = UnavailableError(
                    f"the connection broke: more than {LARGEST_HEAD} bytes of headers"
                )
        self._notify_reader()

    def _notify_reader(self) -> None:
        """Something came, or the end: hand it to whoever waits for it."""
        if self._feed is not None:
            if self.pieces or self.complete or self.error:
                self._deliver_body()
        elif self.drained is not None:
            self.pieces.clear()
            if self.complete:
                self.drained()
        elif self.has_body_begun:
            self.wake_waiter()

    def _deliver_body(self) -> None:
        waiter, feed = self._waiter, self._feed
        if waiter is None or waiter.done():  # cancelled
            return
        assert self._context is not None
        assert feed is not None
        try:
            self.enough = self._context.run(feed.feed_step, self.complete)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised in `read_body`
            self.error = error
        more = feed.steps is not None or bool(self.pieces)
        if self.enough or self.error or (self.complete and not more):
            self._feed = None
            waiter.set_result(None)
        elif more:  # few bytes may decompress to many: others have a turn in between
            if not self._going_on:
                self._going_on = True
                self._loop.call_soon(self._continue_delivery)
        elif self._batch is not None:
            self._batch.start_batch()

    def _continue_delivery(self) -> None:
        self._going_on = False
        if self._feed is not None:
            self._deliver_body()
