"""Our own HTTP/1.1 client as a `Transport`: the one that is used where no other is chosen."""

from __future__ import annotations

from pathlib import Path

from mixtura.transport.base import Headers, TransportResponse
from mixtura.transport.per_loop import PerLoop
from mixtura.transport.pool import ConnectionPool
from mixtura.transport.tls import read_client_certificate


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
