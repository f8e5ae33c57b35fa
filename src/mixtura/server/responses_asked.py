"""A request of OpenAI's responses, in our words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, cast

import msgspec

from mixtura.server.bodies import (
    NotEmpty,
    Positive,
    Share,
    check_known,
    check_tools,
    converted,
    decoded,
    function,
    plain,
)
from mixtura.server.dialect import Call, Found, Referring, Refused, ToStore, Wish
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
    content: str | list[Content]


class FunctionCallItem(msgspec.Struct, tag="function_call"):
    call_id: NotEmpty
    name: NotEmpty
    arguments: str


class FunctionOutputItem(msgspec.Struct, tag="function_call_output"):
    call_id: NotEmpty
    output: str | list[Content]


class ReasoningItem(msgspec.Struct, tag="reasoning"):
    pass


Item = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem


class FunctionTool(msgspec.Struct):
    type: Literal["function"]
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_.:-]{1,128}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(msgspec.Struct):
    type: Literal["function"]
    name: NotEmpty


class FunctionChoice(msgspec.Struct, tag="function"):
    name: NotEmpty


class AllowedChoice(msgspec.Struct, tag="allowed_tools"):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], msgspec.Meta(min_length=1)]


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
    tools: list[FunctionTool] | None = None
    tool_choice: (
        Literal["none", "auto", "required"] | FunctionChoice | AllowedChoice | None
    ) = None  # fmt: skip
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    metadata: Annotated[dict[Key, Value], msgspec.Meta(max_length=16)] | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[Included] | None = None
    service_tier: str | None = None
    mixtura: Wish | None = None


_CONTENT = "input_text, input_image, input_file, output_text or refusal"
_RIGHT = {
    "input[].type":
        "message, function_call, function_call_output, reasoning or item_reference: no tool runs "
        "here",
    "input[].role": "user, assistant, system or developer",
    "input[].content[].type": _CONTENT,
    "input[].output[].type": _CONTENT,
    "input[].content[].detail": "low, high, auto or original",
    "tools[].type": "function, a tool of your own: no tool runs here",
    "tool_choice": "none, auto or required, or an object for one function",
    "tool_choice.type": "function or allowed_tools",
    "tool_choice.tools[].type": "function",
    "tool_choice.mode": "auto or required",
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
    "context_management": "no conversation is compacted here",
}


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
    own = _typed(raw.get("input"), found)
    _check_kept(own)
    parsed = converted(raw | {"input": own} if "input" in raw else raw, ResponsesBody, _RIGHT)
    before = _context(found.context)
    _check(parsed, before)
    items = [{"role": "user", "content": own}] if isinstance(own, str) else own
    stored = ToStore(items, raw.get("previous_response_id"), parsed.store is True)
    return Call(
        model=parsed.model,
        request=_request(parsed, before),
        stream=bool(parsed.stream),
        usage_in_stream=True,
        wish=parsed.mixtura or Wish(),
        body=raw,
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


def _context(items: Sequence[Json]) -> list[Item]:
    """What was said before the call's own input. Raises Refused."""
    try:
        return msgspec.convert(_typed(list(items), Found()), list[Item])
    except msgspec.ValidationError as error:
        said = f"the stored conversation cannot be read: {error}: send it as `input`"
        raise Refused(400, said, param="previous_response_id") from None


def _typed(items: Any, found: Found) -> Any:
    """
    A message may leave out its type, which alone tells one kind of item from another. What is
    only referred to stands as it was found.
    """
    if not isinstance(items, list):
        return items
    items = [found.items[i["id"]] if _refers(i) else i for i in cast("list[Any]", items)]
    return [
        {"type": "message", **item} if isinstance(item, dict) and "role" in item else item  # pyright: ignore[reportUnknownVariableType]
        for item in cast("list[Any]", items)
    ]


# ---- to our words


