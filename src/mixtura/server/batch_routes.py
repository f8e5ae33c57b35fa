"""Batches over HTTP: ``/v1/batches`` as OpenAI's API has it."""

from __future__ import annotations

from asyncio import to_thread
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixtura.core.redaction import current_redactor
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.validation import decode_fields
from mixtura.server.batch_rows import ENDPOINTS
from mixtura.server.error_statuses import translate_store_errors
from mixtura.server.file_routes import check_expiry, find_file, page_of, require_batches
from mixtura.server.json_responses import json_response
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service

WINDOW = "24h"


class OutputExpiry(msgspec.Struct):
    """After which time the files that a batch makes are deleted."""

    anchor: str
    seconds: int


class BatchBody(msgspec.Struct):
    """A request for a batch."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: OutputExpiry | None = None


async def handle_batches(service: Service, request: Request) -> Response:
    """``GET`` and ``POST /v1/batches``. Raises ApiError."""
    require_batches(service, request)
    client = service.authenticator.authenticate_request(request.scope)
    with translate_store_errors():
        if request.method == "GET":
            owner = service.authenticator.owner_name(client)
            rows = await to_thread(service.batches.batches.list_batches, owner)
            return page_of([one.body for one in rows], request, most=100, usual=20)
        await client.admit_request()
        fields = _read_body(await receive_body(request.scope, request.receive, service))
        await find_file(service, request, fields["input_file_id"], param="input_file_id")
        return json_response(await service.batches.create_batch(fields, client))


async def get_batch(service: Service, request: Request) -> Response:
    """``GET /v1/batches/ID``. Raises ApiError."""
    require_batches(service, request)
    client = service.authenticator.authenticate_request(request.scope)
    with translate_store_errors():
        kept = await service.batches.find_batch(request.path_params["id"], client)
    return json_response(kept.body)


async def cancel_batch(service: Service, request: Request) -> Response:
    """``POST /v1/batches/ID/cancel``. Raises ApiError."""
    require_batches(service, request)
    client = service.authenticator.authenticate_request(request.scope)
    with translate_store_errors():
        return json_response(await service.batches.cancel_batch(request.path_params["id"], client))


def _read_body(data: bytes) -> dict[str, Any]:
    body = decode_fields(data, BatchBody)
    if body.completion_window != WINDOW:
        message = f"`completion_window` must be {WINDOW}"
        raise ApiError(400, message, param="completion_window", code="invalid_completion_window")
    if body.endpoint not in ENDPOINTS:
        message = f"`endpoint` must be one of {', '.join(ENDPOINTS)}"
        raise ApiError(400, message, param="endpoint", code="invalid_endpoint")
    if (expiry := body.output_expires_after) is not None:
        check_expiry(expiry.anchor, expiry.seconds, "output_expires_after")
    metadata = body.metadata or {}
    if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
        message = "`metadata` has at most 16 names of 64 letters, with values of 512"
        raise ApiError(400, message, param="metadata")
    # Kept and shown again: a key in it is in neither.
    return msgspec.structs.asdict(body) | {
        "metadata": current_redactor().redact_data(body.metadata),
        "output_expires_after": None if expiry is None else msgspec.structs.asdict(expiry),
    }
