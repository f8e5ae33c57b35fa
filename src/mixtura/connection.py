"""The connections of an event loop: made through proxies and TLS, kept for the next request."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, urlsplit
from weakref import WeakKeyDictionary

from mixtura.address import Place, Proxies, head, leading
from mixtura.ear import Ear
from mixtura.errors import RejectedError, TimedOutError, UnavailableError
from mixtura.line import Line, Pulse

BUFFER = 64 * 1024
KEPT = 30.0
"""Seconds that a connection is kept without use."""
STALE = 1.0
"""Seconds without use after which a server may well have closed a connection unseen."""

_OURS = ("content-length", "transfer-encoding", "connection", "host")
_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})", re.IGNORECASE)


class Lines:
    """The connections of one event loop: made when they are needed, kept for the next request."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(BUFFER))  # what is read is taken out before the next read
        self._idle: dict[Place, list[Line]] = {}
        self._open: set[Line] = set()
        self._places: dict[str, tuple[SplitResult, Place]] = {}
        self._sweeping = False
        self._pulse = Pulse(self._loop)
        self._ear = Ear(self._loop) if Ear.possible(self._loop) else None

    @cached_property
    def _proxies(self) -> Proxies:
        return Proxies()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def asked(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect: float | None,
    ) -> Line:
        """
        Send a request; the line over which its answer has begun to come. Then it must be ``left``.

        Raises ModelError. A connection that had been kept for long and turns out to be closed is
        the one thing tried again: no server has read what it refuses to hear.
        """
        parts, place = self._place(url)
        lead = head(method, parts, place, _fields(place, headers, body))
        line = await self._sent(place, lead, body, connect)
        if self._ear is not None:
            self._ear.speaking += 1
        return line

    async def _sent(self, place: Place, lead: bytes, body: bytes, connect: float | None) -> Line:
        line = self._kept(place)
        if line is not None:
            rested = self._loop.time() - line.rested
            try:
                await _ask(line, lead, body)
            except UnavailableError:
                if line.heard or rested < STALE:
                    raise
            else:
                return line
        line = await self._connected(place, connect)
        await _ask(line, lead, body)
        return line

    def left(self, line: Line) -> None:
        """No one reads on: keep the line for the next request, or close it."""
        if self._ear is not None:
            self._ear.speaking -= 1
        if line.keeps and line.complete:
            self._keep(line)
        elif line.keeps and line.enough:
            line.linger(self._keep)
        else:
            line.abort()

    async def close(self) -> None:
        for line in list(self._open):
            line.abort()
        if self._ear is not None:
            self._ear.close()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    def _place(self, url: str) -> tuple[SplitResult, Place]:
        found = self._places.get(url)
        if found is None:
            parts = urlsplit(url)
            found = self._places[url] = parts, leading(parts, self._proxies.before(parts))
        return found

    # ---- making them

    async def _connected(self, place: Place, seconds: float | None) -> Line:
        to, scope = place.address, asyncio.timeout(seconds)
        if place.proxy is not None:
            to = f"{to} through the proxy {place.proxy.address}"
        try:
            async with scope:
                return await (self._tunnel(place) if place.tunnelled else self._line(place))
        except TimeoutError as error:
            if scope.expired():
                raise TimedOutError(f"no connection within {seconds} s") from None
            raise UnavailableError(f"no connection to {to} ({_said(error)})") from None
        except (OSError, UnicodeError) as error:
            raise UnavailableError(f"no connection to {to} ({_said(error)})") from None

    async def _line(self, place: Place) -> Line:
        to = place.proxy or place
        ear = None if place.secure or to.secure else self._ear
        # uvloop tries one address after the other: it has no such option
        races = isinstance(self._loop, asyncio.BaseEventLoop)
        race: dict[str, Any] = {"happy_eyeballs_delay": 0.25} if races else {}
        _, line = await self._loop.create_connection(
            lambda: Line(place, self._view, ear, self._pulse, self._open.discard),
            to.host,
            to.port,
            ssl=self._tls if to.secure else None,
            **race,
        )
        self._open.add(line)
        return line

    async def _tunnel(self, place: Place) -> Line:
        """A line through a proxy that does not see what goes over it."""
        assert place.proxy is not None
        line = await self._line(place)
        to = place.address
        lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}"]
        if place.proxy.login:
            lines.append(f"Proxy-Authorization: {place.proxy.login}")
        await _ask(line, "\r\n".join([*lines, "", ""]).encode(), b"", early=True)
        try:
            if line.status // 100 != 2:
                error = RejectedError if line.status // 100 == 4 else UnavailableError
                raise error(f"the proxy refused to connect to {to} (HTTP {line.status})")
            secured = await self._loop.start_tls(
                line.transport, line, self._tls, server_hostname=place.host
            )
            if secured is None:
                raise ConnectionResetError("the proxy hung up")
        except BaseException:
            line.abort()
            raise
        line.secured(secured)
        return line

    # ---- keeping them

    def _kept(self, place: Place) -> Line | None:
        lines = self._idle.get(place)
        now = self._loop.time()
        while lines:
            line = lines.pop()
            if line.keeps and now < line.expires:
                return line
            line.abort()
        return None

    def _keep(self, line: Line) -> None:
        told = _TIMEOUT.search(line.headers.get("keep-alive", ""))
        seconds = min(KEPT, int(told[1]) - 1.0) if told else KEPT
        if not line.keeps or seconds <= 0:
            line.abort()
            return
        line.rest()
        line.expires = line.rested + seconds
        self._idle.setdefault(line.place, []).append(line)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(KEPT, self._sweep)

    def _sweep(self) -> None:
        """Close what no one has used."""
        now = self._loop.time()
        for place, lines in list(self._idle.items()):
            for line in lines:
                if now >= line.expires:
                    line.abort()
            self._idle[place] = [line for line in lines if line.keeps]
            if not self._idle[place]:
                del self._idle[place]
        self._sweeping = bool(self._idle)
        if self._sweeping:
            self._loop.call_later(KEPT, self._sweep)


