"""Spans of a run: `invoke_agent NAME`, and `chat MODEL` beneath it for every call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mixtura.core.call_ledger import CallLedger
from mixtura.core.errors import ModelError
from mixtura.core.events import (
    Aggregation,
    CallStarted,
    Emit,
    Event,
    Failure,
    LayerFinished,
    PositionPath,
    Proposal,
    RunStarted,
    Token,
)
from mixtura.core.model import Model, Wrapper
from mixtura.core.roles import iterate_models
from mixtura.core.trace_context import caller_trace, set_sent_trace, use_sent_trace
from mixtura.core.types import Completion, Request, Usage, sum_usage
from mixtura.models.wrappers.private_items import Pseudonymized
from mixtura.privacy.hidden_request import HiddenRequest
from mixtura.privacy.item_finder import PrivateItems
from mixtura.telemetry import conventions as names
from mixtura.telemetry.setup import clean_attributes

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from mixtura.telemetry.setup import Instruments

FindProvider = Callable[[str], str]
"""The provider of a model by the model's name, as the conventions call it."""
OWN_PROVIDER = "mixtura"
"""Who provides a mixture."""


class Traced(Wrapper):
    """A mixture whose runs are spans and metrics of *instruments*."""

    def __init__(
        self, model: Model, name: str, instruments: Instruments, find: FindProvider
    ) -> None:
        super().__init__(model)
        self._hidden = [
            one.items for one in iterate_models(model) if isinstance(one, Pseudonymized)
        ]
        self._agent = name
        self._instruments = instruments
        self._find = find

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The mixture's answer. Raises what the mixture raises."""
        spans = RunSpans(self._agent, request, self._instruments, self._find, self._hidden)

        def notice(event: Event) -> None:
            spans.notice_event(event)
            if emit:
                emit(event)

        try:
            with use_sent_trace(spans.trace_parent):
                answer = await self._model.complete(request, notice)
        except BaseException as error:
            spans.end_run(None, error)
            raise
        spans.end_run(answer, None)
        return answer


class _OpenCall:
    """A call under way: its span, and what its metrics need."""

    def __init__(self, span: Span, model: str, provider: str, ledger: CallLedger | None) -> None:
        self.span = span
        self.model = model
        self.provider = provider
        self.ledger = ledger
        self.operation = names.CHAT
        self.started = time.perf_counter()
        self.streams = False


