"""How many tokens a request would take in, for clients that ask before they send it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mixtura.apart import apart, weight
from mixtura.server import messages_asked, responses_asked
from mixtura.server.answering import json_response, received
from mixtura.server.bodies import decoded
from mixtura.server.choice import DEFAULT
from mixtura.server.dialect import Call, Referring
from mixtura.server.service import Service
from mixtura.wire import estimate

UNBOUND = 2**31 - 1
"""Stands for an answer's tokens where no answer is asked for."""


async def count_messages(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/messages/count_tokens``: a body of messages, of which no answer is made."""
    raw, size = await _body(service, request)
    read = await apart(size, messages_asked.from_data, raw | _UNANSWERED)
    tokens = await _counted(service, request, read)
    return json_response({"input_tokens": tokens})


async def count_responses(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/responses/input_tokens``: a body of responses, all of it optional."""
    raw, size = await _body(service, request)
    given = {name: value for name, value in raw.items() if value is not None}
    body = {"model": DEFAULT, "input": ""} | given | {"stream": False, "store": False}
    read = await apart(size, responses_asked.from_data, body)
    tokens = await _counted(service, request, read)
    return json_response({"object": "response.input_tokens", "input_tokens": tokens})


_UNANSWERED = {"max_tokens": UNBOUND, "stream": False}


async def _body(service: Service, request: HttpRequest) -> tuple[dict[str, Any], int]:
    """What was sent, and its bytes."""
    service.doors.client(request.scope).admit()
    body = await received(request.scope, request.receive, service)
    return await apart(len(body), decoded, body), len(body)


async def _counted(service: Service, request: HttpRequest, read: Call | Referring) -> int:
    """The tokens of a call whose model its client may use. Raises Refused."""
    client = service.doors.client(request.scope)
    call = await service.responses.ready(read, client)
    service.chooser.choose(call, client)
    return (await apart(weight(call.request), estimate, call.request, "")).prompt_tokens
