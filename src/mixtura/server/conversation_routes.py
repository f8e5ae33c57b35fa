"""Conversations over HTTP: one row each, all their turns at once, renamed, exported, deleted."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixtura.core import large_json
from mixtura.core.errors import StoreDamagedError, StoreError
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.validation import decode_fields
from mixtura.server.error_statuses import translate_store_errors
from mixtura.server.json_responses import JSON, json_response
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service
from mixtura.server.shown_texts import shorten_texts
from mixtura.storage.conversation_text import conversation_markdown
from mixtura.storage.conversations import MAX_TITLE_CHARS, list_runs_alone
from mixtura.storage.run_record import Record

MAX_LISTED = 200


class RenameRequest(msgspec.Struct):
    """The body of ``PATCH /api/conversations/{name}``."""

    title: str
    """Empty: the first question again."""


def conversation_routes(at: Callable[..., Route]) -> list[Route]:
    """The routes of conversations; *at* builds one."""
    return [
        at("/api/conversations", _list_conversations),
        at("/api/conversations/{name}", _handle_conversation, "GET", "PATCH", "DELETE"),
        at("/api/conversations/{name}/markdown", _export_markdown),
        at("/api/conversations/{name}/json", _export_json),
    ]


def read_limit(request: Request, most: int) -> int:
    """The number ``limit`` of a query, by default 50. Raises ApiError (400)."""
    try:
        limit = int(request.query_params.get("limit", "50"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= most:
        raise ApiError(400, f"`limit` is a number from 1 to {most}", param="limit")
    return limit


async def _list_conversations(service: Service, request: Request) -> Response:
    limit, query = read_limit(request, MAX_LISTED), request.query_params
    who = service.find_owner(request.scope)
    await service.wait_until_written()
    before, words = query.get("before"), query.get("q")
    async with service.hold_search(words):
        with translate_store_errors():
            rows = await to_thread(_find_conversations, service, limit + 1, before, words, who)
    return json_response({"conversations": rows[:limit], "more": len(rows) > limit})


def _find_conversations(
    service: Service, limit: int, before: str | None, words: str | None, who: str | None
) -> list[Record]:
    runs = service.config.runs
    try:
        return runs.conversations.list_conversations(limit, before, words, who=who)
    except StoreDamagedError:
        return list_runs_alone(runs.list_runs(limit, before, words, who=who))


async def _handle_conversation(service: Service, request: Request) -> Response:
    name, who = request.path_params["name"], service.find_owner(request.scope)
    if request.method == "GET":
        found = await _load_conversation(service, request)
        return Response(await to_thread(_encode_shortened, found), media_type=JSON)
    store = service.config.runs.conversations
    if request.method == "PATCH":
        title = await _read_title(service, request)
        change = partial(store.rename, name, title, who=who)
    else:
        change = partial(store.delete_conversation, name, who=who)
    await service.wait_until_written()
    with translate_store_errors():
        if not await to_thread(change):
            raise _unknown_conversation(name)
    return Response(status_code=204)


async def _read_title(service: Service, request: Request) -> str:
    body = await receive_body(request.scope, request.receive, service)
    title = decode_fields(body, RenameRequest).title
    if len(title) > MAX_TITLE_CHARS:
        message = f"a title has at most {MAX_TITLE_CHARS} letters"
        raise ApiError(400, message, param="title")
    return title


async def _export_markdown(service: Service, request: Request) -> Response:
    found = await _load_conversation(service, request)
    text = await to_thread(conversation_markdown, found, request.query_params.get("run"))
    return _as_download(text.encode(), found["id"], "md", "text/markdown; charset=utf-8")


async def _export_json(service: Service, request: Request) -> Response:
    found = await _load_conversation(service, request)
    parts = _encode_with_runs(service, found)
    with translate_store_errors():
        first = await to_thread(next, parts)  # an error comes before the response begins
    headers = _download_headers(found["id"], "json")
    return StreamingResponse(chain((first,), parts), headers=headers, media_type=JSON)


def _encode_with_runs(service: Service, found: Record) -> Iterator[bytes]:
    """
    The conversation with the whole records of its runs in place of their views, one in
    memory at a time.
    """
    head = large_json.encode({**found, "turns": []}).removesuffix(b"]}")
    before = head
    for turn in found["turns"]:
        try:
            run = service.config.runs.get_run(turn["id"], compared=False)
        except StoreError:
            run = turn  # which says so
        if run is not None:
            yield before + large_json.encode(run)
            before = b","
    yield (b"" if before == b"," else before) + b"]}"


def _encode_shortened(found: Record) -> bytes:
    return large_json.encode(shorten_texts(found))


def _as_download(body: bytes, name: str, ending: str, media_type: str) -> Response:
    return Response(body, headers=_download_headers(name, ending), media_type=media_type)


def _download_headers(name: str, ending: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="mixtura-{name}.{ending}"'}


async def _load_conversation(service: Service, request: Request) -> dict[str, Any]:
    """Raises ApiError (404) where its client has no such conversation."""
    name, who = request.path_params["name"], service.find_owner(request.scope)
    await service.wait_until_written()
    with translate_store_errors():
        found = await to_thread(service.config.runs.conversations.get_conversation, name, who=who)
    if found is None:
        raise _unknown_conversation(name)
    return found


def _unknown_conversation(name: str) -> ApiError:
    return ApiError(404, f"there is no conversation {name}", code="conversation_not_found")
