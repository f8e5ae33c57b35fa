"""The calls of a batch that go out as batches of their provider: gathered, sent, followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.followed_batches import NotAskedError, TimeIsUpError
from mixtura.batch.google_batches import GoogleForm
from mixtura.batch.journaled import KEY_BYTES, current_call_key
from mixtura.batch.mistral_batches import MistralForm
from mixtura.batch.provider_forms import AnthropicForm, OpenAIForm
from mixtura.batch.provider_http import BatchHttp
from mixtura.batch.resume import SINCE
from mixtura.batch.submitted_batches import EndpointBatches
from mixtura.batch.together_batches import TogetherForm
from mixtura.billing.request_log import REQUEST_LOG
from mixtura.core.errors import ConfigError, ContentFilterError, ModelError, RejectedError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper, unwrap_model
from mixtura.core.types import Completion, Request
from mixtura.models.hosted import HostedModel
from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
from mixtura.models.wrappers.private_items import Pseudonymized
from mixtura.models.wrappers.web_search import ProviderSearch, Searching
from mixtura.transport.base import Sink, Transport
from mixtura.transport.pool import BUILT_IN

BatchMode = Literal["auto", "only"]
FORMS: Mapping[str, type[OpenAIForm] | type[AnthropicForm] | type[GoogleForm]] = {
    "openai": OpenAIForm,
    "anthropic": AnthropicForm,
    "mistral": MistralForm,
    "together": TogetherForm,
    "google": GoogleForm,
}
ATTEMPTS = 3
"""Batches that a call may be in before it counts as failed, where it is never made live."""
NOT_SENT = frozenset({"content-type", "traceparent"})
"""Headers of one call that do not belong to a batch."""


def check_open_batches(calls: CallJournal, mode: str | None) -> list[str]:
    """
    What to say of calls that may be paid in a batch already: it is at its provider, and was not
    downloaded. *mode*: what ``--provider-batch`` says. Raises ConfigError where it says nothing.
    Before the journal has a thread.
    """
    if mode not in (None, "off"):
        return []
    if not calls.journal.has_unanswered_provider_calls(2 * KEY_BYTES):
        return []
    if mode is None:
        raise ConfigError(
            "calls of this batch are in batches at their provider, and may be paid already. Give"
            " --provider-batch auto (or only) and no --engine ray to download their answers, or"
            " --provider-batch off to make the calls live, which may pay them twice"
        )
    said = "calls of this batch are in batches at their provider, which may charge for them, too:"
    return [f"{said} their cost is unknown here, in no figure and under no cap"]


class ProviderBatches:
    """
    Sends calls as batches where their provider takes some. *mode* ``auto``: what is not answered
    within *within* seconds is asked live, and so is every model without batches; ``only``: a model
    without them is a ConfigError, and *on_time_up* is told when the time is up.

    *gather*: seconds without another call after which a batch is sent; *poll*: seconds between two
    looks at it at first. ``calls`` is set before the first model is wrapped.
    """

    def __init__(
        self, mode: BatchMode, within: float, *, gather: float = 1.0, poll: float = 0.5
    ) -> None:
        self.mode = mode
        self.within = within
        self.gather = gather
        self.poll = poll
        self.calls: CallJournal | None = None
        self.used = False
        """A model's calls go out as batches."""
        self.dropped = False
        self.on_time_up: Callable[[], None] = lambda: None
        self.endpoints: dict[tuple[str, str], EndpointBatches] = {}
        self._since: float | None = None

    @property
    def journal(self) -> CallJournal:
        assert self.calls is not None
        return self.calls

    def wrap_model(self, model: Model, live: Model) -> Model:
        """*live*, behind its provider's batches. Raises ConfigError where there are none."""
        hosted = unwrap_model(model)
        # A search that is run here needs several calls one after the other: it goes live.
        searches = any(isinstance(one, Searching) for one in _iterate_wrappers(model))
        if not searches and isinstance(hosted, HostedModel) and hosted.batch_terms is not None:
            self.used = True
            return ProviderBatched(live, hosted, self)
        if self.mode == "only":
            raise ConfigError(
                f"--provider-batch only: Mixtura knows no batch API of the provider of"
                f" {model.name}. Use --provider-batch auto, which sends its calls live, or name"
                " another model"
            )
        return live

    async def run_job(self, job: Callable[[], object]) -> object:
        """Have the journal's thread do something."""
        return await self.journal.writer.run_job(job)

    async def seconds_left(self) -> float:
        """Until the time is up: it began with the first call, of whichever process."""
        if self._since is None:
            noted = self.journal.settings.get(SINCE)
            self._since = float(noted) if noted else time.time()
            if not noted:
                now = {SINCE: repr(self._since)}
                self.journal.settings |= now
                await self.run_job(partial(self.journal.journal.write, settings=now))
        return self._since + self.within - time.time()

    def count_waiting(self) -> tuple[int, int]:
        """Batches that are at their providers, and calls in them."""
        batches = [b for one in self.endpoints.values() for b in one.following.values()]
        return len(batches), sum(len(one.waiting) for one in batches)

    async def drop_tasks(self) -> None:
        """Follow no batch any more: they stay at their providers."""
        self.dropped = True
        for one in self.endpoints.values():
            await one.drop_tasks()


