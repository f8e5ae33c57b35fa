"""A request of Anthropic's messages, in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any, Literal, cast

import msgspec

from mixtura.provider_data import from_anthropic
from mixtura.sampling_words import costly_words, further_words
from mixtura.server import hosted_tools
from mixtura.server.bodies import (
    NotEmpty,
    Positive,
    Share,
    check_known,
    converted,
    decoded,
    plain,
    stops,
)
from mixtura.server.dialect import Call, Refused, Wish
from mixtura.server.messages_tools import Offer, ToolBody, plain_messages, read_offer
from mixtura.server.tools import Toolbox
from mixtura.types import (
    ImagePart,
    Json,
    Message,
    OtherPart,
    Part,
    Request,
    Role,
    Sampling,
    TextPart,
    ToolCall,
)

# ---- its body


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


Shown = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock


class ToolResultBlock(msgspec.Struct, tag="tool_result"):
    tool_use_id: NotEmpty
    content: str | list[Shown] | None = None
    is_error: bool | None = None


Block = (
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ThinkingBlock
    | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)  # fmt: skip


class Turn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block] | None

    @property
    def blocks(self) -> list[Block]:
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


class Enabled(msgspec.Struct, tag="enabled"):
    budget_tokens: Annotated[int, msgspec.Meta(ge=1024)]


class Adaptive(msgspec.Struct, tag="adaptive"):
    pass


class BetweenTools(msgspec.Struct, tag="between_tools"):
    pass


class Disabled(msgspec.Struct, tag="disabled"):
    pass


class SchemaFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: SchemaFormat | None = None


class Edit(msgspec.Struct):
    type: str


class ContextManagement(msgspec.Struct):
    edits: list[Edit] | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class MessagesBody(msgspec.Struct):
    """A request. Fields that are not listed, like marks for a cache, are passed over."""

    model: NotEmpty
    max_tokens: Positive
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    tools: list[ToolBody] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoneChoice | None = None
    thinking: Enabled | Adaptive | BetweenTools | Disabled | None = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None
    output_format: SchemaFormat | None = None
    context_management: ContextManagement | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard", "fast"] | None = None
    mixtura: Wish | None = None


_BLOCKS = "text, image, document, search_result, tool_use, tool_result or thinking"
_IMAGES = "base64 or url, as no files are kept here"
_DOCUMENTS = "text, content, base64 or url, as no files are kept here"
_RIGHT = {
    "messages[].role": "user, assistant or system",
    "messages[].content[].type": _BLOCKS,
    "messages[].content[].content[].type": "text, image, document or search_result",
    "messages[].content[].source.type": f"{_IMAGES}, or in a document text or content",
    "messages[].content[].content[].source.type": f"{_IMAGES}, or in a document text or content",
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
    "mixtura": ", ".join(Wish.__struct_fields__),
    "mixtura.consult": "turn or always",
}  # fmt: skip

_CANNOT = {
    "container": "there are no containers here",
    "inference_geo": "where a model runs is not known here",
}


UNTHREADED = "thread_unsupported_request"
"""Said of a ``thread``, it makes their tool runner go on and send whole conversations."""


def read(body: bytes) -> Call:
    """Raises Refused."""
    return from_data(decoded(body))


def from_data(raw: dict[str, Any]) -> Call:
    """The call that a decoded body makes. Raises Refused."""
    check_known(raw, _CANNOT)
    if raw.get("thread"):
        said = "no conversations are kept here, send the whole one: leave `thread` out"
        raise Refused(400, said, param="thread", code=UNTHREADED)
    try:
        parsed = converted(plain_messages(raw), MessagesBody, _RIGHT)
        offer = read_offer(raw)
        _check(parsed)
        request = _request(raw, parsed, offer)
    except RecursionError:
        raise Refused(400, "the body is nested too deeply") from None
    return Call(
        model=parsed.model,
        request=request,
        stream=bool(parsed.stream),
        usage_in_stream=True,
        wish=parsed.mixtura or Wish(),
        notices=tuple(costly_words(raw)),
        body=raw,
        toolbox=offer.toolbox,
        left_out=(
            *hosted_tools.describe_left_out(offer.toolbox.left_out),
            *_left_out(parsed),
        ),
        reply=offer.reply,
    )


# ---- to our words


def _request(raw: Mapping[str, Any], body: MessagesBody, offer: Offer) -> Request:
    asked = body.output_config or OutputConfig()
    extra: dict[str, Any] = {
        "top_k": body.top_k,
        "thinking": raw.get("thinking"),
        "reasoning_effort": asked.effort,
    }
    alone = body.tool_choice and body.tool_choice.disable_parallel_tool_use
    if alone and offer.toolbox.tools:
        extra["parallel_tool_calls"] = False
    return Request(
        (*_system(body.system), *_messages(body.messages, offer.toolbox)),
        Sampling(body.temperature, body.top_p, body.max_tokens, stops(body.stop_sequences)),
        tools=offer.toolbox.as_functions(),
        tool_choice=offer.choice,
        response_format=_response_format(asked.format or body.output_format),
        extra=further_words(raw, (*extra, "parallel_tool_calls"))
        | {name: value for name, value in extra.items() if value is not None},
    )


def _system(system: str | list[TextBlock] | None) -> Iterator[Message]:
    texts = [system] if isinstance(system, str) else [block.text for block in system or ()]
    if text := "\n\n".join(filter(None, texts)):
        yield Message("system", text)


def _messages(turns: Sequence[Turn], toolbox: Toolbox) -> Iterator[Message]:
    """Neighbours of one role are one turn; what tools brought comes first in it."""
    for role, neighbours in groupby(turns, key=lambda turn: turn.role):
        blocks = [block for turn in neighbours for block in turn.blocks]
        if role == "user":
            yield from (_result(b) for b in blocks if isinstance(b, ToolResultBlock))
        parts = [part for block in blocks for part in _parts(block)]
        calls = tuple(
            ToolCall(b.id, toolbox.flat_name(b.name), msgspec.json.encode(b.input).decode())
            for b in blocks
            if isinstance(b, ToolUseBlock)
        )
        one = len(parts) == 1
        content = plain(parts, "") if one or role != "user" else tuple(parts)
        if content or calls:
            message = Message(cast("Role", role), content, calls)
            yield _with_thinking(message, blocks) if role == "assistant" else message


def _with_thinking(message: Message, blocks: Sequence[Block]) -> Message:
    """An assistant's *message* with the thinking that the client gives back."""
    if not any(isinstance(b, ThinkingBlock | RedactedThinkingBlock) for b in blocks):
        return message
    rows = [msgspec.to_builtins(block) for block in blocks]
    found = from_anthropic(rows, message.tool_calls)
    return message if found is None else replace(found, content=message.content)


