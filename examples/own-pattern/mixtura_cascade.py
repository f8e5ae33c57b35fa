"""Cascade: a cheap model answers; a strong one is asked where that does not pass a check."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from mixtura import (
    FinalModel,
    Layer,
    Model,
    Pattern,
    PatternSpec,
    PlannedCall,
    Proposer,
    answer_sync,
)
from mixtura.models.fake import Scripted


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade(Pattern):
    """A cheap model answers; a strong one is asked where that does not pass the check."""

    strong: Model
    check: Callable[[str], bool]
    name: str = "cascade"
    proposals_answer = True

    def final_calls(self, reads):
        return [PlannedCall(self.strong, answers=True)]

    async def write_answer(self, step):
        if self.check(step.proposals[0].text):
            return step.choose(0, "it passes the check")
        return await step.ask(self.strong)


class CascadeSettings(msgspec.Struct, frozen=True):
    contains: str


PATTERN = PatternSpec(
    help="a cheap model's, or a strong one's where that does not contain a text",
    kind=Cascade,
    build=lambda parts: Cascade(
        layers=parts.layers,
        strong=parts.final_model,
        check=lambda text: parts.settings.contains in text,
        name=parts.name,
    ),
    settings=CascadeSettings,
    final_model=FinalModel("strong", "who is asked where the check fails"),
    final_step="asked where no '{contains}' is in the answer",
    may_stop_early=True,
)

if __name__ == "__main__":
    cheap, strong = Scripted("cheap", ["41?"]), Scripted("strong", ["It is 42."])
    layers = (Layer((Proposer(cheap),)),)
    team = Cascade(layers=layers, strong=strong, check=lambda text: "42" in text)
    print(answer_sync(team, "6 x 7?").text)