def _fields(place: Place, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "mixtura"}
    if place.login is not None:
        fields["Authorization"] = place.login
    if place.proxy is not None and place.proxy.login and not place.secure:
        fields["Proxy-Authorization"] = place.proxy.login
    given = {name.lower() for name in headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in given}
    fields |= {name: value for name, value in headers.items() if name.lower() not in _OURS}
    if body:
        fields["Content-Length"] = str(len(body))
    return fields


async def _ask(line: Line, lead: bytes, body: bytes, *, early: bool = False) -> None:
    try:
        await line.ask(lead, body, early=early)
    except BaseException:
        line.abort()
        raise


# asyncio's own words name every address that was tried, as a tuple, and no reason.
_REFUSED = re.compile(r"\[Errno (\d+)\] Connect call failed")


def _said(error: Exception) -> str:
    """What went wrong on the way to a server, in its own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if numbers := _REFUSED.findall(str(error)):
        return ", ".join(dict.fromkeys(os.strerror(int(number)) for number in numbers))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, Lines] = WeakKeyDictionary()
_holders: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[Lines, None]] = (
    WeakKeyDictionary()
)


async def connections() -> Lines:
    """This event loop's connections; they close when the loop does."""
    loop = asyncio.get_running_loop()
    if (found := _lines.get(loop)) is None:
        # asyncio.run closes the async generators of its loop: this one holds the connections.
        holder = _held(loop)
        found = await anext(holder)
        _holders[loop] = holder
    return found


async def _held(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Lines, None]:
    lines = _lines[loop] = Lines()
    try:
        yield lines
    finally:
        _lines.pop(loop, None)
        _holders.pop(loop, None)
        await lines.close()
