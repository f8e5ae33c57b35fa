"""Stored responses by their ids: read, deleted, and the items that they were made from."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mixtura.server.apis.base import ApiError
from mixtura.server.json_responses import json_response
from mixtura.server.service import Service

MAX_ITEMS_LISTED = 100


async def handle_stored_response(service: Service, request: Request) -> Response:
    """
    ``GET`` and ``DELETE /v1/responses/ID``. Raises ApiError where there is no such response, or
    ``stream`` is asked for.
    """
    client = service.authenticator.authenticate_request(request.scope)
    name = request.path_params["id"]
    if request.method == "DELETE":
        await service.responses.delete_response(name, client)
        return json_response({"id": name, "object": "response", "deleted": True})
    if request.query_params.get("stream", "false") != "false":
        message = "a stored response is whole: leave `stream` out"
        raise ApiError(400, message, param="stream", code="unsupported_parameter")
    return json_response(await service.responses.get_response(name, client))


async def list_input_items(service: Service, request: Request) -> Response:
    """
    ``GET /v1/responses/ID/input_items``: the newest first, a page at a time. Raises ApiError naming
    the parameter that is wrong, or where there is no such response.
    """
    client = service.authenticator.authenticate_request(request.scope)
    query = request.query_params
    limit = _parse_limit(query.get("limit", "20"))
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, "`order` is asc or desc", param="order")
    items = list(await service.responses.get_input_items(request.path_params["id"], client))
    if order == "desc":
        items.reverse()
    if (after := query.get("after")) is not None:
        places = [i for i, item in enumerate(items) if item["id"] == after]
        if not places:
            raise ApiError(400, "`after`: no item of this response has that id", param="after")
        items = items[places[-1] + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    more = {"first_id": None, "last_id": None, **ends, "has_more": len(items) > limit}
    return json_response({"object": "list", "data": page, **more})


def _parse_limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= limit <= MAX_ITEMS_LISTED:
        raise ApiError(400, f"`limit` is a number from 1 to {MAX_ITEMS_LISTED}", param="limit")
    return limit
