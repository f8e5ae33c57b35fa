"""Receives the JSON body of a request, within its limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope

from mixtura.config.schema import ServeTable
from mixtura.engine.background_work import LARGE_BYTES, run_in_thread_if_large
from mixtura.server.apis.base import ApiError
from mixtura.server.encodings import decompress_body, parse_content_encoding
from mixtura.server.json_responses import JSON
from mixtura.server.request_headers import request_header
from mixtura.server.service import Service

BODY_RECEIVED_KEY = "mixtura.whole"
"""Key in a request's scope: true when its whole body was received before its handler began."""


async def receive_body(scope: Scope, receive: Receive, service: Service) -> bytes:
    """The body, decompressed. Raises ApiError when it is not JSON, too large, or does not come."""
    return await receive_json_body(scope, receive, service.config.serve)


async def receive_json_body(scope: Scope, receive: Receive, table: ServeTable) -> bytes:
    """The same within the limits of a *table* of settings. Raises ApiError."""
    kind, encodings, told = (
        request_header(scope, name)
        for name in (b"content-type", b"content-encoding", b"content-length")
    )
    kind = kind.partition(";")[0].strip().lower()
    if kind != JSON:
        said = f"the body must be sent as `Content-Type: {JSON}`"
        raise ApiError(415, said, code="unsupported_media_type")
    packed = parse_content_encoding(encodings)
    most = int(table.largest_megabytes * 1024**2)
    if told.isdigit() and int(told[:20]) > most:
        raise _body_too_large_error(table.largest_megabytes)
    try:
        wait = None if scope.get(BODY_RECEIVED_KEY) else table.receive_seconds
        async with asyncio.timeout(wait):
            body = await _read_body(receive, table.largest_megabytes)
    except TimeoutError:
        said = f"the body did not come within {table.receive_seconds:g} s"
        raise ApiError(408, said, code="request_timeout") from None
    if packed is None:
        return body
    whole = await run_in_thread_if_large(
        LARGE_BYTES, decompress_body, body, packed, most
    )  # a few bytes may expand to millions
    if whole is None:
        raise _body_too_large_error(table.largest_megabytes)
    return whole


async def _read_body(receive: Receive, megabytes: float) -> bytes:
    most = int(megabytes * 1024**2)
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(499, "the client left")
        pieces.append(message.get("body", b""))
        most -= len(pieces[-1])
        if most < 0:
            # The error is raised with these pieces in its frames: they are freed first.
            pieces.clear()
            raise _body_too_large_error(megabytes)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _body_too_large_error(megabytes: float) -> ApiError:
    message = f"the body is larger than {megabytes:g} MB"
    return ApiError(413, message, kind="request_too_large", code="request_too_large")
