"""Ask a layer at once: order kept, quorum, patience, deadline. The only concurrency there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import NamedTuple

from mixtura.apart import apart, weight
from mixtura.control_tokens import inert_text
from mixtura.errors import (
    ContentFilterError,
    ContextOverflowError,
    ModelError,
    QuorumNotMetError,
    RejectedError,
    TimedOutError,
    UnavailableError,
    bill,
    billed,
    leave,
    partial,
)
from mixtura.events import (
    Aggregated,
    Asked,
    Emit,
    Failure,
    LayerFinished,
    Noticed,
    Proposal,
    Restarted,
    Seat,
    Token,
    placed,
)
from mixtura.model import Model, sees, window
from mixtura.prompts import (
    NO_PICTURES,
    Synthesis,
    blinded,
    is_blinded,
    quote_draft,
    shown,
    with_system,
)
from mixtura.provider_data import strip_provider_data
from mixtura.roles import Aggregator, Layer, Proposer
from mixtura.sampling_words import FORMS
from mixtura.similarity import medoid
from mixtura.types import Charge, Completion, Message, Request

SALVAGED = 400
"""Letters from which on a draft that broke off is worth reading."""

Show = Callable[[Model, Sequence[Completion], str | None], Awaitable[Request]]
"""
The request as a model is to read it, with its persona, if it has one, and the proposals in it.

Raises ModelError when it cannot fit.
"""


_ENDS: ContextVar[float] = ContextVar("ends", default=float("inf"))


@contextmanager
def within(seconds: float | None) -> Generator[None]:
    """Whoever asks in this block goes on after *seconds*, with or without an answer."""
    if seconds is None:
        yield
        return
    ends = asyncio.get_running_loop().time() + seconds
    token = _ENDS.set(min(ends, _ENDS.get()))
    try:
        yield
    finally:
        _ENDS.reset(token)


def time_left() -> float:
    """Seconds until whoever asked goes on: a wait that is longer is one for nothing."""
    return _ENDS.get() - asyncio.get_running_loop().time()


_CUTTABLE: ContextVar[bool] = ContextVar("cuttable", default=False)


@contextmanager
def cuttable(drafts: bool) -> Generator[None]:
    """In this block a call that does not fit is made again, if *drafts* can be cut for it."""
    token = _CUTTABLE.set(drafts)
    try:
        yield
    finally:
        _CUTTABLE.reset(token)


def drafts_can_be_cut() -> bool:
    """Whether whoever asks would rather cut drafts than have a shorter answer."""
    return _CUTTABLE.get()


class _Company:
    """The calls of a layer that have answered or still may, and how many answers it needs."""

    __slots__ = ("_alive", "_quorum")

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._alive: set[Seat] = set()

    def joined(self, seat: Seat) -> None:
        self._alive.add(seat)

    def left(self, seat: Seat) -> None:
        self._alive.discard(seat)

    def spares(self, seat: Seat) -> bool:
        """Whether the others are enough."""
        return len(self._alive - {seat}) >= self._quorum


_PLACE: ContextVar[tuple[_Company, Seat] | None] = ContextVar("place", default=None)
"""The layer and the seat in it that a call is made for."""


def accompanied(request: Request) -> bool:
    """Whether *request* is a draft that its layer can do without: others answer, or still may."""
    place = _PLACE.get()
    return request.draft and place is not None and place[0].spares(place[1])


def stands_back(request: Request) -> bool:
    """The same; and if so, the others are told at once that this one will not answer."""
    place = _PLACE.get()
    if place is None or not accompanied(request):
        return False
    company, seat = place
    company.left(seat)
    return True


class Round(NamedTuple):
    """What a layer gave: proposals in the order of its proposers, and what all its calls cost."""

    proposals: tuple[Completion, ...]
    lost: tuple[ModelError, ...]
    charges: tuple[Charge, ...]


def reading(synthesis: Synthesis, request: Request) -> Show:
    """*request* as each model can take it in: fitted to its window, without what it cannot see."""

    size = weight(request)

    async def show(model: Model, proposals: Sequence[Completion], persona: str | None) -> Request:
        drafts = sum(len(proposal.text) for proposal in proposals)
        return await apart(size + drafts, made, model, proposals, persona)

    def made(model: Model, proposals: Sequence[Completion], persona: str | None) -> Request:
        read = blinded(request) if sees(model) is False else request
        # Before the proposals are in it: behind them it would pass for the end of the last.
        read = with_system(read, inert_text(persona)) if persona else read
        return shown(synthesis, read, proposals, window(model))

    return show


def stand_in_notices(model: Model, asked: Request) -> tuple[str, ...]:
    """What is to be said of a request in which text stands in for what *model* cannot see."""
    return (NO_PICTURES,) if sees(model) is False and is_blinded(asked) else ()


class Descent(NamedTuple):
    """What all the layers gave: the last one's proposals, what it cost, who was left out."""

    proposals: tuple[Completion, ...]
    charges: tuple[Charge, ...]
    degraded: tuple[str, ...]


