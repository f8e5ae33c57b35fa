"""The turns and blocks of Anthropic's Messages API as messages of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

import msgspec

from mixtura.core.types import (
    ImagePart,
    Message,
    OtherPart,
    Part,
    Role,
    TextPart,
    ToolCall,
)
from mixtura.protocols.provider_data.thinking_blocks import parse_anthropic_blocks
from mixtura.server.apis.anthropic_messages_body import (
    Block,
    BlocksDocument,
    DocumentBlock,
    ImageAddress,
    ImageBlock,
    ImageData,
    MessagesTurn,
    RedactedThinkingBlock,
    SearchResultBlock,
    TextBlock,
    TextDocument,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from mixtura.server.apis.tool_names import Toolbox
from mixtura.server.apis.validation import (
    join_text_parts,
)


def system_messages(system: str | list[TextBlock] | None) -> Iterator[Message]:
    """The instructions as a system message; none where there is no text."""
    texts = [system] if isinstance(system, str) else [block.text for block in system or ()]
    if text := "\n\n".join(filter(None, texts)):
        yield Message("system", text)


def build_messages(turns: Sequence[MessagesTurn], toolbox: Toolbox) -> Iterator[Message]:
    """
    The messages of a conversation: consecutive turns of one role are joined, tool results come
    first.
    """
    for role, neighbours in groupby(turns, key=lambda turn: turn.role):
        blocks = [block for turn in neighbours for block in turn.content_blocks]
        if role == "user":
            # Chat completions wants results right behind their calls, before the user's text.
            yield from (_tool_result_message(b) for b in blocks if isinstance(b, ToolResultBlock))
        parts = [part for block in blocks for part in _block_parts(block)]
        calls = tuple(
            ToolCall(b.id, toolbox.flat_name(b.name), msgspec.json.encode(b.input).decode())
            for b in blocks
            if isinstance(b, ToolUseBlock)
        )
        one = len(parts) == 1
        # Only a user's message may have several parts at most servers.
        content = join_text_parts(parts, "") if one or role != "user" else tuple(parts)
        if content or calls:
            message = Message(cast("Role", role), content, calls)
            yield _attach_thinking(message, blocks) if role == "assistant" else message


def _attach_thinking(message: Message, blocks: Sequence[Block]) -> Message:
    """An assistant's *message* with the thinking blocks that the client sent back."""
    if not any(isinstance(b, ThinkingBlock | RedactedThinkingBlock) for b in blocks):
        return message
    rows = [msgspec.to_builtins(block) for block in blocks]
    restored = parse_anthropic_blocks(rows, message.tool_calls)
    return message if restored is None else replace(restored, content=message.content)


def _block_parts(block: Block) -> list[Part]:
    """The parts of a block; none for thinking, which other models are not shown."""
    match block:
        case TextBlock(text):
            return [TextPart(text)] if text else []
        case ImageBlock(ImageAddress(url)):
            return [ImagePart(url)]
        case ImageBlock(ImageData(kind, data)):
            return [ImagePart(f"data:{kind};base64,{data}")]
        case DocumentBlock():
            return _document_parts(block)
        case SearchResultBlock(source, title, content):
            text = "\n".join(piece.text for piece in content)
            return [TextPart(f"{title} ({source})\n{text}")]
        case _:
            return []


def _document_parts(block: DocumentBlock) -> list[Part]:
    """A document as text where it is text, otherwise unchanged."""
    head = "\n".join(filter(None, (block.title, block.context)))
    head = f"{head}\n\n" if head else ""
    match block.source:
        case TextDocument(text) | BlocksDocument(str(text)):
            return [TextPart(head + text)]
        case BlocksDocument(list(blocks)):
            shown = [part for piece in blocks for part in _block_parts(piece)]
            return [TextPart(head), *shown] if head else shown
        case _:
            return [OtherPart(msgspec.to_builtins(block))]


TOOL_FAILED_TEXT = "[The tool failed.]"
"""Put before a result with ``is_error``, which Chat Completions has no field for."""


def _tool_result_message(block: ToolResultBlock) -> Message:
    if isinstance(block.content, str):
        parts: list[Part] = [TextPart(block.content)]
    else:
        parts = [part for piece in block.content or () for part in _block_parts(piece)]
    if block.is_error:
        # Chat completions has no field for it, and the model has to know.
        parts.insert(0, TextPart(TOOL_FAILED_TEXT))
    return Message("tool", join_text_parts(parts, "\n"), tool_call_id=block.tool_use_id)
