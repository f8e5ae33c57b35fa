"""A model file on this machine, run by llama.cpp in a process of its own."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mixtura.catalog import quirks
from mixtura.chunks import chunk
from mixtura.control_tokens import inert_request
from mixtura.errors import (
    ContextOverflowError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.events import Emit
from mixtura.llama.engine import Engine, engine_of
from mixtura.manners import Manners, accounted, notice_all, told
from mixtura.part_forms import with_stand_ins
from mixtura.request_size import request_tokens
from mixtura.sampling_words import for_llama_cpp, left_out
from mixtura.types import Completion, Part, Request, TextPart
from mixtura.vocabulary import control_vocabulary
from mixtura.wire import Assembly, request_json

CONTEXT = 16384
"""Tokens that all conversations with one file share."""
REPEAT_PENALTY = 1.1
"""What Ollama takes for the same models: small ones fall into loops without it."""
_NEEDED = frozenset({"max_tokens", "stream", "stream_options"})
LONGEST = 2048
"""Tokens of an answer when no one says: a small model may never stop by itself."""


class Local:
    """
    A ``.gguf`` file as a Model. It is loaded at the first call, by a process of its own that
    every Local of the same file and *context* in this one shares, so that proposers of one
    layer decode together (continuous batching). What ends that process fails its calls and
    nothing else; the next call starts another.

    *context*: tokens that all conversations share, prompts and answers; one conversation
    gets at most the model's own window of them. *threads*: cores to use; all by default.
    *window*: the model's own, where it is known before the file is loaded. *load_limit* and
    *progress*: seconds that loading may take, and that a call may be without a sign of life;
    by default 60, and one more for every 50 MB of the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        context: int = CONTEXT,
        threads: int | None = None,
        window: int | None = None,
        load_limit: float | None = None,
        progress: float | None = None,
    ) -> None:
        self._path = Path(path)
        self.window = window
        self.sees = False
        self.logprobs = False
        self._name = name or self._path.stem
        self._context = context
        self._threads = threads or _cores()
        self._load_limit = load_limit
        self._progress = progress
        self._manners = Manners(self._name, quirks(self._path.stem), needed=_NEEDED)

    @property
    def name(self) -> str:
        return self._name

    async def load(self) -> None:
        """Load the file now, not at the first call. Raises ConfigError, UnavailableError."""
        await self._engine().load(self._load_limit)

    def close(self) -> None:
        """
        Free its memory: end the process that has the file loaded, for every Local that shares
        it. Their calls fail; a later call loads the file anew.
        """
        self._engine().close()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        # llama.cpp reads control tokens also in what people and other models wrote.
        vocabulary = await asyncio.to_thread(control_vocabulary, self._path)
        request, notices = with_stand_ins(request, _takes)
        words, unknown = for_llama_cpp(request.extra)
        notice_all(self._name, [*notices, *left_out(unknown)], emit)
        request = replace(request, extra=words)
        request = inert_request(request, vocabulary)

        async def send(body: dict[str, Any]) -> Completion:
            so_far = Assembly(inside=self._manners.inside)
            with accounted(self._name, request, so_far, emit):
                await self._read(body, request, so_far, emit)
                told(so_far, so_far.finish(), emit)
                return so_far.completion(self._name, request)

        return await self._manners.ask(self._body(request), send, emit)

    def _engine(self) -> Engine:
        return engine_of(self._path, self._context, self._threads)

    def _body(self, request: Request) -> dict[str, Any]:
        return (
            {"max_tokens": LONGEST, "repeat_penalty": REPEAT_PENALTY}
            | request_json(request, self._name)
            | {
                "stream": True,
                "stream_options": {"include_usage": True},
                "return_progress": True,  # a sign of life a batch, so that a cancelled call stops
            }
        )

    async def _read(
        self, body: dict[str, Any], request: Request, so_far: Assembly, emit: Emit | None
    ) -> None:
        wanted = _cells(request, self._context)
        async with self._engine().call(
            body, wanted, load_limit=self._load_limit, limit=self._progress
        ) as call:
            while (data := await call.next()) is not None:
                piece = chunk(data)
                if piece.error is not None:
                    raise _refusal(piece.error)
                so_far.add(piece)
                told(so_far, so_far.fresh(), emit)
        if so_far.finish_reason is None:
            raise UnavailableError("llama.cpp stopped without a finish reason")


def _takes(part: Part) -> bool:
    return isinstance(part, TextPart)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cells(request: Request, context: int) -> int:
    """An upper bound of the tokens that a request and its answer take."""
    prompt = request_tokens(request, lambda text: len(text.encode()) // 2 + 1, around=16) + 64
    answer = request.sampling.max_tokens or LONGEST
    return min(prompt + answer, context)


class _Fault(msgspec.Struct):
    message: str = "llama.cpp failed"
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


def _refusal(error: object) -> ModelError:
    fault = msgspec.convert(error, _Fault)
    if fault.type == "exceed_context_size_error":
        return ContextOverflowError(
            f"the conversation has {fault.n_prompt_tokens} tokens and the model's window"
            f" {fault.n_ctx}"
        )
    if fault.type == "invalid_request_error":
        refused = RejectedError(f"llama.cpp refused the request: {fault.message}")
        refused.status = 400
        return refused
    return UnavailableError(f"llama.cpp: {fault.message}")
