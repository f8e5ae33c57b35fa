"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mixtura.catalog.providers import Quirks, model_quirks
from mixtura.core.errors import MalformedError, RejectedError, UnavailableError
from mixtura.core.events import Emit, Notice
from mixtura.core.redaction import Redactor, use_redactor
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.models.call_reporting import attribute_errors, emit_answer_delta, emit_notices
from mixtura.models.parameter_support import ParameterSupport
from mixtura.protocols import sampling_options
from mixtura.protocols.anthropic.events import MessagesEvent, decode_event, is_error_event
from mixtura.protocols.anthropic.parameters import unsupported_parameters
from mixtura.protocols.anthropic.request import request_json, supports_part
from mixtura.protocols.anthropic.stream import MessagesStreamAccumulator
from mixtura.protocols.anthropic.tools import BETA_HEADERS, native_tool_types
from mixtura.protocols.content_parts import replace_unsupported_parts
from mixtura.protocols.provider_data.messages import origin_fingerprint
from mixtura.transport.address import join_url
from mixtura.transport.client import (
    LARGEST_ANSWER,
    CallTimeouts,
    Secret,
    UpstreamResponse,
    build_redactor,
    error_from_stream,
    post_stream,
)

API_VERSION = "2023-06-01"
DONE = b"[DONE]"
"""The end of other APIs' streams: vLLM sends it here, too."""


class Anthropic:
    """
    A model behind *base_url* (what stands before ``/messages``).

    *name* is what Mixtura calls it, *model* what the endpoint calls it. Always streams, so
    that a hung upstream is noticed and an answer that breaks off is not taken for whole.
    *extra* is put into every request's body as it is. *known* is what its name tells. What
    *redactor* knows as secrets, those given here, and a proxy's login come back in no answer.
    *largest*: bytes of an answer.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        name: str | None = None,
        api_key: Secret | None = None,
        clocks: CallTimeouts | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        largest: int = LARGEST_ANSWER,
        window: int | None = None,
        sees: bool | None = None,
        known: Quirks | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._model = model
        self._name = name or model
        self._url = join_url(base_url, "/messages")
        self._key = api_key
        self._clocks = clocks or CallTimeouts()
        self._origin = origin_fingerprint(base_url, model)
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._redactor = build_redactor(base_url, api_key, self._headers, self._extra, redactor)
        self._largest = largest
        self.supports_images = sees
        self.logprobs = False  # its API has no word for them
        self._native = True
        """It takes tools of the API's own types; learned from a refusal."""
        known = known or model_quirks(model)
        self._manners = ParameterSupport(
            self._name, known, needed=frozenset({"max_tokens"}), window=window
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_window(self) -> int | None:
        """Tokens of its context: as given, or as its refusals state it."""
        return self._manners.window

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        async def send_body(body: dict[str, Any]) -> Completion:
            return await self._send_body(body, request, emit)

        request, notices = await run_in_thread_if_large(
            estimate_request_bytes(request), replace_unsupported_parts, request, supports_part
        )
        emit_notices(
            self._name,
            [
                *notices,
                *sampling_options.unsupported_parameter_notices(
                    unsupported_parameters(request.extra)
                ),
            ],
            emit,
        )
        body = await self._build_body(request)
        with use_redactor(self._redactor):
            try:
                return await self._manners.send_supported(body, send_body, emit)
            except RejectedError as error:
                if not _names_native_tool(error, native_tool_types(body)):
                    raise
                self._native = False
                said = "takes no tools of the API's own type: they are sent as functions"
                if emit is not None:
                    emit(Notice(self._name, said))
            return await self._manners.send_supported(
                await self._build_body(request), send_body, emit
            )

    async def _build_body(self, request: Request) -> dict[str, Any]:
        make = partial(request_json, native=self._native)
        return await run_in_thread_if_large(
            estimate_request_bytes(request), make, request, self._model, self._origin
        ) | {"stream": True}

    async def _send_body(
        self, body: dict[str, Any], request: Request, emit: Emit | None
    ) -> Completion:
        body = body | self._extra
        so_far = MessagesStreamAccumulator(origin=self._origin)
        data = await run_in_thread_if_large(
            estimate_request_bytes(request), msgspec.json.encode, body
        )
        with attribute_errors(self._name, request, so_far, emit):
            async with post_stream(
                self._url,
                data,
                headers=self._request_headers(native_tool_types(body)),
                clocks=self._clocks,
                draft=request.draft,
                largest=self._largest,
            ) as reply:
                await _read_answer(reply, so_far, emit)
            emit_answer_delta(so_far, so_far.take_rest(), emit)
            return so_far.build_completion(self._name, request)

    def _request_headers(self, tools: Sequence[str]) -> dict[str, str]:
        key = {"x-api-key": self._key.reveal()} if self._key else {}
        betas = dict.fromkeys(BETA_HEADERS[kind] for kind in tools if kind in BETA_HEADERS)
        beta = {"anthropic-beta": ",".join(betas)} if betas else {}
        return {"anthropic-version": API_VERSION, **key, **beta, **self._headers}


def _names_native_tool(error: RejectedError, tools: Sequence[str]) -> bool:
    """Whether a refusal is about a tool of one of these types."""
    said = str(error)
    return error.status in (400, 422) and not error.charges and any(t in said for t in tools)


async def _read_answer(
    reply: UpstreamResponse, so_far: MessagesStreamAccumulator, emit: Emit | None
) -> None:
    """Read the answer to its end. Raises UnavailableError when it ends without saying so."""

    def take_events(batch: list[bytes]) -> bool:
        try:
            for data in batch:
                if len(data) == len(DONE) and data.upper() == DONE:
                    return True
                try:
                    piece = decode_event(data)
                except MalformedError:
                    if so_far.finish_reason is None:
                        raise
                    continue  # the answer is whole
                if is_error_event(piece, data):
                    raise error_from_stream(data, reply.headers)
                so_far.add_chunk(piece)
            return so_far.ended
        finally:  # what came before an error came all the same
            if (fresh := so_far.take_new()) is not None:
                reply.note_progress()
                emit_answer_delta(so_far, fresh, emit)

    if body := await reply.read_events(take_events):
        so_far.add_chunk(await run_in_thread_if_large(len(body), _decode_whole_answer, body, reply))
        emit_answer_delta(so_far, so_far.take_new(), emit)
    elif so_far.finish_reason is None:
        raise UnavailableError("the stream ended without a stop reason: the answer is cut off")


def _decode_whole_answer(body: bytes, reply: UpstreamResponse) -> MessagesEvent:
    piece = decode_event(body)
    if is_error_event(piece, body):
        raise error_from_stream(body, reply.headers)
    if piece.type != "message" or piece.stop_reason is None:
        raise MalformedError("the answer is not a message with a stop reason")
    return piece
