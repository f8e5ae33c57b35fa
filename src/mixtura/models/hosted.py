"""A model behind HTTP: what every API's adapter has in common, from a request to its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

import msgspec

from mixtura.catalog.batch_terms import BatchTerms
from mixtura.catalog.providers import Quirks, model_quirks
from mixtura.core.errors import MalformedError, ModelError, UnavailableError
from mixtura.core.events import Emit
from mixtura.core.model_info import DescribedModel, ModelInfo, UsagePrice
from mixtura.core.redaction import Redactor
from mixtura.core.trace_context import sent_trace
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.models.call_accounting import account_for_call, emit_answer_delta
from mixtura.models.parameter_support import ParameterSupport
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from mixtura.protocols.provider_data.messages import origin_fingerprint
from mixtura.transport.address import join_url
from mixtura.transport.base import Transport
from mixtura.transport.client import (
    LARGEST_ANSWER,
    CallTimeouts,
    Secret,
    UpstreamResponse,
    add_key_origin,
    build_redactor,
    describe_key_origin,
    error_from_stream,
    post_stream,
)

DONE = b"[DONE]"
"""The end of a stream of chat completions; vLLM also sends it after Anthropic's messages."""

NO_CLOCKS = CallTimeouts(connect=None, first_token=None, progress=None, total=None)


