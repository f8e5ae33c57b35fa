"""Our own HTTP client: connections through proxies and TLS, kept for the next request."""

from __future__ import annotations

import asyncio
import re
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from mixtura.core.errors import UnavailableError
from mixtura.transport.address import (
    EnvironmentProxies,
    Origin,
    build_request_head,
    parse_origin,
    request_headers,
)
from mixtura.transport.base import Headers, TransportResponse
from mixtura.transport.batched_reads import BatchedReads
from mixtura.transport.connection_errors import (
    connect_timeout_error,
    no_connection_error,
    proxy_refusal_error,
)
from mixtura.transport.http1 import Http1Connection
from mixtura.transport.per_loop import PerLoop
from mixtura.transport.response_reader import ResponseReader
from mixtura.transport.socket_connect import connect_to_host
from mixtura.transport.tls import ClientCertificate, TlsContexts, read_client_certificate

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
        parts, origin = self._resolve_origin(url)
        lead = build_request_head(method, parts, origin, request_headers(origin, headers, body))
        connection = await self._send_over_connection(origin, lead, body, connect)
        if self._poller is not None:
            self._poller.speaking += 1
        return connection.response

    async def _send_over_connection(
        self, origin: Origin, lead: bytes, body: bytes, connect: float | None
    ) -> Http1Connection:
        connection = self._take_idle(origin)
        if connection is not None:
            rested = self._loop.time() - connection.idle_since
            try:
                await _send_or_abort(connection, lead, body)
            except UnavailableError:
                if connection.response.has_data or rested < STALE_SECONDS:
                    raise
            else:
                return connection
        connection = await self._open_connection(origin, connect)
        await _send_or_abort(connection, lead, body)
        return connection

    def _release_connection(self, connection: Http1Connection) -> None:
        """No one reads on: keep the connection for the next request, or close it."""
        if self._poller is not None:
            self._poller.speaking -= 1
        if connection.is_reusable and connection.response.complete:
            self._keep_idle(connection)
        elif connection.is_reusable and connection.response.enough:
            connection.drain_body(self._keep_idle)
        else:
            connection.abort()

    async def close(self) -> None:
        for connection in list(self._open):
            connection.abort()
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

    async def _open_connection(self, origin: Origin, seconds: float | None) -> Http1Connection:
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await (
                    self._open_tunnel(origin)
                    if origin.is_tunnelled
                    else self._create_connection(origin)
                )
        except TimeoutError as error:
            if scope.expired():
                raise connect_timeout_error(seconds) from None
            raise no_connection_error(origin, error) from None
        except (OSError, UnicodeError) as error:
            raise no_connection_error(origin, error) from None

    async def _create_connection(self, origin: Origin) -> Http1Connection:
        to = origin.proxy or origin
        context = None
        if to.secure:
            context = self._tls.proxy if origin.proxy else self._tls.server
        opened = await connect_to_host(to.host, to.port)
        # the loop closes the socket if this fails or is cancelled
        _, connection = await self._loop.create_connection(
            lambda: Http1Connection(
                origin, self._view, self._batched, self._release_connection, self._open.discard
            ),
            sock=opened,
            ssl=context,
            server_hostname=to.host if to.secure else None,
        )
        self._open.add(connection)
        return connection

    async def _open_tunnel(self, origin: Origin) -> Http1Connection:
        """A connection through a proxy that does not see what goes over it."""
        assert origin.proxy is not None
        connection = await self._create_connection(origin)
        to = origin.host_and_port
        lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}"]
        if origin.proxy.login:
            lines.append(f"Proxy-Authorization: {origin.proxy.login}")
        await _send_or_abort(connection, "\r\n".join([*lines, "", ""]).encode(), b"", early=True)
        try:
            if connection.response.status // 100 != 2:
                raise proxy_refusal_error(origin, connection.response.status)
            secured = await self._loop.start_tls(
                connection.transport, connection, self._tls.server, server_hostname=origin.host
            )
            if secured is None:
                raise ConnectionResetError("the proxy closed the connection")
        except BaseException:
            connection.abort()
            raise
        connection.use_tls_transport(secured)
        return connection

    # ---- keeping them

    def _take_idle(self, origin: Origin) -> Http1Connection | None:
        connections = self._idle.get(origin)
        now = self._loop.time()
        while connections:
            connection = connections.pop()
            if connection.is_reusable and now < connection.expires:
                return connection
            connection.abort()
        return None

    def _keep_idle(self, connection: Http1Connection) -> None:
        told = _KEEP_ALIVE_TIMEOUT.search(connection.response.headers.get("keep-alive", ""))
        seconds = min(MAX_IDLE_SECONDS, int(told[1]) - 1.0) if told else MAX_IDLE_SECONDS
        if not connection.is_reusable or seconds <= 0:
            connection.abort()
            return
        connection.mark_idle()
        connection.expires = connection.idle_since + seconds
        self._idle.setdefault(connection.origin, []).append(connection)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(MAX_IDLE_SECONDS, self._evict_idle)

    def _evict_idle(self) -> None:
        """Close what no one has used."""
        now = self._loop.time()
        for origin, connections in list(self._idle.items()):
            for connection in connections:
                if now >= connection.expires:
                    connection.abort()
            self._idle[origin] = [
                connection for connection in connections if connection.is_reusable
            ]
            if not self._idle[origin]:
                del self._idle[origin]
        self._sweeping = bool(self._idle)
        if self._sweeping:
            self._loop.call_later(MAX_IDLE_SECONDS, self._evict_idle)


async def _send_or_abort(
    connection: Http1Connection, lead: bytes, body: bytes, *, early: bool = False
) -> None:
    try:
        await connection.send_request(lead, body, early=early)
    except BaseException:
        connection.abort()
        raise


class Http1Transport:
    """
    Our own HTTP/1.1 client, made for many streams at once.

    *client_certificate*, *client_key*: PEM files with a certificate for servers that ask for one,
    and its key, unless that stands in the same file. *batched_reads* False: every piece is read by
    itself, which gives the same and takes more of the processor. Raises ConfigError for files that
    hold no such pair.
    """

    def __init__(
        self,
        *,
        client_certificate: str | Path | None = None,
        client_key: str | Path | None = None,
        batched_reads: bool = True,
    ) -> None:
        shown = read_client_certificate(client_certificate, client_key)
        self.pools = PerLoop(
            lambda: ConnectionPool(shown, batched_reads=batched_reads), ConnectionPool.close
        )

    async def send_request(
        self, method: str, url: str, headers: Headers, body: bytes, *, connect: float | None
    ) -> TransportResponse:
        """Send a request: see `Transport.send_request`."""
        pool = await self.pools.get()
        return await pool.send_request(method, url, headers, body, connect=connect)

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self.pools.close()


BUILT_IN = Http1Transport()
"""What is used where nothing else is said: its connections serve every model."""
