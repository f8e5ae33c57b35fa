"""One proposer's call within a layer: its request, its retry, its proposal or error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mixtura.core import events
from mixtura.core.call_ledger import CallLedger, open_ledger
from mixtura.core.errors import (
    ContextOverflowError,
    ModelError,
    UnavailableError,
    partial_text,
    set_partial_text,
)
from mixtura.core.model import Model, ask_model, get_model_info
from mixtura.core.roles import Proposer
from mixtura.core.types import Completion, Message, Request, seed_of_draw
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.call_context import (
    LAYER_POSITION,
    LayerMembership,
    allow_draft_truncation,
)
from mixtura.engine.copy_race import CopyRace
from mixtura.engine.kept_drafts import KeptDrafts, give_kept_draft
from mixtura.engine.prompt_builder import (
    PromptBuilder,
    image_notices,
    should_truncate_and_retry,
)
from mixtura.engine.stragglers import LateCalls
from mixtura.prompts.synthesis import (
    quote_draft,
)
from mixtura.protocols.provider_data.messages import strip_provider_data

MIN_SALVAGED_CHARS = 400
"""Characters from which on a proposal that broke off is used."""


class LayerCalls(NamedTuple):
    """What all calls of a layer have in common."""

    build_prompt: PromptBuilder
    before: Sequence[Completion]
    """The proposals of the layer before it."""
    membership: LayerMembership
    late: LateCalls
    emit: events.Emit | None
    answers: bool
    """One of the proposals will be the answer."""
    drafts: KeptDrafts | None
    """Proposals that are there already."""


class DrawNumber(NamedTuple):
    """The *ordinal*-th call to a model that is called *of* times in this layer."""

    ordinal: int
    of: int


async def ask_proposer(
    layer: LayerCalls, position: events.Position, draw: DrawNumber, call: Proposer
) -> Completion | ModelError:
    """One call at a seat: that of *call*, or a proposal that is there already."""
    drafts = layer.drafts
    is_first = position not in layer.late.replaced
    if drafts and is_first and (position in drafts.proposals or not drafts.asks_missing):
        return await give_kept_draft(drafts, position, call.model.name, layer.emit)
    if not is_first:  # the call before it had failed, or given up
        layer.membership.add_member(position)
    return await run_proposer(layer, position, draw, call)


async def run_proposer(
    layer: LayerCalls, position: events.Position, draw: DrawNumber, proposer: Proposer
) -> Completion | ModelError:
    """One proposer's proposal, or its ModelError; cancelled by other than the layer, it raises."""
    model, emit = proposer.model, layer.emit
    membership, late = layer.membership, layer.late
    LAYER_POSITION.set((membership, position))  # of this task and those that it begins
    with open_ledger() as ledger:
        try:
            attempt = _complete_within_window(layer, position, draw, proposer, ledger)
            answer = ledger.bill_answer(await attempt)
        except ModelError as error:
            failed = error
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            # Cancelled by the layer, or from outside as well: then the whole run ends.
            if position not in late.cut or task is None or task.uncancel() > 0:
                raise
            ledger.mark_outcome("lost")
            failed = late.error_for(position)
            set_partial_text(failed, partial_text(cancelled))
        else:
            membership.add_member(position)  # also when it had withdrawn
            if not layer.answers:
                quote_draft(answer.text)  # cached now, while others still write
            if emit:
                emit(events.Proposal(answer, (position,)))
            return answer
    # A nested mixture names its own member already.
    failed.model = failed.model or model.name
    membership.remove_member(position)
    kept = None if layer.answers else _salvage_partial(failed, ledger)
    if emit and kept:
        emit(events.Notice(model.name, kept.degraded[0], (position,)))
        emit(events.Proposal(kept, (position,)))
    elif emit:
        emit(events.Failure(model.name, failed, (position,), ledger.charges))
    return kept or failed


async def _complete_within_window(
    layer: LayerCalls,
    position: events.Position,
    draw: DrawNumber,
    proposer: Proposer,
    ledger: CallLedger,
) -> Completion:
    """One proposer's answer; repeated once when its window is smaller than was known."""
    model, before, emit = proposer.model, layer.before, layer.emit
    inner = events.with_position(emit, position) if emit else None
    for attempt in (1, 2):
        known = get_model_info(model).context_window
        whole = await layer.build_prompt(model, before, proposer.persona)
        size = estimate_request_bytes(whole)
        asked = await run_in_thread_if_large(
            size, _build_proposer_request, proposer, whole, draw, layer.answers
        )
        if emit:
            emit(
                events.CallStarted(model.name, asked, (position,), ledger)
                if attempt == 1
                else events.CallRestarted(model.name, None, at=(position,))
            )
            for notice in image_notices(model, asked):
                emit(events.Notice(model.name, notice, (position,)))
        try:
            with allow_draft_truncation(bool(before) and attempt == 1):
                if (again := layer.late.repeat_signals.get(position)) is None:
                    return await ask_model(model, asked, inner)
                return await _complete_or_ask_again(model, asked, inner, again)
        except ContextOverflowError as error:
            if attempt == 2 or not should_truncate_and_retry(error, before, model, known):
                raise
    raise AssertionError("unreachable: the second attempt either answers or raises")


async def _complete_or_ask_again(
    model: Model, request: Request, emit: events.Emit | None, again: asyncio.Event
) -> Completion:
    """
    One answer of *model*; it is asked a second time when *again* is set, and the first to be
    done counts. Raises ModelError when neither answers.
    """
    race = CopyRace(emit, asyncio.get_running_loop().time, to_the_end=True)
    first = race.start_attempt(model, request, watched=False)
    late = asyncio.create_task(again.wait())
    try:
        await asyncio.wait((first.task, late), return_when=asyncio.FIRST_COMPLETED)
        if not first.task.done():
            if emit:
                emit(
                    events.Notice(model.name, "late, and the strongest member: asked a second time")
                )
            race.start_attempt(model, request, watched=False)
        return await race.wait_for_answer()
    except asyncio.CancelledError as cancelled:
        await race.leave(cancelled)
        raise
    finally:
        late.cancel()
        await race.cancel_attempts()


def _salvage_partial(error: ModelError, ledger: CallLedger) -> Completion | None:
    """What a proposer wrote before it stalled, broke off or was cut, as an incomplete proposal."""
    if not isinstance(error, UnavailableError) or len(error.partial.strip()) < MIN_SALVAGED_CHARS:
        return None
    notice = f"broke off ({error}): what it had written is used, marked as incomplete"
    return Completion(
        Message("assistant", error.partial),
        error.model or "",
        "length",
        ledger.charges,
        degraded=(notice,),
    )


def _build_proposer_request(
    proposer: Proposer, request: Request, draw: DrawNumber, answers: bool
) -> Request:
    """
    The request for one proposer.

    The caller's sampling, tools and response format apply where the proposal *answers*, not to
    drafts. Only the seed applies to all, so that a run can be repeated. A mixture that is itself
    sampled several times numbers its members' draws accordingly.
    """
    number = request.draw * draw.of + draw.ordinal
    seed = proposer.sampling.seed if proposer.sampling.seed is not None else request.sampling.seed
    seed = seed_of_draw(seed, number)
    if answers:
        request = strip_provider_data(request, unknown_only=True)
        sampling = replace(request.sampling.with_defaults(proposer.sampling), seed=seed)
        return replace(request, sampling=sampling, draw=number, draft=True)
    sampling = proposer.sampling if seed is None else replace(proposer.sampling, seed=seed)
    return Request(strip_provider_data(request).messages, sampling, draw=number, draft=True)
