"""Every Mixtura model as a model of Inspect: ``mixtura/NAME``, whatever the evaluation."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.images import file_as_data_uri
from inspect_ai.log import transcript
from inspect_ai.log._samples import sample_active
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    Content,
    ContentAudio,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelCall,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo

from mixtura.config import Config, load
from mixtura.errors import ConfigError, MixturaError, RejectedError, billed
from mixtura.model import Model
from mixtura.price import Pricer, cost
from mixtura.streaming import Recorder
from mixtura.trace import trace_json
from mixtura.types import (
    Charge,
    Completion,
    FinishReason,
    ImagePart,
    Message,
    OtherPart,
    Part,
    Request,
    Sampling,
    TextPart,
    total,
)
from mixtura.types import ToolCall as Wish
from mixtura.wire import estimate, request_json

SOURCE = "mixtura"
"""What our entries in Inspect's logs are called."""
AT_ONCE = 10
"""Samples asked at once unless someone says otherwise; every model's own limits hold besides."""

Heard = Callable[[str, str, int, bool], None]
"""Told of every call that is over: the model's name, the sample's id, its epoch, if it failed."""
Given = tuple[Config, Mapping[str, Model], Heard | None]
_GIVEN: ContextVar[Given | None] = ContextVar("given", default=None)


@contextmanager
def using(
    config: Config, models: Mapping[str, Model], heard: Heard | None = None
) -> Generator[None]:
    """In this block ``mixtura/NAME`` is looked up in *models*, then in *config*."""
    token = _GIVEN.set((config, models, heard))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def tell(model: str, *, failed: bool) -> None:
    """Whoever listens hears that *model* is done with the sample that is under way."""
    given, active = _GIVEN.get(), sample_active()
    if given and given[2] and active:
        given[2](model, str(active.sample.id), active.epoch, failed)