async def descend(
    layers: Sequence[Layer],
    synthesis: Synthesis,
    request: Request,
    emit: Emit | None,
    *,
    answers: bool = False,
) -> Descent:
    """Down the layers, each shown what the one before it said. *answers*: see ``propose``."""
    down = Descent((), (), ())
    show = reading(synthesis, request)
    try:
        for depth, layer in enumerate(layers, start=1):
            last = answers and depth == len(layers)
            found = await propose(layer, show, down.proposals, depth=depth, emit=emit, answers=last)
            less = [f"layer {depth}: {e.model} failed: {e}" for e in found.lost]
            if not last:  # the one that is chosen says it itself
                drafts = found.proposals
                less += [f"layer {depth}: {p.model}: {n}" for p in drafts for n in p.degraded]
            down = Descent(
                found.proposals, (*down.charges, *found.charges), (*down.degraded, *less)
            )
    except ModelError as error:
        raise error.paid(*down.charges) from None
    except asyncio.CancelledError as left:
        bill(left, *down.charges)
        raise
    return down


async def propose(
    layer: Layer,
    show: Show,
    before: Sequence[Completion],
    *,
    depth: int,
    emit: Emit | None,
    answers: bool = False,
) -> Round:
    """
    Ask every proposer at once; answers keep the order of the proposers.

    *answers*: one of the proposals will be the answer as it is, so what the caller asks of an
    answer (sampling, tools, response format) is asked of each. Raises QuorumNotMetError when
    fewer than the quorum answer, with every cause.
    """
    cut: set[Seat] = set()
    tasks: dict[Seat, _Task] = {}
    company = _Company(layer.quorum)
    try:
        async with asyncio.TaskGroup() as group:
            with within(layer.deadline):
                for index, (call, draw) in enumerate(_drawn(layer.calls)):
                    seat = Seat(depth, index, "proposer")
                    company.joined(seat)
                    asked = _ask(call, show, before, draw, seat, company, cut, emit, answers)
                    tasks[seat] = group.create_task(asked)
            await _settled(tasks, layer, cut)
    except asyncio.CancelledError as left:
        bill(left, *(charge for task in tasks.values() for charge in _charges(task)))
        raise
    except BaseExceptionGroup as errors:  # not a failed call: a wrong setup, a cap, a bug
        raise errors.exceptions[0] from None
    outcomes = [task.result() for task in tasks.values()]
    proposals = tuple(o for o in outcomes if isinstance(o, Completion))
    lost = tuple(o for o in outcomes if isinstance(o, ModelError))
    charges = tuple(charge for outcome in outcomes for charge in outcome.charges)
    if emit:
        emit(LayerFinished(depth, len(proposals), len(outcomes)))
    if len(proposals) < layer.quorum:
        raise QuorumNotMetError(depth, layer.quorum, len(proposals), lost, charges, late=bool(cut))
    return Round(proposals, lost, charges)


