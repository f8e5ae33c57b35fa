"""Journaled: a Model whose every answer is on the disk before it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from contextvars import Token as ContextToken
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import msgspec

from mixtura.batch.call_journal import CallJournal
from mixtura.billing.request_log import REQUEST_LOG, RequestLog
from mixtura.core.call_ledger import CallLedger, open_ledger
from mixtura.core.errors import UnavailableError
from mixtura.core.events import CacheHit, Emit, Token
from mixtura.core.model import Model, Wrapper
from mixtura.core.token_estimate import count_request_tokens
from mixtura.core.types import Charge, Completion, Request, WebSource
from mixtura.engine.background_work import (
    LARGE_BYTES,
    estimate_request_bytes,
    run_in_thread_if_large,
)
from mixtura.models.wrappers.cache import CallStopwatch
from mixtura.protocols.openai.completion_json import completion_from_json

KEY_BYTES = 20


def digest(*parts: bytes) -> bytes:
    """One key of several."""
    whole = _empty_digest.copy()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()


_empty_digest = blake2b(digest_size=KEY_BYTES)


@dataclass(slots=True)
class RowCalls:
    """
    The calls of one input row. *key*: the row's request, and how many equal rows came before it.
    """

    key: bytes
    calls: CallJournal | None = None
    """The journal of its batch, where models serve several batches."""
    asked: dict[bytes, int] = field(default_factory=dict[bytes, int])
    replayed: tuple[Charge, ...] = ()
    """What the calls had cost that were answered from the journal."""
    held_back: bool = False
    """A call of it did not begin, since the batch ends: what comes of it does not count."""
    sources: frozenset[WebSource] = frozenset()
    """The pages that the answers of its calls rest on."""

    def call_key(self, fingerprint: bytes) -> bytes:
        """The key of a call: what is asked, and how often the row asked the same before."""
        self.asked[fingerprint] = times = self.asked.get(fingerprint, 0) + 1
        return digest(self.key, fingerprint, times.to_bytes(4, "big"))

    def add_sources(self, answer: Completion) -> Completion:
        """The row's *answer* with the pages of all its calls; in one order, however they ended."""
        if not self.sources:
            return answer
        others = sorted(self.sources.difference(answer.sources))
        return replace(answer, sources=(*answer.sources, *others))


def _fingerprint_call(request: Request, identity: str) -> bytes:
    """What is asked, its draw included, and of whom; not as it is sent, which takes longer."""
    asked = (
        identity, request.messages, request.sampling, request.tools, request.tool_choice,
        request.response_format, request.extra, request.draw,
    )  # fmt: skip
    return digest(_canonical.encode(asked))


_canonical = msgspec.json.Encoder(order="deterministic")

CURRENT_ROW: ContextVar[RowCalls | None] = ContextVar("row", default=None)
"""The row that this task answers; a task inherits it from its creator."""


def current_call_key() -> bytes | None:
    """The key of the call that this task makes; None where none is kept."""
    call = REQUEST_LOG.get()
    return call.key if isinstance(call, _CallUnderWay) else None


