"""A model file on this machine, run by llama.cpp in a process of its own."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import msgspec

from mixtura.billing.price import FREE_PRICE
from mixtura.catalog.providers import model_quirks
from mixtura.core.errors import (
    ContextOverflowError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.core.events import Emit
from mixtura.core.model_info import DescribedModel, ModelInfo
from mixtura.core.token_estimate import UPPER_BOUND, count_request_tokens
from mixtura.core.types import Completion, JsonObject, Part, Request, TextPart
from mixtura.llama.control_vocabulary import control_vocabulary
from mixtura.llama.engine import LlamaEngine, get_engine
from mixtura.models.call_accounting import account_for_call, emit_answer_delta, emit_notices
from mixtura.models.model_support import ModelSupport
from mixtura.prompts.control_tokens import neutralize_request
from mixtura.protocols.content_parts import replace_unsupported_parts
from mixtura.protocols.openai.chunks import decode_chunk
from mixtura.protocols.openai.request import request_json
from mixtura.protocols.openai.stream import ChatStreamAccumulator
from mixtura.protocols.sampling_options import (
    translate_for_llama_cpp,
    unsupported_parameter_notices,
)
from mixtura.transport.timeouts import call_scope

DEFAULT_CONTEXT_TOKENS = 16384
"""Tokens that all conversations with one file share."""
REPEAT_PENALTY = 1.1
"""What Ollama takes for the same models: small ones fall into loops without it."""
_NEEDED_PARAMETERS = frozenset({"max_tokens", "stream", "stream_options"})
DEFAULT_MAX_TOKENS = 2048
"""Tokens of an answer when no one says: a small model may never stop by itself."""
TEMPLATE_TOKENS = 64
"""Tokens that a file's chat template adds to a conversation, at most."""


class Local(DescribedModel):
    """
    A ``.gguf`` file as a Model. It is loaded at the first call, by a process of its own that
    every Local of the same file and *context* in this one shares, so that proposers of one
    layer decode together (continuous batching). What ends that process fails its calls and
    nothing else; the next call starts another.

    *context*: tokens that all conversations share, prompts and answers; one conversation
    gets at most the model's own window of them. *threads*: cores to use; all by default.
    *context_window*: the model's own, where it is known before the file is loaded. *load_limit* and
    *progress*: seconds that loading may take, and that a call may be without a sign of life;
    by default 60, and one more for every 50 MB of the file. *repeat_penalty*: where a request says
    nothing of it; above 1, what was said before is less likely.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        context: int = DEFAULT_CONTEXT_TOKENS,
        threads: int | None = None,
        context_window: int | None = None,
        load_limit: float | None = None,
        progress: float | None = None,
        repeat_penalty: float = REPEAT_PENALTY,
        answer_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> None:
        self._path = Path(path)
        self._answer_tokens = answer_tokens
        self._repeat_penalty = repeat_penalty
        self._context_window = context_window
        self._name = name or self._path.stem
        self._context = context
        self._threads = threads or _available_cores()
        self._load_limit = load_limit
        self._progress = progress
        self._model_support = ModelSupport(
            self._name,
            model_quirks(self._path.stem),
            needed=_NEEDED_PARAMETERS,
            on_learned=self._update_info,
        )
        self._update_info()

    def _update_info(self) -> None:
        self._info = ModelInfo(
            self._name,
            context_window=self._context_window,
            max_answer_tokens=self._model_support.max_answer_tokens,
            supports_images=False,
            refused_parameters=self._model_support.refused_parameters | {"logprobs"},
            price=FREE_PRICE,
        )

    async def load(self) -> None:
        """Load the file now, not at the first call. Raises ConfigError, UnavailableError."""
        await self._get_engine().load(self._load_limit)

    def close(self) -> None:
        """
        Free its memory: end the process that has the file loaded, for every Local that shares
        it. Their calls fail; a later call loads the file anew.
        """
        self._get_engine().close()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        # llama.cpp reads control tokens also in what people and other models wrote.
        vocabulary = await asyncio.to_thread(control_vocabulary, self._path)
        request, notices = replace_unsupported_parts(request, _supports_part)
        words, unknown = translate_for_llama_cpp(request.extra)
        emit_notices(self._name, [*notices, *unsupported_parameter_notices(unknown)], emit)
        request = replace(request, extra=words)
        request = neutralize_request(request, vocabulary)

        attempts = self._model_support.attempts(self._build_body(request), emit)
        with call_scope(self._name):
            for attempt in attempts:
                with attempt as body:
                    return await self._send_body(body, request, emit)
        raise AssertionError("unreachable: the last attempt either answers or raises")

    async def _send_body(self, body: JsonObject, request: Request, emit: Emit | None) -> Completion:
        so_far = ChatStreamAccumulator(inside=self._model_support.inside)
        with account_for_call(self._name, request, so_far, emit):
            await self._read_answer(body, request, so_far, emit)
            emit_answer_delta(so_far, so_far.take_rest(), emit)
            return so_far.build_completion(self._name, request)

    def _get_engine(self) -> LlamaEngine:
        return get_engine(self._path, self._context, self._threads)

    def _build_body(self, request: Request) -> JsonObject:
        return (
            {"max_tokens": self._answer_tokens, "repeat_penalty": self._repeat_penalty}
            | request_json(request, self._name)
            | {
                "stream": True,
                "stream_options": {"include_usage": True},
                "return_progress": True,  # a sign of life a batch, so that a cancelled call stops
            }
        )

    async def _read_answer(
        self,
        body: JsonObject,
        request: Request,
        so_far: ChatStreamAccumulator,
        emit: Emit | None,
    ) -> None:
        wanted = _tokens_needed(request, self._context, self._answer_tokens)
        async with self._get_engine().open_call(
            body, wanted, load_limit=self._load_limit, limit=self._progress
        ) as call:
            while (data := await call.next_chunk()) is not None:
                piece = decode_chunk(data)
                if piece.error is not None:
                    raise _convert_error(piece.error)
                so_far.add_chunk(piece)
                emit_answer_delta(so_far, so_far.take_new(), emit)
        if so_far.finish_reason is None:
            raise UnavailableError("llama.cpp stopped without a finish reason")


def _supports_part(part: Part) -> bool:
    return isinstance(part, TextPart)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokens_needed(request: Request, context: int, answer_tokens: int) -> int:
    """An upper bound of the tokens that a request and its answer take."""
    prompt = count_request_tokens(request, UPPER_BOUND) + TEMPLATE_TOKENS
    answer = request.sampling.max_tokens or answer_tokens
    return min(prompt + answer, context)


class _ErrorFields(msgspec.Struct):
    message: str = "llama.cpp failed"
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


def _convert_error(error: object) -> ModelError:
    fault = msgspec.convert(error, _ErrorFields)
    if fault.type == "exceed_context_size_error":
        return ContextOverflowError(
            f"the conversation has {fault.n_prompt_tokens} tokens, more than the model's context"
            f" window of {fault.n_ctx}"
        )
    if fault.type == "invalid_request_error":
        refused = RejectedError(f"llama.cpp refused the request: {fault.message}")
        refused.status = 400
        return refused
    return UnavailableError(f"llama.cpp: {fault.message}")