async def _ask(
    proposer: Proposer,
    show: Show,
    before: Sequence[Completion],
    draw: _Draw,
    seat: Seat,
    company: _Company,
    cut: set[Seat],
    emit: Emit | None,
    answers: bool,
) -> Completion | ModelError:
    model = proposer.model
    _PLACE.set((company, seat))  # of this task and those that it begins
    try:
        answer = await _shown_to(proposer, show, before, draw, seat, emit, answers)
    except ModelError as error:
        failed = error
    except asyncio.CancelledError as left:
        task = asyncio.current_task()
        if seat not in cut or task is None or task.uncancel() > 0:
            raise
        lost = tuple(charge._replace(outcome="lost") for charge in billed(left))
        failed = TimedOutError("cut off by the layer's patience or deadline", charges=lost)
        leave(failed, partial(left))
    else:
        company.joined(seat)  # also when a member of it stood back
        if not answers:
            quote_draft(answer.text)  # now, while others still write
        if emit:
            emit(Proposal(answer, (seat,)))
        return answer
    failed.model = failed.model or model.name
    company.left(seat)
    kept = None if answers else _salvaged(failed)
    if emit and kept:
        emit(Noticed(model.name, kept.degraded[0], (seat,)))
        emit(Proposal(kept, (seat,)))
    elif emit:
        emit(Failure(model.name, failed, (seat,)))
    return kept or failed


async def _shown_to(
    proposer: Proposer,
    show: Show,
    before: Sequence[Completion],
    draw: _Draw,
    seat: Seat,
    emit: Emit | None,
    answers: bool,
) -> Completion:
    """One proposer's answer; once more where its window turns out to be smaller than known."""
    model = proposer.model
    inner = placed(emit, seat) if emit else None
    paid: tuple[Charge, ...] = ()
    for attempt in (1, 2):
        known = window(model)
        whole = await show(model, before, proposer.persona)
        asked = _for_proposer(proposer, whole, draw, answers)
        if emit:
            emit(
                Asked(model.name, asked, (seat,))
                if attempt == 1
                else Restarted(model.name, None, at=(seat,))
            )
            for notice in stand_in_notices(model, asked):
                emit(Noticed(model.name, notice, (seat,)))
        try:
            with cuttable(bool(before) and attempt == 1):
                answer = await model.complete(asked, inner)
        except ContextOverflowError as error:
            if attempt == 2 or not _to_be_cut(error, before, model, known):
                raise error.paid(*paid) from None
            paid += error.charges
        else:
            return replace(answer, charges=(*paid, *answer.charges)) if paid else answer
    raise AssertionError("unreachable: the second attempt either answers or raises")


def _to_be_cut(
    error: ModelError | None, drafts: Sequence[Completion], model: Model, known: int | None
) -> bool:
    """
    Whether a call that did not fit may fit now: with its drafts cut to a window other than the
    one *known* before, or with a shorter answer.
    """
    if not isinstance(error, ContextOverflowError) or not drafts or error.shown:
        return False
    return window(model) != known or error.limits.room is not None


def _salvaged(error: ModelError) -> Completion | None:
    """What a proposer had written when it stalled, broke off or was cut: a cut off proposal."""
    if not isinstance(error, UnavailableError) or len(error.partial.strip()) < SALVAGED:
        return None
    said = f"broke off ({error}): what it had written is used, marked as incomplete"
    return Completion(
        Message("assistant", error.partial),
        error.model or "",
        "length",
        error.charges,
        degraded=(said,),
    )


