"""OpenAI's chat completions, from the side that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from mixtura.errors import MalformedError
from mixtura.events import ToolPiece
from mixtura.provider_data import chat_fields
from mixtura.sampling_words import costly_words, further_words
from mixtura.server import hosted_tools
from mixtura.server.bodies import (
    NotEmpty,
    Positive,
    Share,
    check_known,
    converted,
    decoded,
    named_calls,
    stops,
    used,
)
from mixtura.server.chat_tools import (
    FunctionBody,
    NamedFunction,
    Offer,
    ToolBody,
    finish_reason,
    is_legacy,
    plain_messages,
    read_offer,
    with_further_calls,
    write_calls,
)
from mixtura.server.dialect import KEEP_ALIVE, About, Call, Refused, Wish, event_frame
from mixtura.server.streamed_calls import StreamedCalls
from mixtura.types import Completion, Json, Request, Sampling
from mixtura.wire import message_from_json

MOST_ANSWERS = 16
"""Answers of one call (`n`): each is a whole run."""
MOST_STOPS = 4

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class CalledFunction(msgspec.Struct):
    name: str
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


class ChatBody(msgspec.Struct):
    """A request. Fields that are not listed are passed over, as the API's own do by and by."""

    model: NotEmpty
    messages: Annotated[list[MessageBody], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_ANSWERS)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[ToolBody] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    functions: list[FunctionBody] | None = None
    function_call: Literal["none", "auto"] | NamedFunction | None = None
    web_search_options: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: FormatBody | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    mixtura: Wish | None = None


_CANNOT = {
    "audio": "answers are text",
}
_RIGHT = {
    "messages[].role": "system, developer, user, assistant, tool or function",
    "tool_choice": "none, auto, required or a function of `tools`",
    "response_format.type": "text, json_object or json_schema",
}


class Chat:
    """``POST /v1/chat/completions``."""

    path = "/v1/chat/completions"

    def read(self, body: bytes) -> Call:
        raw = decoded(body)
        check_known(raw, _CANNOT)
        parsed = converted(raw, ChatBody, _RIGHT)
        if parsed.modalities not in (None, [], ["text"]):
            said = 'answers are text: `modalities` can only be ["text"]'
            raise Refused(400, said, param="modalities", code="unsupported_value")
        if parsed.top_logprobs and not parsed.logprobs:
            said = "`top_logprobs` goes with `logprobs`: true"
            raise Refused(400, said, param="top_logprobs")
        check_stop(stops(parsed.stop) or ())
        offer = read_offer(raw)
        return Call(
            model=parsed.model,
            request=_request(raw, parsed, offer),
            stream=bool(parsed.stream),
            n=parsed.n or 1,
            usage_in_stream=bool(parsed.stream_options and parsed.stream_options.include_usage),
            wish=parsed.mixtura or Wish(),
            notices=tuple(costly_words(raw)),
            body=raw,
            toolbox=offer.toolbox,
            left_out=tuple(hosted_tools.describe_left_out(offer.toolbox.left_out)),
        )

    def whole(
        self, call: Call, answers: Sequence[Completion], about: About, summary: Json
    ) -> Mapping[str, Any]:
        return {
            "id": f"chatcmpl-{about.number}",
            "object": "chat.completion",
            "created": about.created,
            "model": call.model,
            "choices": [_choice(index, answer, call) for index, answer in enumerate(answers)],
            "usage": usage(answers),
            "system_fingerprint": None,
            "mixtura": with_further_calls(summary, answers, call),
        }

    def writer(self, call: Call, about: About) -> ChatWriter:
        return ChatWriter(call, about)

    def refusal(self, refused: Refused) -> Mapping[str, Any]:
        return error_body(refused)


def error_body(refused: Refused) -> dict[str, Any]:
    """An error as OpenAI's APIs have it."""
    return {
        "error": {
            "message": refused.message,
            "type": refused.kind,
            "param": refused.param,
            "code": refused.code,
        }
    }


