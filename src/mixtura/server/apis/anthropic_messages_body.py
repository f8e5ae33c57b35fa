"""The body of a request of Anthropic's Messages API: its fields, their types and limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from mixtura.server.apis.anthropic_messages_tools import (
    MessagesToolBody,
)
from mixtura.server.apis.base import MixtureOptions
from mixtura.server.apis.validation import (
    NotEmpty,
    Positive,
    Share,
)


class TextBlock(msgspec.Struct, tag="text"):
    text: str


class ImageData(msgspec.Struct, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: NotEmpty


Address = Annotated[str, msgspec.Meta(pattern="^https?://")]


class ImageAddress(msgspec.Struct, tag="url"):
    url: Address


class ImageBlock(msgspec.Struct, tag="image"):
    source: ImageData | ImageAddress


class TextDocument(msgspec.Struct, tag="text"):
    data: str


class BlocksDocument(msgspec.Struct, tag="content"):
    content: str | list[TextBlock | ImageBlock]


class PdfData(msgspec.Struct, tag="base64"):
    media_type: Literal["application/pdf"]
    data: NotEmpty


class PdfAddress(msgspec.Struct, tag="url"):
    url: Address


class Citations(msgspec.Struct):
    enabled: bool | None = None


class DocumentBlock(msgspec.Struct, tag="document", omit_defaults=True):
    source: TextDocument | BlocksDocument | PdfData | PdfAddress
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None


class SearchResultBlock(msgspec.Struct, tag="search_result"):
    source: str
    title: str
    content: list[TextBlock]
    citations: Citations | None = None


class ThinkingBlock(msgspec.Struct, tag="thinking", omit_defaults=True):
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(msgspec.Struct, tag="redacted_thinking", omit_defaults=True):
    data: str = ""


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    id: NotEmpty
    name: NotEmpty
    input: dict[str, Any]


ShownBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock


class ToolResultBlock(msgspec.Struct, tag="tool_result"):
    tool_use_id: NotEmpty
    content: str | list[ShownBlock] | None = None
    is_error: bool | None = None


Block = (
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ThinkingBlock
    | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)  # fmt: skip


class MessagesTurn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    # null: of an assistant without a text.
    content: str | list[Block] | None

    @property
    def content_blocks(self) -> list[Block]:
        content = self.content
        return [TextBlock(content)] if isinstance(content, str) else content or []


class AutoChoice(msgspec.Struct, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyChoice(msgspec.Struct, tag="any"):
    disable_parallel_tool_use: bool | None = None


class ToolChoice(msgspec.Struct, tag="tool"):
    name: NotEmpty
    disable_parallel_tool_use: bool | None = None


class NoneChoice(msgspec.Struct, tag="none"):
    disable_parallel_tool_use: bool | None = None


class ThinkingEnabled(msgspec.Struct, tag="enabled"):
    # The official minimum.
    budget_tokens: Annotated[int, msgspec.Meta(ge=1024)]


class ThinkingAdaptive(msgspec.Struct, tag="adaptive"):
    pass


class ThinkingBetweenTools(msgspec.Struct, tag="between_tools"):
    pass


class ThinkingDisabled(msgspec.Struct, tag="disabled"):
    pass


class SchemaFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: SchemaFormat | None = None


class ContextManagementEdit(msgspec.Struct):
    type: str


class ContextManagement(msgspec.Struct):
    edits: list[ContextManagementEdit] | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class MessagesBody(msgspec.Struct):
    """The whole body. Fields that are not listed, like cache marks, are ignored."""

    model: NotEmpty
    max_tokens: Positive
    messages: Annotated[list[MessagesTurn], msgspec.Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    # 0 to 1 in this API, not to 2 as in OpenAI's.
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    tools: list[MessagesToolBody] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoneChoice | None = None
    thinking: (
        ThinkingEnabled | ThinkingAdaptive | ThinkingBetweenTools | ThinkingDisabled | None
    ) = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None
    output_format: SchemaFormat | None = None
    context_management: ContextManagement | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard", "fast"] | None = None
    mixtura: MixtureOptions | None = None


_BLOCK_TYPES = "text, image, document, search_result, tool_use, tool_result or thinking"


_IMAGE_SOURCES = "base64 or url, as no files are kept here"


ALLOWED_VALUES = {
    "messages[].role": "user, assistant or system",
    "messages[].content[].type": _BLOCK_TYPES,
    "messages[].content[].content[].type": "text, image, document or search_result",
    "messages[].content[].source.type": f"{_IMAGE_SOURCES}, or in a document text or content",
    "messages[].content[].content[].source.type":
        f"{_IMAGE_SOURCES}, or in a document text or content",
    "messages[].content[].source.media_type":
        "image/jpeg, image/png, image/gif or image/webp, and in a document application/pdf",
    "messages[].content[].source.content[].type": "text or image",
    "system[].type": "text",
    "tool_choice.type": "auto, any, tool or none",
    "thinking.type": "enabled, adaptive, between_tools or disabled",
    "output_config.effort": "low, medium, high, xhigh or max",
    "output_config.format.type": "json_schema",
    "output_format.type": "json_schema",
    "service_tier": "auto or standard_only",
    "speed": "standard or fast",
    "mixtura": ", ".join(MixtureOptions.__struct_fields__),
    "mixtura.consult": "turn or always",
}  # fmt: skip
"""By the path of a field: its allowed values, as error messages state them."""
