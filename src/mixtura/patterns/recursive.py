"""Recursive: a population of answers, each made anew from a few others, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Annotated

import msgspec

from mixtura.core.errors import ConfigError, QuorumNotMetError
from mixtura.core.roles import Aggregator, PlannedCall
from mixtura.core.types import Completion, Request
from mixtura.engine.aggregator import is_free_text
from mixtura.engine.final_step import FinalStep
from mixtura.engine.pattern import Pattern
from mixtura.patterns.answer_groups import AnswerReader
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.spec import FinalModel, PatternSpec, require_proposers
from mixtura.patterns.vote import ExtractSettings, Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Recursive(Pattern):
    """
    Recursive self-aggregation (Venkatraman et al. 2025, arXiv 2509.26626, section 3).

    The proposals are a population of N. In each of *steps* steps the aggregator writes N new ones,
    each from *subset* of them, drawn without replacement; a vote (*extract*) over the last
    population names the answer. N(T + 1) calls, T + 1 deep. The draw is a hash of the
    conversation and its seed, so that a run repeats. A call that fails leaves its step's population
    smaller, and the next step writes N again; where a whole step fails the vote is over the last
    population there is; the answer says either in ``degraded``. Raises ValueError without layers,
    or for a *subset* below 1.
    """

    aggregator: Aggregator
    subset: int = 4
    steps: int = 2
    extract: Extract | AnswerReader = "text"
    name: str = "recursive"
    proposals_answer = True

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)
        if not self.layers:
            raise ValueError("without proposers there is no population")
        if self.subset < 1 or self.steps < 1:
            raise ValueError("a step reads at least one proposal, and there is at least one step")

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (*(self.aggregator.model.name,) * self.steps, "vote")

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last, calls = self.aggregator, list[PlannedCall]()
        population = reads
        for step in range(self.steps):
            answers, size = step == self.steps - 1, min(self.subset, len(reads))
            begun = (reads[-1] + 1 if reads else 0) + len(calls)
            calls += [
                PlannedCall(
                    last.model, last.sampling, answers=answers, after=population,
                    # Drawn at random when it runs: here each is read as often as any other.
                    reads=tuple(population[(i + j) % len(reads)] for j in range(size)),
                )
                for i in range(len(reads))
            ]  # fmt: skip
            population = tuple(range(begun, begun + len(reads)))
        return calls

    async def write_answer(self, step: FinalStep) -> Completion:
        """
        One of the last population. Raises what a function *extract* raises, and ModelError where
        the last step fails and the request has tools or a response format.
        """
        size = len(step.proposals)
        random = Random(_seed(step.request))
        for number in range(1, self.steps + 1):
            subsets = [self._draw_subset(step.proposals, random) for _ in range(size)]
            try:
                result = await step.ask_readers(
                    self.aggregator.model, subsets, self.aggregator.sampling,
                    depth=len(self.layers) + number, answers=number == self.steps,
                )  # fmt: skip
            except QuorumNotMetError as error:
                # The texts between the first population and the last were asked for as drafts:
                # none of them has the tools or the form that the answer must have.
                if number > 1 and not is_free_text(step.request):
                    raise error.causes[0] from None
                step.add_notices(
                    f"step {number}: {error.causes[0].model} failed: {error.causes[0]}:"
                    " the vote is over the texts before it"
                )
                break
            step.add_notices(*(f"step {number}: {e.model} failed: {e}" for e in result.lost))
            step.proposals = result.proposals
        vote = Vote(self.extract)
        if len(step.proposals) == 1:
            return step.choose(0, "the only one")
        verdict = await vote.choose(step.request, step.proposals, None)
        return step.choose(
            verdict.which, verdict.why, degraded=verdict.degraded, support=verdict.support
        )

    def _draw_subset(
        self, proposals: Sequence[Completion], random: Random
    ) -> tuple[Completion, ...]:
        return tuple(random.sample(proposals, min(self.subset, len(proposals))))


def _seed(request: Request) -> int:
    """The same for the same conversation, seed and draw."""
    said = repr((request.sampling.seed, request.draw, [(m.role, m.text) for m in request.messages]))
    return int.from_bytes(blake2b(said.encode("utf-8", "replace"), digest_size=8).digest(), "big")


class RecursiveSettings(ExtractSettings, frozen=True):
    """The settings of `Recursive` in a file."""

    subset: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    steps: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2


MAX_CALLS = 10_000
"""Calls of one answer at most: a slip of the hand is refused when the file is read."""


def _check_draws(settings: RecursiveSettings, draws: Mapping[str, int]) -> None:
    calls = sum(draws.values()) * (settings.steps + 1)
    if calls > MAX_CALLS:
        problem = f"{settings.steps} steps of so many proposals make {calls:,} calls an answer"
        raise ConfigError(f"steps: {problem}: at most {MAX_CALLS:,}", key="steps")


PATTERN = PatternSpec(
    help="a population of answers, each made anew from a few others, then a vote",
    kind=Recursive,
    settings=RecursiveSettings,
    final_model=FinalModel("aggregator", "the model that writes each new answer of the population"),
    final_step="{steps} steps of as many new answers, each from {subset} others; then a vote",
    action="writes the population anew",
    check_layers=require_proposers("the population"),
    check_draws=_check_draws,
    final_layer_count=lambda settings, proposals: settings.steps + 1,  # noqa: ARG005
)