def _for_proposer(proposer: Proposer, request: Request, draw: _Draw, answers: bool) -> Request:
    """
    The request as one proposer gets it.

    The caller's sampling, tools and response format are for what *answers*, not for drafts.
    Only the seed goes to everyone: without it a run could not be repeated. A mixture that
    is itself drawn again asks its members for fresh draws.
    """
    number = request.draw * draw.of + draw.ordinal
    seed = proposer.sampling.seed if proposer.sampling.seed is not None else request.sampling.seed
    seed = None if seed is None else seed + number
    if answers:
        request = strip_provider_data(request, unknown_only=True)
        sampling = replace(request.sampling.over(proposer.sampling), seed=seed)
        return replace(request, sampling=sampling, draw=number, draft=True)
    sampling = proposer.sampling if seed is None else replace(proposer.sampling, seed=seed)
    return Request(strip_provider_data(request).messages, sampling, draw=number, draft=True)


class _Draw(NamedTuple):
    """The *ordinal*-th call to a model that is called *of* times in this layer."""

    ordinal: int
    of: int


def _drawn(calls: Sequence[Proposer]) -> list[tuple[Proposer, _Draw]]:
    """Number the calls to each model, also when it is listed more than once."""
    times: dict[int, int] = {}
    ordinals: list[int] = []
    for call in calls:
        ordinals.append(times.get(id(call.model), 0))
        times[id(call.model)] = ordinals[-1] + 1
    return [
        (call, _Draw(ordinal, times[id(call.model)]))
        for call, ordinal in zip(calls, ordinals, strict=True)
    ]


_Task = asyncio.Task[Completion | ModelError]


def _charges(task: _Task) -> tuple[Charge, ...]:
    """What a call cost, however it ended."""
    try:
        return task.result().charges
    except asyncio.CancelledError as left:
        return billed(left)


async def _settled(tasks: dict[Seat, _Task], layer: Layer, cut: set[Seat]) -> None:
    """Return when the layer may go on: all done, patience spent after a quorum, or deadline."""
    if layer.patience is None and layer.deadline is None:
        await asyncio.wait(tasks.values())
        return
    await asyncio.sleep(0)  # all begin: a call that never did could not say that it was cut off
    clock = asyncio.get_running_loop().time
    end = None if layer.deadline is None else clock() + layer.deadline
    patience = layer.patience
    waiting = set(tasks.values())
    while waiting and (end is None or clock() < end):
        left = None if end is None else end - clock()
        _, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if patience is not None and _answered(tasks.values()) >= layer.quorum:
            soon = clock() + patience
            end = soon if end is None else min(end, soon)
            patience = None
    for seat, task in tasks.items():
        if task in waiting:
            cut.add(seat)
            task.cancel()


def _answered(tasks: Iterable[_Task]) -> int:
    done = [t for t in tasks if t.done() and not t.cancelled() and not t.exception()]
    return sum(isinstance(task.result(), Completion) for task in done)


# ---- the last layer


async def aggregate(
    aggregator: Aggregator,
    show: Show,
    proposals: Sequence[Completion],
    *,
    depth: int,
    emit: Emit | None,
) -> Completion:
    """
    Have the aggregator write the answer, or its fallbacks in order.

    When a content filter stops it, it is asked again without a half of the proposals. When
    no model answers, the proposal closest to the others is the answer, marked as degraded;
    but not where a tool's call or a certain form was asked for, which no proposal has. An
    answer of which a person has seen a part is never begun again: then the error is raised.
    """
    last = _LastLayer(aggregator, show, depth, emit)
    models = (aggregator.model, *aggregator.fallbacks)
    for model in models:
        for kept in _subsets(proposals):
            without, known = len(proposals) - len(kept), window(model)
            answer = await last.asked(model, kept, without=without)
            if answer is None and _to_be_cut(last.error, kept, model, known):
                answer = await last.asked(model, kept, without=without, again=True)
            if answer is not None:
                return answer
            if not last.filtered:
                break
    return last.agreed(proposals)


