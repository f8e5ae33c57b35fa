"""Requests about batches to one provider: its documents, uploads and downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mixtura.core.errors import MalformedError, TimedOutError
from mixtura.core.types import JsonObject
from mixtura.transport.base import Transport, TransportResponse
from mixtura.transport.upstream_errors import error_from_response

REQUEST_SECONDS = 600.0
"""Seconds for one request about a batch: an upload or a download is large."""


class BatchHttp:
    """Requests to one provider, as its live calls are sent: *headers* have the key."""

    def __init__(self, base_url: str, headers: Mapping[str, str], transport: Transport) -> None:
        self._base = base_url
        self._headers = dict(headers)
        self._transport = transport

    def beside(self, folder: str, key_header: str) -> BatchHttp:
        """The API that stands above *folder*, where the key has a header of its own."""
        headers = {k: v for k, v in self._headers.items() if k.lower() != "authorization"}
        for name, value in self._headers.items():
            if name.lower() == "authorization":
                headers[key_header] = value.removeprefix("Bearer ")
        return BatchHttp(self._base.removesuffix(folder), headers, self._transport)

    async def get_list(self, path: str) -> list[Any]:
        """A document that is a list, or has one as its ``data``. Raises ModelError."""
        found = _decode_any(await self._read("GET", path, b"", {}))
        found = found.get("data") if isinstance(found, dict) else found  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(found, list):
            raise MalformedError("what a provider says of its batches is no list")
        return found  # pyright: ignore[reportUnknownVariableType]

    async def get_json(self, path: str) -> Any:
        """Raises ModelError."""
        return decode_object(await self._read("GET", path, b"", {}))

    async def post_json(self, path: str, data: Any) -> Any:
        """Raises ModelError."""
        kind = {"Content-Type": "application/json"}
        return decode_object(await self._read("POST", path, msgspec.json.encode(data), kind))

    async def upload_file(self, path: str, name: str, data: bytes, fields: JsonObject) -> Any:
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
        return decode_object(await self._read("POST", path, body, kind))

    async def read_lines(self, path: str, take: Callable[[bytes], None]) -> None:
        """Give *take* the lines of a document as they come. Raises ModelError."""
        rest = b""

        def take_piece(piece: bytes) -> bool:
            nonlocal rest
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    take(line)
            return False

        await self._send("GET", path, b"", {}, take_piece)
        if rest.strip():
            take(rest)

    async def _read(self, method: str, path: str, body: bytes, kind: Mapping[str, str]) -> bytes:
        pieces: list[bytes] = []

        def take_piece(piece: bytes) -> bool:
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
            async with asyncio.timeout(REQUEST_SECONDS):
                reply: TransportResponse = await self._transport.send_request(
                    method, self._base + path, self._headers | dict(kind), body, connect=10.0
                )
                try:
                    if not 200 <= reply.status < 300:
                        raise await _refusal(reply)
                    await reply.read_body(take)
                finally:
                    reply.close()
        except TimeoutError:
            raise TimedOutError(f"not done within {REQUEST_SECONDS:.0f} s") from None


def _decode_any(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        raise MalformedError("what a provider says of a batch is not JSON") from None


def decode_object(data: bytes) -> Any:
    """What a provider says of a batch. Raises MalformedError."""
    found: Any = _decode_any(data)
    if not isinstance(found, dict):
        raise MalformedError("what a provider says of a batch is not an object")
    return found  # pyright: ignore[reportUnknownVariableType]


async def _refusal(reply: TransportResponse) -> Exception:
    pieces: list[bytes] = []

    def take_piece(piece: bytes) -> bool:
        pieces.append(piece)
        return sum(map(len, pieces)) > 65536

    await reply.read_body(take_piece)
    return error_from_response(reply.status, reply.headers, b"".join(pieces))
