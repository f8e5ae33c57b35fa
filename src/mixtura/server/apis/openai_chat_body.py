"""The body of a request of OpenAI's Chat Completions API: its fields, their types and limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from mixtura.core.quantities import Seed
from mixtura.server.apis.base import (
    MixtureOptions,
)
from mixtura.server.apis.caller_tools import FunctionBody
from mixtura.server.apis.openai_chat_tools import ChatToolBody, NamedFunction
from mixtura.server.apis.validation import (
    NotEmpty,
    Positive,
    Share,
)

MAX_ANSWERS = 16
"""Largest `n`: each answer is a whole run."""


Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class CalledFunction(msgspec.Struct):
    name: str
    # Some clients leave empty arguments out.
    arguments: str = ""


class CalledCustom(msgspec.Struct):
    name: str
    input: str


class ToolCallBody(msgspec.Struct):
    id: str
    function: CalledFunction | None = None
    custom: CalledCustom | None = None
    type: Literal["function", "custom"] = "function"


class PartBody(msgspec.Struct):
    type: str
    text: str | msgspec.UnsetType = msgspec.UNSET
    image_url: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class MessageBody(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[PartBody] | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    # The older form of calls, which some clients still send.
    function_call: CalledFunction | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class JsonSchema(msgspec.Struct):
    name: str
    schema: dict[str, Any] | None = None


class FormatBody(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class AnswerOptions(msgspec.Struct, kw_only=True):
    """What all of OpenAI's APIs take under the same names."""

    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    mixtura: MixtureOptions | None = None


class CompletionOptions(AnswerOptions, kw_only=True):
    """What both of the older ones take besides."""

    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None
    stop: str | list[str] | None = None
    seed: Seed | None = None
    logit_bias: dict[str, float] | None = None


class ChatBody(CompletionOptions, kw_only=True):
    """The whole body. Fields that are not listed are ignored."""

    model: NotEmpty
    messages: Annotated[list[MessageBody], msgspec.Meta(min_length=1)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWERS)] | None = None
    max_completion_tokens: Positive | None = None
    tools: list[ChatToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    functions: list[FunctionBody] | None = None
    function_call: Literal["none", "auto"] | NamedFunction | None = None
    web_search_options: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: FormatBody | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None


ALLOWED_VALUES = {
    "messages[].role": "system, developer, user, assistant, tool or function",
    "tool_choice": "none, auto, required or a function of `tools`",
    "response_format.type": "text, json_object or json_schema",
}
"""By the path of a field: its allowed values, as error messages state them."""