def _request(body: ResponsesBody, before: Sequence[Item]) -> Request:
    tools, choice = _tools(body)
    own = [MessageItem("user", body.input)] if isinstance(body.input, str) else body.input
    messages = _messages([*before, *own])
    if body.instructions:
        messages.insert(0, Message("system", body.instructions))
    return Request(
        tuple(messages),
        Sampling(body.temperature, body.top_p, body.max_output_tokens),
        tools=tools,
        tool_choice=choice,
        response_format=_response_format(body.text.format if body.text else None),
        extra=_extra(body),
    )


def _extra(body: ResponsesBody) -> Json:
    """What has no word of ours, in those of chat completions."""
    logprobs = "message.output_text.logprobs" in (body.include or ()) or bool(body.top_logprobs)
    tier = body.service_tier
    extra: dict[str, Any] = {
        "reasoning_effort": body.reasoning.effort if body.reasoning else None,
        "verbosity": body.text.verbosity if body.text else None,
        "parallel_tool_calls": body.parallel_tool_calls if body.tools else None,
        "logprobs": True if logprobs else None,
        "top_logprobs": body.top_logprobs or None,
        "service_tier": None if tier in ("auto", "default") else tier,
    }
    return {name: value for name, value in extra.items() if value is not None}


@dataclass(slots=True)
class _Turn:
    """What an assistant says and calls before the next result: it grows, item by item."""

    content: str | tuple[Part, ...] = ""
    more: list[str] = field(default_factory=list[str])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])

    def message(self) -> Message:
        content = self.content
        if self.more:
            first = Message("assistant", content).text
            content = "\n\n".join(filter(None, (first, *self.more)))
        return Message("assistant", content, tuple(self.calls))


def _messages(items: Sequence[Item]) -> list[Message]:
    """What an assistant says and calls before the next result is one message."""
    messages: list[Message | _Turn] = []
    for item in items:
        last = messages[-1] if messages else None
        match item:
            case MessageItem("assistant", content):
                said = plain(_parts(content), "")
                if isinstance(last, _Turn) and last.calls and isinstance(said, str):
                    last.more.append(said)
                else:
                    messages.append(_Turn(said))
            case MessageItem(role, content):
                messages.append(Message(role, _shown(content)))
            case FunctionCallItem(called, name, arguments):
                if not isinstance(last, _Turn):
                    last = _Turn()
                    messages.append(last)
                last.calls.append(ToolCall(called, name, arguments))
            case FunctionOutputItem(called, output):
                shown = plain(_parts(output), "\n")
                messages.append(Message("tool", shown, tool_call_id=called))
            case ReasoningItem():
                pass  # a model's own thoughts are shown to no other model
    return [m.message() if isinstance(m, _Turn) else m for m in messages]


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


def _tools(body: ResponsesBody) -> tuple[tuple[Json, ...], str | Json | None]:
    """The tools and the choice; of allowed ones only those are shown."""
    tools, choice = body.tools or [], body.tool_choice
    chosen: str | Json | None
    match choice:
        case AllowedChoice(mode, allowed):
            names = {tool.name for tool in allowed}
            tools = [tool for tool in tools if tool.name in names]
            chosen = mode
        case FunctionChoice(name):
            chosen = {"type": "function", "function": {"name": name}}
        case _:
            chosen = choice if tools else None
    return tuple(function(t.name, t.description, t.parameters, t.strict) for t in tools), chosen


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
    chosen = body.tool_choice
    tools = [tool.name for tool in body.tools or ()]
    match chosen:
        case "required" if not tools:
            raise Refused(400, "`tool_choice`: required goes with `tools`", param="tool_choice")
        case FunctionChoice(name):
            check_tools(tools, [name], where="tool_choice.name")
        case AllowedChoice(_, allowed):
            check_tools(tools, [tool.name for tool in allowed], where="tool_choice.tools")
        case _:
            check_tools(tools, [], where="tools")
    _check_calls(before, [] if isinstance(body.input, str) else body.input)


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
