"""Every other provider's own API, through pydantic-ai."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import Any

import msgspec

from mixtura.chunks import (
    Choice,
    Chunk,
    Delta,
    WireFunction,
    WireToolCall,
    usage_from_counts,
)
from mixtura.clocks import one_call
from mixtura.errors import (
    ConfigError,
    MalformedError,
    ModelError,
    RejectedError,
    TimedOutError,
    UnavailableError,
)
from mixtura.events import Emit
from mixtura.finish_reasons import read_finish_reason
from mixtura.logs import keep_secrets_out
from mixtura.manners import accounted, notice_all, told
from mixtura.part_forms import parts_of, stand_in, with_stand_ins
from mixtura.quantities import excerpt
from mixtura.redaction import Redactor, in_use, remember
from mixtura.sampling_words import SOFT, left_out, not_taken
from mixtura.types import (
    Completion,
    ImagePart,
    Message,
    OtherPart,
    Part,
    Request,
    TextPart,
    Usage,
)
from mixtura.upstream import (
    LARGEST_ANSWER,
    Clocks,
    Secret,
    Timer,
    answer_too_large,
    redactor_of,
    refusal,
)
from mixtura.wire import Assembly


class Bridge:
    """
    The model that pydantic-ai calls ``provider:model``; its own variables hold the keys.

    Names, clocks, errors and bills are ours. *base_url* is given to providers that take one;
    *extra* goes into the request's body where the provider's library allows that. *largest*:
    bytes of an answer's text, thoughts and calls.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        *,
        name: str | None = None,
        base_url: str | None = None,
        api_key: Secret | None = None,
        clocks: Clocks | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        largest: int = LARGEST_ANSWER,
        window: int | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._name = name or f"bridge:{provider}/{model}"
        self._clocks = clocks or Clocks()
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._largest = largest
        self._redactor = redactor_of(base_url, api_key, self._headers, self._extra, redactor)
        self.window = window
        given = {"base_url": base_url, "api_key": api_key.reveal() if api_key else None}
        keep_secrets_out()  # its libraries write what they send into their logs
        with in_use(self._redactor):
            self._model = _bridged(provider, model, {k: v for k, v in given.items() if v})
        key = getattr(getattr(self._model, "client", None), "api_key", None)
        if isinstance(key, str):  # it stood in one of their variables
            self._redactor = self._redactor.plus([key])
            remember([key])

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        with in_use(self._redactor):
            return await self._answer(request, emit)

    async def _answer(self, request: Request, emit: Emit | None) -> Completion:
        so_far = Assembly()
        with accounted(self._name, request, so_far, emit):
            try:
                with one_call(self._name):
                    await self._read(request, so_far, emit)
            except ModelError:
                raise
            except Exception as error:
                raise _translated(error) from error
            told(so_far, so_far.finish(), emit)
            if so_far.finish_reason is None:
                raise UnavailableError("the answer ended without a finish reason: it is cut off")
            return so_far.completion(self._name, request)

    async def _read(self, request: Request, so_far: Assembly, emit: Emit | None) -> None:
        timer = Timer(self._clocks)
        request, notices = with_stand_ins(request, _takes)
        said = left_out(not_taken(request.extra, _THEIRS_TOO))
        notice_all(self._name, [*notices, *said], emit)
        messages = _messages(request.messages)
        left = self._largest
        try:
            async with asyncio.timeout(None) as scope:
                timer.start(scope)
                # entering it opens its connections, and the last to leave closes them
                async with (
                    self._model,
                    _their("direct").model_request_stream(
                        self._model,
                        messages,
                        model_settings=self._settings(request),
                        model_request_parameters=_parameters(request),
                    ) as stream,
                ):
                    async with aclosing(aiter(stream)) as events:
                        async for event in events:
                            delta = _delta(event)
                            left -= _size(delta)
                            if left < 0:
                                raise answer_too_large(self._largest)
                            so_far.add(Chunk([Choice(delta=delta)]))
                            if fresh := so_far.fresh():
                                timer.progressed()
                                told(so_far, fresh, emit)
                    answer = stream.get()
        except TimeoutError:
            raise TimedOutError(timer.reason()) from None
        finally:
            timer.stop()
        so_far.usage = _usage(answer.usage, so_far.doubts)
        details: dict[str, Any] = answer.provider_details or {}
        reason: Any = answer.finish_reason or details.get("finish_reason")
        so_far.finish_reason = read_finish_reason(reason)

    def _settings(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        settings: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop_sequences": list(sampling.stop) if sampling.stop else None,
            "seed": sampling.seed,
            "tool_choice": _tool_choice(request.tool_choice),
            "extra_headers": self._headers or None,
            "extra_body": self._extra or None,
        }
        for name, value in request.extra.items():
            if name in SOFT and name not in _THEIRS_TOO:
                continue
            if name not in _THEIRS_TOO:
                error = RejectedError(f"{name} cannot be asked for through the bridge")
                error.parameter = name
                raise error
            settings[name] = value
        if request.response_format not in (None, {"type": "text"}):
            raise RejectedError("a response format cannot be asked for through the bridge")
        kept = {key: value for key, value in settings.items() if value is not None}
        return kept | {"max_retries": 0}  # there is one owner of retries, and it is not this


