"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtura.core.errors import MalformedError, RejectedError
from mixtura.core.types import JsonObject, Request
from mixtura.models.answer_format import DONE
from mixtura.models.hosted import HostedModel
from mixtura.protocols import sampling_options
from mixtura.protocols.anthropic.events import MessagesEvent, decode_event, is_error_event
from mixtura.protocols.anthropic.parameters import unsupported_parameters
from mixtura.protocols.anthropic.request import request_json, supports_part
from mixtura.protocols.anthropic.stream import MessagesStreamAccumulator
from mixtura.protocols.anthropic.tools import BETA_HEADERS, native_tool_types
from mixtura.protocols.content_parts import replace_unsupported_parts

API_VERSION = "2023-06-01"


class Anthropic(HostedModel):
    """
    A model behind *base_url* (what stands before ``/messages``).

    The key goes out as ``x-api-key``, or in *key_header*; `HostedModel` has the other settings.
    """

    path = "/messages"
    required_parameters = frozenset({"max_tokens"})
    last_events = (DONE, b"message_stop")
    missing_end = "stop reason"

    def __init__(self, model: str, base_url: str, **settings: Any) -> None:
        super().__init__(model, base_url, **settings)
        self._set_gives_logprobs(False)  # its API has no word for them
        self._native = True
        """It takes tools of the API's own types; learned from a refusal."""

    def _supported_request(self, request: Request) -> tuple[Request, Sequence[str]]:
        request, notices = replace_unsupported_parts(request, supports_part)
        unsupported = unsupported_parameters(request.extra)
        said = sampling_options.unsupported_parameter_notices(unsupported)
        return request, [*notices, *said]

    def _request_body(self, request: Request) -> JsonObject:
        body = request_json(request, self._model, self._origin, native=self._native)
        return body | {"stream": True}

    def _learn_form(self, error: RejectedError, body: JsonObject) -> str | None:
        if not _names_native_tool(error, native_tool_types(body)):
            return None
        self._native = False
        return "does not accept tools of the API's own types: they are sent as functions"

    def _request_headers(self, body: dict[str, Any]) -> dict[str, str]:
        key = {self._key_header or "x-api-key": self._key.reveal()} if self._key else {}
        tools = native_tool_types(body)
        betas = dict.fromkeys(BETA_HEADERS[kind] for kind in tools if kind in BETA_HEADERS)
        beta = {"anthropic-beta": ",".join(betas)} if betas else {}
        return {"anthropic-version": API_VERSION, **key, **beta, **self._headers}

    def _create_accumulator(self) -> MessagesStreamAccumulator:
        return MessagesStreamAccumulator(origin=self._origin)

    def _decode_event(self, data: bytes) -> MessagesEvent:
        return decode_event(data)

    def _is_error(self, event: MessagesEvent, data: bytes) -> bool:
        return is_error_event(event, data)

    def _check_whole_answer(self, event: MessagesEvent) -> None:
        if not event.type and event.content:
            event.type = "message"
        if event.type != "message" or event.stop_reason is None:
            raise MalformedError("the answer is not a message with a stop reason")


def _names_native_tool(error: RejectedError, tools: Sequence[str]) -> bool:
    """Whether a refusal is about a tool of one of these types."""
    said = str(error)
    return error.status in (400, 422) and not error.answer_began and any(t in said for t in tools)
