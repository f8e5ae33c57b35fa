"""OpenAI's completions, from the side that answers: a prompt is a user's only message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from mixtura.events import ToolPiece
from mixtura.sampling_words import further_words
from mixtura.server.bodies import (
    NotEmpty,
    Positive,
    Share,
    check_known,
    converted,
    decoded,
    stops,
)
from mixtura.server.chat import Penalty, StreamOptions, check_stop, error_body, usage
from mixtura.server.dialect import KEEP_ALIVE, About, Call, Refused, Wish, event_frame
from mixtura.types import Completion, Json, Message, Request, Sampling

MOST_ANSWERS = 128
"""Answers of one call, those to all of its prompts: each is a whole run."""


class CompletionsBody(msgspec.Struct):
    """A request. Fields that are not listed are passed over."""

    model: NotEmpty
    prompt: NotEmpty | Annotated[list[NotEmpty], msgspec.Meta(min_length=1, max_length=128)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_ANSWERS)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    max_tokens: Positive | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    mixtura: Wish | None = None


_RIGHT = {
    "prompt": "a text, or a list of texts",
    "prompt[]": "a text: tokens mean something else to every model",
    "mixtura": ", ".join(Wish.__struct_fields__),
    "mixtura.consult": "turn or always",
}
_REASONS = {"tool_calls": "stop"}
"""Of ours those that this API has no word for."""


class Completions:
    """
    ``POST /v1/completions``. Without ``max_tokens`` an answer ends where its model ends it: the
    official 16 tokens would cut off nearly every one.
    """

    path = "/v1/completions"

    def read(self, body: bytes) -> Call:
        _check_texts(body)
        raw = decoded(body)
        check_known(raw, {})
        parsed = converted(raw, CompletionsBody, _RIGHT)
        stop = stops(parsed.stop)
        check_stop(stop or ())
        prompts = [parsed.prompt] if isinstance(parsed.prompt, str) else parsed.prompt
        answers = len(prompts) * (parsed.n or 1)
        _check(parsed, answers)
        sampling = Sampling(parsed.temperature, parsed.top_p, parsed.max_tokens, stop, parsed.seed)
        extra = further_words(raw, ("logprobs", "top_logprobs", "parallel_tool_calls"))
        first, *more = (
            Request((Message("user", prompt),), sampling, extra=extra) for prompt in prompts
        )
        return Call(
            model=parsed.model,
            request=first,
            stream=bool(parsed.stream),
            n=answers,
            usage_in_stream=bool(parsed.stream_options and parsed.stream_options.include_usage),
            wish=parsed.mixtura or Wish(),
            body=raw,
            more=tuple(more),
        )

    def whole(
        self, call: Call, answers: Sequence[Completion], about: About, summary: Json
    ) -> Mapping[str, Any]:
        choices = [
            _choice(index, _echoed(call, index) + answer.text, answer)
            for index, answer in enumerate(answers)
        ]
        told = {"choices": choices, "usage": usage(answers), "mixtura": summary}
        return _head(call, about) | told

    def writer(self, call: Call, about: About) -> CompletionsWriter:
        return CompletionsWriter(call, about)

    def refusal(self, refused: Refused) -> Mapping[str, Any]:
        return error_body(refused)


class _Prompt(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw()


_NO_TEXT = re.compile(rb"\s*\[\s*([-0-9\[])")


def _check_texts(body: bytes) -> None:
    """Refuse a list of tokens by its first, before all of them are read. Raises Refused."""
    try:
        prompt = msgspec.json.decode(body, type=_Prompt).prompt
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # what is wrong is said by whoever reads all of it
    if found := _NO_TEXT.match(prompt):
        first: Any = [] if found[1] == b"[" else 0
        converted({"model": "any", "prompt": [first]}, CompletionsBody, _RIGHT)


def _check(body: CompletionsBody, answers: int) -> None:
    """What cannot be honoured. Raises Refused naming the parameter."""
    if answers > MOST_ANSWERS:
        said = f"`n`: {answers} answers to all prompts, there can be {MOST_ANSWERS}"
        raise Refused(400, said, param="n")
    refused = {
        "suffix": ("no text is filled in before another", bool(body.suffix)),
        "logprobs": (
            "log-probabilities come with /v1/chat/completions",
            body.logprobs is not None,
        ),
        "best_of": ("it is as many as `n` here", body.best_of not in (None, body.n or 1)),
    }
    for param, (why, asked) in refused.items():
        if asked:
            said = f"`{param}`: {why}: leave it out"
            raise Refused(400, said, param=param, code="unsupported_parameter")


def _head(call: Call, about: About) -> dict[str, Any]:
    return {
        "id": f"cmpl-{about.number}",
        "object": "text_completion",
        "created": about.created,
        "model": call.model,
        "system_fingerprint": None,
    }


def _choice(index: int, text: str, answer: Completion | None = None) -> dict[str, Any]:
    reason = _REASONS.get(answer.finish_reason, answer.finish_reason) if answer else None
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _echoed(call: Call, choice: int) -> str:
    """The prompt, where it is to come before its answer."""
    return call.asked(choice).messages[0].text if call.body.get("echo") else ""


class CompletionsWriter:
    """The chunks of a stream. The last of them also carries the summary."""

    def __init__(self, call: Call, about: About) -> None:
        self._call = call
        self._head = _head(call, about)
        self._held: dict[str, Any] | None = None
        """A last chunk, until it is known whether the summary goes into it."""

    def begun(self) -> bytes:
        echoed = ((index, _echoed(self._call, index)) for index in range(self._call.n))
        chunks = (self._chunk(_choice(index, text)) for index, text in echoed if text)
        return b"".join(map(event_frame, chunks))

    def token(self, choice: int, text: str) -> bytes:
        return event_frame(self._chunk(_choice(choice, text)))

    def declined(self, choice: int, text: str) -> bytes:
        return self.token(choice, text)

    def tool(self, choice: int, piece: ToolPiece) -> bytes:  # noqa: ARG002 - no tools are offered
        return b""

    def aside(self, data: Json) -> bytes:
        return event_frame(self._head | {"object": "mixtura.event", "mixtura": data})

    def finished(self, choice: int, answer: Completion) -> bytes:
        out = self._let_go()
        self._held = self._chunk(_choice(choice, "", answer))
        return out

    def closed(self, answers: Sequence[Completion], summary: Json) -> bytes:
        last = self._held or self._head
        self._held = None
        if not self._call.usage_in_stream:
            return event_frame(last | {"mixtura": summary}) + b"data: [DONE]\n\n"
        told: dict[str, Any] = {"choices": [], "usage": usage(answers), "mixtura": summary}
        return event_frame(last) + event_frame(self._head | told) + b"data: [DONE]\n\n"

    def failed(self, refused: Refused) -> bytes:
        return self._let_go() + event_frame(error_body(refused))

    def alive(self) -> bytes:
        return KEEP_ALIVE

    def _let_go(self) -> bytes:
        held, self._held = self._held, None
        return event_frame(held) if held else b""

    def _chunk(self, row: Json) -> dict[str, Any]:
        more = {"usage": None} if self._call.usage_in_stream else {}
        return self._head | {"choices": [row]} | more
