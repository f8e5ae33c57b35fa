"""A pattern whose answer an aggregator writes: the part that mixtures of any shape share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixtura.core.arguments import check_kind
from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, PlannedCall
from mixtura.core.types import Completion
from mixtura.engine.final_step import FinalStep
from mixtura.engine.pattern import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatedPattern(Pattern):
    """
    A pattern with an *aggregator*, which writes the answer of what the last step reads. One with a
    `write_answer` of its own has `final_calls` of its own, so that its cost is known: a TypeError
    says so.
    """

    aggregator: Aggregator

    def __init_subclass__(cls) -> None:
        if "write_answer" in vars(cls) and cls.final_calls is AggregatedPattern.final_calls:
            problem = "has its own write_answer: it needs final_calls, which say what it asks"
            raise TypeError(f"{cls.__name__} {problem}")

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)  # `super()` finds no class where a dataclass has slots
        check_kind("aggregator", self.aggregator, Aggregator, "an Aggregator(model)")

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        return self.aggregator.fallbacks

    @property
    def sole_answerer(self) -> Model:
        return self.aggregator.model

    def without_proposers(self) -> AggregatorAlone:
        return AggregatorAlone(
            layers=(), name=self.name, aggregator=self.aggregator, instruction=self.instruction,
        )  # fmt: skip

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.aggregator.model.name,)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last = self.aggregator
        return [PlannedCall(last.model, last.sampling, reads=reads, answers=True)]

    async def write_answer(self, step: FinalStep) -> Completion:
        last = self.aggregator
        return await step.ask(
            last.model, step.proposals, sampling=last.sampling, fallbacks=last.fallbacks
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorAlone(AggregatedPattern):
    """An aggregator without proposers: what is left of a pattern where a cap allows no more."""
