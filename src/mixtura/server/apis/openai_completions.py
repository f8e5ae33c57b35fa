"""OpenAI's Completions API, as the server speaks it: a prompt is a user's only message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from mixtura.core.types import Completion, Json, Message, Request, Sampling
from mixtura.protocols.sampling_options import extra_parameters
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
    MixtureOptions,
    ResponseMeta,
    build_api_call,
    event_frame,
)
from mixtura.server.apis.openai_chat_body import CompletionOptions
from mixtura.server.apis.openai_chat_checks import MAX_STOP_SEQUENCES
from mixtura.server.apis.openai_chat_output import chat_usage_json, openai_error_body
from mixtura.server.apis.openai_chunks import ChunkWriter
from mixtura.server.apis.validation import (
    NotEmpty,
    check_unsupported_parameters,
    convert_struct,
    decode_body,
    parse_stop_sequences,
)

MAX_ANSWERS = 128
"""Answers of one call, those to all of its prompts: each is a whole run."""


class CompletionsBody(CompletionOptions, kw_only=True):
    """A request. Fields that are not listed are passed over."""

    model: NotEmpty
    prompt: NotEmpty | Annotated[list[NotEmpty], msgspec.Meta(min_length=1, max_length=128)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWERS)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None


ALLOWED_VALUES = {
    "prompt": "a text, or a list of texts",
    "prompt[]": "a text: tokens mean something else to every model",
    "mixtura": ", ".join(MixtureOptions.__struct_fields__),
    "mixtura.consult": "turn or always",
}
_FINISH_REASONS = {"tool_calls": "stop"}
"""Our finish reasons that this API has no word for."""


class CompletionsApi:
    """
    ``POST /v1/completions``. Without ``max_tokens`` an answer ends where its model ends it: the
    official 16 tokens would cut off nearly every one.
    """

    path = "/v1/completions"

    def parse_request(self, body: bytes) -> ApiCall:
        """The call that a body makes. Raises ApiError naming the parameter that is wrong."""
        _check_prompt_texts(body)
        raw = decode_body(body)
        check_unsupported_parameters(raw, {})
        parsed = convert_struct(raw, CompletionsBody, ALLOWED_VALUES)
        stop = parse_stop_sequences(parsed.stop, most=MAX_STOP_SEQUENCES)
        prompts = [parsed.prompt] if isinstance(parsed.prompt, str) else parsed.prompt
        answers = len(prompts) * (parsed.n or 1)
        _check_supported(parsed, answers)
        sampling = Sampling(parsed.temperature, parsed.top_p, parsed.max_tokens, stop, parsed.seed)
        extra = extra_parameters(raw, ("logprobs", "top_logprobs", "parallel_tool_calls"))
        first, *more = (
            Request((Message("user", prompt),), sampling, extra=extra) for prompt in prompts
        )
        return build_api_call(
            raw,
            parsed,
            first,
            n=answers,
            usage_in_stream=bool(parsed.stream_options and parsed.stream_options.include_usage),
            more=tuple(more),
        )

    def response_body(
        self, call: ApiCall, answers: Sequence[Completion], about: ResponseMeta, summary: Json
    ) -> Mapping[str, Any]:
        """The answers as one completion, each behind its prompt where ``echo`` asks for that."""
        choices = [
            choice_json(index, _echoed_prompt(call, index) + answer.text, answer)
            for index, answer in enumerate(answers)
        ]
        body = {"choices": choices, "usage": chat_usage_json(answers), "mixtura": summary}
        return _response_head(call, about) | body

    def create_writer(self, call: ApiCall, about: ResponseMeta) -> CompletionsWriter:
        return CompletionsWriter(call, about)

    def error_body(self, refused: ApiError) -> Mapping[str, Any]:
        return openai_error_body(refused)


class _PromptBody(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw()


_TOKEN_LIST = re.compile(rb"\s*\[\s*([-0-9\[])")


def _check_prompt_texts(body: bytes) -> None:
    """
    Refuse a list of tokens by its first one, before all are decoded. Raises ApiError for such a
    list.
    """
    try:
        prompt = msgspec.json.decode(body, type=_PromptBody).prompt
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # the error comes from the decoder of the whole body
    if tokens := _TOKEN_LIST.match(prompt):
        # One token is enough for the error that the whole list would give.
        first: Any = [] if tokens[1] == b"[" else 0
        convert_struct({"model": "any", "prompt": [first]}, CompletionsBody, ALLOWED_VALUES)


def _check_supported(body: CompletionsBody, answers: int) -> None:
    """Raises ApiError naming a parameter that is not supported."""
    # `n` and the prompts multiply.
    if answers > MAX_ANSWERS:
        message = f"`n`: {answers} answers to all prompts, there can be {MAX_ANSWERS}"
        raise ApiError(400, message, param="n")
    refused = {
        "suffix": ("text before a suffix is not filled in here", bool(body.suffix)),
        "logprobs": (
            "log-probabilities are offered by /v1/chat/completions",
            body.logprobs is not None,
        ),
        "best_of": (
            "it must be the same as `n` here",
            body.best_of not in (None, body.n or 1),
        ),
    }
    for param, (why, is_set) in refused.items():
        if is_set:
            message = f"`{param}`: {why}: leave it out"
            raise ApiError(400, message, param=param, code="unsupported_parameter")


def _response_head(call: ApiCall, about: ResponseMeta) -> dict[str, Any]:
    return {
        "id": f"cmpl-{about.number}",
        "object": "text_completion",
        "created": about.created,
        "model": call.model,
        "system_fingerprint": None,
    }


def choice_json(index: int, text: str, answer: Completion | None = None) -> dict[str, Any]:
    """One answer, or a piece of it, as a choice of a completion."""
    reason = _FINISH_REASONS.get(answer.finish_reason, answer.finish_reason) if answer else None
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _echoed_prompt(call: ApiCall, choice: int) -> str:
    """The prompt, where it is to come before its answer."""
    return call.request_for_choice(choice).messages[0].text if call.body.get("echo") else ""


class CompletionsWriter(ChunkWriter):
    """Writes one streamed answer; no tools are offered."""

    def __init__(self, call: ApiCall, about: ResponseMeta) -> None:
        super().__init__(call, _response_head(call, about))

    def write_start(self) -> bytes:
        echoed = ((index, _echoed_prompt(self._call, index)) for index in range(self._call.n))
        return b"".join(self.write_text(index, text) for index, text in echoed if text)

    def write_text(self, choice: int, text: str) -> bytes:
        return event_frame(self._chunk_body(choice_json(choice, text)))

    def write_finish(self, choice: int, answer: Completion) -> bytes:
        out = self._flush_last_chunk()
        self._held = self._chunk_body(choice_json(choice, "", answer))
        return out
