"""The items of OpenAI's Responses API as messages of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mixtura.core.types import (
    ImagePart,
    Message,
    OtherPart,
    Part,
    TextPart,
    ToolCall,
)
from mixtura.protocols.provider_data.packing import unpack_provider_data
from mixtura.server.apis.openai_responses_body import (
    Content,
    FunctionCallItem,
    FunctionOutputItem,
    InputFile,
    InputImage,
    InputText,
    Item,
    MessageItem,
    OutputText,
    ReasoningItem,
    RefusalText,
)
from mixtura.server.apis.validation import (
    join_text_parts,
)


@dataclass(slots=True)
class _AssistantTurn:
    """An assistant's message under construction: its text and its calls up to the next result."""

    content: str | tuple[Part, ...] = ""
    more_text: list[str] = field(default_factory=list[str])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    reasoning: list[str] = field(default_factory=list[str])

    @property
    def is_empty(self) -> bool:
        """Whether there is neither text nor a call; there may be reasoning."""
        return not (self.content or self.calls)

    def to_message(self) -> Message:
        """The message, with provider data where its reasoning is ours."""
        content = self.content
        if isinstance(content, str):
            if self.more_text:
                content = "\n\n".join(filter(None, (content, *self.more_text)))
        else:
            content = (*content, *(TextPart(text) for text in self.more_text))
        calls = tuple(self.calls)
        for reasoning in self.reasoning:
            restored = unpack_provider_data(reasoning, calls)
            if restored is not None:  # otherwise it is from another server
                return replace(restored, content=content)
        return Message("assistant", content, calls)


def build_messages(items: Sequence[Item]) -> list[Message]:
    """The messages; an assistant's text and calls up to the next result are one message."""
    messages: list[Message | _AssistantTurn] = []
    for item in items:
        last = messages[-1] if messages else None
        match item:
            case MessageItem("assistant", content):
                text = join_text_parts(_content_parts(content or ""), "")
                # Text behind calls joins their message: chat completions has one for both.
                if isinstance(last, _AssistantTurn) and last.calls and isinstance(text, str):
                    last.more_text.append(text)
                elif isinstance(last, _AssistantTurn) and last.is_empty:
                    last.content = text
                else:
                    messages.append(_AssistantTurn(text))
            case MessageItem(role, content):
                messages.append(Message(role, _message_content(content or "")))
            case FunctionCallItem(called, name, arguments):
                if not isinstance(last, _AssistantTurn):
                    last = _AssistantTurn()
                    messages.append(last)
                last.calls.append(ToolCall(called, name, arguments))
            case FunctionOutputItem(called, output):
                shown = join_text_parts(_content_parts(output), "\n")
                messages.append(Message("tool", shown, tool_call_id=called))
            case ReasoningItem(reasoning):
                if not isinstance(last, _AssistantTurn):
                    last = _AssistantTurn()
                    messages.append(last)
                last.reasoning += [reasoning] if reasoning else []
    return [
        m.to_message() if isinstance(m, _AssistantTurn) else m
        for m in messages
        # Reasoning alone is no message.
        if not (isinstance(m, _AssistantTurn) and m.is_empty)
    ]


def _message_content(content: str | list[Content]) -> str | tuple[Part, ...]:
    parts = _content_parts(content)
    return join_text_parts(parts, "") if len(parts) == 1 else tuple(parts)


def _content_parts(content: str | list[Content]) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    return [_content_part(piece) for piece in content]


def _content_part(piece: Content) -> Part:
    match piece:
        case InputText(text) | OutputText(text) | RefusalText(text):
            return TextPart(text)
        case InputImage(url, detail):
            # Chat completions has no "original", and "auto" is its default.
            known = {"low": "low", "high": "high", "original": "high"}
            return ImagePart(url, known.get(detail or ""))
        case InputFile(data, name):
            named = {"filename": name} if name else {}
            return OtherPart({"type": "file", "file": {"file_data": data, **named}})