class Journaled(Wrapper):
    """
    Answers from *calls* what the same row has asked before; else asks *model* and returns once the
    answer is kept. *identity* is what the model is, wherever it is called something else. *calls*
    is None where the model serves several batches: then each row names its journal.

    Outermost around each model, in the place of ``Cached``: it works under every pattern. A
    failure is never kept. Raises StoreError where the journal cannot be written.
    """

    def __init__(self, model: Model, calls: CallJournal | None, *, identity: str) -> None:
        super().__init__(model)
        self._name = model.name
        self._calls = calls
        self._identity = identity
        self._under_way: dict[tuple[CallJournal, bytes], asyncio.Future[None] | None] = {}
        """
        The calls that are being answered, where some may be kept or shared; a future where another
        waits for the same one.
        """

    @property
    def name(self) -> str:
        return self._name  # asked for several times a call, through all wrappers

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        row = CURRENT_ROW.get()
        calls = self._calls if row is None else row.calls or self._calls
        if row is None or calls is None:
            return await self._model.complete(request, emit)
        size = estimate_request_bytes(request)
        key = row.call_key(
            _fingerprint_call(request, self._identity)
            if size < LARGE_BYTES  # nearly always: that call of a coroutine is spared
            else await run_in_thread_if_large(size, _fingerprint_call, request, self._identity)
        )
        if calls.must_be_asked():
            answer = await self._find_or_ask(calls, key, row, request, emit)
        else:  # nearly always
            answer = await self._make_call(calls, key, request, emit)
        if answer.sources:
            row.sources = row.sources.union(answer.sources)
        return answer

    async def _find_or_ask(
        self, calls: CallJournal, key: bytes, row: RowCalls, request: Request, emit: Emit | None
    ) -> Completion:
        place = (calls, key)
        while place in self._under_way:  # equal rows that share answers
            await self._wait_for_other(place)
        self._under_way[place] = None
        try:
            if (body := await calls.find(key)) is not None:
                return self._replay_answer(body, row, calls, emit)
            if calls.holds_back:
                row.held_back = True
                if calls.refuses:
                    raise UnavailableError("the batch is ending: it makes no further call")
                await asyncio.get_running_loop().create_future()  # until the row is called off
            return await self._make_call(calls, key, request, emit)
        finally:
            if (waits := self._under_way.pop(place)) is not None:
                waits.set_result(None)

    async def _wait_for_other(self, place: tuple[CallJournal, bytes]) -> None:
        if (waits := self._under_way[place]) is None:
            waits = self._under_way[place] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waits)

    def _replay_answer(
        self, body: bytes, row: RowCalls, calls: CallJournal, emit: Emit | None
    ) -> Completion:
        data = msgspec.json.decode(body)
        kept = completion_from_json(data)
        charges = tuple(charge._replace(model=self.name) for charge in kept.charges)
        row.replayed += charges
        calls.used_again += 1
        if emit:
            seconds, first = data.get("seconds", 0.0), data.get("first_token_seconds")
            emit(CacheHit(self.name, charges, seconds, first))
            emit(Token(kept.text, refusal=kept.refusal))
        return replace(kept, model=self.name, charges=())

    async def _make_call(
        self, calls: CallJournal, key: bytes, request: Request, emit: Emit | None
    ) -> Completion:
        clock = CallStopwatch(emit) if emit else None
        with _CallUnderWay(calls, key, self._name) as call:
            answer = call.bill_answer(await self._model.complete(request, clock))
            await calls.keep_answer(key, self._name, answer, clock.times if clock else None)
            call.kept = True
            return answer


class _CallUnderWay:
    """
    A block in which one call is made: its requests are under way from when each is sent until the
    answer is kept, or the call has failed.
    """

    __slots__ = (
        "_block",
        "_calls",
        "_is_billed",
        "_ledger",
        "_model",
        "_places",
        "_token",
        "kept",
        "key",
    )
    _token: ContextToken[RequestLog | None]
    _ledger: CallLedger

    def __init__(self, calls: CallJournal, key: bytes, model: str) -> None:
        self._calls = calls
        self.key = key
        self._model = model
        self._places: list[int] = []
        self._block = open_ledger()
        self._is_billed = False
        """What it cost stands on its answer."""
        self.kept = False
        """The answer is in the journal."""

    def __enter__(self) -> _CallUnderWay:
        self._token = REQUEST_LOG.set(self)
        self._ledger = self._block.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._block.__exit__(kind, *error)
        REQUEST_LOG.reset(self._token)
        if kind is not None and not self._is_billed:
            charges = self._ledger.charges
            if issubclass(kind, asyncio.CancelledError):
                # A call in a provider's batch goes on there, and its answer is fetched later.
                charges = [one for one in charges if not one.usage.batched]
            self._calls.record_failed(self._model, charges)
        for place in self._places:
            self._calls.forget_request(place, kept=self.kept)
        self._places.clear()

    def bill_answer(self, answer: Completion) -> Completion:
        """*answer* with all that the call cost."""
        answer = self._ledger.bill_answer(answer)
        self._is_billed = True
        return answer

    def record_request(self, model: str, request: Request) -> int:
        place = self._calls.begin_request(self.key, model, count_request_tokens(request))
        self._places.append(place)
        return place

    def record_charges(self, call: int, charges: Sequence[Charge]) -> None:
        if call in self._places:
            self._calls.end_request()
            if not charges:  # refused: nothing of it can be lost
                self._places.remove(call)
                self._calls.forget_request(call)
                self._calls.record_refused(self._model)
