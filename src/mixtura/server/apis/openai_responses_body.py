"""The body of a request of OpenAI's Responses API: its fields, their types and limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from mixtura.server.apis.base import (
    MixtureOptions,
)
from mixtura.server.apis.openai_chat_body import AnswerOptions
from mixtura.server.apis.openai_responses_tools import (
    ChoiceBody,
    ResponsesToolBody,
)
from mixtura.server.apis.validation import (
    NotEmpty,
    Positive,
)


class InputText(msgspec.Struct, tag="input_text"):
    text: str


class InputImage(msgspec.Struct, tag="input_image"):
    image_url: Annotated[str, msgspec.Meta(pattern="^(https?://|data:)")]
    detail: Literal["low", "high", "auto", "original"] | None = None


class InputFile(msgspec.Struct, tag="input_file"):
    file_data: NotEmpty
    filename: str | None = None


class OutputText(msgspec.Struct, tag="output_text"):
    text: str


class RefusalText(msgspec.Struct, tag="refusal"):
    refusal: str


Content = InputText | InputImage | InputFile | OutputText | RefusalText


class MessageItem(msgspec.Struct, tag="message"):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Content] | None


class FunctionCallItem(msgspec.Struct, tag="function_call"):
    call_id: NotEmpty
    name: NotEmpty
    arguments: str


class FunctionOutputItem(msgspec.Struct, tag="function_call_output"):
    call_id: NotEmpty
    output: str | list[Content]


class ReasoningItem(msgspec.Struct, tag="reasoning"):
    encrypted_content: str | None = None


Item = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem


class PlainFormat(msgspec.Struct, tag="text"):
    pass


class ObjectFormat(msgspec.Struct, tag="json_object"):
    pass


class NamedSchemaFormat(msgspec.Struct, tag="json_schema"):
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct):
    format: PlainFormat | ObjectFormat | NamedSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(msgspec.Struct):
    """A ``summary`` is accepted and not given: an answer has no reasoning text."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Literal["standard"] | None = None


class ContextEdit(msgspec.Struct):
    type: NotEmpty


IncludeOption = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


Key = Annotated[str, msgspec.Meta(max_length=64)]


Value = Annotated[str, msgspec.Meta(max_length=512)]


class ResponsesBody(AnswerOptions, kw_only=True):
    """The whole body. Fields that are not listed, like cache keys, are ignored."""

    model: NotEmpty
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[ResponsesToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    metadata: Annotated[dict[Key, Value], msgspec.Meta(max_length=16)] | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[IncludeOption] | None = None
    service_tier: str | None = None
    context_management: list[ContextEdit] | None = None


_CONTENT_TYPES = "input_text, input_image, input_file, output_text or refusal"
ALLOWED_VALUES = {
    "input[].type":
        "message, function_call, custom_tool_call, local_shell_call, shell_call, "
        "apply_patch_call or computer_call, each with its output, reasoning or item_reference",
    "input[].role": "user, assistant, system or developer",
    "input[].content[].type": _CONTENT_TYPES,
    "input[].output[].type": _CONTENT_TYPES,
    "input[].content[].detail": "low, high, auto or original",
    "tool_choice": "none, auto or required, or an object for one tool",
    "text.format.type": "text, json_object or json_schema",
    "text.verbosity": "low, medium or high",
    "reasoning.effort": "none, minimal, low, medium, high, xhigh or max",
    "reasoning.summary": "auto, concise or detailed",
    "reasoning.mode": "standard",
    "include[]": ", ".join(IncludeOption.__args__),
    "truncation": "auto or disabled",
    "mixtura": ", ".join(MixtureOptions.__struct_fields__),
    "mixtura.consult": "turn or always",
}  # fmt: skip
"""By the path of a field: its allowed values, as error messages state them."""