def _request(raw: Mapping[str, Any], parsed: ChatBody, offer: Offer) -> Request:
    check_called(parsed.messages)
    plain = plain_messages(raw["messages"], offer.toolbox)
    try:
        messages = tuple(map(message_from_json, plain))
    except MalformedError as error:
        raise Refused(400, str(error), param="messages") from None
    _check_turns(parsed.messages)
    form = parsed.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        where = "response_format.json_schema"
        raise Refused(400, f"`{where}` is missing", param=where, code="missing_required_parameter")
    wanted = parsed.max_completion_tokens or parsed.max_tokens
    return Request(
        messages,
        Sampling(parsed.temperature, parsed.top_p, wanted, stops(parsed.stop), parsed.seed),
        tools=offer.toolbox.as_functions(),
        tool_choice=offer.choice,
        response_format=raw.get("response_format"),
        extra={**further_words(raw, ("parallel_tool_calls",)), **offer.extra},
    )


def check_called(messages: Sequence[MessageBody]) -> None:
    """Every call says what it calls. Raises Refused naming the field that is missing."""
    for number, message in enumerate(messages):
        for place, call in enumerate(message.tool_calls or ()):
            if (call.custom if call.type == "custom" else call.function) is None:
                param = f"messages[{number}].tool_calls[{place}].{call.type}"
                said, code = f"`{param}` is missing", "missing_required_parameter"
                raise Refused(400, said, param=param, code=code)


def check_stop(stop: Sequence[str]) -> None:
    """Texts that an answer ends before: few."""
    if len(stop) > MOST_STOPS:
        said = f"`stop`: there are {len(stop)} texts, it can have {MOST_STOPS}"
        raise Refused(400, said, param="stop")


def _check_turns(messages: Sequence[MessageBody]) -> None:
    """What no model could make sense of. Raises Refused naming the message."""
    called: set[str] = set()
    legacy = False
    for number, message in enumerate(messages):
        legacy = legacy or message.function_call is not None
        plain = message.role not in ("function", "tool") and not message.tool_calls
        if plain and (isinstance(message.content, str) or message.function_call):
            continue  # nearly all of them
        where = f"messages[{number}]"
        called |= {call.id for call in message.tool_calls or ()}
        if message.role == "tool" and message.tool_call_id not in called:
            said = f"`{where}`: a tool's message answers a `tool_calls` entry before it, by its id"
            raise Refused(400, said, param=f"{where}.tool_call_id")
        if message.role == "function" and not legacy:
            said = f"`{where}`: a function's message answers a `function_call` before it"
            raise Refused(400, said, param=where)
        if message.content is None and message.role not in ("assistant", "tool", "function"):
            raise Refused(400, f"`{where}.content` is missing", param=f"{where}.content")
        for place, part in enumerate(message.content if isinstance(message.content, list) else ()):
            _check_part(f"{where}.content[{place}]", part)


def _check_part(where: str, part: PartBody) -> None:
    if part.type == "text" and part.text is msgspec.UNSET:
        raise Refused(400, f"`{where}.text` is missing", param=f"{where}.text")
    if part.type == "image_url":
        address = part.image_url.get("url") if part.image_url else None
        if not isinstance(address, str) or not address.startswith(("http://", "https://", "data:")):
            said = f"`{where}.image_url.url` must be an http, https or data: address"
            raise Refused(400, said, param=f"{where}.image_url.url")


def _choice(index: int, answer: Completion, call: Call) -> dict[str, Any]:
    called = write_calls(list(named_calls(answer, "call_")), call)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.refusal else answer.text or (None if called else ""),
        "refusal": answer.text if answer.refusal else None,
        **called,
    }
    message |= chat_fields(answer.message)
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(answer),
        "finish_reason": finish_reason(answer, call),
    }


def _logprobs(answer: Completion) -> dict[str, Any] | None:
    return {"content": list(answer.logprobs), "refusal": None} if answer.logprobs else None


