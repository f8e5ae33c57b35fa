"""The connections of an event loop: made through proxies and TLS, kept for the next request."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from functools import cached_property
from urllib.parse import SplitResult, urlsplit
from weakref import WeakKeyDictionary

from mixtura.core.errors import RejectedError, TimedOutError, UnavailableError
from mixtura.transport.address import EnvironmentProxies, Origin, build_request_head, parse_origin
from mixtura.transport.batch_timer import BatchTimer
from mixtura.transport.http1 import Http1Connection
from mixtura.transport.socket_connect import connect_to_host, describe_connect_error
from mixtura.transport.socket_poller import SocketPoller

READ_BUFFER_BYTES = 64 * 1024
MAX_IDLE_SECONDS = 30.0
"""Seconds that a connection is kept without use."""
STALE_SECONDS = 1.0
"""Seconds without use after which a server may well have closed a connection unseen."""

_MANAGED_HEADERS = ("content-length", "transfer-encoding", "connection", "host")
_KEEP_ALIVE_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})", re.IGNORECASE)


class ConnectionPool:
    """The connections of one event loop: made when they are needed, kept for the next request."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(
            bytearray(READ_BUFFER_BYTES)
        )  # what is read is taken out before the next read
        self._idle: dict[Origin, list[Http1Connection]] = {}
        self._open: set[Http1Connection] = set()
        self._places: dict[str, tuple[SplitResult, Origin]] = {}
        self._sweeping = False
        self._pulse = BatchTimer(self._loop)
        self._ear = SocketPoller(self._loop) if SocketPoller.is_supported(self._loop) else None

    @cached_property
    def _environment_proxies(self) -> EnvironmentProxies:
        return EnvironmentProxies()

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def send_request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect: float | None,
    ) -> Http1Connection:
        """
        Send a request; the line over which its answer has begun to come. Then it must be ``left``.

        Raises ModelError. A connection that had been kept for long and turns out to be closed is
        the one thing tried again: no server has read what it refuses to hear.
        """
        parts, place = self._resolve_origin(url)
        lead = build_request_head(method, parts, place, _request_headers(place, headers, body))
        line = await self._send_over_connection(place, lead, body, connect)
        if self._ear is not None:
            self._ear.speaking += 1
        return line

    async def _send_over_connection(
        self, place: Origin, lead: bytes, body: bytes, connect: float | None
    ) -> Http1Connection:
        line = self._take_idle(place)
        if line is not None:
            rested = self._loop.time() - line.rested
            try:
                await _send_or_abort(line, lead, body)
            except UnavailableError:
                if line.response.has_data or rested < STALE_SECONDS:
                    raise
            else:
                return line
        line = await self._open_connection(place, connect)
        await _send_or_abort(line, lead, body)
        return line

    def release_connection(self, line: Http1Connection) -> None:
        """No one reads on: keep the line for the next request, or close it."""
        if self._ear is not None:
            self._ear.speaking -= 1
        if line.keeps and line.response.complete:
            self._keep_idle(line)
        elif line.keeps and line.response.enough:
            line.drain_body(self._keep_idle)
        else:
            line.abort()

    async def close(self) -> None:
        for line in list(self._open):
            line.abort()
        if self._ear is not None:
            self._ear.close()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    def _resolve_origin(self, url: str) -> tuple[SplitResult, Origin]:
        found = self._places.get(url)
        if found is None:
            parts = urlsplit(url)
            found = self._places[url] = (
                parts,
                parse_origin(parts, self._environment_proxies.proxy_for(parts)),
            )
        return found

    # ---- making them

    async def _open_connection(self, place: Origin, seconds: float | None) -> Http1Connection:
        to, scope = place.host_and_port, asyncio.timeout(seconds)
        if place.proxy is not None:
            to = f"{to} through the proxy {place.proxy.host_and_port}"
        try:
            async with scope:
                return await (
                    self._open_tunnel(place)
                    if place.is_tunnelled
                    else self._create_connection(place)
                )
        except TimeoutError as error:
            if scope.expired():
                raise TimedOutError(f"no connection within {seconds} s") from None
            raise UnavailableError(
                f"no connection to {to} ({_connect_error_text(error)})"
            ) from None
        except (OSError, UnicodeError) as error:
            raise UnavailableError(
                f"no connection to {to} ({_connect_error_text(error)})"
            ) from None

    async def _create_connection(self, place: Origin) -> Http1Connection:
        to = place.proxy or place
        ear = None if place.secure or to.secure else self._ear
        opened = await connect_to_host(to.host, to.port)
        # the loop closes the socket if this fails or is cancelled
        _, line = await self._loop.create_connection(
            lambda: Http1Connection(place, self._view, ear, self._pulse, self._open.discard),
            sock=opened,
            ssl=self._tls_context if to.secure else None,
            server_hostname=to.host if to.secure else None,
        )
        self._open.add(line)
        return line

    async def _open_tunnel(self, place: Origin) -> Http1Connection:
        """A line through a proxy that does not see what goes over it."""
        assert place.proxy is not None
        line = await self._create_connection(place)
        to = place.host_and_port
        lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}"]
        if place.proxy.login:
            lines.append(f"Proxy-Authorization: {place.proxy.login}")
        await _send_or_abort(line, "\r\n".join([*lines, "", ""]).encode(), b"", early=True)
        try:
            if line.response.status // 100 != 2:
                error = RejectedError if line.response.status // 100 == 4 else UnavailableError
                raise error(f"the proxy refused to connect to {to} (HTTP {line.response.status})")
            secured = await self._loop.start_tls(
                line.transport, line, self._tls_context, server_hostname=place.host
            )
            if secured is None:
                raise ConnectionResetError("the proxy hung up")
        except BaseException:
            line.abort()
            raise
        line.use_tls_transport(secured)
        return line

    # ---- keeping them

    def _take_idle(self, place: Origin) -> Http1Connection | None:
        lines = self._idle.get(place)
        now = self._loop.time()
        while lines:
            line = lines.pop()
            if line.keeps and now < line.expires:
                return line
            line.abort()
        return None

    def _keep_idle(self, line: Http1Connection) -> None:
        told = _KEEP_ALIVE_TIMEOUT.search(line.response.headers.get("keep-alive", ""))
        seconds = min(MAX_IDLE_SECONDS, int(told[1]) - 1.0) if told else MAX_IDLE_SECONDS
        if not line.keeps or seconds <= 0:
            line.abort()
            return
        line.mark_idle()
        line.expires = line.rested + seconds
        self._idle.setdefault(line.place, []).append(line)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(MAX_IDLE_SECONDS, self._evict_idle)

    def _evict_idle(self) -> None:
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
            self._loop.call_later(MAX_IDLE_SECONDS, self._evict_idle)


