"""Mux (a multiplexer): the answer of the member whose own draws agree most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.core.types import Completion
from mixtura.patterns.answer_groups import (
    AnswerGroup,
    AnswerReader,
    group_by_answer,
    largest_group,
)
from mixtura.patterns.choosing import (
    DrawCountingChooser,
    Verdict,
    fallback_verdict,
)
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.spec import PatternSpec, check_name
from mixtura.patterns.vote import ExtractSettings


@dataclass(frozen=True, slots=True)
class Mux(DrawCountingChooser):
    """
    SLM-MUX (Wang et al. 2025, arXiv 2510.05077, algorithm 1): no model reads another's answer.

    Each member answers k times; its confidence is the share of its draws that give its most
    frequent answer. The member with the highest confidence answers, with its first draw that
    gave that answer. Of equals, the one with the higher *accuracy* (on prompts with known
    answers, by model name; 1 where nothing is known) is taken, then the one whose answer more
    proposals give, then the first. A draw that was lost agrees with nothing.
    """

    name = "mux"
    extract: Extract | AnswerReader = "text"
    accuracy: Mapping[str, float] = field(default_factory=dict[str, float])

    def count_answers(self, proposals: Sequence[Completion]) -> Verdict:
        """The proposal of the most confident member. Raises what a function *extract* raises."""
        groups = group_by_answer(proposals, self.extract)
        members = rate_members(proposals, groups, self.asked)
        if not members:
            return fallback_verdict(proposals, "mux found no answer in any proposal")

        def rank(member: MemberConfidence) -> tuple[float, float, int]:
            known = self.accuracy.get(member.model, 1.0)
            return member.share, known, len(member.group.positions)

        best = max(members, key=rank)
        answer = to_one_line(best.group.answer)[:80]
        why = f"{best.agreeing} of {best.draws} draws of {best.model} say {answer}"
        # A single draw always agrees with itself: it says nothing.
        share = Support("votes", best.share) if best.draws > 1 else None
        return Verdict(best.position, why, support=share)


class MemberConfidence(NamedTuple):
    """How sure a member is of its most frequent answer."""

    model: str
    agreeing: int
    """Draws of this member that give that answer."""
    draws: int
    """Those that it was asked for, also where some were lost."""
    position: int
    """Of its first draw that gives it."""
    group: AnswerGroup
    """All proposals, of any member, that give it."""

    @property
    def share(self) -> float:
        return self.agreeing / self.draws


def rate_members(
    proposals: Sequence[Completion], groups: Sequence[AnswerGroup], asked: Mapping[str, int]
) -> list[MemberConfidence]:
    """
    The confidence of each member that gave an answer, in the order of their first draws; of more
    draws that it was *asked* for, by model name, the others were lost and agree with nothing.
    """
    rated: list[MemberConfidence] = []
    for model in dict.fromkeys(proposal.model for proposal in proposals):
        mine = {i for i, proposal in enumerate(proposals) if proposal.model == model}
        own = [
            AnswerGroup(group.answer, tuple(i for i in group.positions if i in mine))
            for group in groups
        ]
        modal = largest_group(own) if own else None
        if modal and modal.positions:
            whole = groups[own.index(modal)]
            agreeing, drawn = len(modal.positions), max(len(mine), asked.get(model, 0))
            rated.append(MemberConfidence(model, agreeing, drawn, modal.positions[0], whole))
    return rated


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class MuxSettings(ExtractSettings, frozen=True):
    """The settings of `Mux` in a file."""

    accuracy: dict[str, Share] = msgspec.field(default_factory=dict[str, float])


def check_counted_draws(
    accuracy: Mapping[str, float], draws: Mapping[str, int], *, pattern: str
) -> None:
    """Raises ConfigError where no member's draws could agree, or *accuracy* names no member."""
    for name in accuracy:
        check_name("accuracy", "member", name, draws)
    if draws and max(draws.values()) == 1:
        first = next(iter(draws))
        problem = f"'{pattern}' counts how far a member's own draws agree, and each is asked once"
        raise ConfigError(f"layers: {problem}: write '{first}*3'", key="layers")


def _check_draws(settings: MuxSettings, draws: Mapping[str, int]) -> None:
    check_counted_draws(settings.accuracy, draws, pattern="mux")


PATTERN = PatternSpec(
    name="mux",
    help="the answer of the member whose own draws agree most",
    chooser=Mux,
    settings=MuxSettings,
    final_step="the member whose draws agree most answers",
    action="counts each member's draws",
    check_draws=_check_draws,
)
