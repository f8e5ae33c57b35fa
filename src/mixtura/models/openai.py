"""Any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.billing.run_budget import RUN_BUDGET
from mixtura.catalog.providers import Quirks, model_quirks
from mixtura.core.errors import MalformedError, RejectedError, UnavailableError
from mixtura.core.events import Emit
from mixtura.core.redaction import Redactor, use_redactor
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.models.call_reporting import (
    attribute_errors,
    emit_answer_delta,
    emit_notices,
    emit_reasoning_notice,
)
from mixtura.models.parameter_support import ParameterSupport
from mixtura.protocols import sampling_options
from mixtura.protocols.openai.chunks import decode_chunk
from mixtura.protocols.openai.request import request_json, unsupported_parameters
from mixtura.protocols.openai.stream import ChatStreamAccumulator
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

DONE = b"[DONE]"


class OpenAI:
    """
    A model behind *base_url* (what stands before ``/chat/completions``).

    *name* is what Mixtura calls it, *model* what the endpoint calls it. Always streams, so
    that a hung upstream is noticed and an answer that breaks off is not taken for whole.
    *extra* is put into every request's body as it is. *key_header* takes the key where that
    is not a bearer's; *known* is what the model's name tells. What *redactor* knows as secrets,
    those given here, and a proxy's login come back in no answer. *largest*: bytes of an answer.
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
        key_header: str | None = None,
        largest: int = LARGEST_ANSWER,
        window: int | None = None,
        sees: bool | None = None,
        known: Quirks | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._model = model
        self._name = name or model
        self._url = join_url(base_url, "/chat/completions")
        self._key = api_key
        self._clocks = clocks or CallTimeouts()
        self._origin = origin_fingerprint(base_url, model)
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._redactor = build_redactor(base_url, api_key, self._headers, self._extra, redactor)
        self._key_header = key_header
        self._largest = largest
        self.supports_images = sees
        self.logprobs: bool | None = None
        """Whether it gives log-probabilities, as its answers tell."""
        self._manners = ParameterSupport(self._name, known or model_quirks(model), window=window)

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

        body = await run_in_thread_if_large(
            estimate_request_bytes(request), request_json, request, self._model, self._origin
        )
        emit_notices(
            self._name,
            sampling_options.unsupported_parameter_notices(unsupported_parameters(request)),
            emit,
        )
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        with use_redactor(self._redactor):
            answer = await self._manners.send_supported(body, send_body, emit)
        if request.extra.get("logprobs") and answer.text:
            self.logprobs = bool(answer.logprobs or self.logprobs)
        return answer

    async def _send_body(
        self, body: dict[str, Any], request: Request, emit: Emit | None
    ) -> Completion:
        if RUN_BUDGET.get() and not {"max_tokens", "max_completion_tokens"} & body.keys():
            said = "it takes no bound on its answers, so no budget can hold it"
            raise RejectedError(said, model=self._name)
        body = body | self._extra
        clocks = self._clocks
        if not body.get("stream"):  # the first token is the last one, too
            clocks = replace(clocks, first_token=clocks.total)
        so_far = ChatStreamAccumulator(inside=self._manners.inside, origin=self._origin)
        data = await run_in_thread_if_large(
            estimate_request_bytes(request), msgspec.json.encode, body
        )
        with attribute_errors(self._name, request, so_far, emit):
            async with post_stream(
                self._url,
                data,
                headers=self._request_headers(),
                clocks=clocks,
                draft=request.draft,
                largest=self._largest,
            ) as reply:
                await self._read_answer(reply, so_far, request, emit)
            emit_answer_delta(so_far, so_far.take_rest(), emit)
            return so_far.build_completion(self._name, request)

    def _request_headers(self) -> dict[str, str]:
        if self._key is None:
            return self._headers
        key = self._key.reveal()
        if self._key_header is not None:
            return {self._key_header: key, **self._headers}
        return {"Authorization": f"Bearer {key}", **self._headers}

    async def _read_answer(
        self,
        reply: UpstreamResponse,
        so_far: ChatStreamAccumulator,
        request: Request,
        emit: Emit | None,
    ) -> None:
        """Read the answer to its end. Raises UnavailableError when it ends without saying so."""

        def take_events(batch: list[bytes]) -> bool:
            try:
                for data in batch:
                    if len(data) == len(DONE) and data.upper() == DONE:
                        so_far.end_stream()
                        return True
                    try:
                        piece = decode_chunk(data)
                    except MalformedError:
                        if so_far.finish_reason is None:
                            raise
                        continue  # the answer is whole
                    if piece.error is not None:
                        raise error_from_stream(data, reply.headers)
                    so_far.add_chunk(piece)
                return False
            finally:  # what came before an error came all the same
                if (fresh := so_far.take_new()) is not None:
                    reply.note_progress()
                    unforeseen = so_far.turned and not self._manners.inside
                    if unforeseen or (so_far.turned_now and so_far.shown):
                        self._manners.inside = True
                        emit_reasoning_notice(self._name, request, emit)
                    emit_answer_delta(so_far, fresh, emit)

        if body := await reply.read_events(take_events):
            so_far.add_chunk(
                await run_in_thread_if_large(len(body), _decode_whole_answer, body, reply)
            )
            if so_far.finish_reason is None:
                raise MalformedError("the answer has no finish reason")
            emit_answer_delta(so_far, so_far.take_new(), emit)
        elif so_far.finish_reason is None:
            said = "the stream ended without a finish reason: the answer is cut off"
            raise UnavailableError(said)


def _decode_whole_answer(body: bytes, reply: UpstreamResponse) -> Any:
    piece = decode_chunk(body)
    if piece.error is not None:
        raise error_from_stream(body, reply.headers)
    if not piece.choices:
        raise MalformedError("the answer has no choices")
    return piece
