"""What the adapters need of an HTTP client: a request sent, its answer's body read as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

Headers = Mapping[str, str]
"""Of a request, by their names."""
Sink = Callable[[bytes], bool]
"""Is given every piece of a body, then ``b""``; true: it needs no more."""


class TransportResponse(Protocol):
    """An answer that has begun to come. Its body is read once; then it is closed, once."""

    @property
    def status(self) -> int:
        """Of the answer itself: what comes before it (100 to 199) is passed over."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By their names in lower case; repeated ones are joined by commas."""
        ...

    @property
    def received_bytes(self) -> int:
        """Bytes that came by now, with what frames the body as far as the transport sees it."""
        ...

    async def read_body(
        self, sink: Sink, *, batch_seconds: float | None = None, end_markers: Sequence[bytes] = ()
    ) -> None:
        """
        Hand the body, unpacked, to *sink* until it has enough or the body ends.

        A transport may hand on together what comes within *batch_seconds* after the last piece,
        unless it contains one of *end_markers* or ends the body. Raises what *sink* raises,
        UnavailableError when the connection breaks before the end, and MalformedError for a body
        that is not packed as it says.
        """
        ...

    def close(self) -> None:
        """No one reads on: the connection is kept for the next request, or closed."""
        ...


@runtime_checkable
class Transport(Protocol):
    """
    Sends requests to upstreams. It serves any number of event loops, one after the other.

    It follows no redirect, keeps no cookie, adds no login of its own, goes through the proxies
    that the environment names, and trusts the certificates that the system trusts.
    """

    async def send_request(
        self, method: str, url: str, headers: Headers, body: bytes, *, connect: float | None
    ) -> TransportResponse:
        """
        Send a request; its answer as soon as its head has come, whatever its status.

        *connect*: seconds until there is a connection, None for ever. Raises RejectedError for an
        address or a header that is none, TimedOutError when *connect* is over, and
        UnavailableError where there is no connection or it breaks. A request that a server may
        have read is never sent again.
        """
        ...

    async def close(self) -> None:
        """Close the connections of the running event loop; they close with it, too."""
        ...
