"""OpenAI's Responses API, as the server speaks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtura.core.types import Completion, Json
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
    ResponseMeta,
    UnresolvedCall,
)
from mixtura.server.apis.openai_responses_body import ResponsesBody
from mixtura.server.apis.openai_responses_output import (
    error_json,
    finished_response,
    output_items,
    started_response,
)
from mixtura.server.apis.openai_responses_request import parse_responses_request
from mixtura.server.apis.openai_responses_stream import ResponsesWriter


class ResponsesApi:
    """``POST /v1/responses``."""

    path = "/v1/responses"
    REQUEST_TYPE = ResponsesBody
    RESPONSE_SCHEMA: Mapping[str, Any] = {
        "type": "object",
        "required": ["id", "object", "created_at", "status", "model", "output", "usage"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "response"},
            "created_at": {"type": "integer"},
            "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
            "error": {"type": ["object", "null"]},
            "incomplete_details": {"type": ["object", "null"]},
            "model": {"type": "string"},
            "output": {"type": "array", "items": {"type": "object"}},
            "usage": {"type": ["object", "null"]},
            "mixtura": {"type": "object"},
        },
    }

    def parse_request(self, body: bytes) -> ApiCall | UnresolvedCall:
        """The call that a body makes. Raises ApiError naming the parameter that is wrong."""
        return parse_responses_request(body)

    def response_body(
        self, call: ApiCall, answers: Sequence[Completion], about: ResponseMeta, summary: Json
    ) -> Mapping[str, Any]:
        """
        The answer as a response. Raises ApiError (502) for a call with arguments that its tool
        cannot have.
        """
        items = output_items(call, answers[0], about.number)
        return finished_response(started_response(call, about), items, answers, summary)

    def create_writer(self, call: ApiCall, about: ResponseMeta) -> ResponsesWriter:
        return ResponsesWriter(call, about)

    def error_body(self, refused: ApiError) -> Mapping[str, Any]:
        return {"error": error_json(refused)}