@dataclass(slots=True)
class _Asked:
    """The calls of one request to which a batch had a result."""

    key: bytes
    """Of the call that asks."""
    endpoint: EndpointBatches | None = None
    calls: list[str] = field(default_factory=list[str])


_ASKED: ContextVar[_Asked | None] = ContextVar("asked", default=None)


class ProviderBatched(Wrapper):
    """
    Asks in a batch of the provider, and *live* where that gave no answer and may be asked so.

    Stands within ``Journaled``: an answer is kept as any other. Such a call is no request that is
    open, since the process may end and find it again.
    """

    def __init__(self, live: Model, hosted: HostedModel, batches: ProviderBatches) -> None:
        super().__init__(live)
        self._batches = batches
        transport = BatchTransport(hosted, batches)
        asked: Model = hosted.with_batch_transport(transport)
        # A batch leaves this machine, too, and its answers may need the web as others do.
        for wrapper in reversed(list(_iterate_wrappers(live))):
            if isinstance(wrapper, Pseudonymized | ProviderSearch):
                asked = wrapper.wrap_model(asked)
        self._batched = BudgetedPerAttempt(asked)

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        if (key := current_call_key()) is None:
            return await self._model.complete(request, emit)
        only = self._batches.mode == "only"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._ask_batch(key, request, emit)
            except TimeIsUpError:
                if only:
                    self._batches.on_time_up()
                    await asyncio.get_running_loop().create_future()  # until it is called off
                break
            except (RejectedError, ContentFilterError):
                raise  # the same request will fail again
            except ModelError:
                if not only:
                    break
                if attempt == ATTEMPTS:
                    raise
        return await self._model.complete(request, emit)

    async def _ask_batch(self, key: bytes, request: Request, emit: Emit | None) -> Completion:
        asked = _Asked(key)
        log, place = REQUEST_LOG.set(None), _ASKED.set(asked)
        try:
            return await self._batched.complete(request, emit)
        except ModelError:
            # What came of it is no answer: it may be asked again, in another batch. Where nothing
            # came, its batch may still be there, and paid.
            if asked.endpoint is not None:
                await asked.endpoint.forget_calls(asked.calls)
            raise
        finally:
            REQUEST_LOG.reset(log)
            _ASKED.reset(place)


def _iterate_wrappers(model: Model) -> Iterator[Wrapper]:
    while isinstance(model, Wrapper):
        yield model
        model = model.inner_model


class BatchTransport:
    """What the adapter of a model sends through: a request becomes a row of a batch."""

    def __init__(self, hosted: HostedModel, batches: ProviderBatches) -> None:
        self._through: Transport = hosted.transport or BUILT_IN
        self._batches = batches
        assert hosted.batch_terms is not None
        self._terms = hosted.batch_terms
        self._model = hosted.name

    async def send_request(
        self,
        method: str,  # noqa: ARG002
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect: float | None,  # noqa: ARG002
    ) -> WholeResponse:
        data: dict[str, Any] = msgspec.json.decode(body)
        data.pop("stream", None)
        data.pop("stream_options", None)
        asked = _ASKED.get()
        assert asked is not None
        plain = msgspec.json.encode(FORMS[self._terms.form].build_row(data))
        call = asked.key.hex() + blake2b(plain, digest_size=8).hexdigest()
        endpoint = self._find_endpoint(url, headers)
        name = call
        if not asked.calls:  # another request of the same call has another body
            name = await endpoint.find_earlier_name(asked.key.hex(), call)
        result = await endpoint.ask(name, plain)
        if name != call and not 200 <= result.status < 300:
            # It was refused, or not asked, and cost nothing: what is asked now may be answered.
            await endpoint.forget_calls([name])
            name = call
            result = await endpoint.ask(name, plain)
        asked.endpoint = endpoint
        asked.calls.append(name)
        if not result.status:
            said = result.body.decode(errors="replace")
            raise NotAskedError(f"the provider's batch has no answer to it: {said}")
        return WholeResponse(result.status, result.body)

    async def close(self) -> None:
        await self._through.close()

    def _find_endpoint(self, url: str, headers: Mapping[str, str]) -> EndpointBatches:
        form = FORMS[self._terms.form]
        base = url.removesuffix(form.path)
        sent = {name: text for name, text in headers.items() if name.lower() not in NOT_SENT}
        # A batch of one model: Mistral wants that, and so do OpenAI's limits.
        place = (base, repr((self._model, sorted(sent.items()))))
        if (known := self._batches.endpoints.get(place)) is None:
            http = BatchHttp(base, sent, self._through)
            known = EndpointBatches(self._batches, base, form(http), self._terms)
            self._batches.endpoints[place] = known
        return known


@dataclass(slots=True)
class WholeResponse:
    """The answer to a row, as the answer to a live request."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    @property
    def received_bytes(self) -> int:
        return len(self.body)

    async def read_body(
        self,
        sink: Sink,
        *,
        batch_seconds: float | None = None,  # noqa: ARG002
        end_markers: Sequence[bytes] = (),  # noqa: ARG002
    ) -> None:
        if not sink(self.body):
            sink(b"")

    def close(self) -> None:
        return
