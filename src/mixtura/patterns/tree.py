"""Tree: many proposals, merged in groups, then what came of these, until one call reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec

from mixtura.core.errors import QuorumNotMetError
from mixtura.core.roles import PlannedCall
from mixtura.core.types import Completion
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayerResult
from mixtura.patterns.choosing import medoid_position
from mixtura.patterns.spec import PatternSpec, require_proposers


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree(AggregatedPattern):
    """
    The aggregator merges the proposals in groups of at most *fan_in*, all groups at once, then
    the texts that come of it, and so on; the last *fan_in* or fewer become the answer (Faster-MoA:
    arXiv 2512.18126). No call reads more than *fan_in* texts, and the depth grows
    with the logarithm of their number.

    A group that the aggregator and its fallbacks fail on leaves its text closest to the others,
    and the answer says so in ``degraded``. Raises ValueError for a *fan_in* below 2.
    """

    fan_in: int = 4
    name: str = "tree"

    def __post_init__(self) -> None:
        AggregatedPattern.__post_init__(self)
        if self.fan_in < 2:
            raise ValueError("a group has at least two texts")

    @property
    def final_layers(self) -> tuple[str, ...]:
        size = self.layers[-1].call_count if self.layers else 0
        return (self.aggregator.model.name,) * count_tree_layers(size, self.fan_in)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last = self.aggregator
        calls: list[PlannedCall] = []
        begun, texts = (reads[-1] + 1 if reads else 0), reads
        while len(texts) > self.fan_in:
            groups = [[texts[i] for i in group] for group in split_evenly(len(texts), self.fan_in)]
            written: list[int] = []
            for group in groups:
                if len(group) == 1:
                    written.append(group[0])
                    continue
                written.append(begun + len(calls))
                calls.append(PlannedCall(last.model, last.sampling, reads=tuple(group)))
            texts = tuple(written)
        return [*calls, PlannedCall(last.model, last.sampling, reads=texts, answers=True)]

    async def condense_proposals(self, step: FinalStep) -> Sequence[Completion]:
        """The texts of the last level below the answer."""
        texts = step.proposals
        depth = len(self.layers) + 1
        while len(texts) > self.fan_in:
            groups = [[texts[i] for i in group] for group in split_evenly(len(texts), self.fan_in)]
            texts = await self._merge_groups(step, groups, depth)
            depth += 1
        return texts

    async def _merge_groups(
        self, step: FinalStep, groups: Sequence[Sequence[Completion]], depth: int
    ) -> tuple[Completion, ...]:
        """One text for each of *groups*, in their order."""
        last = self.aggregator
        done: dict[int, Completion] = {i: one[0] for i, one in enumerate(groups) if len(one) == 1}
        for model in (last.model, *last.fallbacks):
            left = [i for i in range(len(groups)) if i not in done]
            if not left:
                break
            try:
                result = await step.ask_readers(
                    model, [groups[i] for i in left], last.sampling, depth=depth
                )
            except QuorumNotMetError as error:
                result = LayerResult((), error.causes)
            step.add_notices(*result.notices(depth))
            done |= {
                left[place]: text
                for place, text in zip(result.places, result.proposals, strict=True)
            }
        for i in range(len(groups)):
            if i not in done:
                done[i] = groups[i][medoid_position(groups[i])]
                stands = "the text closest to the others stands in for it"
                step.add_notices(f"layer {depth}: group {i + 1} has no synthesis: {stands}")
        return tuple(done[i] for i in range(len(groups)))


def split_evenly(count: int, most: int) -> list[range]:
    """So many positions in as few groups of *most* as can be, whose sizes differ by 1 at most."""
    groups = -(-count // most)
    small, larger = divmod(count, groups)
    ends = [0]
    for number in range(groups):
        ends.append(ends[-1] + small + (number < larger))
    return [range(begun, end) for begun, end in pairwise(ends)]


def count_tree_layers(proposals: int, fan_in: int) -> int:
    """How many times texts are merged one after the other, the answer included."""
    layers = 1
    while proposals > fan_in:
        proposals = -(-proposals // fan_in)
        layers += 1
    return layers


class TreeSettings(msgspec.Struct, frozen=True):
    """The settings of `Tree` in a file."""

    fan_in: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 4


PATTERN = PatternSpec(
    help="a synthesis of many proposals, merged in groups of `fan_in`, then those",
    kind=Tree,
    settings=TreeSettings,
    aggregator="the model that merges each group and writes the answer",
    final_step="the aggregator, at most {fan_in} texts at a time",
    check_layers=require_proposers("it merges proposals"),
    final_layer_count=lambda settings, proposals: count_tree_layers(proposals, settings.fan_in),
)