class RunSpans:
    """Builds the spans of one run from its events, as they happen."""

    def __init__(
        self,
        agent: str,
        request: Request,
        instruments: Instruments,
        find: FindProvider,
        hidden: Sequence[PrivateItems] = (),
    ) -> None:
        self._hidden = hidden
        """What is in no content: one member at least is not shown it."""
        self._instruments = instruments
        self._find = find
        self._open: dict[PositionPath, _OpenCall] = {}
        span = instruments.start_span(
            f"{names.INVOKE_AGENT} {agent}", instruments.context_of_caller(caller_trace()),
            {names.OPERATION: names.INVOKE_AGENT, names.AGENT: agent, names.PROVIDER: OWN_PROVIDER}
            | names.request_attributes(request)
            | self._content_attributes(names.INPUT_MESSAGES, request),
        )  # fmt: skip
        self._root = _OpenCall(span, agent, OWN_PROVIDER, None)
        self._root.operation = names.INVOKE_AGENT

    @property
    def trace_parent(self) -> str | None:
        """The run's span as the header `traceparent`."""
        return self._instruments.trace_parent(self._root.span)

    def notice_event(self, event: Event) -> None:
        """Take in an event of the run."""
        match event:
            case CallStarted(at=()):
                pass
            case CallStarted():
                self._start_call(event)
            case RunStarted(model, at=at) if call := self._open.get(at):
                # The call was one of a mixture: that is an agent, not a chat.
                call.operation, call.provider = names.INVOKE_AGENT, OWN_PROVIDER
                known = {names.OPERATION: names.INVOKE_AGENT, names.AGENT: model}
                known = clean_attributes(known | {names.PROVIDER: OWN_PROVIDER})
                call.span.update_name(f"{names.INVOKE_AGENT} {known[names.AGENT]}")
                call.span.set_attributes(known)
            case Token(at=at) if (call := self._open.get(at)) and not call.streams:
                call.streams = True
                call.span.set_attribute(names.FIRST_CHUNK, time.perf_counter() - call.started)
            case Proposal(completion, at) | Aggregation(completion, at):
                self._close_call(at, completion, None)
            case Failure(_, error, at):
                self._close_call(at, None, error)
            case LayerFinished(layer, answered, asked, at):
                above = self._open.get(at) or self._root
                counts = {"mixtura.layer": layer, "mixtura.answered": answered}
                above.span.add_event("mixtura.layer_finished", counts | {"mixtura.asked": asked})
            case _:
                pass

    def end_run(self, answer: Completion | None, error: BaseException | None) -> None:
        """End every span: calls that are open were cut off with the run."""
        for path in sorted(self._open, key=len, reverse=True):
            self._end_call(self._open[path], None, error, cut_off=True)
        self._open.clear()
        self._end_call(self._root, answer, error)

    def _close_call(
        self, at: PositionPath, answer: Completion | None, error: BaseException | None
    ) -> None:
        if call := self._open.pop(at, None):
            self._end_call(call, answer, error)
            above = self._open.get(at[:-1]) or self._root
            set_sent_trace(self._instruments.trace_parent(above.span))

    def _start_call(self, event: CallStarted) -> None:
        above = self._open.get(event.at[:-1]) or self._root
        provider = self._find(event.model)
        known = {names.OPERATION: names.CHAT, names.PROVIDER: provider}
        known |= {names.REQUEST_MODEL: event.model} | names.request_attributes(event.request)
        seat = event.at[-1]
        known |= {"mixtura.role": seat.role, "mixtura.layer": seat.layer}
        span = self._instruments.start_span(
            f"{names.CHAT} {event.model}", self._instruments.context_under(above.span),
            known | self._content_attributes(names.INPUT_MESSAGES, event.request), client=True,
        )  # fmt: skip
        self._open[event.at] = _OpenCall(span, event.model, provider, event.ledger)
        # A call is announced by the task that makes it: what it sends on is its own span.
        set_sent_trace(self._instruments.trace_parent(span))

    def _end_call(
        self,
        call: _OpenCall,
        answer: Completion | None,
        error: BaseException | None,
        *,
        cut_off: bool = False,
    ) -> None:
        usage: Usage | None = None
        if answer:
            usage = sum_usage(answer.charges) if answer.charges else answer.usage
            call.span.set_attributes(clean_attributes(names.response_attributes(answer)))
            call.span.set_attributes(self._content_attributes(names.OUTPUT_MESSAGES, answer))
        elif call.ledger and call.ledger.charges:
            usage = sum_usage(call.ledger.charges)
        if usage:
            call.span.set_attributes(names.usage_attributes(usage))
        kind = type(error).__name__ if error else "CutOff" if cut_off else None
        if kind:
            self._instruments.mark_failed(call.span, kind)
        call.span.end()
        self._instruments.record_call(
            time.perf_counter() - call.started, call.operation, call.provider, call.model, kind,
            usage if call.operation == names.CHAT else None,
        )  # fmt: skip

    def _content_attributes(self, name: str, said: Request | Completion) -> dict[str, Any]:
        if not self._instruments.captures_content:
            return {}
        try:
            if isinstance(said, Request):
                return {name: names.input_messages(self._hide_items(said))}
            hidden = self._hide_items(Request((said.message,)))
        except ModelError:  # a recognizer failed: then nothing is known to be fit to leave
            return {}
        return {name: names.output_messages(replace(said, message=hidden.messages[0]))}

    def _hide_items(self, request: Request) -> Request:
        for items in self._hidden:
            request = HiddenRequest(request, items, explain=False).request
        return request
