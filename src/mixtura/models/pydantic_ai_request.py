"""Messages, tools and settings of a request as pydantic-ai takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtura.core.errors import RejectedError
from mixtura.core.types import (
    ImagePart,
    Message,
    OtherPart,
    Part,
    ProviderData,
    Request,
    TextPart,
)
from mixtura.models.pydantic_ai_answer import GATEWAY_FIELDS, OWN_FIELDS
from mixtura.models.pydantic_ai_library import import_pydantic_ai
from mixtura.protocols.content_parts import message_parts, stand_in_text
from mixtura.protocols.provider_data.messages import data_for_origin
from mixtura.protocols.sampling_options import OPTIONAL_PARAMETERS

SHARED_PARAMETERS = (
    "parallel_tool_calls", "presence_penalty", "frequency_penalty", "logit_bias", "top_k",
)  # fmt: skip
"""Extra parameters that pydantic-ai's settings have under the same name."""


def convert_messages(messages: Sequence[Message], origin: str | None = None) -> list[Any]:
    """
    pydantic-ai's messages: requests and responses. *origin*: the fingerprint of the model; messages
    that it wrote get their thoughts and signatures back. Raises RejectedError for other parts.
    """
    their = import_pydantic_ai("messages")
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    turns: list[Any] = []
    below: list[Part] = []

    def add_part(part: Any) -> None:
        if turns and isinstance(turns[-1], their.ModelRequest):
            turns[-1] = their.ModelRequest([*turns[-1].parts, part])
        else:
            turns.append(their.ModelRequest([part]))

    def add_pictures() -> None:
        if below:
            add_part(their.UserPromptPart(_convert_content(tuple(below))))
            below.clear()

    for message in messages:
        if message.role != "tool":
            add_pictures()
        if message.role == "assistant":
            turns.append(_convert_answer(message, data_for_origin(origin, message)))
        elif message.role == "user":
            add_part(their.UserPromptPart(_convert_content(message.content)))
        else:  # pictures of other messages follow in a user's message
            below += [p for p in message_parts(message) if isinstance(p, ImagePart)]
            called = message.tool_call_id or ""
            add_part(
                their.ToolReturnPart(names.get(called, called), message.text, called)
                if message.role == "tool"
                else their.SystemPromptPart(message.text)
            )
    add_pictures()
    return turns


def _convert_answer(message: Message, data: ProviderData | None) -> Any:
    their = import_pydantic_ai("messages")
    said = "".join(
        p.text if isinstance(p, TextPart) else stand_in_text(p) for p in message_parts(message)
    )
    parts: list[Any] = []
    of_text: Mapping[str, Any] = {}
    for row in data.fields.get("content_parts", ()) if data else ():
        if row.get("type") == "text":
            of_text = row.get(GATEWAY_FIELDS) or of_text
        elif isinstance(thought := row.get("thinking"), str):
            parts.append(their.ThinkingPart(thought, **_known_fields(row)))
    own = _known_fields(of_text, beside="signature")
    parts += [their.TextPart(said, **own)] if said else []
    for call in message.tool_calls:
        of_call: Mapping[str, Any] = call.provider_fields.get(GATEWAY_FIELDS) or {}
        own = _known_fields(of_call, beside="signature") if data else {}
        parts.append(their.ToolCallPart(call.name, call.arguments, call.id, **own))
    return their.ModelResponse(parts)


def _known_fields(row: Mapping[str, Any], beside: str = "") -> dict[str, Any]:
    """What pydantic-ai's providers read of a part again: a client may have put anything there."""
    return {
        name: row[name]
        for name, kind in OWN_FIELDS.items()
        if name != beside and isinstance(row.get(name), kind)
    }


def _convert_content(content: str | tuple[Part, ...]) -> Any:
    their = import_pydantic_ai("messages")
    if isinstance(content, str):
        return content
    parts: list[Any] = []
    for part in content:
        match part:
            case TextPart(text):
                parts.append(text)
            case ImagePart(url) if url.startswith("data:"):
                parts.append(their.BinaryContent.from_data_uri(url))
            case ImagePart(url):
                parts.append(their.ImageUrl(url))
            case OtherPart():  # the model replaces them by text before
                raise RejectedError("the bridge supports only text and images")
    return parts


def supports_part(part: Part) -> bool:
    """Whether *part* goes through the bridge."""
    return not isinstance(part, OtherPart)


def model_settings(
    request: Request, headers: Mapping[str, str], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """
    The settings of a call; *headers* and *extra* fields of the body are added to the request.
    Raises RejectedError for what the bridge cannot express.
    """
    sampling = request.sampling
    settings: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stop_sequences": list(sampling.stop) if sampling.stop else None,
        "seed": sampling.seed,
        "tool_choice": _convert_tool_choice(request.tool_choice),
        "extra_headers": headers or None,
        "extra_body": extra or None,
    }
    for name, value in request.extra.items():
        if name in OPTIONAL_PARAMETERS and name not in SHARED_PARAMETERS:
            continue
        if name not in SHARED_PARAMETERS:
            error = RejectedError(f"the bridge does not support {name}")
            error.parameter = name
            raise error
        settings[name] = value
    if request.response_format not in (None, {"type": "text"}):
        raise RejectedError("the bridge does not support a response format")
    kept = {key: value for key, value in settings.items() if value is not None}
    return kept | {"max_retries": 0}  # retries are made elsewhere


def request_parameters(request: Request) -> Any:
    """The tools of a call. Raises RejectedError for tools that are no functions."""
    functions = [tool["function"] for tool in request.tools if tool.get("type") == "function"]
    if len(functions) != len(request.tools):
        raise RejectedError("the bridge supports only function tools")
    tools = [
        import_pydantic_ai("tools").ToolDefinition(
            name=f["name"],
            description=f.get("description"),
            parameters_json_schema=f.get("parameters") or {"type": "object", "properties": {}},
            strict=f.get("strict"),
        )
        for f in functions
    ]
    return import_pydantic_ai("models").ModelRequestParameters(function_tools=tools)


def _convert_tool_choice(choice: str | Mapping[str, Any] | None) -> Any:
    match choice:
        case {"function": {"name": str(name)}}:
            return [name]
        case _:
            return choice
