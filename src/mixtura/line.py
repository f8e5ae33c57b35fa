"""One HTTP/1.1 connection: a request goes out, the body of its answer is handed on as it comes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from mixtura.address import Place
from mixtura.ear import Ear
from mixtura.errors import MalformedError, UnavailableError
from mixtura.redaction import redacted

LARGEST_HEAD = 64 * 1024
"""Bytes in a row that are no body: a head, what stands between chunks, what follows them."""
LARGEST_HELD, MOST_HELD = 4096, 8
"""
A piece of more bytes, or more pieces than these, do not wait for their frame's end: what waits is
read when the draft ends, and everyone waits for that.
"""
SLICE = 256 * 1024
"""Bytes of a request that are handed to the system at once."""
UNPACKED = 256 * 1024
"""Bytes that one step of unpacking may yield, however small it was packed."""
A_MOMENT = 0.05
"""Seconds that an answer which is over may take to say so on the line, too."""
BEAT = 0.02
"""Seconds: frames that end within the same ones end together."""
LAST_CHUNK = b"0\r\n\r\n"
LAST_EVENTS = (b"[DONE]", b"message_stop")
"""What the last event of a stream says, in both dialects."""
LONGEST_SIGN = max(len(sign) for sign in (LAST_CHUNK, *LAST_EVENTS))

Sink = Callable[[bytes], bool]
"""Is given every piece of a body, then ``b""``; true: it has enough."""


class Line(asyncio.BufferedProtocol):
    """
    One connection and the answer that comes over it.

    The body is handed to its sink straight from the event loop's callback: a task that woke
    up for every piece of a stream would cost more than all that is done with the piece.
    """

    def __init__(
        self,
        place: Place,
        view: memoryview,
        ear: Ear | None,
        pulse: Pulse,
        gone: Callable[[Line], object],
    ) -> None:
        self.place = place
        self.transport: asyncio.Transport
        self.keeps = False
        """May serve another exchange, once this one is complete."""
        self.expires = self.rested = 0.0
        self._loop = asyncio.get_running_loop()
        self._view = view
        self._ear = ear
        self._fd = -1
        self._gone = gone
        self._pulse = pulse
        self._full = False
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._held: list[bytes] = []
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser = HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        """Ready for the next exchange."""
        self.status = 0
        self.headers: dict[str, str] = {}
        """By their names in lower case."""
        self.complete = False
        self.enough = False
        """The sink needs no more, though the body may go on."""
        self._sink: Sink | None = None
        self._context: Context | None = None
        self._frame: float | None = None
        self._tail = b""
        self._unpack: _Unpack | None = None
        self._then: Callable[[Line], None] | None = None
        self._idle = self._holding = False
        self._early = False
        self._error: BaseException | None = None
        self._other = 0
        self.received = 0
        """Bytes that came, heads and frames included."""
        self._plain: Iterator[bytes] | None = None
        self._going_on = False
        self._pieces.clear()

    # ---- asking

    @property
    def heard(self) -> bool:
        """Anything of an answer came."""
        return bool(self._other or self.status)

    @property
    def _begun(self) -> bool:
        return bool(self._pieces or self.complete or self._error or (self._early and self.status))

    async def ask(self, head: bytes, body: bytes = b"", *, early: bool = False) -> None:
        """
        Send a request; return when its answer's body begins, with *early* when its head is there.

        Raises ModelError when the line breaks before that.
        """
        self._reset()
        self._early = early
        if self._lost:
            self._error = UnavailableError("the connection broke before it was used")
        elif len(body) <= SLICE:
            self.transport.write(head + body)
        else:
            await self._send(head, body)
        while not self._begun:
            await self._wait()
        if self._error and not self._pieces:
            raise self._error

    async def _send(self, head: bytes, body: bytes) -> None:
        """A large request, as fast as it is taken in; a server may answer before its end."""
        self._early = True
        self.transport.write(head)
        rest = memoryview(body)
        while rest and not self._begun:
            self.transport.write(rest[:SLICE])
            rest = rest[SLICE:]
            while self._full and not self._begun:
                await self._wait()
        self.keeps = self.keeps and not rest
        self._early = False

    async def each(self, sink: Sink, *, frame: float | None = None) -> None:
        """
        Hand the body to *sink* until it has enough or the body ends.

        What comes within a *frame* (of seconds) after the last piece waits for the frame's
        end, unless it looks as if the answer were over.

        Raises what *sink* raises, and UnavailableError when the line breaks before the end.
        """
        self._unpack = _unpacking(self.headers.get("content-encoding", ""))
        if "content-length" in self.headers:  # its end has no sign of its own
            frame = None
        self._sink, self._context, self._frame = sink, copy_context(), frame
        self._waiter = waiter = self._loop.create_future()
        try:
            if self._pieces or self.complete or self._error:
                self._hand_on()
            await waiter
        finally:
            self._waiter = self._sink = None
        if self._error and not self.enough:
            raise self._error

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        if self._ear is not None:
            self.transport.pause_reading()
            self._fd = transport.get_extra_info("socket").fileno()
            self._ear.hear(self._fd, self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.came(bytes(self._view[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.over(exc)

    def came(self, data: bytes) -> None:
        """A piece came: it is handed on, or waits for the rest of its frame."""
        if self._frame is None:
            self._parse(data)
            return
        seen = self._tail + data  # the sign of the end may be cut in two
        self._tail = seen[1 - LONGEST_SIGN :]
        if not self._holding:
            self._parse(data)
            return
        self._held.append(data)
        if seen.endswith(LAST_CHUNK) or any(sign in seen for sign in LAST_EVENTS):
            self._frame = None
        elif len(data) <= LARGEST_HELD and len(self._held) < MOST_HELD:
            return
        self.release()

    def over(self, error: Exception | None) -> None:
        """The other side closed, or the line broke."""
        if self._lost:
            return
        self._lost, self.keeps = True, False
        self._close()
        if self._idle:
            return
        if self._held:
            self.release()
        if self.complete or self._error:
            return
        if error is None and self.status and not self._framed:
            self.complete = True  # without a length, a body ends with its connection
        else:
            self._error = _broken(error, midway=bool(self.status))
        self._settle()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    # ---- what the parser says

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("a second answer to one request")
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
            self.keeps = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.complete = bool(self.status)

    @property
    def _framed(self) -> bool:
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        return chunked or "content-length" in self.headers

    # ---- handing on

    def _parse(self, data: bytes) -> None:
        if self._idle or self.complete:  # no one asked
            self.abort()
            return
        self._other += len(data)
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.keeps = False
            if not self.complete:
                said = "the answer is not HTTP" if self.status else "what came is not HTTP"
                self._error = UnavailableError(f"the connection broke: {said}")
        else:
            if self._pieces:
                self._other = 0
            elif self._other > LARGEST_HEAD and not self.complete:
                self._error = UnavailableError(
                    f"the connection broke: more than {LARGEST_HEAD} bytes of headers"
                )
        self._settle()

    def _settle(self) -> None:
        """Something came, or the end: whoever waits for it gets it."""
        if self._sink is not None:
            if self._pieces or self.complete or self._error:
                self._hand_on()
        elif self._then is not None:
            self._pieces.clear()
            if self.complete:
                self._then(self)
        elif self._begun:
            self._wake()

    def _hand_on(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # called off
            return
        assert self._context is not None
        try:
            self.enough = self._context.run(self._taken)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised in `each`
            self._error = error
        more = self._plain is not None or bool(self._pieces)
        if self.enough or self._error or (self.complete and not more):
            self._sink = None
            waiter.set_result(None)
        elif more:  # a little that was packed may become much: others have a turn in between
            if not self._going_on:
                self._going_on = True
                self._loop.call_soon(self._go_on)
        elif self._frame is not None:
            self._holding = True
            self._pulse.after(self._frame, self)

    def _go_on(self) -> None:
        self._going_on = False
        if self._sink is not None:
            self._hand_on()

    def _taken(self) -> bool:
        """Give the sink what is there, of what was packed a part; true when it has enough."""
        assert self._sink is not None
        if self._pieces and self._plain is None:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            if self._unpack is None:
                if self._sink(data):
                    return True
            else:
                self._plain = self._unpack.feed(data)
        if self._plain is not None:
            plain = next(self._plain, None)
            if plain is None:
                self._plain = None
            elif self._sink(plain):
                return True
        if not self.complete or self._plain is not None or self._pieces:
            return False
        if self._unpack is not None and self._unpack.cut:
            raise _broken(None, midway=True)
        return self._sink(b"")

    def release(self) -> None:
        """Hand on what was held back, at the frame's end or before it."""
        self._holding = False
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._parse(data)

    def _hush(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # ---- between exchanges

    def rest(self) -> None:
        """Nothing is asked over it; what comes now ends it."""
        self._hush()
        self._reset()
        self._idle = True
        self.rested = self._loop.time()

    def linger(self, then: Callable[[Line], None]) -> None:
        """No one reads on, but the body's end is near: *then*, or close."""
        self._then = then
        self._alarm = self._loop.call_later(A_MOMENT, self.abort)

    def secured(self, transport: asyncio.Transport) -> None:
        """The line goes through a tunnel now, and on it another exchange begins."""
        self.transport = transport
        self._parser = HttpResponseParser(self)

    def abort(self) -> None:
        """Close at once."""
        self.keeps = False
        self._held.clear()
        self._idle = True
        self._close()

    def _close(self) -> None:
        self._hush()
        if self._ear is not None:
            self._ear.forget(self._fd)
        self.transport.abort()
        self._gone(self)


class Pulse:
    """Ends the frames of lines, those of the same few milliseconds at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, list[Line]] = {}

    def after(self, seconds: float, line: Line) -> None:
        beat = int((self._loop.time() + seconds) / BEAT) + 1
        if beat not in self._due:
            self._due[beat] = []
            self._loop.call_at(beat * BEAT, self._end, beat)
        self._due[beat].append(line)

    def _end(self, beat: int) -> None:
        for line in self._due.pop(beat):
            line.release()


def _broken(error: Exception | None, *, midway: bool) -> UnavailableError:
    if midway:
        return UnavailableError("the answer broke off before its end")
    if error is None:
        return UnavailableError("the connection broke: the server hung up")
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UnavailableError(f"the connection broke: {said}")


class _Unpack:
    """A packed body, step by step, so that a little of it never becomes too much at once."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._packed: Any = None

    @property
    def cut(self) -> bool:
        """It began and did not end."""
        return self._packed is not None and not self._packed.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._packed is None:
            # «deflate» has a header by its standard, and none from some servers
            bare = self._bits == zlib.MAX_WBITS and data[0] & 0x0F != zlib.DEFLATED
            self._packed = zlib.decompressobj(-self._bits if bare else self._bits)
        while data and not self._packed.eof:
            try:
                plain = self._packed.decompress(data, UNPACKED)
            except zlib.error:
                raise MalformedError("the answer is not packed as it says") from None
            if plain:
                yield plain
            data = self._packed.unconsumed_tail


def _unpacking(encoding: str) -> _Unpack | None:
    """None asks for packing, but some servers pack all the same."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Unpack(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Unpack(zlib.MAX_WBITS)
        case other:
            shown = redacted(other)[:40]
            raise MalformedError(f"the answer is packed as {shown!r}, which no one asked for")
