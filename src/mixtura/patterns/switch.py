"""Switch: members are asked one after another, until one agrees with itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.errors import QuorumNotMetError
from mixtura.core.roles import Layer, PlannedCall, Proposer, plan_layers_in_turn
from mixtura.core.types import Completion
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult
from mixtura.engine.pattern import Pattern
from mixtura.patterns.answer_groups import (
    AnswerGroup,
    AnswerReader,
    group_by_answer,
    largest_group,
)
from mixtura.patterns.choosing import fallback_verdict, is_finished
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.mux import MuxSettings, check_counted_draws
from mixtura.patterns.spec import PatternParts, PatternSpec, require_one_layer
from mixtura.prompts.synthesis import Synthesis


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Pattern):
    """
    ModelSwitch (Chen et al. 2025, arXiv 2504.00762, section 3): a member is asked k times; where
    the share of its most frequent answer reaches *threshold*, that is the answer, and no further
    member is called. Else the next one is. After the last one the answer is the one with the
    highest sum over members of p (1 - H / log k) f: p the member's *accuracy* (by model name, 1
    where nothing is known), f the share of its draws that give the answer, H their entropy.

    Each layer is one member with its draws, in the order of *accuracy*, the first as given. A
    member that fails is left out, and the answer says so in ``degraded``. Raises ValueError
    without layers.
    """

    threshold: float = 1.0
    extract: Extract | AnswerReader = "text"
    accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    name: str = "switch"
    proposals_answer = True

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)
        if not self.layers:
            raise ValueError("without proposers there is no member to ask")

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:  # noqa: ARG002
        """None: counting calls no model."""
        return ()

    def planned_calls(self) -> Sequence[PlannedCall]:
        """Every member's draws, at most; none reads another's, but waits for them."""
        return plan_layers_in_turn(self.layers)

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:  # noqa: ARG002
        """
        The draws of every member that was asked. Raises QuorumNotMetError where all failed.
        """
        proposals: tuple[Completion, ...] = ()
        notices: list[str] = []
        for depth, layer in step.layers_to_ask(self.layers):
            try:
                result = await step.ask_layer(
                    layer, (), depth=depth, answers=True, in_turn=self.layers
                )
            except QuorumNotMetError as error:
                if depth == len(self.layers) and not proposals:
                    raise
                notices.append(f"layer {depth}: {error.causes[0].model} failed: {error.causes[0]}")
                continue
            notices += [f"layer {depth}: {e.model} failed: {e}" for e in result.lost]
            proposals += result.proposals
            if self._find_agreed(result.proposals, layer.call_count):
                break
        return LayersResult(proposals, tuple(notices))

    def _find_agreed(self, draws: Sequence[Completion], asked: int) -> AnswerGroup | None:
        """The answer that enough of one member's *draws*, of so many *asked* for, give."""
        # A single draw always agrees with itself: it says nothing. Where all were cut off, the
        # next member may come to an end.
        if asked < 2 or not any(map(is_finished, draws)):
            return None
        groups = group_by_answer(draws, self.extract)
        modal = largest_group(groups) if groups else None
        return modal if modal and len(modal.positions) / asked >= self.threshold else None

    async def write_answer(self, step: FinalStep) -> Completion:
        """The answer of whom it stopped at, else the weighted one. Raises what *extract* raises."""
        proposals = step.proposals
        last = proposals[-1].model
        own = [i for i, proposal in enumerate(proposals) if proposal.model == last]
        asked = {layer.proposers[0].model.name: layer.call_count for layer in self.layers}
        # As when it stopped: by this member's draws alone, and one that was lost agrees with none.
        draws = max(len(own), asked.get(last, 0))
        if agreed := self._find_agreed([proposals[i] for i in own], draws):
            count = len(agreed.positions)
            why = f"{count} of {draws} draws of {last} agree"
            return step.choose(
                own[agreed.positions[0]], why, support=Support("votes", count / draws)
            )
        groups = group_by_answer(proposals, self.extract)
        if not groups:
            verdict = fallback_verdict(proposals, "switch found no answer in any proposal")
            return step.choose(verdict.which, verdict.why, degraded=verdict.degraded)
        weights = weigh_answers(proposals, groups, self.accuracy, asked)
        # Rounded: of equal weights the first answer is taken, not the one that rounding favours.
        best = max(range(len(groups)), key=lambda number: round(weights[number], 12))
        why = f"a weight of {weights[best]:.2f}, the highest of {len(groups)} answers"
        support = Support("weights", weights[best] / total) if (total := sum(weights)) else None
        return step.choose(groups[best].positions[0], why, support=support)


def weigh_answers(
    proposals: Sequence[Completion],
    groups: Sequence[AnswerGroup],
    accuracy: Mapping[str, float],
    asked: Mapping[str, int],
) -> list[float]:
    """
    The weight of each group's answer: the sum over members of p (1 - H / log k) f; k the draws that
    a member was *asked* for, by model name, of which lost ones agree with nothing. A member of one
    draw has no entropy and counts as half sure, so that it neither decides nor is ignored.
    """
    weights = [0.0] * len(groups)
    for model in dict.fromkeys(proposal.model for proposal in proposals):
        mine = {i for i, proposal in enumerate(proposals) if proposal.model == model}
        draws = max(len(mine), asked.get(model, 0))
        shares = [len(mine.intersection(group.positions)) / draws for group in groups]
        if draws > 1:
            entropy = -sum(share * math.log(share) for share in shares if share)
            sure = max(0.0, 1 - entropy / math.log(draws))
        else:
            sure = 0.5
        for number, share in enumerate(shares):
            weights[number] += accuracy.get(model, 1.0) * sure * share
    return weights


class SwitchSettings(MuxSettings, frozen=True):
    """The settings of `Switch` in a file."""

    threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


def _check_draws(settings: SwitchSettings, draws: Mapping[str, int]) -> None:
    check_counted_draws(settings.accuracy, draws, pattern="switch")


def _build(parts: PatternParts) -> Switch:
    known: Mapping[str, float] = parts.settings.accuracy
    (layer,) = parts.layers
    draws: dict[str, list[Proposer]] = {}
    for one in layer.proposers:
        draws.setdefault(one.model.name, []).append(one)
    members = [
        Layer(tuple(draws[name]), 1, layer.patience, layer.deadline, layer.learned)
        for name in sorted(draws, key=lambda name: -known.get(name, 1.0))
    ]
    return parts.build_kind(
        Switch, layers=tuple(members), threshold=parts.settings.threshold,
        extract=parts.settings.extract, accuracy=known,
    )  # fmt: skip


PATTERN = PatternSpec(
    help="members asked one after another until the draws of one agree",
    kind=Switch,
    build=_build,
    settings=SwitchSettings,
    final_step="the next member is asked where a member's draws differ",
    action="counts each member's draws",
    check_layers=require_one_layer("of members in their order"),
    check_draws=_check_draws,
    asks_in_turn=True,
    may_stop_early=True,
)