def _request_headers(place: Origin, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "mixtura"}
    if place.login is not None:
        fields["Authorization"] = place.login
    if place.proxy is not None and place.proxy.login and not place.secure:
        fields["Proxy-Authorization"] = place.proxy.login
    given = {name.lower() for name in headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in given}
    fields |= {
        name: value for name, value in headers.items() if name.lower() not in _MANAGED_HEADERS
    }
    if body:
        fields["Content-Length"] = str(len(body))
    return fields


async def _send_or_abort(
    line: Http1Connection, lead: bytes, body: bytes, *, early: bool = False
) -> None:
    try:
        await line.send_request(lead, body, early=early)
    except BaseException:
        line.abort()
        raise


def _connect_error_text(error: Exception) -> str:
    """What went wrong on the way to a server, in its own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return describe_connect_error(error)


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, ConnectionPool] = WeakKeyDictionary()
_pool_holders: WeakKeyDictionary[
    asyncio.AbstractEventLoop, AsyncGenerator[ConnectionPool, None]
] = WeakKeyDictionary()


async def get_connection_pool() -> ConnectionPool:
    """This event loop's connections; they close when the loop does."""
    loop = asyncio.get_running_loop()
    if (found := _pools.get(loop)) is None:
        # asyncio.run closes the async generators of its loop: this one holds the connections.
        holder = _hold_pool(loop)
        found = await anext(holder)
        _pool_holders[loop] = holder
    return found


async def _hold_pool(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[ConnectionPool, None]:
    lines = _pools[loop] = ConnectionPool()
    try:
        yield lines
    finally:
        _pools.pop(loop, None)
        _pool_holders.pop(loop, None)
        await lines.close()
