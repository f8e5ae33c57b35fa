"""Stored responses by their ids: read, deleted, and the items that they were made from."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mixtura.server.answering import json_response
from mixtura.server.dialect import Refused
from mixtura.server.service import Service

MOST_ITEMS = 100


async def one_response(service: Service, request: Request) -> Response:
    """``GET`` and ``DELETE /v1/responses/ID``."""
    client = service.doors.client(request.scope)
    name = request.path_params["id"]
    if request.method == "DELETE":
        await service.responses.delete(name, client)
        return json_response({"id": name, "object": "response", "deleted": True})
    if request.query_params.get("stream", "false") != "false":
        said = "a stored response is whole: leave `stream` out"
        raise Refused(400, said, param="stream", code="unsupported_parameter")
    return json_response(await service.responses.response(name, client))


async def input_items(service: Service, request: Request) -> Response:
    """``GET /v1/responses/ID/input_items``: the newest first, a page at a time."""
    client = service.doors.client(request.scope)
    asked = request.query_params
    limit = _limit(asked.get("limit", "20"))
    order = asked.get("order", "desc")
    if order not in ("asc", "desc"):
        raise Refused(400, "`order` is asc or desc", param="order")
    items = list(await service.responses.input_items(request.path_params["id"], client))
    if order == "desc":
        items.reverse()
    if (after := asked.get("after")) is not None:
        places = [i for i, item in enumerate(items) if item["id"] == after]
        if not places:
            raise Refused(400, "`after`: no item of this response has that id", param="after")
        items = items[places[-1] + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    more = {"first_id": None, "last_id": None, **ends, "has_more": len(items) > limit}
    return json_response({"object": "list", "data": page, **more})


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= limit <= MOST_ITEMS:
        raise Refused(400, f"`limit` is a number from 1 to {MOST_ITEMS}", param="limit")
    return limit
