"""The connections of an event loop: made through proxies and TLS, kept for the next request."""

from __future__ import annotations

import asyncio
import re
from functools import cached_property
from urllib.parse import SplitResult, urlsplit

from mixtura.core.errors import UnavailableError
from mixtura.transport.address import (
    EnvironmentProxies,
    Origin,
    build_request_head,
    parse_origin,
    request_headers,
)
from mixtura.transport.base import Headers
from mixtura.transport.batched_reads import BatchedReads
from mixtura.transport.connection_errors import (
    connect_timeout_error,
    no_connection_error,
    proxy_refusal_error,
)
from mixtura.transport.http1 import Http1Connection
from mixtura.transport.response_reader import ResponseReader
from mixtura.transport.socket_connect import connect_to_host
from mixtura.transport.tls import ClientCertificate, TlsContexts

READ_BUFFER_BYTES = 64 * 1024
MAX_IDLE_SECONDS = 30.0
"""Seconds that a connection is kept without use."""
STALE_SECONDS = 1.0
"""Seconds without use after which a server may well have closed a connection unseen."""

_KEEP_ALIVE_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})", re.IGNORECASE)


class ConnectionPool:
    """
    The connections of one event loop: made when they are needed, kept for the next request.

    *shown*: the certificate for servers that ask for one; a proxy is shown none. *batched_reads*:
    whether drafts are read in batches, and many connections as one.
    """

    def __init__(
        self, shown: ClientCertificate | None = None, *, batched_reads: bool = True
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(
            bytearray(READ_BUFFER_BYTES)
        )  # what is read is taken out before the next read
        self._idle: dict[Origin, list[Http1Connection]] = {}
        self._open: set[Http1Connection] = set()
        self._places: dict[str, tuple[SplitResult, Origin]] = {}
        self._sweeping = False
        self._tls = TlsContexts(shown)
        self._batched = BatchedReads(self._loop) if batched_reads else None
        self._poller = self._batched.poller if self._batched else None

    @cached_property
    def _environment_proxies(self) -> EnvironmentProxies:
        return EnvironmentProxies()

    async def send_request(
        self, method: str, url: str, headers: Headers, body: bytes, *, connect: float | None
    ) -> ResponseReader:
        """
        Send a request; its answer, which has begun to come, and must be closed.

        Raises ModelError. A connection that had been kept for long and turns out to be closed is
        the one thing tried again: no server has read what it refuses to hear.
        """
        parts, place = self._resolve_origin(url)
        lead = build_request_head(method, parts, place, request_headers(place, headers, body))
        line = await self._send_over_connection(place, lead, body, connect)
        if self._poller is not None:
            self._poller.speaking += 1
        return line.response

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

    def _release_connection(self, line: Http1Connection) -> None:
        """No one reads on: keep the line for the next request, or close it."""
        if self._poller is not None:
            self._poller.speaking -= 1
        if line.keeps and line.response.complete:
            self._keep_idle(line)
        elif line.keeps and line.response.enough:
            line.drain_body(self._keep_idle)
        else:
            line.abort()

    async def close(self) -> None:
        for line in list(self._open):
            line.abort()
        if self._poller is not None:
            self._poller.close()
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
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await (
                    self._open_tunnel(place)
                    if place.is_tunnelled
                    else self._create_connection(place)
                )
        except TimeoutError as error:
            if scope.expired():
                raise connect_timeout_error(seconds) from None
            raise no_connection_error(place, error) from None
        except (OSError, UnicodeError) as error:
            raise no_connection_error(place, error) from None

    async def _create_connection(self, place: Origin) -> Http1Connection:
        to = place.proxy or place
        context = None
        if to.secure:
            context = self._tls.proxy if place.proxy else self._tls.server
        opened = await connect_to_host(to.host, to.port)
        # the loop closes the socket if this fails or is cancelled
        _, line = await self._loop.create_connection(
            lambda: Http1Connection(
                place, self._view, self._batched, self._release_connection, self._open.discard
            ),
            sock=opened,
            ssl=context,
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
                raise proxy_refusal_error(place, line.response.status)
            secured = await self._loop.start_tls(
                line.transport, line, self._tls.server, server_hostname=place.host
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


async def _send_or_abort(
    line: Http1Connection, lead: bytes, body: bytes, *, early: bool = False
) -> None:
    try:
        await line.send_request(lead, body, early=early)
    except BaseException:
        line.abort()
        raise
