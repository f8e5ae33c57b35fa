"""A request of OpenAI's responses, in our words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, cast

import msgspec

from mixtura.provider_data import unpack
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
)
from mixtura.server.dialect import Call, Found, Referring, Refused, ToStore, Wish
from mixtura.server.responses_tools import (
    ChoiceBody,
    ToolBody,
    ToolSelection,
    plain_items,
    read_choice,
    read_tools,
    tools_within,
)
from mixtura.server.tools import Toolbox
from mixtura.types import (
    ImagePart,
    Json,
    Message,
    OtherPart,
    Part,
    Request,
    Sampling,
    TextPart,
    ToolCall,
)

# ---- its body


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


class Reasoning(msgspec.Struct):
    """A ``summary`` may be asked for, and there is none: thoughts are no part of an answer."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Literal["standard"] | None = None


class ContextEdit(msgspec.Struct):
    type: NotEmpty


Included = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Key = Annotated[str, msgspec.Meta(max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=512)]


class ResponsesBody(msgspec.Struct):
    """A request. Fields that are not listed, like keys for a cache, are passed over."""

    model: NotEmpty
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Positive | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    tools: list[ToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    metadata: Annotated[dict[Key, Value], msgspec.Meta(max_length=16)] | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[Included] | None = None
    service_tier: str | None = None
    context_management: list[ContextEdit] | None = None
    mixtura: Wish | None = None


_CONTENT = "input_text, input_image, input_file, output_text or refusal"
_RIGHT = {
    "input[].type":
        "message, function_call, custom_tool_call, local_shell_call, shell_call, "
        "apply_patch_call or computer_call, each with its output, reasoning or item_reference",
    "input[].role": "user, assistant, system or developer",
    "input[].content[].type": _CONTENT,
    "input[].output[].type": _CONTENT,
    "input[].content[].detail": "low, high, auto or original",
    "tool_choice": "none, auto or required, or an object for one tool",
    "text.format.type": "text, json_object or json_schema",
    "text.verbosity": "low, medium or high",
    "reasoning.effort": "none, minimal, low, medium, high, xhigh or max",
    "reasoning.summary": "auto, concise or detailed",
    "reasoning.mode": "standard",
    "include[]": ", ".join(Included.__args__),
    "truncation": "auto or disabled",
    "mixtura": ", ".join(Wish.__struct_fields__),
    "mixtura.consult": "turn or always",
}  # fmt: skip

_CANNOT = {
    "conversation": "no conversations are kept here, send the whole one as `input`",
    "background": "answers are given to whoever waits",
    "prompt": "no prompt templates are kept here",
    "moderation": "nothing is moderated here",
}


class _Tools(msgspec.Struct):
    tools: list[ToolBody] | None = None


AT_ONCE = 1000
"""Items that are converted in one step, which stops every other thread."""


def read(body: bytes) -> Call | Referring:
    """Raises Refused."""
    return from_data(decoded(body))


def from_data(raw: dict[str, Any]) -> Call | Referring:
    """The call that a decoded body makes. Raises Refused."""
    check_known(raw, _CANNOT)
    previous = raw.get("previous_response_id")
    if previous is not None and not (isinstance(previous, str) and previous):
        param = "previous_response_id"
        raise Refused(400, f"`{param}`: it is the id of a response, as text", param=param)
    if (wanted := tuple(_references(raw.get("input")))) or previous is not None:
        return Referring(previous, wanted, partial(_call, raw))
    return _call(raw, Found())


def _call(raw: dict[str, Any], found: Found) -> Call:
    """The call, with what it refers to in its place."""
    given = _resolved(raw.get("input"), found)
    converted(raw, _Tools, _RIGHT)
    within = [*tools_within(list(found.context)), *tools_within(given)]
    toolbox = read_tools(raw.get("tools") or (), within)
    own, left_out = plain_items(given, toolbox, found.context)
    own = _typed(own)
    _check_kept(own)
    parsed = converted(raw | {"input": own} if "input" in raw else raw, ResponsesBody, _RIGHT)
    chosen = read_choice(toolbox, raw.get("tool_choice"))
    before = _context(found.context, toolbox)
    _check(parsed, before)
    items = [{"role": "user", "content": given}] if isinstance(given, str) else _typed(given)
    stored = ToStore(items, raw.get("previous_response_id"), parsed.store is True)
    return Call(
        model=parsed.model,
        request=_request(raw, parsed, chosen, before),
        stream=bool(parsed.stream),
        usage_in_stream=True,
        wish=parsed.mixtura or Wish(),
        notices=tuple(costly_words(raw)),
        body=raw,
        toolbox=chosen.toolbox,
        left_out=(
            *hosted_tools.describe_left_out(toolbox.left_out),
            *left_out,
            *(
                f"context_management[{number}]: {edit.type}: a conversation is not edited here"
                for number, edit in enumerate(parsed.context_management or ())
            ),
        ),
        store=None if parsed.store is False else stored,
        truncate=parsed.truncation == "auto",
    )


def _references(items: Any) -> Iterator[str]:
    """The ids of items that stand for what was handed out before. Raises Refused."""
    for number, item in enumerate(cast("list[Any]", items) if isinstance(items, list) else ()):
        if not _refers(item):
            continue
        if not (isinstance(item.get("id"), str) and item["id"]):
            where = f"input[{number}].id"
            raise Refused(400, f"`{where}`: it is the id of an item, as text", param=where)
        yield item["id"]


def _refers(item: Any) -> bool:
    match item:
        case {"type": "item_reference"}:
            return True
        case {"id": _, **rest}:  # its type may be left out
            return not any(value is not None for value in rest.values())
        case _:
            return False


def _context(items: Sequence[Json], toolbox: Toolbox) -> list[Item]:
    """What was said before the call's own input. Raises Refused."""
    try:
        rows = _typed(plain_items(list(items), toolbox).items)
        return [
            item
            for at in range(0, len(rows), AT_ONCE)  # others have a turn between the parts
            for item in msgspec.convert(rows[at : at + AT_ONCE], list[Item])
        ]
    except msgspec.ValidationError as error:
        said = f"the stored conversation cannot be read: {error}: send it as `input`"
        raise Refused(400, said, param="previous_response_id") from None


def _resolved(items: Any, found: Found) -> Any:
    """The items, and what is only referred to as it was found."""
    if not isinstance(items, list):
        return items
    return [found.items[i["id"]] if _refers(i) else i for i in cast("list[Any]", items)]


def _typed(items: Any) -> Any:
    """A message may leave out its type, which alone tells one kind of item from another."""
    if not isinstance(items, list):
        return items
    return [
        {"type": "message", **item} if isinstance(item, dict) and "role" in item else item  # pyright: ignore[reportUnknownVariableType]
        for item in cast("list[Any]", items)
    ]


# ---- to our words


def _request(
    raw: Json, body: ResponsesBody, chosen: ToolSelection, before: Sequence[Item]
) -> Request:
    own = [MessageItem("user", body.input)] if isinstance(body.input, str) else body.input
    messages = _messages([*before, *own])
    if body.instructions:
        messages.insert(0, Message("system", body.instructions))
    return Request(
        tuple(messages),
        Sampling(body.temperature, body.top_p, body.max_output_tokens),
        tools=chosen.toolbox.as_functions(),
        tool_choice=chosen.choice,
        response_format=_response_format(body.text.format if body.text else None),
        extra=_extra(raw, body, tools=bool(chosen.toolbox.tools)),
    )


def _extra(raw: Json, body: ResponsesBody, *, tools: bool = False) -> Json:
    """What has no word of ours, in those of chat completions."""
    logprobs = "message.output_text.logprobs" in (body.include or ()) or bool(body.top_logprobs)
    tier = body.service_tier
    extra: dict[str, Any] = {
        "reasoning_effort": body.reasoning.effort if body.reasoning else None,
        "verbosity": body.text.verbosity if body.text else None,
        "parallel_tool_calls": body.parallel_tool_calls if tools else None,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "logprobs": True if logprobs else None,
        "top_logprobs": body.top_logprobs or None,
        "service_tier": None if tier in ("auto", "default") else tier,
    }
    own = ("reasoning", "parallel_tool_calls", *extra)
    named = {name: value for name, value in extra.items() if value is not None}
    return {**further_words(raw, own), **named}


@dataclass(slots=True)
class _Turn:
    """What an assistant says and calls before the next result: it grows, item by item."""

    content: str | tuple[Part, ...] = ""
    more: list[str] = field(default_factory=list[str])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    reasoning: list[str] = field(default_factory=list[str])

    @property
    def empty(self) -> bool:
        """Nothing is said or called, at most thought."""
        return not (self.content or self.calls)

    def message(self) -> Message:
        content = self.content
        content = self.content
        if isinstance(content, str):
            content = "\n\n".join(filter(None, (content, *self.more))) if self.more else content
        else:
            content = (*content, *(TextPart(said) for said in self.more))
        calls = tuple(self.calls)
        for reasoning in self.reasoning:
            if (found := unpack(reasoning, calls)) is not None:  # else it is another server's
                return replace(found, content=content)
        return Message("assistant", content, calls)


def _messages(items: Sequence[Item]) -> list[Message]:
    """What an assistant says and calls before the next result is one message."""
    messages: list[Message | _Turn] = []
    for item in items:
        last = messages[-1] if messages else None
        match item:
            case MessageItem("assistant", content):
                said = plain(_parts(content or ""), "")
                if isinstance(last, _Turn) and last.calls and isinstance(said, str):
                    last.more.append(said)
                elif isinstance(last, _Turn) and last.empty:
                    last.content = said
                else:
                    messages.append(_Turn(said))
            case MessageItem(role, content):
                messages.append(Message(role, _shown(content or "")))
            case FunctionCallItem(called, name, arguments):
                if not isinstance(last, _Turn):
                    last = _Turn()
                    messages.append(last)
                last.calls.append(ToolCall(called, name, arguments))
            case FunctionOutputItem(called, output):
                shown = plain(_parts(output), "\n")
                messages.append(Message("tool", shown, tool_call_id=called))
            case ReasoningItem(reasoning):
                if not isinstance(last, _Turn):
                    last = _Turn()
                    messages.append(last)
                last.reasoning += [reasoning] if reasoning else []
    return [
        m.message() if isinstance(m, _Turn) else m
        for m in messages
        if not (isinstance(m, _Turn) and m.empty)
    ]


def _shown(content: str | list[Content]) -> str | tuple[Part, ...]:
    parts = _parts(content)
    return plain(parts, "") if len(parts) == 1 else tuple(parts)


def _parts(content: str | list[Content]) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    return [_part(piece) for piece in content]


def _part(piece: Content) -> Part:
    match piece:
        case InputText(text) | OutputText(text) | RefusalText(text):
            return TextPart(text)
        case InputImage(url, detail):
            known = {"low": "low", "high": "high", "original": "high"}
            return ImagePart(url, known.get(detail or ""))
        case InputFile(data, name):
            named = {"filename": name} if name else {}
            return OtherPart({"type": "file", "file": {"file_data": data, **named}})


def _response_format(
    asked: PlainFormat | ObjectFormat | NamedSchemaFormat | None,
) -> Json | None:
    match asked:
        case None | PlainFormat():
            return None
        case ObjectFormat():
            return {"type": "json_object"}
        case NamedSchemaFormat(name, schema, description, strict):
            optional = {"description": description, "strict": strict}
            given = {key: value for key, value in optional.items() if value is not None}
            return {"type": "json_schema", "json_schema": {"name": name, "schema": schema} | given}


# ---- what it may not be


def _check_kept(items: Any) -> None:
    """Parts that stand for something kept elsewhere. Raises Refused naming it."""
    if not isinstance(items, list):
        return
    for number, item in enumerate(cast("list[Any]", items)):
        if not isinstance(item, dict):
            continue
        table = cast("dict[str, Any]", item)
        for key in ("content", "output"):
            parts = table.get(key)
            for place, part in enumerate(
                cast("list[Any]", parts) if isinstance(parts, list) else ()
            ):
                _check_part(f"input[{number}].{key}[{place}]", part)


def _check_part(where: str, part: Any) -> None:
    match part:
        case {"type": "input_image" | "input_file", "file_id": str()}:
            said = f"`{where}.file_id`: no files are kept here, send the data itself"
            raise Refused(400, said, param=f"{where}.file_id", code="unsupported_value")
        case {"type": "input_file", "file_url": str()}:
            said = f"`{where}.file_url`: no files are fetched here, send it as `file_data`"
            raise Refused(400, said, param=f"{where}.file_url", code="unsupported_value")
        case _:
            pass


def _check(body: ResponsesBody, before: Sequence[Item]) -> None:
    """What the types do not say. Raises Refused naming the parameter."""
    own = [] if isinstance(body.input, str) else body.input
    _check_contents(own)
    _check_calls(before, own)


def _check_contents(items: Sequence[Item]) -> None:
    """Only an assistant may have said nothing."""
    for number, item in enumerate(items):
        if isinstance(item, MessageItem) and item.content is None and item.role != "assistant":
            where = f"input[{number}].content"
            raise Refused(400, f"`{where}` is null: it can be text or parts", param=where)


def _check_calls(before: Sequence[Item], items: Sequence[Item]) -> None:
    """Every call has its output after it, and every output its call."""
    calls: dict[str, str] = {}
    for number, item in enumerate((*before, *items), start=-len(before)):
        where = f"input[{number}].call_id" if number >= 0 else "previous_response_id"
        match item:
            case FunctionCallItem(called):
                if called in calls:
                    said = f"`{where}`: there is a function_call {called!r} before it"
                    raise Refused(400, said, param=where)
                calls[called] = where
            case FunctionOutputItem(called):
                if calls.pop(called, None) is None:
                    said = f"`{where}`: there is no function_call {called!r} before it"
                    raise Refused(400, said, param=where)
            case _:
                pass
    for called, where in calls.items():
        said = f"`{where}`: the function_call {called!r} has no function_call_output"
        raise Refused(400, said, param=where)
