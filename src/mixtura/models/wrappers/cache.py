"""Cached: a Model that does not pay twice for the same request."""

from __future__ import annotations

import time
from asyncio import to_thread
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import msgspec

from mixtura.core.arguments import check_kind, check_name
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import MalformedError, StoreError
from mixtura.core.events import CacheHit, Emit, Event, Notice, Token
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.redaction import Redactor
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.protocols.openai.completion_json import completion_from_json, completion_json
from mixtura.protocols.openai.request_fingerprints import request_fingerprint


@runtime_checkable
class AnswerStore(Protocol):
    """Where answers are kept. Either may raise StoreError: then it is asked without them."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, body: bytes) -> None: ...


_DAMAGE_ERRORS = (
    msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError, MalformedError,
)  # fmt: skip


class Cached(Wrapper):
    """
    Answers from *answers* what was asked before: the same messages, sampling and draw of
    the same model. *identity* is what the model is, wherever it is called something else:
    its address, its name there, its settings. A failure is never kept.
    Raises TypeError and ValueError for arguments that are none.
    """

    def __init__(
        self, model: Model, answers: AnswerStore, *, identity: str, redactor: Redactor | None = None
    ) -> None:
        super().__init__(model)
        check_kind("answers", answers, AnswerStore, "a store with `get(key)` and `put(key, body)`")
        check_name("identity", identity)
        self._answers = answers
        self._identity = identity
        self._redactor = redactor or Redactor()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        key = await run_in_thread_if_large(
            estimate_request_bytes(request), request_fingerprint, request, self._identity
        )
        if (body := await self._look_up_answer(key, emit)) is not None:
            try:
                return self._replay_answer(body, emit)
            except _DAMAGE_ERRORS:  # what is damaged in the store is asked again, and replaced
                pass
        clock = CallStopwatch(emit)
        with open_ledger() as ledger:
            asked = ask_model(self._model, request, clock if emit else None)
            answer = ledger.bill_answer(await asked)
        cut = answer.finish_reason == "length" and request.sampling.max_tokens is None
        if not cut:  # a cap on the run may have cut it: without one it would be another answer
            body = msgspec.json.encode(completion_json(clock.as_paid(answer)) | clock.times)
            await self._store_answer(key, body, emit)
        return answer

    def _replay_answer(self, body: bytes, emit: Emit | None) -> Completion:
        # what was kept when a key was not yet known as one
        data = self._redactor.redact_data(msgspec.json.decode(body))
        kept = completion_from_json(data)
        seconds, first = data.get("seconds", 0.0), data.get("first_token_seconds")
        if emit:
            charges = tuple(charge._replace(model=self.name) for charge in kept.charges)
            emit(CacheHit(self.name, charges, seconds, first))
            emit(Token(kept.text, refusal=kept.refusal))
        return replace(kept, model=self.name, charges=())

    async def _look_up_answer(self, key: str, emit: Emit | None) -> bytes | None:
        try:
            return await to_thread(self._answers.get, key)
        except StoreError as error:
            self._emit_store_error(error, emit)
            return None

    async def _store_answer(self, key: str, body: bytes, emit: Emit | None) -> None:
        """An answer that was paid for is not lost for a full disk."""
        try:
            await to_thread(self._answers.put, key, body)
        except StoreError as error:
            self._emit_store_error(error, emit)

    def _emit_store_error(self, error: StoreError, emit: Emit | None) -> None:
        if emit:
            emit(Notice(self.name, f"answers are not cached: {error}"))


@dataclass(slots=True)
class CallStopwatch:
    """
    Takes the time of a call, and of its first token where someone watches; of a call that was
    answered from elsewhere, what it had taken then.
    """

    then: Emit | None
    first_token: float | None = None
    began: float = field(default_factory=time.perf_counter)
    hit: CacheHit | None = None

    @property
    def times(self) -> dict[str, float | None]:
        """Its times by now, as they are kept beside an answer."""
        if self.hit is not None:
            return {"seconds": self.hit.seconds, "first_token_seconds": self.hit.first_token}
        return {"seconds": self._elapsed_seconds, "first_token_seconds": self.first_token}

    def as_paid(self, answer: Completion) -> Completion:
        """The *answer* with what it had cost where it came from."""
        return answer if self.hit is None else replace(answer, charges=self.hit.charges)

    @property
    def _elapsed_seconds(self) -> float:
        return time.perf_counter() - self.began

    def __call__(self, event: Event) -> None:
        if type(event) is CacheHit:
            self.hit = event
        if self.first_token is None and type(event) is Token:
            self.first_token = self._elapsed_seconds
        if self.then:
            self.then(event)