def usage(answers: Sequence[Completion]) -> dict[str, Any]:
    whole = used(answers)
    return {
        "prompt_tokens": whole.prompt_tokens,
        "completion_tokens": whole.completion_tokens,
        "total_tokens": whole.total_tokens,
        "prompt_tokens_details": {"cached_tokens": whole.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": whole.reasoning_tokens},
    }


class ChatWriter:
    """The chunks of a stream. The last of them also carries the summary."""

    def __init__(self, call: Call, about: About) -> None:
        self._call = call
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{about.number}",
            "object": "chat.completion.chunk",
            "created": about.created,
            "model": call.model,
            "system_fingerprint": None,
        }
        self._held: dict[str, Any] | None = None
        self._calls = [StreamedCalls("call_") for _ in range(call.n)]
        # A token's frame is this head, its text and a tail: nothing else is encoded for it.
        head = msgspec.json.encode(self._head)[:-1]
        tail = b',"usage":null' if call.usage_in_stream else b""
        self._heads = [
            b'data: %s%s,"choices":[{"index":%d,"delta":{"content":' % (head, tail, index)
            for index in range(call.n)
        ]

    def begun(self) -> bytes:
        opening = {"role": "assistant", "content": "", "refusal": None}
        return b"".join(self._chunk(index, opening) for index in range(self._call.n))

    def token(self, choice: int, text: str) -> bytes:
        return (
            self._heads[choice]
            + msgspec.json.encode(text)
            + b'},"logprobs":null,"finish_reason":null}]}\n\n'
        )

    def declined(self, choice: int, text: str) -> bytes:
        return self._chunk(choice, {"refusal": text})

    def tool(self, choice: int, piece: ToolPiece) -> bytes:
        calls = self._calls[choice]
        if is_legacy(self._call.body) or not calls.streams(piece, self._call.toolbox):
            return b""
        begins = calls.begins(piece)
        call = calls.add(piece)
        name = self._call.toolbox.find_called(call.name).name
        function = {"name": name, "arguments": ""}
        head = {"index": call.place, "id": call.id, "type": "function", "function": function}
        out = self._chunk(choice, {"tool_calls": [head]}) if begins else b""
        return out + self._arguments(choice, call.place, piece.arguments)

    def _arguments(self, choice: int, place: int, text: str) -> bytes:
        if not text:
            return b""
        row = {"index": place, "function": {"arguments": text}}
        return self._chunk(choice, {"tool_calls": [row]})

    def aside(self, data: Json) -> bytes:
        return event_frame(self._head | {"object": "mixtura.event", "mixtura": data})

    def finished(self, choice: int, answer: Completion) -> bytes:
        out = self._let_go()
        if fields := chat_fields(answer.message):
            out += self._chunk(choice, fields)
        calls = self._calls[choice]
        made = list(named_calls(answer, "call_"))
        missing, left = calls.rest(answer, made)
        for sent, rest in missing:
            out += self._arguments(choice, sent.place, rest)
        for place, call in enumerate(made[: len(calls.sent)]):
            if call.provider_fields:  # OpenAI's client wants a function in each piece
                row = {"index": place, "function": {"arguments": ""}, **call.provider_fields}
                out += self._chunk(choice, {"tool_calls": [row]})
        called = write_calls(left, self._call)
        if rows := called.get("tool_calls"):
            numbered = enumerate(rows, start=len(calls.sent))
            called = {"tool_calls": [{"index": i} | row for i, row in numbered]}
        if called:
            out += self._chunk(choice, called)
        if logprobs := _logprobs(answer):  # all of them, once no secret can be among them
            out += event_frame(self._body(choice, {"content": ""}, None, logprobs))
        self._held = self._body(choice, {}, finish_reason(answer, self._call))
        return out

    def closed(self, answers: Sequence[Completion], summary: Json) -> bytes:
        last = self._held or self._head
        self._held = None
        summary = with_further_calls(summary, answers, self._call)
        if not self._call.usage_in_stream:
            return event_frame(last | {"mixtura": summary}) + b"data: [DONE]\n\n"
        told: dict[str, Any] = {"choices": [], "usage": usage(answers), "mixtura": summary}
        return event_frame(last) + event_frame(self._head | told) + b"data: [DONE]\n\n"

    def failed(self, refused: Refused) -> bytes:
        return self._let_go() + event_frame(Chat().refusal(refused))

    def alive(self) -> bytes:
        return KEEP_ALIVE

    def _let_go(self) -> bytes:
        held, self._held = self._held, None
        return event_frame(held) if held else b""

    def _chunk(self, choice: int, delta: Json) -> bytes:
        return event_frame(self._body(choice, delta, None))

    def _body(
        self, choice: int, delta: Json, finish: str | None, logprobs: Json | None = None
    ) -> dict[str, Any]:
        row = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        body = self._head | {"choices": [row]}
        return body | {"usage": None} if self._call.usage_in_stream else body
