"""Runs layers of proposers: all calls of a layer at once, with quorum, patience and deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mixtura.core.errors import (
    ModelError,
    QuorumNotMetError,
)
from mixtura.core.events import (
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
from mixtura.engine.prompt_builder import (
    PromptBuilder,
    make_prompt_builder,
)
from mixtura.engine.proposer import DrawNumber, run_proposer
from mixtura.prompts.synthesis import (
    Synthesis,
)


class LayerResult(NamedTuple):
    """The result of a layer: proposals in the order of its proposers, errors."""

    proposals: tuple[Completion, ...]
    lost: tuple[ModelError, ...]


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
    answers: bool = False,
) -> LayersResult:
    """
    Run the layers in order, each with the last one's proposals. *answers*: the last layer's may
    be the answer. Raises QuorumNotMetError when too few of a layer answer.
    """
    down = LayersResult((), ())
    build_prompt = make_prompt_builder(synthesis, request)
    for depth, layer in enumerate(layers, start=1):
        last = answers and depth == len(layers)
        result = await run_proposer_layer(
            layer, build_prompt, down.proposals, depth=depth, emit=emit, answers=last
        )
        less = [f"layer {depth}: {e.model} failed: {e}" for e in result.lost]
        if not last:  # else the chosen proposal carries its own notices
            drafts = result.proposals
            less += [f"layer {depth}: {p.model}: {n}" for p in drafts for n in p.degraded]
        down = LayersResult(result.proposals, (*down.degraded, *less))
    return down


async def run_proposer_layer(
    layer: Layer,
    build_prompt: PromptBuilder,
    before: Sequence[Completion],
    *,
    depth: int,
    emit: Emit | None,
    answers: bool = False,
) -> LayerResult:
    """
    Call every proposer at once; proposals keep the order of the proposers.

    *answers*: one of the proposals will be the answer, so the caller's sampling, tools and
    response format apply to each. Raises QuorumNotMetError, with every cause, when fewer than
    the quorum answer.
    """
    cut: set[Position] = set()
    tasks: dict[Position, _ProposerTask] = {}
    membership = LayerMembership(layer.quorum)
    try:
        async with asyncio.TaskGroup() as group:
            # Tasks inherit the deadline as a context variable: retries inside need to know it.
            with deadline_scope(layer.deadline):
                for index, (call, draw) in enumerate(_number_draws(layer.proposer_calls)):
                    position = Position(depth, index, "proposer")
                    membership.add_member(position)
                    call_run = run_proposer(
                        call, build_prompt, before, draw, position, membership, cut, emit, answers
                    )
                    tasks[position] = group.create_task(call_run)
            await _wait_for_layer(tasks, layer, cut)
    except BaseExceptionGroup as errors:  # not a failed call: wrong configuration, a cap, a bug
        raise errors.exceptions[0] from None
    outcomes = [task.result() for task in tasks.values()]
    proposals = tuple(o for o in outcomes if isinstance(o, Completion))
    lost = tuple(o for o in outcomes if isinstance(o, ModelError))
    if emit:
        emit(LayerFinished(depth, len(proposals), len(outcomes)))
    if len(proposals) < layer.quorum:
        raise QuorumNotMetError(depth, layer.quorum, len(proposals), lost, late=bool(cut))
    return LayerResult(proposals, lost)


def _number_draws(calls: Sequence[Proposer]) -> list[tuple[Proposer, DrawNumber]]:
    """Number the calls to each model, also when it is listed more than once."""
    times: dict[int, int] = {}
    ordinals: list[int] = []
    for call in calls:
        # By identity: two configured models may share a name.
        ordinals.append(times.get(id(call.model), 0))
        times[id(call.model)] = ordinals[-1] + 1
    return [
        (call, DrawNumber(ordinal, times[id(call.model)]))
        for call, ordinal in zip(calls, ordinals, strict=True)
    ]


_ProposerTask = asyncio.Task[Completion | ModelError]


async def _wait_for_layer(
    tasks: dict[Position, _ProposerTask], layer: Layer, cut: set[Position]
) -> None:
    """Wait until all calls are done, patience after the quorum is over, or the deadline is."""
    if layer.patience is None and layer.deadline is None:
        await asyncio.wait(tasks.values())
        return
    await asyncio.sleep(0)  # all tasks start: one cancelled before its start could not report it
    clock = asyncio.get_running_loop().time
    end = None if layer.deadline is None else clock() + layer.deadline
    patience = layer.patience
    waiting = set(tasks.values())
    while waiting and (end is None or clock() < end):
        left = None if end is None else end - clock()
        _, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if patience is not None and _count_answers(tasks.values()) >= layer.quorum:
            # Patience begins once, at the quorum: later answers do not prolong it.
            soon = clock() + patience
            end = soon if end is None else min(end, soon)
            patience = None
    for position, task in tasks.items():
        if task in waiting:
            cut.add(position)
            task.cancel()


def _count_answers(tasks: Iterable[_ProposerTask]) -> int:
    done = [t for t in tasks if t.done() and not t.cancelled() and not t.exception()]
    return sum(isinstance(task.result(), Completion) for task in done)
