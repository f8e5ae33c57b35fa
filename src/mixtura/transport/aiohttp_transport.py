"""The HTTP client of the aiohttp library as a `Transport`; the only file that knows it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mixtura.core.errors import ConfigError, ModelError, RejectedError, UnavailableError
from mixtura.core.missing_packages import missing_package_text
from mixtura.transport.address import (
    EnvironmentProxies,
    Origin,
    parse_origin,
    request_headers,
    request_path,
)
from mixtura.transport.base import Headers, Sink, TransportResponse
from mixtura.transport.connection_errors import (
    broken_connection_error,
    connect_timeout_error,
    no_connection_error,
    proxy_refusal_error,
)
from mixtura.transport.decompression import BodyFeed
from mixtura.transport.per_loop import PerLoop
from mixtura.transport.tls import ClientCertificate, TlsContexts, read_client_certificate

if TYPE_CHECKING or find_spec("aiohttp") is not None:
    import aiohttp
    from yarl import URL

READ_BUFFER_BYTES = 64 * 1024
"""Bytes of a body that lie there unread before no more are taken in."""
WRITE_SLICE_BYTES = 256 * 1024
"""Bytes of a request that are handed on at once."""
MAX_IDLE_SECONDS = 30.0
"""Seconds that a connection is kept without use."""
DRAIN_SECONDS = 0.05
"""Seconds that an answer which is over may take until the connection says so, too."""
LARGEST_LINE = 32 * 1024
"""Bytes of a status line, and of a header."""
_TOO_MUCH = ("Got more than", "Too many headers")
"""How aiohttp's words begin for headers that are too long, or too many."""


class AiohttpTransport:
    """
    The client of aiohttp, in place of our own.

    *client_certificate*, *client_key*: PEM files with a certificate for servers that ask for one,
    and its key, unless that stands in the same file. A proxy that is spoken to over TLS is shown
    it, too, if it asks. Raises ConfigError for files that hold no such pair, and without aiohttp.
    """

    def __init__(
        self,
        *,
        client_certificate: str | Path | None = None,
        client_key: str | Path | None = None,
    ) -> None:
        if find_spec("aiohttp") is None:
            said = missing_package_text('the transport "aiohttp"', "aiohttp", "aiohttp")
            raise ConfigError(said, key="transport")
        shown = read_client_certificate(client_certificate, client_key)
        self._sessions = PerLoop(lambda: _Session(shown), _Session.close)

    async def send_request(
        self, method: str, url: str, headers: Headers, body: bytes, *, connect: float | None
    ) -> TransportResponse:
        """Send a request: see `Transport.send_request`."""
        session = await self._sessions.get()
        return await session.send_request(method, url, headers, body, connect)

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self._sessions.close()


class _Session:
    """aiohttp's session of one event loop, without what a `Transport` does not do."""

    def __init__(self, shown: ClientCertificate | None) -> None:
        self._tls = TlsContexts(shown)
        self._draining: set[aiohttp.ClientResponse] = set()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=MAX_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # it has no bound on what a few bytes become
            trust_env=False,  # it would read a netrc
            skip_auto_headers=("Content-Type", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=LARGEST_LINE,
            max_field_size=LARGEST_LINE,
        )

    async def send_request(
        self, method: str, url: str, headers: Headers, body: bytes, connect: float | None
    ) -> TransportResponse:
        parts = urlsplit(url)
        origin = parse_origin(parts, self._environment_proxies.proxy_for(parts))
        fields = request_headers(origin, headers, body)
        proxy, login = origin.proxy, origin.proxy.login if origin.proxy else None
        try:
            response = await self._session.request(
                method,
                _encoded_url(origin, request_path(parts)),
                headers=fields,
                data=body if len(body) <= WRITE_SLICE_BYTES else _Slices(body),
                allow_redirects=False,
                proxy=_encoded_url(proxy) if proxy else None,
                proxy_headers={"Proxy-Authorization": login} if proxy and login else None,
                ssl=self._context_for(origin),
                timeout=aiohttp.ClientTimeout(total=None, connect=connect),
            )
        except aiohttp.ConnectionTimeoutError:
            raise connect_timeout_error(connect) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _request_error(origin, error) from None
        return _Response(response, self.drain_response)

    def drain_response(self, response: aiohttp.ClientResponse) -> None:
        """No one reads on, but the body's end is near: keep the connection if it comes soon."""
        self._draining.add(response)
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._end_draining, response)

    async def close(self) -> None:
        for response in tuple(self._draining):
            self._end_draining(response)
        await self._session.close()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    def _end_draining(self, response: aiohttp.ClientResponse) -> None:
        self._draining.discard(response)
        response.close()  # which does nothing once the end has come

    def _context_for(self, origin: Origin) -> ssl.SSLContext | bool:
        if origin.secure:
            return self._tls.server
        return self._tls.proxy if origin.proxy and origin.proxy.secure else True

    @cached_property
    def _environment_proxies(self) -> EnvironmentProxies:
        return EnvironmentProxies()


