"""Cached: a Model that does not pay twice for the same request."""

from __future__ import annotations

from asyncio import CancelledError, to_thread
from dataclasses import replace
from typing import Protocol

import msgspec

from mixtura.errors import StoreError, bill
from mixtura.events import Emit, Noticed, Token
from mixtura.model import Model, Wrapper
from mixtura.types import Completion, Request
from mixtura.wire import completion_from_json, completion_json, fingerprint


class Answers(Protocol):
    """Where answers are kept. Either may raise StoreError: then it is asked without them."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, body: bytes) -> None: ...


class Cached(Wrapper):
    """
    Answers from *answers* what was asked before: the same messages, sampling and draw of
    the same model. *identity* is what the model is, wherever it is called something else:
    its address, its name there, its settings. A failure is never kept.
    """

    def __init__(self, model: Model, answers: Answers, *, identity: str) -> None:
        super().__init__(model)
        self._answers = answers
        self._identity = identity

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        key = fingerprint(request, self._identity)
        if (body := await self._found(key, emit)) is not None:
            kept = completion_from_json(msgspec.json.decode(body))
            if emit:
                emit(Noticed(self.name, "answered from the cache"))
                emit(Token(kept.text))
            return replace(kept, model=self.name, charges=())
        answer = await self._model.complete(request, emit)
        cut = answer.finish_reason == "length" and request.sampling.max_tokens is None
        if not cut:  # a cap on the run may have cut it: without one it would be another answer
            try:
                await self._keep(key, msgspec.json.encode(completion_json(answer)), emit)
            except CancelledError as left:
                bill(left, *answer.charges)
                raise
        return answer

    async def _found(self, key: str, emit: Emit | None) -> bytes | None:
        try:
            return await to_thread(self._answers.get, key)
        except StoreError as error:
            self._tell(error, emit)
            return None

    async def _keep(self, key: str, body: bytes, emit: Emit | None) -> None:
        """An answer that was paid for is not lost for a full disk."""
        try:
            await to_thread(self._answers.put, key, body)
        except StoreError as error:
            self._tell(error, emit)

    def _tell(self, error: StoreError, emit: Emit | None) -> None:
        if emit:
            emit(Noticed(self.name, f"answers are not kept: {error}"))
