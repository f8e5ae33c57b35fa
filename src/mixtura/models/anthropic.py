"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mixtura import sampling_words
from mixtura.address import under
from mixtura.apart import apart, weight
from mixtura.catalog import Quirks, quirks
from mixtura.errors import MalformedError, RejectedError, UnavailableError
from mixtura.events import Emit, Noticed
from mixtura.manners import Manners, accounted, notice_all, told
from mixtura.part_forms import with_stand_ins
from mixtura.provider_data import origin_of
from mixtura.redaction import Redactor, in_use
from mixtura.types import Completion, Request
from mixtura.upstream import (
    LARGEST_ANSWER,
    Clocks,
    Reply,
    Secret,
    error_in_stream,
    posted,
    redactor_of,
)
from mixtura.wire_anthropic import (
    BETAS,
    Assembly,
    Event,
    event,
    is_error,
    left_out,
    native_types,
    request_json,
    takes,
)

VERSION = "2023-06-01"
DONE = b"[DONE]"
"""The end of other APIs' streams: vLLM sends it here, too."""


class Anthropic:
    """
    A model behind *base_url* (what stands before ``/messages``).

    *name* is what Mixtura calls it, *model* what the endpoint calls it. Always streams, so
    that a hung upstream is noticed and an answer that breaks off is not taken for whole.
    *extra* is put into every request's body as it is. *known* is what its name tells. What
    *redactor* knows as secrets, those given here, and a proxy's login come back in no answer.
    *largest*: bytes of an answer.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        name: str | None = None,
        api_key: Secret | None = None,
        clocks: Clocks | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        largest: int = LARGEST_ANSWER,
        window: int | None = None,
        sees: bool | None = None,
        known: Quirks | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._model = model
        self._name = name or model
        self._url = under(base_url, "/messages")
        self._key = api_key
        self._clocks = clocks or Clocks()
        self._origin = origin_of(base_url, model)
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._redactor = redactor_of(base_url, api_key, self._headers, self._extra, redactor)
        self._largest = largest
        self.sees = sees
        self.logprobs = False  # its API has no word for them
        self._native = True
        """It takes tools of the API's own types; learned from a refusal."""
        known = known or quirks(model)
        self._manners = Manners(self._name, known, needed=frozenset({"max_tokens"}), window=window)

    @property
    def name(self) -> str:
        return self._name

    @property
    def window(self) -> int | None:
        """Tokens of its context: as given, or as its refusals state it."""
        return self._manners.window

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        async def send(body: dict[str, Any]) -> Completion:
            return await self._send(body, request, emit)

        request, notices = await apart(weight(request), with_stand_ins, request, takes)
        notice_all(self._name, [*notices, *sampling_words.left_out(left_out(request.extra))], emit)
        body = await self._body(request)
        with in_use(self._redactor):
            try:
                return await self._manners.ask(body, send, emit)
            except RejectedError as error:
                if not _names_one(error, native_types(body)):
                    raise
                self._native = False
                said = "takes no tools of the API's own type: they are sent as functions"
                if emit is not None:
                    emit(Noticed(self._name, said))
            return await self._manners.ask(await self._body(request), send, emit)

    async def _body(self, request: Request) -> dict[str, Any]:
        make = partial(request_json, native=self._native)
        return await apart(weight(request), make, request, self._model, self._origin) | {
            "stream": True
        }

    async def _send(self, body: dict[str, Any], request: Request, emit: Emit | None) -> Completion:
        body = body | self._extra
        so_far = Assembly(origin=self._origin)
        data = await apart(weight(request), msgspec.json.encode, body)
        with accounted(self._name, request, so_far, emit):
            async with posted(
                self._url,
                data,
                headers=self._all_headers(native_types(body)),
                clocks=self._clocks,
                draft=request.draft,
                largest=self._largest,
            ) as reply:
                await _read(reply, so_far, emit)
            told(so_far, so_far.finish(), emit)
            return so_far.completion(self._name, request)

    def _all_headers(self, tools: Sequence[str]) -> dict[str, str]:
        key = {"x-api-key": self._key.reveal()} if self._key else {}
        betas = dict.fromkeys(BETAS[kind] for kind in tools if kind in BETAS)
        beta = {"anthropic-beta": ",".join(betas)} if betas else {}
        return {"anthropic-version": VERSION, **key, **beta, **self._headers}


def _names_one(error: RejectedError, tools: Sequence[str]) -> bool:
    """Whether a refusal is about a tool of one of these types."""
    said = str(error)
    return error.status in (400, 422) and not error.charges and any(t in said for t in tools)


async def _read(reply: Reply, so_far: Assembly, emit: Emit | None) -> None:
    """Read the answer to its end. Raises UnavailableError when it ends without saying so."""

    def take(batch: list[bytes]) -> bool:
        try:
            for data in batch:
                if len(data) == len(DONE) and data.upper() == DONE:
                    return True
                try:
                    piece = event(data)
                except MalformedError:
                    if so_far.finish_reason is None:
                        raise
                    continue  # the answer is whole
                if is_error(piece, data):
                    raise error_in_stream(data, reply.headers)
                so_far.add(piece)
            return so_far.ended
        finally:  # what came before an error came all the same
            if (fresh := so_far.fresh()) is not None:
                reply.progressed()
                told(so_far, fresh, emit)

    if body := await reply.read(take):
        so_far.add(await apart(len(body), _whole, body, reply))
        told(so_far, so_far.fresh(), emit)
    elif so_far.finish_reason is None:
        raise UnavailableError("the stream ended without a stop reason: the answer is cut off")


def _whole(body: bytes, reply: Reply) -> Event:
    piece = event(body)
    if is_error(piece, body):
        raise error_in_stream(body, reply.headers)
    if piece.type != "message" or piece.stop_reason is None:
        raise MalformedError("the answer is not a message with a stop reason")
    return piece
