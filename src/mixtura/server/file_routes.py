"""Files over HTTP: ``/v1/files`` as OpenAI's API has it, for the input and output of batches."""

from __future__ import annotations

import secrets
import time
from asyncio import to_thread
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mixtura.core.redaction import redact_secrets
from mixtura.server.apis.base import ApiError
from mixtura.server.error_statuses import translate_store_errors
from mixtura.server.json_responses import json_response
from mixtura.server.multipart_body import UploadedForm, receive_form, stated_bytes
from mixtura.server.request_headers import request_header
from mixtura.server.served_apis import served_paths
from mixtura.server.service import Service
from mixtura.server.unsupported_routes import not_found_message
from mixtura.storage.interfaces import DAY_SECONDS
from mixtura.storage.kept_files import MAX_FILES, PART_BYTES, FileSpaceError, KeptFile

MIN_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS = 3600, 30 * 86400
"""What ``expires_after`` may say."""


async def handle_files(service: Service, request: Request) -> Response:
    """``GET`` and ``POST /v1/files``. Raises ApiError."""
    require_batches(service, request)
    client = service.authenticator.authenticate_request(request.scope)
    owner = service.authenticator.owner_name(client)
    with translate_store_errors():
        if request.method == "GET":
            purpose = request.query_params.get("purpose")
            rows = await to_thread(
                partial(service.batches.files.list_files, owner, purpose=purpose)
            )
            return page_of([file_object(one) for one in rows], request, most=10_000, usual=10_000)
        await client.admit_request()
        table = service.config.serve
        most = int(table.batches.file_megabytes * 1024**2)
        room = int(table.batches.megabytes * 1024**2)
        uploads = service.batches.uploads
        with uploads.reserve_room(owner, stated_bytes(request.scope) or most, room):
            form = await receive_form(
                request.scope, request.receive, most=most, idle_seconds=table.receive_seconds
            )
        with form.body:
            file = _new_file(form, owner, table.batches.days)
            try:
                await to_thread(
                    partial(
                        service.batches.files.add_file, file, form.read_parts(PART_BYTES), room=room
                    )
                )
            except FileSpaceError:
                message = (
                    f"all files of a key have at most {table.batches.megabytes:g} MB, and are at"
                    f" most {MAX_FILES:,}: delete some"
                )
                raise ApiError(
                    413, message, kind="request_too_large", code="storage_limit_exceeded",
                    param="file",
                ) from None  # fmt: skip
    return json_response(file_object(file))


async def handle_file(service: Service, request: Request) -> Response:
    """``GET`` and ``DELETE /v1/files/ID``. Raises ApiError."""
    require_batches(service, request)
    with translate_store_errors():
        file = await find_file(service, request, request.path_params["id"])
        if request.method == "GET":
            return json_response(file_object(file))
        await to_thread(service.batches.files.delete_file, file.id, file.who)
    return json_response({"id": file.id, "object": "file", "deleted": True})


async def get_content(service: Service, request: Request) -> Response:
    """``GET /v1/files/ID/content``. Raises ApiError."""
    require_batches(service, request)
    with translate_store_errors():
        file = await find_file(service, request, request.path_params["id"])
        # Before the response begins: later, nothing could be said of it.
        await to_thread(service.batches.files.check_whole, file)
    return StreamingResponse(
        service.batches.files.read_parts(file.id),
        headers={"content-length": str(file.size), "x-content-type-options": "nosniff"},
        media_type="application/octet-stream",
    )


async def find_file(
    service: Service,
    request: Request,
    id: str,  # noqa: A002
    *,
    param: str | None = None,
) -> KeptFile:
    """The file. Raises ApiError (404; 400 naming *param*) where its client has none of that id."""
    client = service.authenticator.authenticate_request(request.scope)
    owner = service.authenticator.owner_name(client)
    file = await to_thread(service.batches.files.get_file, id, owner)
    if file is None:
        status = 404 if param is None else 400
        raise ApiError(
            status, f"No such File object: {id}", param=param or "id", code="file_not_found"
        )
    return file


def require_batches(service: Service, request: Request) -> None:
    """Raises ApiError (404) where the operator wants none, and for clients of Anthropic's API."""
    if request_header(request.scope, b"anthropic-version"):
        raise ApiError(
            404, not_found_message("/v1/messages/batches", served_paths()), code="not_found"
        )
    if not service.config.serve.batches.keep:
        message = "files and batches are turned off on this server"
        raise ApiError(404, message, code="not_found")


def page_of(
    rows: Sequence[Mapping[str, Any]], request: Request, *, most: int, usual: int
) -> Response:
    """The part of *rows* that ``limit``, ``after`` and ``order`` name. Raises ApiError."""
    query = request.query_params
    text = query.get("limit", str(usual))
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
    if not 1 <= limit <= most:
        raise ApiError(400, f"`limit` is a number from 1 to {most}", param="limit")
    if (order := query.get("order", "desc")) not in ("asc", "desc"):
        raise ApiError(400, "`order` is asc or desc", param="order")
    found = list(rows) if order == "desc" else list(rows)[::-1]
    if (after := query.get("after")) is not None:
        places = [i for i, one in enumerate(found) if one["id"] == after]
        if not places:
            raise ApiError(400, "`after`: there is none with that id", param="after")
        found = found[places[0] + 1 :]
    page = found[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    more = {"first_id": None, "last_id": None, **ends, "has_more": len(found) > limit}
    return json_response({"object": "list", "data": page, **more})


def file_object(file: KeptFile) -> dict[str, Any]:
    """A file as the API shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created),
        "expires_at": None if file.expires is None else int(file.expires),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def check_expiry(anchor: str | None, seconds: int, param: str) -> None:
    """Raises ApiError where a client asks for what files cannot have."""
    if anchor != "created_at" or not MIN_EXPIRY_SECONDS <= seconds <= MAX_EXPIRY_SECONDS:
        message = (
            f"`{param}` has the anchor created_at and"
            f" {MIN_EXPIRY_SECONDS} to {MAX_EXPIRY_SECONDS} seconds"
        )
        raise ApiError(400, message, param=param)


def _new_file(form: UploadedForm, owner: str, days: float) -> KeptFile:
    purpose = form.fields.get("purpose")
    if purpose != "batch":
        said = "'purpose' is a required property" if purpose is None else "`purpose` must be batch"
        raise ApiError(400, said, param="purpose", code="invalid_purpose")
    seconds = days * DAY_SECONDS
    text = form.fields.get("expires_after[seconds]")
    anchor = form.fields.get("expires_after[anchor]")
    if text is not None or anchor is not None:
        wanted = int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else 0
        check_expiry(anchor, wanted, "expires_after")
        seconds = min(float(wanted), seconds)
    now = time.time()
    name = redact_secrets(form.name.replace("\x00", ""))[:255] or "file"
    size = form.end - form.start
    return KeptFile(f"file-{secrets.token_hex(12)}", owner, purpose, name, now, now + seconds, size)
