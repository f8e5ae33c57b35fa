"""Counts the tokens of a request, for clients that want to know before they send it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mixtura.core.token_estimate import count_request_tokens
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.server.apis import anthropic_messages_request, openai_responses_request
from mixtura.server.apis.base import ApiCall, UnresolvedCall
from mixtura.server.apis.validation import decode_body
from mixtura.server.json_responses import json_response
from mixtura.server.model_choice import DEFAULT_NAME
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service

UNLIMITED_TOKENS = 2**31 - 1
"""Stands for an answer's tokens where no answer is asked for."""


async def handle_messages_token_count(service: Service, request: HttpRequest) -> Response:
    """
    ``POST /v1/messages/count_tokens``: a body of messages that is not answered. Raises ApiError as
    the API's calls do.
    """
    raw, size = await _read_body(service, request)
    read = await run_in_thread_if_large(
        size, anthropic_messages_request.parse_decoded_request, raw | _COUNT_ONLY_FIELDS
    )
    tokens = await _count_tokens(service, request, read)
    return json_response({"input_tokens": tokens})


async def handle_responses_token_count(service: Service, request: HttpRequest) -> Response:
    """
    ``POST /v1/responses/input_tokens``: a body of responses, all of it optional. Raises ApiError as
    the API's calls do.
    """
    raw, size = await _read_body(service, request)
    # null means left out here: every field of this body is optional.
    given = {name: value for name, value in raw.items() if value is not None}
    body = {"model": DEFAULT_NAME, "input": ""} | given | {"stream": False, "store": False}
    read = await run_in_thread_if_large(size, openai_responses_request.parse_decoded_request, body)
    tokens = await _count_tokens(service, request, read)
    return json_response({"object": "response.input_tokens", "input_tokens": tokens})


_COUNT_ONLY_FIELDS = {"max_tokens": UNLIMITED_TOKENS, "stream": False}


async def _read_body(service: Service, request: HttpRequest) -> tuple[dict[str, Any], int]:
    """What was sent, and its bytes."""
    await service.authenticator.authenticate_request(request.scope).admit_request()
    body = await receive_body(request.scope, request.receive, service)
    return await run_in_thread_if_large(len(body), decode_body, body), len(body)


async def _count_tokens(
    service: Service, request: HttpRequest, read: ApiCall | UnresolvedCall
) -> int:
    """The tokens of a call. Raises ApiError when its client may not use its model."""
    client = service.authenticator.authenticate_request(request.scope)
    call = await service.responses.resolve_call(read, client)
    service.chooser.choose_mixture(call, client)
    return await run_in_thread_if_large(
        estimate_request_bytes(call.request), count_request_tokens, call.request
    )
