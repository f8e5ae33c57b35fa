"""Any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from mixtura import sampling_words
from mixtura.address import under
from mixtura.apart import apart, weight
from mixtura.budget import ACCOUNT
from mixtura.catalog import Quirks, quirks
from mixtura.chunks import chunk
from mixtura.errors import MalformedError, RejectedError, UnavailableError
from mixtura.events import Emit
from mixtura.manners import Manners, accounted, notice_all, told, told_anew
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
from mixtura.wire import Assembly, left_out, request_json

DONE = b"[DONE]"


class OpenAI:
    """
    A model behind *base_url* (what stands before ``/chat/completions``).

    *name* is what Mixtura calls it, *model* what the endpoint calls it. Always streams, so
    that a hung upstream is noticed and an answer that breaks off is not taken for whole.
    *extra* is put into every request's body as it is. *key_header* takes the key where that
    is not a bearer's; *known* is what the model's name tells. What *redactor* knows as secrets,
    those given here, and a proxy's login come back in no answer. *largest*: bytes of an answer.
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
        key_header: str | None = None,
        largest: int = LARGEST_ANSWER,
        window: int | None = None,
        sees: bool | None = None,
        known: Quirks | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._model = model
        self._name = name or model
        self._url = under(base_url, "/chat/completions")
        self._key = api_key
        self._clocks = clocks or Clocks()
        self._origin = origin_of(base_url, model)
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._redactor = redactor_of(base_url, api_key, self._headers, self._extra, redactor)
        self._key_header = key_header
        self._largest = largest
        self.sees = sees
        self.logprobs: bool | None = None
        """Whether it gives log-probabilities, as its answers tell."""
        self._manners = Manners(self._name, known or quirks(model), window=window)

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

        body = await apart(weight(request), request_json, request, self._model, self._origin)
        notice_all(self._name, sampling_words.left_out(left_out(request)), emit)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        with in_use(self._redactor):
            answer = await self._manners.ask(body, send, emit)
        if request.extra.get("logprobs") and answer.text:
            self.logprobs = bool(answer.logprobs or self.logprobs)
        return answer

    async def _send(self, body: dict[str, Any], request: Request, emit: Emit | None) -> Completion:
        if ACCOUNT.get() and not {"max_tokens", "max_completion_tokens"} & body.keys():
            said = "it takes no bound on its answers, so no budget can hold it"
            raise RejectedError(said, model=self._name)
        body = body | self._extra
        clocks = self._clocks
        if not body.get("stream"):  # the first token is the last one, too
            clocks = replace(clocks, first_token=clocks.total)
        so_far = Assembly(inside=self._manners.inside, origin=self._origin)
        data = await apart(weight(request), msgspec.json.encode, body)
        with accounted(self._name, request, so_far, emit):
            async with posted(
                self._url,
                data,
                headers=self._all_headers(),
                clocks=clocks,
                draft=request.draft,
                largest=self._largest,
            ) as reply:
                await self._read(reply, so_far, request, emit)
            told(so_far, so_far.finish(), emit)
            return so_far.completion(self._name, request)

    def _all_headers(self) -> dict[str, str]:
        if self._key is None:
            return self._headers
        key = self._key.reveal()
        if self._key_header is not None:
            return {self._key_header: key, **self._headers}
        return {"Authorization": f"Bearer {key}", **self._headers}

    async def _read(
        self, reply: Reply, so_far: Assembly, request: Request, emit: Emit | None
    ) -> None:
        """Read the answer to its end. Raises UnavailableError when it ends without saying so."""

        def take(batch: list[bytes]) -> bool:
            try:
                for data in batch:
                    if len(data) == len(DONE) and data.upper() == DONE:
                        so_far.over()
                        return True
                    try:
                        piece = chunk(data)
                    except MalformedError:
                        if so_far.finish_reason is None:
                            raise
                        continue  # the answer is whole
                    if piece.error is not None:
                        raise error_in_stream(data, reply.headers)
                    so_far.add(piece)
                return False
            finally:  # what came before an error came all the same
                if (fresh := so_far.fresh()) is not None:
                    reply.progressed()
                    unforeseen = so_far.turned and not self._manners.inside
                    if unforeseen or (so_far.turned_now and so_far.shown):
                        self._manners.inside = True
                        told_anew(self._name, request, emit)
                    told(so_far, fresh, emit)

        if body := await reply.read(take):
            so_far.add(await apart(len(body), _whole, body, reply))
            if so_far.finish_reason is None:
                raise MalformedError("the answer has no finish reason")
            told(so_far, so_far.fresh(), emit)
        elif so_far.finish_reason is None:
            said = "the stream ended without a finish reason: the answer is cut off"
            raise UnavailableError(said)


def _whole(body: bytes, reply: Reply) -> Any:
    piece = chunk(body)
    if piece.error is not None:
        raise error_in_stream(body, reply.headers)
    if not piece.choices:
        raise MalformedError("the answer has no choices")
    return piece