def _parts(block: Block) -> list[Part]:
    """What a block shows. A model's own thoughts are shown to no other model."""
    match block:
        case TextBlock(text):
            return [TextPart(text)] if text else []
        case ImageBlock(ImageAddress(url)):
            return [ImagePart(url)]
        case ImageBlock(ImageData(kind, data)):
            return [ImagePart(f"data:{kind};base64,{data}")]
        case DocumentBlock():
            return _document(block)
        case SearchResultBlock(source, title, content):
            text = "\n".join(piece.text for piece in content)
            return [TextPart(f"{title} ({source})\n{text}")]
        case _:
            return []


def _document(block: DocumentBlock) -> list[Part]:
    """As text where it is text, else as it came."""
    head = "\n".join(filter(None, (block.title, block.context)))
    head = f"{head}\n\n" if head else ""
    match block.source:
        case TextDocument(text) | BlocksDocument(str(text)):
            return [TextPart(head + text)]
        case BlocksDocument(list(blocks)):
            shown = [part for piece in blocks for part in _parts(piece)]
            return [TextPart(head), *shown] if head else shown
        case _:
            return [OtherPart(msgspec.to_builtins(block))]


FAILED = "[The tool failed.]"
"""Stands before a result with ``is_error``, which chat completions have no word for."""


