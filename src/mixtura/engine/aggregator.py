"""The last call of a mixture: the aggregator's answer, with its fallbacks and last resort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixtura.core.call_ledger import CallLedger, open_ledger
from mixtura.core.errors import (
    ContentFilterError,
    ModelError,
    RejectedError,
)
from mixtura.core.events import (
    Aggregation,
    CallRestarted,
    CallStarted,
    Emit,
    Failure,
    Notice,
    Position,
    Token,
    with_position,
)
from mixtura.core.model import Model, ask_model, get_model_info
from mixtura.core.roles import Aggregator
from mixtura.core.similarity import medoid_index
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.call_context import (
    allow_draft_truncation,
)
from mixtura.engine.prompt_builder import (
    PromptBuilder,
    image_notices,
    should_truncate_and_retry,
)
from mixtura.protocols.provider_data.messages import strip_provider_data
from mixtura.protocols.sampling_options import FORMAT_PARAMETERS


async def run_aggregator(
    aggregator: Aggregator,
    build_prompt: PromptBuilder,
    proposals: Sequence[Completion],
    *,
    depth: int,
    emit: Emit | None,
) -> Completion:
    """
    Have the aggregator write the answer, or its fallbacks in order.

    When a content filter stops it, it is called again without half of the proposals. When no
    model answers, the proposal closest to the others is the answer, marked as degraded; but not
    where tools or a response format were asked for, which no proposal has. An answer that was
    shown in part is not restarted. Raises the last ModelError where none of that helps.
    """
    last = _AggregatorRun(aggregator, build_prompt, depth, emit)
    models = (aggregator.model, *aggregator.fallbacks)
    for model in models:
        for kept in _proposal_subsets(proposals):
            without = len(proposals) - len(kept)
            known = get_model_info(model).context_window
            answer = await last.attempt_answer(model, kept, without=without)
            if answer is None and should_truncate_and_retry(last.last_error, kept, model, known):
                answer = await last.attempt_answer(model, kept, without=without, again=True)
            if answer is not None:
                return answer
            # Only a filter objects to some of the proposals: any other failure would come again.
            if not last.was_filtered:
                break
    return last.fallback_to_medoid(proposals)


class _AggregatorRun:
    """The attempts at an answer: their errors, and what degraded the answer."""

    def __init__(
        self, aggregator: Aggregator, build_prompt: PromptBuilder, depth: int, emit: Emit | None
    ) -> None:
        self._aggregator = aggregator
        self._build_prompt = build_prompt
        self._emit = with_position(emit, Position(depth, 0, "aggregator")) if emit else None
        self._error: ModelError | None = None
        self._degraded: tuple[str, ...] = ()
        self._replaceable = True

    @property
    def was_filtered(self) -> bool:
        return isinstance(self._error, ContentFilterError)

    @property
    def last_error(self) -> ModelError | None:
        """The error of the last attempt."""
        return self._error

    async def attempt_answer(
        self,
        model: Model,
        proposals: Sequence[Completion],
        *,
        without: int,
        again: bool = False,
    ) -> Completion | None:
        """
        One attempt; None when it failed and another may be made. Raises ModelError when none may.

        *again*: the last attempt repeated, with drafts truncated to the window that its refusal
        stated.
        """
        if again:
            # The repeated attempt replaces the last one, so its failure is not reported.
            self._degraded = self._degraded[:-1]
        if self._error is not None and self._emit:
            self._emit(CallRestarted(model.name, self._error))
        draft = False
        with open_ledger() as ledger:
            try:
                # In the attempt: a prompt that does not fit fails like a call; a fallback may do.
                request = await self._build_request(model, proposals)
                draft = request.draft
                if self._emit:
                    self._emit(CallStarted(model.name, request, ledger=ledger))
                    for notice in image_notices(model, request):
                        self._emit(Notice(model.name, notice))
                with allow_draft_truncation(bool(proposals) and not again):
                    answer = ledger.bill_answer(await ask_model(model, request, self._emit))
            except ModelError as error:
                self._record_failure(model, error, ledger)
                # A person has read the beginning: another answer cannot begin behind it.
                if error.shown and not draft:
                    raise
                return None
        if without:
            notice = f"a content filter: {without} of the proposals were left out"
            self._degraded = (*self._degraded, notice)
        return self._finish_answer(answer)

    async def _build_request(self, model: Model, proposals: Sequence[Completion]) -> Request:
        request = await self._build_prompt(model, proposals, None)
        if model is not self._aggregator.model:  # data of an unknown provider is not its own
            request = await run_in_thread_if_large(
                estimate_request_bytes(request), strip_provider_data, request, unknown_only=True
            )
        self._replaceable = is_free_text(request)
        sampling = request.sampling.with_defaults(self._aggregator.sampling)
        return replace(request, sampling=sampling)

    def _record_failure(self, model: Model, error: ModelError, ledger: CallLedger) -> None:
        error.model = error.model or model.name
        self._error = error
        self._degraded = (*self._degraded, f"the aggregator {model.name} failed: {error}")
        if self._emit:
            self._emit(Failure(model.name, error, charges=ledger.charges))

    def _finish_answer(self, answer: Completion) -> Completion:
        if self._emit:
            self._emit(Aggregation(answer))
        return replace(answer, degraded=(*self._degraded, *answer.degraded))

    def fallback_to_medoid(self, proposals: Sequence[Completion]) -> Completion:
        """The proposal closest to the others, as no aggregator answered. Raises the last error."""
        assert self._error is not None
        # A proposal that was cut off is no answer while a whole one is there.
        whole = [p for p in proposals if p.finish_reason == "stop"] or list(proposals)
        # A refused parameter is the caller's mistake: an answer in its place would hide it.
        wrong = isinstance(self._error, RejectedError) and self._error.parameter is not None
        if not whole or wrong or not self._replaceable:
            raise self._error
        best = whole[medoid_index([p.text for p in whole])]
        if self._emit:
            self._emit(Token(best.text, refusal=best.refusal))
        notice = f"this is the proposal of {best.model}, the closest to the others"
        self._degraded = (*self._degraded, notice)
        return self._finish_answer(replace(best, charges=(), degraded=()))


def is_free_text(request: Request) -> bool:
    """Whether *request* asks for plain text: no tools, no response format."""
    form = (request.response_format or {}).get("type", "text")
    return (
        form == "text" and not request.tools and not any(map(request.extra.get, FORMAT_PARAMETERS))
    )


def _proposal_subsets(proposals: Sequence[Completion]) -> Sequence[Sequence[Completion]]:
    """
    All proposals; then ever smaller parts, for a content filter that objects to one of them.

    The halves, then a quarter, an eighth …, then none: about log2 N further attempts at most.
    """
    if len(proposals) < 2:
        return [proposals, []] if proposals else [proposals]
    half = len(proposals) // 2
    parts = [proposals, proposals[:half], proposals[half:]]
    size = half // 2
    while size:
        parts.append(proposals[:size])
        size //= 2
    return [*parts, []]