_THEIRS_TOO = (
    "parallel_tool_calls", "presence_penalty", "frequency_penalty", "logit_bias", "top_k",
)  # fmt: skip
"""Further parameters that pydantic-ai's settings have under the same name."""


def _their(module: str) -> Any:
    """A module of pydantic-ai. Raises ConfigError when it is not installed."""
    try:
        return import_module(f"pydantic_ai.{module}")
    except ImportError:
        said = 'models named bridge:… need pydantic-ai: pip install "mixtura[providers]"'
        raise ConfigError(said) from None


def _bridged(provider: str, model: str, given: Mapping[str, Any]) -> Any:
    """pydantic-ai's model. Raises ConfigError with what is missing."""
    providers, user_error = _their("providers"), _their("exceptions").UserError

    def made(name: str) -> Any:
        return providers.infer_provider_class(name)(**given)

    try:
        return _their("models").infer_model(f"{provider}:{model}", made)
    except ImportError as error:  # the provider's own library: theirs says which
        raise ConfigError(f"bridge:{provider}: {error}") from None
    except (user_error, ValueError, TypeError) as error:
        raise ConfigError(f"bridge:{provider}/{model}: {error}") from None


# ---- our words to theirs


def _messages(messages: Sequence[Message]) -> list[Any]:
    their = _their("messages")
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    turns: list[Any] = []
    below: list[Part] = []

    def add(part: Any) -> None:
        if turns and isinstance(turns[-1], their.ModelRequest):
            turns[-1] = their.ModelRequest([*turns[-1].parts, part])
        else:
            turns.append(their.ModelRequest([part]))

    def add_pictures() -> None:
        if below:
            add(their.UserPromptPart(_content(tuple(below))))
            below.clear()

    for message in messages:
        if message.role != "tool":
            add_pictures()
        if message.role == "assistant":
            turns.append(_answer(message))
        elif message.role == "user":
            add(their.UserPromptPart(_content(message.content)))
        else:  # only a user's message has pictures there: those of others follow in one
            below += [p for p in parts_of(message) if isinstance(p, ImagePart)]
            called = message.tool_call_id or ""
            add(
                their.ToolReturnPart(names.get(called, called), message.text, called)
                if message.role == "tool"
                else their.SystemPromptPart(message.text)
            )
    add_pictures()
    return turns


def _answer(message: Message) -> Any:
    their = _their("messages")
    calls = [their.ToolCallPart(c.name, c.arguments, c.id) for c in message.tool_calls]
    said = "".join(p.text if isinstance(p, TextPart) else stand_in(p) for p in parts_of(message))
    return their.ModelResponse([*([their.TextPart(said)] if said else []), *calls])


