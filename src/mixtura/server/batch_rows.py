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
from mixtura.core.types import Charge, Completion, Request, Sampling
from mixtura.server.apis.base import ApiCall, ApiError, Dialect, ResponseMeta
from mixtura.server.apis.openai_completions import CompletionsDialect
from mixtura.server.apis.openai_responses import ResponsesDialect

CHAT = openai_form.URL
_DIALECTS: Mapping[str, Dialect] = {
    one.path: one for one in (CompletionsDialect(), ResponsesDialect())
}
ENDPOINTS = (CHAT, *_DIALECTS)
"""The endpoints whose requests a batch may have."""


def find_row_reader(endpoint: str) -> RequestReader:
    """How the rows of a batch for *endpoint* are read. It raises ConfigError."""
    dialect = _DIALECTS.get(endpoint)
    if dialect is None:
        return lambda fields: (openai_form.build_request(fields, Sampling()), None)
    return lambda fields: _read_call(dialect, fields)


def create_row_lines(endpoint: str, lines: RowLines) -> RowLines:
    """What writes the answers of a batch for *endpoint*."""
    dialect = _DIALECTS.get(endpoint)
    if dialect is None:
        return lines
    return _DialectLines(lines.pricer, True, lines.model, lines.created, dialect)


def _read_call(dialect: Dialect, fields: Mapping[str, Any]) -> tuple[Request, ApiCall]:
    """The request of a row, and the call it makes."""
    try:
        call = dialect.parse_request(msgspec.json.encode(fields["body"]))
    except ApiError as refused:
        raise ConfigError(refused.message) from None
    if not isinstance(call, ApiCall):
        raise ConfigError("a row of a batch refers to no stored response: send the whole input")
    if call.n != 1 or call.more:
        raise ConfigError("a row of a batch has one prompt and one answer")
    return call.request, call


@dataclass(frozen=True, slots=True)
class _DialectLines(RowLines):
    """Answers as another endpoint than chat completions gives them."""

    dialect: Dialect | None = None

    def answer_line(
        self, row: BatchRow, completion: Completion, charges: Sequence[Charge]
    ) -> bytes:
        assert self.dialect is not None
        assert isinstance(row.source, ApiCall)
        key = row.key.hex()
        summary = {"cost_usd": self.find_cost(charges), "degraded": list(completion.degraded)}
        answer = replace(completion, charges=tuple(charges))
        about = ResponseMeta(key, self.created)
        try:
            status = 200
            body = self.dialect.response_body(row.source, [answer], about, summary)
        except ApiError as refused:  # an answer that this API has no form for
            status, body = refused.status, self.dialect.error_body(refused)
        line = openai_form.response_line(row.custom_id, key, body, status=status)
        return msgspec.json.encode(line) + b"\n"