class _Response:
    """An answer of aiohttp as a `TransportResponse`."""

    def __init__(
        self, response: aiohttp.ClientResponse, drain: Callable[[aiohttp.ClientResponse], None]
    ) -> None:
        self._response = response
        self._content = response.content
        self._drain = drain
        self._enough = False
        self.status = response.status
        self.headers: dict[str, str] = {}
        for name, value in response.raw_headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    @property
    def received_bytes(self) -> int:
        """Bytes of the body alone: aiohttp does not tell what framed it."""
        return self._content.total_raw_bytes

    async def read_body(
        self,
        sink: Sink,
        *,
        batch_seconds: float | None = None,  # noqa: ARG002 - each piece is handed on at once
        end_markers: Sequence[bytes] = (),  # noqa: ARG002
    ) -> None:
        """Hand the body to *sink*: see `TransportResponse.read_body`."""
        pieces: list[bytes] = []
        feed = BodyFeed(sink, pieces, self.headers.get("content-encoding", ""))
        complete = False
        while not complete:
            data = await self._read_piece()
            complete = not data
            pieces += [data] if data else []
            while True:
                self._enough = feed.feed_step(complete)
                if self._enough:
                    return
                if feed.steps is None and not pieces:
                    break
                await asyncio.sleep(0)  # few bytes may unpack to many: others have a turn

    async def _read_piece(self) -> bytes:
        """What came since the last piece; nothing at the body's end."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise broken_connection_error(error, midway=True) from None

    def close(self) -> None:
        """No one reads on: keep the connection when the body is over or nearly so."""
        if self._enough and not self._content.is_eof():
            self._drain(self._response)
        else:
            self._response.close()


class _Slices:
    """A large request's body, a slice at a time, as fast as it is taken in."""

    def __init__(self, body: bytes) -> None:
        self._rest = memoryview(body)

    def __aiter__(self) -> _Slices:
        return self

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        piece, self._rest = self._rest[:WRITE_SLICE_BYTES], self._rest[WRITE_SLICE_BYTES:]
        return bytes(piece)


def _encoded_url(origin: Origin, path: str = "/") -> URL:
    scheme = "https" if origin.secure else "http"
    return URL(f"{scheme}://{origin.host_and_port}{path}", encoded=True)


def _request_error(origin: Origin, error: Exception) -> ModelError:
    """One of our errors for one of aiohttp's, none of whose own words are shown: they hold URLs."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return proxy_refusal_error(origin, error.status)
        case aiohttp.ClientConnectorCertificateError():
            return no_connection_error(origin, error.certificate_error)
        case aiohttp.ClientConnectorError():
            return no_connection_error(origin, error.os_error)
        case aiohttp.ClientResponseError():
            flood = error.message.startswith(_TOO_MUCH)
            what = "too many or too long headers" if flood else "the response is not HTTP"
            return UnavailableError(f"the connection broke: {what}")
        case aiohttp.InvalidURL():
            return RejectedError(f"not the address of an HTTP server: {origin.host_and_port}")
        case aiohttp.ServerDisconnectedError():
            return broken_connection_error(None, midway=False)
        case _:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            return broken_connection_error(cause, midway=False)