class _LastLayer:
    """The attempts at an answer: what they cost, and what is to be said about them."""

    def __init__(self, aggregator: Aggregator, show: Show, depth: int, emit: Emit | None) -> None:
        self._aggregator = aggregator
        self._show = show
        self._emit = placed(emit, Seat(depth, 0, "aggregator")) if emit else None
        self._error: ModelError | None = None
        self._paid: tuple[Charge, ...] = ()
        self._degraded: tuple[str, ...] = ()
        self._replaceable = True

    @property
    def filtered(self) -> bool:
        return isinstance(self._error, ContentFilterError)

    @property
    def error(self) -> ModelError | None:
        """Why the last attempt failed."""
        return self._error

    async def asked(
        self,
        model: Model,
        proposals: Sequence[Completion],
        *,
        without: int,
        again: bool = False,
    ) -> Completion | None:
        """
        One attempt. None when it failed and another may be made; raises when none may. *again*:
        the same with its drafts cut to a window that only the last refusal told.
        """
        if again:
            self._degraded = self._degraded[:-1]
        if self._error is not None and self._emit:
            self._emit(Restarted(model.name, self._error))
        draft = False
        try:
            request = await self._show(model, proposals, None)
            if model is not self._aggregator.model:  # what no one knows the maker of is not its own
                request = strip_provider_data(request, unknown_only=True)
            self._replaceable = _free_text(request)
            draft = request.draft
            sampling = request.sampling.over(self._aggregator.sampling)
            request = replace(request, sampling=sampling)
            if self._emit:
                self._emit(Asked(model.name, request))
                for notice in stand_in_notices(model, request):
                    self._emit(Noticed(model.name, notice))
            with cuttable(bool(proposals) and not again):
                answer = await model.complete(request, self._emit)
        except asyncio.CancelledError as left:
            bill(left, *self._paid)
            raise
        except ModelError as error:
            self._failed(model, error)
            if error.shown and not draft:
                raise error.paid(*self._paid[: len(self._paid) - len(error.charges)]) from None
            return None
        if without:
            said = f"a content filter: {without} of the proposals were left out"
            self._degraded = (*self._degraded, said)
        return self._whole(answer)

    def _failed(self, model: Model, error: ModelError) -> None:
        error.model = error.model or model.name
        self._error = error
        self._paid = (*self._paid, *error.charges)
        self._degraded = (*self._degraded, f"the aggregator {model.name} failed: {error}")
        if self._emit:
            self._emit(Failure(model.name, error))

    def _whole(self, answer: Completion) -> Completion:
        if self._emit:
            self._emit(Aggregated(answer))
        return replace(
            answer,
            charges=(*self._paid, *answer.charges),
            degraded=(*self._degraded, *answer.degraded),
        )

    def agreed(self, proposals: Sequence[Completion]) -> Completion:
        """No aggregator answered: the proposal that agrees most with the others."""
        assert self._error is not None
        whole = [p for p in proposals if p.finish_reason == "stop"] or list(proposals)
        wrong = isinstance(self._error, RejectedError) and self._error.parameter is not None
        if not whole or wrong or not self._replaceable:
            self._error.charges = self._paid
            raise self._error
        best = whole[medoid([p.text for p in whole])]
        if self._emit:
            self._emit(Token(best.text, refusal=best.refusal))
        said = f"this is the proposal of {best.model}, the closest to the others"
        self._degraded = (*self._degraded, said)
        return self._whole(replace(best, charges=(), degraded=()))


def _free_text(request: Request) -> bool:
    """Whether any good text answers *request*: no tools, no form, nothing counted on."""
    form = (request.response_format or {}).get("type", "text")
    return form == "text" and not request.tools and not any(map(request.extra.get, FORMS))


def _subsets(proposals: Sequence[Completion]) -> Sequence[Sequence[Completion]]:
    """
    All proposals; then, for when a filter objects to one of them, smaller and smaller parts.

    The halves, then a quarter, an eighth …, then none: at most about log2 N further tries.
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
