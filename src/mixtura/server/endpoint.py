"""Handles a request to one of the APIs: receives it, runs it and returns the response."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mixtura.core.token_estimate import count_request_tokens
from mixtura.core.types import Completion
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.server.apis.base import ApiCall, ApiError, CannedResponse, ServedApi
from mixtura.server.disconnects import CancelOnDisconnect
from mixtura.server.job import JOB_KEY, PLACE_KEY, Job
from mixtura.server.json_responses import JSON, error_response, json_response
from mixtura.server.request_body import receive_body
from mixtura.server.run_headers import failure_headers, run_headers
from mixtura.server.service import Service
from mixtura.server.streaming_answer import STREAM_HEADERS, StreamingAnswer


class ApiEndpoint:
    """The route of an API's calls, as an ASGI application."""

    def __init__(self, service: Service, api: ServedApi) -> None:
        self._service = service
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await handle_request(self._service, self._api, scope, receive)
        await response(scope, receive, send)


async def handle_request(
    service: Service, api: ServedApi, scope: Scope, receive: Receive
) -> Response:
    """The response to a call to one of the APIs; errors have the form of that API."""
    job: Job | None = None
    try:
        client = service.authenticator.authenticate_request(scope)
        await client.admit_request()
        body = await receive_body(scope, receive, service)
        read = await run_in_thread_if_large(len(body), api.parse_request, body)
        call = await service.responses.resolve_call(read, client)
        if call.reply is not None:  # a model that the client may not use is still refused
            service.chooser.choose_mixture(call, client)
            return _canned_http_response(call, call.reply)
        job = service.create_job(call, client, size=len(body))
        scope[JOB_KEY] = job  # for whoever writes a log
        if (place := scope.get(PLACE_KEY)) is not None:
            job.take_place(place)
        if client.has_token_limit:
            # a short body may refer to a stored conversation
            size = max(len(body), estimate_request_bytes(call.request))
            job.reserve_tokens(await run_in_thread_if_large(size, _longest_prompt_tokens, call))
        if call.truncate:
            await service.fit_to_window(job)
        if job.call.stream:
            return StreamingAnswer(service, api, job)
        answers: list[Completion] | None = None
        with CancelOnDisconnect(receive):
            answers = await service.runner.run_job(job)
        if answers is None:
            # nginx's code for it: no one reads the response, but logs and metrics do.
            return Response(status_code=499)
        summary = service.run_summary(job)
        # a response may repeat the request, with its tools and instructions
        size = job.size + sum(len(answer.text) for answer in answers)
        encoded = await run_in_thread_if_large(
            size, _encode_response, api, job.call, answers, job.response_meta, summary
        )
        service.store_answer(api, job, answers, summary)
    except ApiError as refused:
        return error_response(api, refused, failure_headers(service, job))
    return Response(encoded, 200, run_headers(job, summary), JSON)


def _canned_http_response(call: ApiCall, reply: CannedResponse) -> Response:
    """The response to a call that needs no model."""
    if call.stream:
        return Response(reply.frames, 200, {**STREAM_HEADERS, **reply.headers})
    return json_response(reply.body, headers=reply.headers)


def _encode_response(api: ServedApi, *answer: Any) -> bytes:
    return msgspec.json.encode(api.response_body(*answer))


def _longest_prompt_tokens(call: ApiCall) -> int:
    """Estimated tokens of the longest of a call's prompts."""
    return max(map(count_request_tokens, (call.request, *call.more)))
