"""Reads a request of Anthropic's Messages API into an ApiCall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from mixtura.core.types import (
    Json,
    Request,
    Sampling,
)
from mixtura.protocols.sampling_options import blocked_parameter_notices, extra_parameters
from mixtura.server.apis import hosted_tools
from mixtura.server.apis.anthropic_messages_body import (
    ALLOWED_VALUES,
    MessagesBody,
    OutputConfig,
    SchemaFormat,
)
from mixtura.server.apis.anthropic_messages_checks import check_body
from mixtura.server.apis.anthropic_messages_conversation import build_messages, system_messages
from mixtura.server.apis.anthropic_messages_tools import (
    MessagesToolOffer,
    normalize_messages,
    read_tool_offer,
)
from mixtura.server.apis.base import ApiCall, ApiError, build_api_call
from mixtura.server.apis.validation import (
    check_unsupported_parameters,
    convert_struct,
    decode_body,
    parse_stop_sequences,
)

_UNSUPPORTED_PARAMETERS = {
    "container": "there are no containers here",
    "inference_geo": "where a model runs is not known here",
}
THREAD_UNSUPPORTED_CODE = "thread_unsupported_request"
"""Code of the error for a ``thread``: Anthropic's tool runner then sends whole conversations."""


def parse_messages_request(body: bytes) -> ApiCall:
    """The call that a body makes. Raises ApiError naming the parameter that is wrong."""
    return parse_decoded_request(decode_body(body))


def parse_decoded_request(raw: dict[str, Any]) -> ApiCall:
    """The call that a decoded body makes. Raises ApiError naming the parameter that is wrong."""
    check_unsupported_parameters(raw, _UNSUPPORTED_PARAMETERS)
    if raw.get("thread"):
        message = "no conversations are kept here, send the whole one: leave `thread` out"
        raise ApiError(400, message, param="thread", code=THREAD_UNSUPPORTED_CODE)
    try:
        parsed = convert_struct(normalize_messages(raw), MessagesBody, ALLOWED_VALUES)
        offer = read_tool_offer(raw)
        check_body(parsed)
        request = _build_request(raw, parsed, offer)
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    return build_api_call(
        raw,
        parsed,
        request,
        usage_in_stream=True,
        notices=tuple(blocked_parameter_notices(raw)),
        toolbox=offer.toolbox,
        left_out=(
            *hosted_tools.describe_left_out(offer.toolbox.left_out),
            *_left_out(parsed),
        ),
        reply=offer.reply,
    )


def _build_request(raw: Mapping[str, Any], body: MessagesBody, offer: MessagesToolOffer) -> Request:
    output = body.output_config or OutputConfig()
    extra: dict[str, Any] = {
        "top_k": body.top_k,
        "thinking": raw.get("thinking"),
        "reasoning_effort": output.effort,
    }
    alone = body.tool_choice and body.tool_choice.disable_parallel_tool_use
    # Some servers refuse the parameter where there are no tools.
    if alone and offer.toolbox.tools:
        extra["parallel_tool_calls"] = False
    return Request(
        (*system_messages(body.system), *build_messages(body.messages, offer.toolbox)),
        Sampling(
            body.temperature, body.top_p, body.max_tokens, parse_stop_sequences(body.stop_sequences)
        ),
        tools=offer.toolbox.as_functions(),
        tool_choice=offer.choice,
        response_format=_response_format(output.format or body.output_format),
        extra=extra_parameters(raw, (*extra, "parallel_tool_calls"))
        | {name: value for name, value in extra.items() if value is not None},
    )


def _response_format(form: SchemaFormat | None) -> Json | None:
    if form is None:
        return None
    # Anthropic always follows a schema; OpenAI does so in strict mode only.
    strict = {"strict": True} if _is_strict_schema(form.schema) else {}
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": form.schema, **strict},
    }


def _is_strict_schema(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes it: every property required, no additional ones."""
    if isinstance(schema, list):
        return all(map(_is_strict_schema, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    table = cast("dict[str, Any]", schema)
    if "properties" in table:
        if table.get("additionalProperties") is not False:
            return False
        if set(table["properties"]) - set(table.get("required", ())):
            return False
    return all(map(_is_strict_schema, table.values()))


def _left_out(body: MessagesBody) -> Iterator[str]:
    """Notes on what was requested and is not done; the answer does not depend on it."""
    edits = (body.context_management and body.context_management.edits) or ()
    for number, edit in enumerate(edits):
        if not edit.type.startswith("clear_thinking"):  # no thoughts are shown anyway
            where = f"context_management.edits[{number}]"
            yield f"{where}: {edit.type}: conversations are not edited here"
    if body.speed == "fast":
        yield "speed: fast: every answer has the speed of its models"
