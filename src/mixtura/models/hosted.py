"""A model behind HTTP: what every API's adapter has in common, from a request to its answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

import msgspec

from mixtura.catalog.batch_terms import BatchTerms
from mixtura.catalog.providers import Quirks, model_quirks
from mixtura.core.errors import ModelError, RejectedError
from mixtura.core.events import Emit
from mixtura.core.model_info import DescribedModel, ModelInfo, UsagePrice
from mixtura.core.redaction import Redactor, use_redactor
from mixtura.core.trace_context import sent_trace
from mixtura.core.types import Completion, JsonObject, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.models.answer_format import AnswerFormat
from mixtura.models.call_accounting import account_for_call, emit_answer_delta, emit_notices
from mixtura.models.model_support import ModelSupport
from mixtura.protocols.provider_data.messages import origin_fingerprint
from mixtura.transport.address import join_url
from mixtura.transport.base import Transport
from mixtura.transport.client import (
    LARGEST_ANSWER,
    CallTimeouts,
    Secret,
    add_key_origin,
    build_redactor,
    describe_key_origin,
    post_stream,
)
from mixtura.transport.timeouts import call_scope

NO_CLOCKS = CallTimeouts(connect=None, first_token=None, progress=None, total=None)


class HostedModel(DescribedModel, AnswerFormat):
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
    key_origin: str | None = None
    """In words, where the key came from if it is no *api_key* but stands in a header."""
    batch_terms: BatchTerms | None = None
    """On which terms its provider takes batches; None where it takes none."""
    _batched = False

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
        self._model_support = ModelSupport(
            self._name,
            quirks or model_quirks(model),
            needed=self.required_parameters,
            context_window=context_window,
            on_learned=self._update_info,
        )
        self._update_info()

    def _update_info(self) -> None:
        """Build the info anew: once for each thing learned, because every prompt reads it."""
        learned = self._model_support
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

    def with_batch_transport(self, transport: Transport) -> Self:
        """The same model, whose requests *transport* puts into batches: no clock runs."""
        other = copy(self)
        other.transport = transport
        other._timeouts = NO_CLOCKS  # noqa: SLF001 - it is one of this class
        other._batched = True  # noqa: SLF001
        return other

    def _set_gives_logprobs(self, gives: bool) -> None:
        self._gives_logprobs = gives
        self._update_info()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """Answer *request*; see `Model.complete`."""
        size = estimate_request_bytes(request)
        request, notices = await run_in_thread_if_large(size, self._supported_request, request)
        emit_notices(self._name, notices, emit)
        with use_redactor(self._redactor), call_scope(self._name):
            body = await run_in_thread_if_large(size, self._request_body, request)
            try:
                return await self._send_supported(body, request, emit)
            except RejectedError as error:
                if (notice := self._learn_form(error, body)) is None:
                    raise
            emit_notices(self._name, [notice], emit)
            body = await run_in_thread_if_large(size, self._request_body, request)
            return await self._send_supported(body, request, emit)

    async def _send_supported(
        self, body: JsonObject, request: Request, emit: Emit | None
    ) -> Completion:
        """The answer to *body* as the model supports it."""
        for attempt in self._model_support.attempts(body, emit):
            with attempt as fitting:
                self._check_body(fitting)
                answer = await self._send_body(fitting, request, emit)
                self._learn_from_answer(request, answer)
                return answer
        raise AssertionError("unreachable: the last attempt either answers or raises")

    def _supported_request(self, request: Request) -> tuple[Request, Sequence[str]]:
        """*request* with the parts that the API has; notices of what it has not."""
        return request, ()

    @abstractmethod
    def _request_body(self, request: Request) -> JsonObject:
        """The body of *request* in the API's words; in a thread where it is large."""

    def _check_body(self, body: JsonObject) -> None:
        """Raise RejectedError for a *body* that must not be sent."""

    def _learn_form(self, error: RejectedError, body: JsonObject) -> str | None:  # noqa: ARG002
        """The notice of a body in another form, after the refusal of *body*; None for none."""
        return None

    def _learn_from_answer(self, request: Request, answer: Completion) -> None:
        """Learn what only an answer shows."""

    @abstractmethod
    def _request_headers(self, body: dict[str, Any]) -> dict[str, str]:
        """The headers of a request with this *body*, the key among them."""

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


def _trace_headers() -> dict[str, str]:
    """The trace that a request belongs to, where there is one."""
    parent = sent_trace()
    return {"traceparent": parent} if parent else {}
