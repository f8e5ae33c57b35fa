"""The rows of a client's batch, read and answered as the endpoint of each would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from mixtura.batch import openai_form
from mixtura.batch.input_rows import BatchRow, RequestReader
from mixtura.batch.row_lines import RowLines
from mixtura.core.errors import ConfigError
from mixtura.core.types import Charge, Completion, Request
from mixtura.server.apis.base import ApiCall, ApiError, ResponseMeta, ServedApi
from mixtura.server.apis.openai_chat import ChatCompletionsApi
from mixtura.server.apis.openai_completions import CompletionsApi
from mixtura.server.apis.openai_responses import ResponsesApi

CHAT = openai_form.URL
_APIS: Mapping[str, ServedApi] = {one.path: one for one in (CompletionsApi(), ResponsesApi())}
_CHAT = ChatCompletionsApi()
ENDPOINTS = (CHAT, *_APIS)
"""The endpoints whose requests a batch may have."""


def find_row_reader(endpoint: str) -> RequestReader:
    """How the rows of a batch for *endpoint* are read. It raises ConfigError."""

    def read_row(fields: Mapping[str, Any]) -> tuple[Request, object]:
        try:
            call = read_call(endpoint, fields)
        except ApiError as refused:
            raise ConfigError(refused.message) from None
        return call.request, call

    return read_row


def create_row_lines(endpoint: str, lines: RowLines) -> RowLines:
    """What writes the answers of a batch for *endpoint*."""
    api = _APIS.get(endpoint)
    if api is None:
        return lines
    return _ApiLines(lines.pricer, True, lines.model, lines.created, api)


def read_call(endpoint: str, row: Mapping[str, Any]) -> ApiCall:
    """
    The call of a row, by the rules of a live one: what those leave out reaches no model. Raises
    ApiError for what a live request may not say either, or what no batch has.
    """
    if (api := _APIS.get(endpoint)) is None:
        call = _CHAT.parse_decoded_request(dict(row["body"]))
    else:
        call = api.parse_request(msgspec.json.encode(row["body"]))
    if not isinstance(call, ApiCall):
        message = "a row of a batch cannot refer to a stored response: send the whole input"
        raise ApiError(400, message, param="previous_response_id")
    if call.more:
        raise ApiError(400, "a row of a batch has one prompt", param="prompt")
    if call.n != 1:
        raise ApiError(400, "`n` must be 1: a mixture gives one answer", param="n")
    if call.notices:
        raise ApiError(400, call.notices[0])
    if call.left_out or call.body.get("functions"):
        raise ApiError(400, "a batch takes only functions in `tools`", param="tools")
    for tool in call.toolbox.tools:
        if tool.kind != "function" or call.toolbox.flat_name(tool.name) != tool.name:
            message = "a batch takes only functions, with names of letters, digits, _ and -"
            raise ApiError(400, message, param="tools")
    return call


@dataclass(frozen=True, slots=True)
class _ApiLines(RowLines):
    """Answers as another endpoint than chat completions gives them."""

    api: ServedApi | None = None

    def answer_line(
        self, row: BatchRow, completion: Completion, charges: Sequence[Charge]
    ) -> bytes:
        assert self.api is not None
        assert isinstance(row.source, ApiCall)
        key = row.key.hex()
        summary = openai_form.answer_summary(completion, self.find_cost(charges))
        answer = replace(completion, charges=tuple(charges))
        about = ResponseMeta(key, self.created)
        try:
            status = 200
            body = self.api.response_body(row.source, [answer], about, summary)
        except ApiError as refused:  # an answer that this API has no form for
            status, body = refused.status, self.api.error_body(refused)
        line = openai_form.response_line(row.custom_id, key, body, status=status)
        return msgspec.json.encode(line) + b"\n"
