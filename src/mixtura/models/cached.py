"""Cached: a Model that does not pay twice for the same request."""

from __future__ import annotations

import time
from asyncio import CancelledError, to_thread
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from mixtura.apart import apart, weight
from mixtura.errors import MalformedError, StoreError, bill
from mixtura.events import Emit, Event, Noticed, Recalled, Token
from mixtura.model import Model, Wrapper
from mixtura.redaction import Redactor
from mixtura.types import Completion, Request
from mixtura.wire import completion_from_json, completion_json, fingerprint


class Answers(Protocol):
    """Where answers are kept. Either may raise StoreError: then it is asked without them."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, body: bytes) -> None: ...


_NOT_AN_ANSWER = (
    msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, MalformedError,
)  # fmt: skip


class Cached(Wrapper):
    """
    Answers from *answers* what was asked before: the same messages, sampling and draw of
    the same model. *identity* is what the model is, wherever it is called something else:
    its address, its name there, its settings. A failure is never kept.
    """

    def __init__(
        self, model: Model, answers: Answers, *, identity: str, redactor: Redactor | None = None
    ) -> None:
        super().__init__(model)
        self._answers = answers
        self._identity = identity
        self._redactor = redactor or Redactor()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        key = await apart(weight(request), fingerprint, request, self._identity)
        if (body := await self._found(key, emit)) is not None:
            try:
                return self._recalled(body, emit)
            except _NOT_AN_ANSWER:  # what is damaged in the store is asked again, and replaced
                pass
        clock = _Clock(emit)
        answer = await self._model.complete(request, clock if emit else None)
        cut = answer.finish_reason == "length" and request.sampling.max_tokens is None
        if not cut:  # a cap on the run may have cut it: without one it would be another answer
            took = {"seconds": clock.elapsed, "first_token_seconds": clock.first_token}
            try:
                await self._keep(key, msgspec.json.encode(completion_json(answer) | took), emit)
            except CancelledError as left:
                bill(left, *answer.charges)
                raise
        return answer

    def _recalled(self, body: bytes, emit: Emit | None) -> Completion:
        # what was kept when a key was not yet known as one
        data = self._redactor.data(msgspec.json.decode(body))
        kept = completion_from_json(data)
        seconds, first = data.get("seconds", 0.0), data.get("first_token_seconds")
        if emit:
            charges = tuple(charge._replace(model=self.name) for charge in kept.charges)
            emit(Recalled(self.name, charges, seconds, first))
            emit(Token(kept.text, refusal=kept.refusal))
        return replace(kept, model=self.name, charges=())

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


@dataclass(slots=True)
class _Clock:
    """Takes the time of a call, and of its first token where someone watches."""

    then: Emit | None
    first_token: float | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    def __call__(self, event: Event) -> None:
        if self.first_token is None and type(event) is Token:
            self.first_token = self.elapsed
        if self.then:
            self.then(event)
