"""Requests about batches to one provider, each within a bound of bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from mixtura.batch.provider_fields import decode_reply
from mixtura.core.errors import MalformedError, TimedOutError
from mixtura.core.types import JsonObject
from mixtura.transport.base import Transport, TransportResponse
from mixtura.transport.upstream_errors import error_from_response

REQUEST_SECONDS = 600.0
"""Seconds for one request about a batch: an upload is large. A large reply has more."""
SLOWEST_DOWNLOAD = 10_000
"""Bytes a second: a reply that comes at least as fast is read to its end."""
MAX_REPLY_BYTES = 32 * 1024**2
"""Bytes of a reply that is one object, and of a line of the results."""
MAX_RESULT_BYTES = 8 * 1024**3
"""Bytes of one document of results: no provider takes batches that come to more."""


class BatchHttp:
    """Requests to one provider, as its live calls are sent: *headers* have the key."""

    def __init__(self, base_url: str, headers: Mapping[str, str], transport: Transport) -> None:
        self._base = base_url
        self._headers = dict(headers)
        self._transport = transport

    def api_above(self, folder: str, key_header: str) -> BatchHttp:
        """The API that stands above *folder*, where the key has a header of its own."""
        headers = {k: v for k, v in self._headers.items() if k.lower() != "authorization"}
        for name, value in self._headers.items():
            if name.lower() == "authorization":
                headers[key_header] = value.removeprefix("Bearer ")
        return BatchHttp(self._base.removesuffix(folder), headers, self._transport)

    def with_path_prefix(self, folder: str) -> BatchHttp:
        """The same API where *folder* stands before its path, as Google has files."""
        parts = urlsplit(self._base)
        base = urlunsplit(parts._replace(path=folder + parts.path))
        return BatchHttp(base, self._headers, self._transport)

    async def get_list(self, path: str) -> dict[str, Any]:
        """A list as the ``data`` of an object, with or without one around it. Raises ModelError."""
        data = await self._read("GET", path, b"", {})
        return decode_reply(b'{"data":%s}' % data if data.lstrip().startswith(b"[") else data)

    async def get_json(self, path: str) -> dict[str, Any]:
        """Raises ModelError."""
        return decode_reply(await self._read("GET", path, b"", {}))

    async def post_json(self, path: str, data: Any) -> dict[str, Any]:
        """Raises ModelError."""
        kind = {"Content-Type": "application/json"}
        return decode_reply(await self._read("POST", path, msgspec.json.encode(data), kind))

    async def upload_file(
        self, path: str, name: str, data: bytes, fields: JsonObject
    ) -> dict[str, Any]:
        """A file as a browser's form sends it. Raises ModelError."""
        mark = f"mixtura-form-{name}"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        ]
        parts.append(
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = "".join(parts).encode() + data + f"\r\n--{mark}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return decode_reply(await self._read("POST", path, body, kind))

    async def upload_described(
        self, path: str, name: str, data: bytes, described: JsonObject
    ) -> dict[str, Any]:
        """A file behind what is said of it, as Google takes both. Raises ModelError."""
        mark = f"mixtura-form-{name}"
        body = b"".join(
            b"--%b\r\nContent-Type: %b\r\n\r\n%b\r\n" % (mark.encode(), kind, part)
            for kind, part in (
                (b"application/json; charset=utf-8", msgspec.json.encode(described)),
                (b"application/jsonl", data),
            )
        )
        headers = {
            "Content-Type": f"multipart/related; boundary={mark}",
            "X-Goog-Upload-Protocol": "multipart",
        }
        return decode_reply(
            await self._read("POST", path, body + f"--{mark}--\r\n".encode(), headers)
        )

    async def read_lines(self, path: str, take: Callable[[bytes], None]) -> None:
        """Give *take* the lines of a document as they come. Raises ModelError."""
        lines = _Lines(take)
        await self._send("GET", path, b"", {}, lines.add_piece)
        lines.end()

    async def _read(self, method: str, path: str, body: bytes, kind: Mapping[str, str]) -> bytes:
        pieces: list[bytes] = []
        left = MAX_REPLY_BYTES

        def take_piece(piece: bytes) -> bool:
            nonlocal left
            left -= len(piece)
            if left < 0:
                raise _too_large_error("a provider's reply about a batch", MAX_REPLY_BYTES)
            pieces.append(piece)
            return False

        await self._send(method, path, body, kind, take_piece)
        return b"".join(pieces)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        kind: Mapping[str, str],
        take: Callable[[bytes], bool],
    ) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS) as clock:

                def take_piece(piece: bytes) -> bool:
                    # Results may be gigabytes: what comes steadily has all the time it needs.
                    if (end := clock.when()) is not None:
                        clock.reschedule(end + len(piece) / SLOWEST_DOWNLOAD)
                    return take(piece)

                reply: TransportResponse = await self._transport.send_request(
                    method, self._base + path, self._headers | dict(kind), body, connect=10.0
                )
                try:
                    if not 200 <= reply.status < 300:
                        raise await _error_from_reply(reply)
                    await reply.read_body(take_piece)
                finally:
                    reply.close()
        except TimeoutError:
            raise TimedOutError(f"not finished within {REQUEST_SECONDS:.0f} s") from None


class _Lines:
    """The lines of a document that comes in pieces; each byte is looked at once."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._left = MAX_RESULT_BYTES

    def add_piece(self, piece: bytes) -> bool:
        """Raises MalformedError for a line, or a document, without end."""
        self._left -= len(piece)
        if self._left < 0:
            raise _too_large_error("a batch's document of results", MAX_RESULT_BYTES)
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._add(line)
            self.end()
        self._add(rest)
        return False

    def end(self) -> None:
        line = b"".join(self._open)
        self._open.clear()
        self._open_bytes = 0
        if line.strip():
            self._take(line)

    def _add(self, part: bytes) -> None:
        self._open_bytes += len(part)
        if self._open_bytes > MAX_REPLY_BYTES:
            raise _too_large_error("a line of a batch's results", MAX_REPLY_BYTES)
        self._open.append(part)


def _too_large_error(what: str, most: int) -> MalformedError:
    return MalformedError(f"{what} is larger than {most / 1024**2:,.0f} MB")


async def _error_from_reply(reply: TransportResponse) -> Exception:
    pieces: list[bytes] = []

    def take_piece(piece: bytes) -> bool:
        pieces.append(piece)
        return sum(map(len, pieces)) > 65536

    await reply.read_body(take_piece)
    return error_from_response(reply.status, reply.headers, b"".join(pieces))
