"""Runs layers of proposers: all calls of a layer at once, with quorum, patience and deadline."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple, Self

from mixtura.core.errors import (
    ModelError,
    QuorumNotMetError,
)
from mixtura.core.events import (
    CallRole,
    Emit,
    LayerFinished,
    Position,
)
from mixtura.core.roles import Layer, Proposer
from mixtura.core.types import Completion, Request
from mixtura.engine.call_context import (
    LayerMembership,
    deadline_scope,
)
from mixtura.engine.kept_drafts import KeptDrafts, reuse_drafts
from mixtura.engine.prompt_builder import (
    PromptBuilder,
    make_prompt_builder,
)
from mixtura.engine.proposer import DrawNumber, LayerCalls, ask_proposer
from mixtura.engine.proposer_replacement import LayerSeats
from mixtura.engine.run_control import OpenLayer, control_run, current_control
from mixtura.engine.stragglers import (
    LateCalls,
    ProposerTask,
    calls_to_ask_again,
    wait_for_layer,
)
from mixtura.prompts.synthesis import (
    Synthesis,
)


class LayerResult(NamedTuple):
    """The result of a layer: proposals in the order of its proposers, errors."""

    proposals: tuple[Completion, ...]
    lost: tuple[ModelError, ...]
    places: tuple[int, ...] = ()
    """Which of the layer's calls the proposals are of."""

    @classmethod
    def of(cls, outcomes: Sequence[Completion | ModelError]) -> Self:
        """The result of a layer whose calls came to *outcomes*."""
        there = [(i, one) for i, one in enumerate(outcomes) if isinstance(one, Completion)]
        return cls(
            tuple(one for _, one in there),
            tuple(one for one in outcomes if isinstance(one, ModelError)),
            tuple(i for i, _ in there),
        )

    def notices(self, depth: int, *, drafts: bool = True) -> list[str]:
        """What was lost of layer *depth*; of *drafts* also what their authors say was lacking."""
        less = [f"layer {depth}: {error.model} failed: {error}" for error in self.lost]
        if drafts:
            less += [f"layer {depth}: {p.model}: {n}" for p in self.proposals for n in p.degraded]
        return less


class LayersResult(NamedTuple):
    """The result of all layers: the last one's proposals, what degraded them."""

    proposals: tuple[Completion, ...]
    degraded: tuple[str, ...]


async def run_layers(
    layers: Sequence[Layer],
    synthesis: Synthesis,
    request: Request,
    emit: Emit | None,
    *,
    to_answer: Request | None = None,
    drafts: KeptDrafts | None = None,
) -> LayersResult:
    """
    Run the layers in order, each with the last one's proposals. *to_answer*: the request itself,
    where the last layer's proposals may be the answer; the others are drafts all the same.
    *drafts*: proposals that are there already. Raises QuorumNotMetError when too few of a layer
    answer.
    """
    down = LayersResult((), ())
    build_prompt = make_prompt_builder(synthesis, request)
    for depth, layer in enumerate(layers, start=1):
        last = to_answer is not None and depth == len(layers)
        if to_answer is None and (skipped := find_reason_to_end(depth)):
            return LayersResult(down.proposals, (*down.degraded, skipped))
        if drafts and drafts.passes_over(depth):
            continue
        if to_answer is not None and last:
            build_prompt = make_prompt_builder(synthesis, to_answer)
        result = await run_proposer_layer(
            layer, build_prompt, down.proposals, depth=depth, emit=emit, answers=last, drafts=drafts
        )
        # The chosen proposal carries its own notices.
        less = result.notices(depth, drafts=not last)
        down = LayersResult(result.proposals, (*down.degraded, *less))
    return down


def find_reason_to_end(depth: int) -> str:
    """Why layer *depth* and those behind it are not asked any more; empty where they are."""
    control = current_control() if depth > 1 else None
    if control is None or not control.is_answering_now:
        return ""
    return f"layer {depth} was passed over: an answer was asked for before it"


