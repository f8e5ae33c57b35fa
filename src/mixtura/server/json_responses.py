"""JSON responses and errors as HTTP responses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from mixtura.core.credentials import mask_keys
from mixtura.core.redaction import redact_secrets
from mixtura.server.apis.base import ApiError, ServedApi
from mixtura.server.encodings import ACCEPTED_ENCODINGS

JSON = "application/json"


def json_response(
    data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """*data* as a JSON response."""
    return Response(msgspec.json.encode(data), status, headers, JSON)


def error_response(
    api: ServedApi, refused: ApiError, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as a response; *headers*: those of the run that failed."""
    headers = dict(headers or {})
    refused = redact_error(refused)
    if refused.retry_after is not None:
        # The header has whole seconds, and with 0 clients would try again at once.
        headers["retry-after"] = str(max(math.ceil(refused.retry_after), 1))
    # HTTP wants this header with a 401 (RFC 9110, section 15.5.2).
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    # RFC 9110, section 15.5.16: it says which encodings would be taken.
    if refused.status == 415:
        headers["accept-encoding"] = ACCEPTED_ENCODINGS
    if refused.status == 413:
        headers["connection"] = "close"  # the rest of the body is not read
    return json_response(api.error_body(refused), status=refused.status, headers=headers)


def redact_error(refused: ApiError) -> ApiError:
    """*refused* without keys, the client's own included: a message may repeat what was sent."""
    return ApiError(
        refused.status,
        mask_keys(redact_secrets(refused.message), names=True),
        kind=refused.kind,
        code=refused.code and redact_secrets(refused.code),
        param=refused.param and redact_secrets(refused.param),
        retry_after=refused.retry_after,
    )
