"""Any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtura.billing.run_budget import RUN_BUDGET
from mixtura.core.errors import MalformedError, RejectedError
from mixtura.core.events import Emit
from mixtura.core.types import Completion, JsonObject, Request
from mixtura.models.call_accounting import emit_reasoning_notice
from mixtura.models.hosted import HostedModel
from mixtura.protocols import sampling_options
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from mixtura.protocols.openai.chunks import Chunk, decode_chunk
from mixtura.protocols.openai.request import request_json, unsupported_parameters
from mixtura.protocols.openai.stream import ChatStreamAccumulator


class OpenAI(HostedModel):
    """
    A model behind *base_url* (what stands before ``/chat/completions``).

    The key goes out as a bearer token, or in *key_header*; `HostedModel` has the other settings.
    """

    path = "/chat/completions"
    missing_end = "finish reason"

    def _supported_request(self, request: Request) -> tuple[Request, Sequence[str]]:
        unsupported = unsupported_parameters(request)
        return request, sampling_options.unsupported_parameter_notices(unsupported)

    def _request_body(self, request: Request) -> JsonObject:
        usage = {"stream": True, "stream_options": {"include_usage": True}}
        return request_json(request, self._model, self._origin) | usage

    def _check_body(self, body: JsonObject) -> None:
        if RUN_BUDGET.get() and not {"max_tokens", "max_completion_tokens"} & body.keys():
            said = "it accepts no token limit for its answers, so no budget can be enforced"
            raise RejectedError(said, model=self._name)

    def _learn_from_answer(self, request: Request, answer: Completion) -> None:
        if request.extra.get("logprobs") and answer.text:
            self._set_gives_logprobs(bool(answer.logprobs or self._gives_logprobs))

    def _request_headers(self, body: dict[str, Any]) -> dict[str, str]:  # noqa: ARG002
        if self._key is None:
            return self._headers
        key = self._key.reveal()
        if self._key_header is not None:
            return {self._key_header: key, **self._headers}
        return {"Authorization": f"Bearer {key}", **self._headers}

    def _create_accumulator(self) -> ChatStreamAccumulator:
        return ChatStreamAccumulator(inside=self._model_support.inside, origin=self._origin)

    def _decode_event(self, data: bytes) -> Chunk:
        return decode_chunk(data)

    def _is_error(self, event: Chunk, data: bytes) -> bool:  # noqa: ARG002
        return event.error is not None

    def _check_whole_answer(self, event: Chunk) -> None:
        if not event.choices:
            raise MalformedError("the answer has no choices")

    def _report_thoughts(
        self, so_far: AnswerAccumulator, request: Request, emit: Emit | None
    ) -> None:
        unforeseen = so_far.answer_became_thought and not self._model_support.inside
        if unforeseen or (so_far.answer_just_became_thought and so_far.shown):
            self._model_support.inside = True
            emit_reasoning_notice(self._name, request, emit)