def _result(block: ToolResultBlock) -> Message:
    if isinstance(block.content, str):
        parts: list[Part] = [TextPart(block.content)]
    else:
        parts = [part for piece in block.content or () for part in _parts(piece)]
    if block.is_error:
        parts.insert(0, TextPart(FAILED))
    return Message("tool", plain(parts, "\n"), tool_call_id=block.tool_use_id)


def _response_format(asked: SchemaFormat | None) -> Json | None:
    if asked is None:
        return None
    strict = {"strict": True} if _closed(asked.schema) else {}
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": asked.schema, **strict},
    }


def _closed(schema: Any) -> bool:
    """Whether OpenAI would keep to it strictly: every property required, and no others."""
    if isinstance(schema, list):
        return all(map(_closed, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    table = cast("dict[str, Any]", schema)
    if "properties" in table:
        if table.get("additionalProperties") is not False:
            return False
        if set(table["properties"]) - set(table.get("required", ())):
            return False
    return all(map(_closed, table.values()))


# ---- what it may not be


def _check(body: MessagesBody) -> None:
    """What the types do not say. Raises Refused naming the parameter."""
    if isinstance(body.thinking, Enabled) and body.thinking.budget_tokens >= body.max_tokens:
        said = "`thinking.budget_tokens` must be less than `max_tokens`"
        raise Refused(400, said, param="thinking.budget_tokens")
    _check_turns(body.messages)


def _left_out(body: MessagesBody) -> Iterator[str]:
    """What is asked for beside the answer and not done: the answer is as good without."""
    edits = (body.context_management and body.context_management.edits) or ()
    for number, edit in enumerate(edits):
        if not edit.type.startswith("clear_thinking"):  # no thoughts are shown anyway
            where = f"context_management.edits[{number}]"
            yield f"{where}: {edit.type}: a conversation is not edited here"
    if body.speed == "fast":
        yield "speed: fast: every answer has the speed of its models"


def _check_turns(turns: Sequence[Turn]) -> None:
    """Every call has its result in the next turn, and every result its call."""
    calls: dict[str, str] = {}
    replied = False
    for number, turn in enumerate(turns):
        if turn.content is None and turn.role != "assistant":
            where = f"messages[{number}].content"
            raise Refused(400, f"`{where}` is null: it can be text or blocks", param=where)
        if turn.role == "assistant":
            if replied:
                _check_answered(calls)
            replied = False
        elif turn.role == "user":
            replied = True
        for place, block in enumerate(turn.blocks):
            _check_block(f"messages[{number}].content[{place}]", turn.role, block, calls)
    _check_answered(calls)


def _check_block(where: str, role: str, block: Block, calls: dict[str, str]) -> None:
    """One block; *calls* are those without a result by now, with the place where they stand."""
    match block:
        case ToolUseBlock(id=called):
            if role != "assistant" or called in calls:
                said = "a tool_use belongs to the assistant, with an id of its own"
                raise Refused(400, f"`{where}`: {said}", param=where)
            calls[called] = where
        case ToolResultBlock(tool_use_id=called, content=content):
            if role != "user" or calls.pop(called, None) is None:
                param = f"{where}.tool_use_id"
                said = "a tool_result answers a tool_use of the turn before it, by its id, once"
                raise Refused(400, f"`{param}`: {said}", param=param)
            for place, piece in enumerate(content if isinstance(content, list) else ()):
                _check_citations(f"{where}.content[{place}]", piece)
        case TextBlock():
            pass
        case _ if role == "system":
            said = f"`{where}`: a system message is text only"
            raise Refused(400, said, param=where)
        case _:
            _check_citations(where, block)


def _check_citations(where: str, block: Block) -> None:
    match block:
        case (
            DocumentBlock(citations=Citations(True)) | SearchResultBlock(citations=Citations(True))
        ):
            param = f"{where}.citations"
            said = f"`{param}`: answers have no citations here: leave it out"
            raise Refused(400, said, param=param, code="unsupported_value")
        case _:
            pass


def _check_answered(calls: Mapping[str, str]) -> None:
    for called, where in calls.items():
        said = f"`{where}`: the tool_use {called!r} has no tool_result in the next turn"
        raise Refused(400, said, param=where)