class HostedModel(DescribedModel, ABC):
    """
    A model behind *base_url* (what stands before the API's own path).

    *name* is what Mixtura calls it, *model* what the endpoint calls it. Always streams, so
    that a hung upstream is noticed and an answer that breaks off is not taken for whole.
    *extra* is put into every request's body as it is. *key_header* takes the key where that is
    not the API's own header; *quirks* is what the model's name tells. What *redactor* knows as
    secrets, those given here, and a proxy's login come back in no answer. *largest*: bytes of an
    answer. *context_window*, *supports_images* and *price* are what ``info`` says of it.
    *transport*: the HTTP client that asks it, by default our own.
    """

    path: ClassVar[str]
    """The API's path behind the base URL."""
    required_parameters: ClassVar[frozenset[str]] = frozenset()
    """Parameters that the API wants in every request."""
    last_events: ClassVar[tuple[bytes, ...]] = (DONE,)
    """What the last events of a stream contain: near them, nothing is held back."""
    key_origin: str | None = None
    """In words, where the key came from if it is no *api_key* but stands in a header."""
    batch_terms: BatchTerms | None = None
    """On which terms its provider takes batches; None where it takes none."""
    _batched = False
    missing_end: ClassVar[str]
    """What an answer lacks that ends without saying so."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        name: str | None = None,
        api_key: Secret | None = None,
        timeouts: CallTimeouts | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        key_header: str | None = None,
        largest: int = LARGEST_ANSWER,
        context_window: int | None = None,
        supports_images: bool | None = None,
        price: UsagePrice | None = None,
        quirks: Quirks | None = None,
        redactor: Redactor | None = None,
        transport: Transport | None = None,
    ) -> None:
        if transport is not None and not isinstance(transport, Transport):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"transport cannot be a {type(transport).__name__}: it needs an `async"
                " send_request` and an `async close`, as in Http1Transport and AiohttpTransport"
            )
        self._model = model
        self._name = name or model
        self._url = join_url(base_url, self.path)
        self._key = api_key
        self._key_header = key_header
        self._timeouts = timeouts or CallTimeouts()
        self._origin = origin_fingerprint(base_url, model)
        self._headers = dict(headers or {})
        self._extra = dict(extra or {})
        self._redactor = build_redactor(base_url, api_key, self._headers, self._extra, redactor)
        self._largest = largest
        self.transport = transport
        self._supports_images = supports_images
        self._price = price
        self._listed_window: int | None = None
        self._listed_max_answer: int | None = None
        self._gives_logprobs: bool | None = None
        """Whether it gives log-probabilities, as its answers tell."""
        self._parameter_support = ParameterSupport(
            self._name,
            quirks or model_quirks(model),
            needed=self.required_parameters,
            context_window=context_window,
            on_learned=self._update_info,
        )
        self._update_info()

    def _update_info(self) -> None:
        """Build the info anew: once for each thing learned, because every prompt reads it."""
        learned = self._parameter_support
        refused = learned.refused_parameters
        stated, longest = learned.context_window, learned.max_answer_tokens
        self._info = ModelInfo(
            self._name,
            context_window=self._listed_window if stated is None else stated,
            max_answer_tokens=self._listed_max_answer or longest,
            supports_images=self._supports_images,
            refused_parameters=(
                refused | {"logprobs"} if self._gives_logprobs is False else refused
            ),
            price=self._price,
        )

    def set_listed_sizes(self, context_window: int | None, max_answer_tokens: int | None) -> None:
        """
        Note the tokens that its endpoint lists for it; a later list replaces an earlier one. A
        window that was given, or that a refusal stated, counts before a list's.
        """
        self._listed_window = context_window
        self._listed_max_answer = max_answer_tokens
        self._update_info()

    def asked_in_batches(self, transport: Transport) -> Self:
        """The same model, whose requests *transport* puts into batches: no clock runs."""
        other = copy(self)
        other.transport = transport
        other._timeouts = NO_CLOCKS  # noqa: SLF001 - it is one of this class
        other._batched = True  # noqa: SLF001
        return other

    def _set_gives_logprobs(self, gives: bool) -> None:
        self._gives_logprobs = gives
        self._update_info()

    @abstractmethod
    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """Answer *request*; see `Model.complete`."""

    @abstractmethod
    def _request_headers(self, body: dict[str, Any]) -> dict[str, str]:
        """The headers of a request with this *body*, the key among them."""

    @abstractmethod
    def _create_accumulator(self) -> AnswerAccumulator:
        """What puts one answer together."""

    @abstractmethod
    def _decode_event(self, data: bytes) -> Any:
        """One event of a stream. Raises MalformedError."""

    @abstractmethod
    def _is_error(self, event: Any, data: bytes) -> bool:
        """Whether an *event* is an error."""

    @abstractmethod
    def _check_whole_answer(self, event: Any) -> None:
        """Raise MalformedError where an answer that did not stream is none."""

    def _report_thoughts(
        self,
        so_far: AnswerAccumulator,  # noqa: ARG002
        request: Request,  # noqa: ARG002
        emit: Emit | None,  # noqa: ARG002
    ) -> None:
        """Report that the model thinks, where that was not known and is learned from its text."""
        return

    async def _send_body(
        self, body: dict[str, Any], request: Request, emit: Emit | None
    ) -> Completion:
        body = body | self._extra
        timeouts = self._timeouts
        if not body.get("stream"):  # the first token is the last one, too
            timeouts = replace(timeouts, first_token=timeouts.total)
        data = await run_in_thread_if_large(
            estimate_request_bytes(request), msgspec.json.encode, body
        )
        so_far = self._create_accumulator()
        so_far.batched = self._batched
        headers = self._request_headers(body) | _trace_headers()
        with self._name_key_in_errors(), account_for_call(self._name, request, so_far, emit):
            async with post_stream(
                self._url,
                data,
                headers=headers,
                timeouts=timeouts,
                draft=request.draft,
                largest=self._largest,
                last_events=self.last_events,
                transport=self.transport,
            ) as reply:
                await self._read_answer(reply, so_far, request, emit)
            emit_answer_delta(so_far, so_far.take_rest(), emit)
            return so_far.build_completion(self._name, request)

    @contextmanager
    def _name_key_in_errors(self) -> Generator[None]:
        """An error of this block that refuses the key says where the key came from."""
        try:
            yield
        except ModelError as error:
            add_key_origin(error, self.key_origin or describe_key_origin(self._key))
            raise

    async def _read_answer(
        self,
        reply: UpstreamResponse,
        so_far: AnswerAccumulator,
        request: Request,
        emit: Emit | None,
    ) -> None:
        """Read the answer to its end. Raises UnavailableError when it ends without saying so."""

        def take_events(batch: list[bytes]) -> bool:
            try:
                return self._add_events(batch, so_far, reply)
            finally:  # what came before an error came all the same
                if (fresh := so_far.take_new()) is not None:
                    reply.note_progress()
                    self._report_thoughts(so_far, request, emit)
                    emit_answer_delta(so_far, fresh, emit)

        if body := await reply.read_events(take_events):
            so_far.add_chunk(
                await run_in_thread_if_large(len(body), self._decode_whole_answer, body, reply)
            )
            if so_far.finish_reason is None:
                raise MalformedError(f"the answer has no {self.missing_end}")
            emit_answer_delta(so_far, so_far.take_new(), emit)
        elif so_far.finish_reason is None:
            raise UnavailableError(
                f"the stream ended without a {self.missing_end}: the answer is cut off"
            )

    def _add_events(
        self, batch: list[bytes], so_far: AnswerAccumulator, reply: UpstreamResponse
    ) -> bool:
        """Add a *batch* of events to the answer; true when it is over."""
        decode: Callable[[bytes], Any] = self._decode_event
        for data in batch:
            if len(data) == len(DONE) and data.upper() == DONE:
                so_far.end_stream()
                return True
            try:
                event = decode(data)
            except MalformedError:
                if so_far.finish_reason is None:
                    raise
                continue  # the answer is whole
            if self._is_error(event, data):
                raise error_from_stream(data, reply.headers)
            so_far.add_chunk(event)
        return so_far.ended

    def _decode_whole_answer(self, body: bytes, reply: UpstreamResponse) -> Any:
        event = self._decode_event(body)
        if self._is_error(event, body):
            raise error_from_stream(body, reply.headers)
        self._check_whole_answer(event)
        return event


def _trace_headers() -> dict[str, str]:
    """The trace that a request belongs to, where there is one."""
    parent = sent_trace()
    return {"traceparent": parent} if parent else {}