def _content(content: str | tuple[Part, ...]) -> Any:
    their = _their("messages")
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
            case OtherPart():  # text stands in for all of them by now
                raise RejectedError("only text and pictures go through the bridge")
    return parts


def _takes(part: Part) -> bool:
    return not isinstance(part, OtherPart)


def _parameters(request: Request) -> Any:
    functions = [tool["function"] for tool in request.tools if tool.get("type") == "function"]
    if len(functions) != len(request.tools):
        raise RejectedError("only function tools go through the bridge")
    tools = [
        _their("tools").ToolDefinition(
            name=f["name"],
            description=f.get("description"),
            parameters_json_schema=f.get("parameters") or {"type": "object", "properties": {}},
            strict=f.get("strict"),
        )
        for f in functions
    ]
    return _their("models").ModelRequestParameters(function_tools=tools)


def _tool_choice(choice: str | Mapping[str, Any] | None) -> Any:
    match choice:
        case {"function": {"name": str(name)}}:
            return [name]
        case _:
            return choice


# ---- theirs to ours


def _delta(event: Any) -> Delta:
    """What an event of theirs adds, as a chunk of ours."""
    kind = getattr(event, "event_kind", "")
    part = event.part if kind == "part_start" else event.delta if kind == "part_delta" else None
    kind = getattr(part, "part_kind", None) or getattr(part, "part_delta_kind", None)
    if part is None or kind is None:
        return Delta()
    if kind == "text":
        return Delta(getattr(part, "content", None) or getattr(part, "content_delta", None))
    if kind == "thinking":
        thought = getattr(part, "content", None) or getattr(part, "content_delta", None)
        return Delta(None, thought)
    if kind in ("tool-call", "tool_call"):
        return Delta(tool_calls=[_call(event.index, part)])
    return Delta(left_out=[kind])


def _size(delta: Delta) -> int:
    """The bytes of what a chunk brings."""
    calls = [call.function.arguments for call in delta.tool_calls or () if call.function]
    texts = [text for text in (delta.content, delta.reasoning_content, *calls) if text]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _call(index: int, part: Any) -> WireToolCall:
    name = getattr(part, "tool_name", None) or getattr(part, "tool_name_delta", None)
    arguments = getattr(part, "args", None) or getattr(part, "args_delta", None)
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return WireToolCall(index, part.tool_call_id, WireFunction(name, arguments))


def _usage(usage: Any, doubts: list[str]) -> Usage | None:
    """None when they know nothing: then we count ourselves."""
    if not usage.input_tokens and not usage.output_tokens:
        return None
    details: Mapping[str, object] = usage.details or {}
    told: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": details.get("reasoning_tokens"),
    }
    return usage_from_counts(told, doubts)


def _translated(error: Exception) -> Exception:
    """Their error as ours; one that is no error of a call stays what it is."""
    their = _their("exceptions")
    if isinstance(error, their.ModelHTTPError):
        said: Any = error
        body: Any = said.body or str(said)
        headers = {} if said.retry_after is None else {"retry-after": str(said.retry_after)}
        return refusal(said.status_code, headers, _body_json(body))
    if isinstance(error, their.ModelAPIError):
        return UnavailableError(str(error))
    if isinstance(error, their.UserError):
        return RejectedError(str(error))
    if isinstance(error, their.UnexpectedModelBehavior):
        return MalformedError(str(error))
    if isinstance(error, _UNREAD):
        said = f"{type(error).__name__}: {excerpt(str(error), 200)}"
        return MalformedError(f"the provider's library cannot read its answer: {said}")
    return error


_UNREAD = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What a provider's library raises when it reads what no provider should send."""


def _body_json(body: Any) -> bytes:
    """An error's body; nothing where it is too deep or too odd to be read: the status decides."""
    try:
        return msgspec.json.encode(body, enc_hook=str)
    except (RecursionError, ArithmeticError, ValueError, TypeError):
        return b""