@modelapi(name="mixtura")
class Mixtura(ModelAPI):
    """
    A mixture or a model of the user's configuration.

    The configuration is found as ``mixtura ask`` finds it, or is the file that
    ``-M config_file=FILE`` names. Keys and addresses stand there: Inspect's are refused.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (as Inspect has it)
        config_file: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if base_url or api_key:
            raise PrerequisiteError(
                f"mixtura/{model_name}: addresses and keys stand in your configuration"
            )
        if unknown:
            names = ", ".join(sorted(unknown))
            raise PrerequisiteError(f"mixtura has no model argument {names}: only config_file")
        try:
            self._own = _found(model_name, config_file)
        except ConfigError as error:
            raise PrerequisiteError(str(error)) from None

    @property
    def _now(self) -> tuple[Model, Pricer]:
        """Inspect keeps models by name and hands them out again: *using* goes before."""
        return self._own if _GIVEN.get() is None else _found(self.model_name, None)

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> tuple[ModelOutput | Exception, ModelCall]:
        messages = tuple([await _message(message) for message in input])
        request = _request(messages, tools, tool_choice, config)
        wanted = config.num_choices or 1
        started = time.monotonic()
        with self._heard():
            answers = [await self._asked(request, _draw(wanted, n)) for n in range(wanted)]
        output = _output([answer for answer, _ in answers], tools, self._now[1])
        output.time = time.monotonic() - started
        asked = request_json(request, self.model_name)
        return output, ModelCall.create(asked, {"runs": [run for _, run in answers]})

    @contextmanager
    def _heard(self) -> Generator[None]:
        failed = True
        try:
            yield
            failed = False
        finally:
            tell(self.model_name, failed=failed)

    async def _asked(self, request: Request, draw: int) -> tuple[Completion, dict[str, Any]]:
        """One answer and the record of its run. What a failed one costs is left in the log."""
        drawn = Request(
            request.messages, request.sampling, request.tools, request.tool_choice,
            request.response_format, request.extra, draw, draft=True,
        )  # fmt: skip
        recorder = Recorder()
        model, pricer = self._now
        try:
            answer = await model.complete(drawn, recorder)
        except (MixturaError, anyio.get_cancelled_exc_class()) as error:
            if charges := billed(error):
                transcript().info(_bill(charges, pricer), source=SOURCE)
            raise
        record = trace_json(recorder.trace(), pricer)
        return answer, {key: value for key, value in record.items() if key != "request"}

    def max_connections(self) -> int:
        return AT_ONCE

    def connection_key(self) -> str:
        return self.model_name

    def tool_result_images(self) -> bool:
        return True

    async def count_text_tokens(self, text: str) -> int:
        return estimate(Request(()), text).completion_tokens


def _found(name: str, config_file: str | None) -> tuple[Model, Pricer]:
    given = _GIVEN.get()
    if given is None:
        config = load(config_file, environ=os.environ, folder=Path.cwd())
        return config.runnable(config.plan(name)), config.price
    config, models, _ = given
    return models.get(name) or config.runnable(config.plan(name)), config.price


def _draw(wanted: int, number: int) -> int:
    """Which sample of the model this is: no cache may take an epoch for another."""
    active = sample_active()
    epoch = active.epoch if active else 1
    return (epoch - 1) * wanted + number


# ---- Inspect's words to ours


async def _message(message: ChatMessage) -> Message:
    if isinstance(message, ChatMessageTool):
        said = message.error.message if message.error else await _content(message.content)
        return Message("tool", said, tool_call_id=message.tool_call_id)
    content = await _content(message.content)
    if not isinstance(message, ChatMessageAssistant):
        return Message(message.role, content)
    wishes = [
        Wish(call.id, call.function, json.dumps(call.arguments))
        for call in message.tool_calls or ()
    ]
    return Message("assistant", content, tuple(wishes))


async def _content(content: str | list[Content]) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    parts = [await _part(item) for item in content if not isinstance(item, ContentReasoning)]
    if all(isinstance(part, TextPart) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, TextPart))
    return tuple(parts)


async def _part(item: Content) -> Part:
    match item:
        case ContentText():
            return TextPart(item.text)
        case ContentImage():
            url = item.image
            if not url.startswith(("http://", "https://")):
                url = await file_as_data_uri(url)
            return ImagePart(url, None if item.detail == "auto" else item.detail)
        case ContentAudio():
            address = await file_as_data_uri(item.audio)
            sound = {"data": address.partition(",")[2], "format": item.format}
            return OtherPart({"type": "input_audio", "input_audio": sound})
        case _:
            raise RejectedError(f"Mixtura passes on text, pictures and sound, not {item.type}")


def _request(
    messages: tuple[Message, ...],
    tools: Sequence[ToolInfo],
    tool_choice: ToolChoice,
    config: GenerateConfig,
) -> Request:
    sampling = Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        stop=tuple(config.stop_seqs) if config.stop_seqs else None,
        seed=config.seed,
    )
    return Request(
        messages,
        sampling,
        tuple(_tool(tool) for tool in tools),
        _choice(tool_choice) if tools else None,
        _response_format(config),
        _extra(config),
    )


def _tool(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(exclude_none=True)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return "required" if choice == "any" else choice
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(config: GenerateConfig) -> dict[str, Any] | None:
    if config.response_schema is None:
        return None
    wanted = config.response_schema
    schema: dict[str, Any] = {
        "name": wanted.name,
        "schema": wanted.json_schema.model_dump(exclude_none=True),
        "description": wanted.description,
        "strict": wanted.strict,
    }
    given = {key: value for key, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": given}


_PASSED_ON = (
    "frequency_penalty", "presence_penalty", "logit_bias", "top_k", "logprobs", "top_logprobs",
    "parallel_tool_calls", "reasoning_effort", "verbosity",
)  # fmt: skip


def _extra(config: GenerateConfig) -> dict[str, Any]:
    """What chat completions has a word for; Inspect names it the same."""
    given = {name: getattr(config, name) for name in _PASSED_ON}
    said = {name: value for name, value in given.items() if value is not None}
    return said | (config.extra_body or {})


# ---- our words to Inspect's

_STOPPED: Mapping[FinishReason, StopReason] = {
    "stop": "stop",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


def _output(answers: Sequence[Completion], tools: list[ToolInfo], pricer: Pricer) -> ModelOutput:
    charges = [charge for answer in answers for charge in answer.charges]
    first = answers[0]
    return ModelOutput(
        model=first.model,
        choices=[_spoken(answer, tools) for answer in answers],
        usage=_usage(charges, pricer),
        metadata=_bill(charges, pricer) | {"left_out": list(first.degraded)},
    )


def _spoken(answer: Completion, tools: Sequence[ToolInfo]) -> ChatCompletionChoice:
    content: str | list[Content] = answer.text
    if answer.reasoning:
        content = [ContentReasoning(reasoning=answer.reasoning), ContentText(text=answer.text)]
    known = {tool.name for tool in tools}
    message = ChatMessageAssistant(
        content=content,
        tool_calls=[_called(wish, known) for wish in answer.message.tool_calls] or None,
        model=answer.model,
        source="generate",
    )
    tokens = [Logprob.model_validate(dict(row)) for row in answer.logprobs]
    return ChatCompletionChoice(
        message=message,
        stop_reason=_STOPPED[answer.finish_reason],
        logprobs=Logprobs(content=tokens) if tokens else None,
    )


def _called(wish: Wish, known: set[str]) -> ToolCall:
    """A wish for a tool; what is wrong with it is told to the model, as Inspect does."""
    arguments: Any = {}
    problem = None if wish.name in known else f"there is no tool called {wish.name}"
    try:
        arguments = json.loads(wish.arguments or "{}")
    except ValueError as error:
        problem = f"the arguments are not JSON: {error}"
    if not isinstance(arguments, dict):
        arguments, problem = {}, "the arguments are not a JSON object"
    return ToolCall(wish.id, wish.name, arguments, parse_error=problem)  # pyright: ignore[reportUnknownArgumentType]


def _usage(charges: Sequence[Charge], pricer: Pricer) -> ModelUsage:
    """The whole run's tokens and dollars; Inspect counts cached ones apart."""
    whole = total(charges)
    apart = whole.cached_tokens + whole.cache_write_tokens
    return ModelUsage(
        input_tokens=max(whole.prompt_tokens - apart, 0),
        output_tokens=whole.completion_tokens,
        total_tokens=whole.total_tokens,
        input_tokens_cache_read=whole.cached_tokens,
        input_tokens_cache_write=whole.cache_write_tokens,
        reasoning_tokens=whole.reasoning_tokens,
        total_cost=cost(charges, pricer),
    )


def _bill(charges: Sequence[Charge], pricer: Pricer) -> dict[str, Any]:
    """A run's calls, tokens and dollars, in all and by model; an unknown price is null."""
    rows: dict[str, list[Charge]] = {}
    for charge in charges:
        rows.setdefault(charge.model, []).append(charge)
    return _sums(charges, pricer) | {
        "by_model": {model: _sums(lines, pricer) for model, lines in rows.items()}
    }


def _sums(charges: Sequence[Charge], pricer: Pricer) -> dict[str, Any]:
    used = total(charges)
    return {
        "calls": len(charges),
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "cost_usd": cost(charges, pricer),
    }