async def run_proposer_layer(
    layer: Layer,
    build_prompt: PromptBuilder,
    before: Sequence[Completion],
    *,
    depth: int,
    emit: Emit | None,
    answers: bool = False,
    drafts: KeptDrafts | None = None,
    in_turn: Sequence[Layer] = (),
    role: CallRole = "proposer",
) -> LayerResult:
    """
    Call every proposer at once; proposals keep the order of the proposers.

    *answers*: one of the proposals will be the answer, so the caller's sampling, tools and
    response format apply to each. *drafts*: proposals that are there already. *in_turn*: the
    layers that ask the same of their proposers, one after another, where *layer* is the
    *depth*-th of them. *role*: what the calls do; those of judges are no layer that can be
    steered, nor one that is told to be finished. Raises QuorumNotMetError, with every cause, when
    fewer than the quorum answer.
    """
    calls = layer.proposer_calls
    seated = {Position(depth, index, role): call for index, call in enumerate(calls)}
    again = calls_to_ask_again(layer, seated)
    late = LateCalls(repeat_signals={position: asyncio.Event() for position in again})
    quorum = layer.quorum if drafts is None or drafts.asks_missing else 1
    # Those that may answer, before any call looks for the others.
    expected = [one for one in seated if drafts is None or drafts.may_answer(one)]
    membership = LayerMembership(quorum, expected)
    shared = LayerCalls(build_prompt, before, membership, late, emit, answers, drafts)
    draws = _number_draws(calls, in_turn[: depth - 1], in_turn[depth:])
    outcomes = await _ask_seats(layer, shared, seated, draws, quorum, role)
    result = LayerResult.of(outcomes)
    there = len(result.proposals)
    if emit and role == "proposer":
        emit(LayerFinished(depth, there, len(outcomes)))
    if there < quorum:
        raise QuorumNotMetError(depth, quorum, there, result.lost, late=bool(late.cut))
    return result


async def _ask_seats(
    layer: Layer,
    shared: LayerCalls,
    seated: Mapping[Position, Proposer],
    draws: Sequence[DrawNumber],
    quorum: int,
    role: CallRole,
) -> list[Completion | ModelError]:
    """The outcomes of all seats, once their calls are over or too late."""
    calls, late = tuple(seated.values()), shared.late
    control = current_control() if role == "proposer" else None
    seats = LayerSeats(len(calls), late, steered=control is not None)
    reach: AbstractContextManager[None] = nullcontext()
    tasks: dict[Position, ProposerTask] = {}
    try:
        async with asyncio.TaskGroup() as group:
            # Tasks inherit these: the control and the drafts of this run reach no mixture in a
            # seat, while retries inside need to know the deadline.
            with control_run(None), reuse_drafts(None), deadline_scope(layer.deadline):
                for (position, call), draw in zip(seated.items(), draws, strict=True):
                    ask = partial(ask_proposer, shared, position, draw)
                    tasks[position] = group.create_task(seats.run_seat(position, call, ask))
            if control is not None:
                await asyncio.sleep(0)  # a task cancelled before its start could not report it
                reach = control.hold_layer(OpenLayer(tasks, seated, seats, late, quorum))
            with reach:
                await wait_for_layer(tasks, calls, layer, late)
    except BaseExceptionGroup as errors:  # not a failed call: wrong configuration, a cap, a bug
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks.values()]


def _number_draws(
    calls: Sequence[Proposer], before: Sequence[Layer], behind: Sequence[Layer]
) -> list[DrawNumber]:
    """
    Number the calls to each model, also when it is listed more than once. They go on where those
    of the layers *before* end, which ask the same: with a seed or a cache, one number twice would
    be one answer twice.
    """
    # By identity: two configured models may share a name.
    times = Counter(id(call.model) for layer in before for call in layer.proposer_calls)
    ordinals: list[int] = []
    for call in calls:
        ordinals.append(times[id(call.model)])
        times[id(call.model)] += 1
    times.update(id(call.model) for layer in behind for call in layer.proposer_calls)
    return [
        DrawNumber(ordinal, times[id(call.model)])
        for call, ordinal in zip(calls, ordinals, strict=True)
    ]
