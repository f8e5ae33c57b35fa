"""A plugin of the `llm` command: each mixture of the configuration is a model of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import llm
from llm import parts as llm_parts
from pydantic import Field

from mixtura import (
    Completion,
    ImagePart,
    Message,
    MixturaError,
    Proposal,
    Request,
    Sampling,
    TextPart,
    Token,
    answer_cost,
    load,
    streamed,
)

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


@llm.hookimpl
def register_models(register: Any) -> None:
    """The default as `mixtura`, everything that is configured as `mixtura/NAME`."""
    try:
        names = load().names
    except MixturaError:
        names = ()  # what is wrong with the file is said when a model is asked
    for name in (None, *names):
        model_id = "mixtura" if name is None else f"mixtura/{name}"
        register(MixtureModel(model_id, name), AsyncMixtureModel(model_id, name))


class MixtureOptions(llm.Options):
    """What `-o` takes."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, ge=0, description="Dollars of one answer.")
    deadline: float | None = Field(default=None, gt=0, description="Seconds of one answer.")


class _Mixture:
    """What both kinds have in common."""

    can_stream = True
    supports_schema = True
    attachment_types = PICTURES
    needs_key = None

    class Options(MixtureOptions):
        """The same for both kinds."""

    def __init__(self, model_id: str, name: str | None) -> None:
        self.model_id = model_id
        self._name = name

    def __str__(self) -> str:
        return f"Mixtura: {self.model_id}"

    async def _answer(self, prompt: Any, response: Any):
        options = prompt.options
        model = load().model(self._name, max_cost=options.max_cost, deadline=options.deadline)
        request = _build_request(prompt)
        shown = ""
        proposals: list[dict[str, str]] = []
        async with streamed(model, request) as run:
            async for event in run:
                # Judges and reporters write no proposal.
                if isinstance(event, Proposal) and event.at[-1].role == "proposer":
                    row = {"model": event.completion.model, "text": event.completion.text}
                    proposals.append(row)
                elif isinstance(event, Token) and _is_answer(event):
                    shown += event.text
                    yield event.text
            answer = await run.wait_for_answer()
        if answer.text.startswith(shown):  # a vote's answer is there only at the end
            yield answer.text[len(shown) :]
        _note_result(response, answer, proposals, answer_cost(answer, model))


def _is_answer(token: Token) -> bool:
    return not token.reasoning and all(seat.role == "aggregator" for seat in token.at)


def _note_result(
    response: Any, answer: Completion, proposals: list[Any], cost: float | None
) -> None:
    usage = answer.usage
    response.set_usage(input=usage.prompt_tokens, output=usage.completion_tokens)
    response.response_json = {
        "model": answer.model,
        "cost_usd": cost,
        "proposals": proposals,
        "left_out": list(answer.degraded),
    }


def _build_request(prompt: Any) -> Request:
    form = None
    if prompt.schema is not None:
        schema = {"name": "answer", "schema": prompt.schema}
        form = {"type": "json_schema", "json_schema": schema}
    options = prompt.options
    sampling = Sampling(temperature=options.temperature, max_tokens=options.max_tokens)
    messages = [_build_message(message) for message in prompt.messages]
    return Request(tuple(one for one in messages if one.content), sampling, response_format=form)


def _build_message(message: Any) -> Message:
    """A turn of the conversation: its texts and pictures, without thoughts and tool calls."""
    parts: list[TextPart | ImagePart] = []
    for part in message.parts:
        if isinstance(part, llm_parts.TextPart) and part.text:
            parts.append(TextPart(part.text))
        elif isinstance(part, llm_parts.AttachmentPart) and part.attachment is not None:
            parts.append(ImagePart(_picture_address(part.attachment)))
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    # A text alone stays a string: some servers take nothing else.
    return Message(message.role, "".join(texts) if len(texts) == len(parts) else tuple(parts))


def _picture_address(attachment: Any) -> str:
    if attachment.url:
        return attachment.url
    return f"data:{attachment.resolve_type()};base64,{attachment.base64_content()}"


class MixtureModel(_Mixture, llm.Model):
    """A mixture for the command and for synchronous Python."""

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        pieces = self._answer(prompt, response)
        with asyncio.Runner() as runner:
            try:
                while True:
                    try:
                        yield runner.run(anext(pieces))
                    except StopAsyncIteration:
                        return
                    except MixturaError as error:
                        raise llm.ModelError(str(error)) from None
            finally:  # also where the reader leaves: no call goes on
                runner.run(pieces.aclose())


class AsyncMixtureModel(_Mixture, llm.AsyncModel):
    """The same for asynchronous Python."""

    async def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any
    ) -> AsyncIterator[str]:
        pieces = self._answer(prompt, response)
        try:
            async for piece in pieces:
                yield piece
        except MixturaError as error:
            raise llm.ModelError(str(error)) from None
        finally:
            await pieces.aclose()
