"""What a mixture has to beat: its members, the same draws of one, mere choice, the same money."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mixtura.config.config import Config
from mixtura.config.plan import MemberSpec, MixtureSpec, PatternChoice
from mixtura.core.types import Sampling
from mixtura.patterns.final_answer import Extract

VOTE = "vote"
"""The pattern that has no model in its last seat."""
ParticipantKind = Literal["mixture", "member", "self", "rank", "vote", "money"]
"""
- mixture: what is compared.
- member: a model of it, alone, drawn as the mixture draws it.
- self: as many draws of its best member, brought together by that member (Self-MoA, Li et al.
  2025, arXiv 2502.00674).
- rank: its own proposals, of which its aggregator names one (Wang et al. 2024, section 3.3).
- vote: its own proposals, of which the most frequent answer counts.
- money: its best member, drawn as often as the mixture's money buys.
"""

VOTE_EXTRACTS: dict[str, Extract] = {
    "gsm8k": "number",
    "math": "boxed",
    "number": "number",
    "exact": "last-line",
}
"""What a vote counts, by task, or by the way in which rows of one's own are compared."""
MOST_DRAWS = 64
"""Of one model for one answer, however cheap it is."""


@dataclass(frozen=True, slots=True)
class Participant:
    """Someone who takes part, and which mixture they are an opponent of."""

    plan: MixtureSpec
    kind: ParticipantKind
    against: str = ""

    @property
    def name(self) -> str:
        return self.plan.name


def member_baselines(config: Config, plan: MixtureSpec) -> list[Participant]:
    """Every model in *plan*, those of mixtures inside it too, each alone.

    Raises ConfigError for a name that means nothing.
    """
    names = dict.fromkeys(_leaf_models(config, plan))
    return [
        Participant(
            _with_sampling(config.mixture_spec(name), _member_sampling(plan, name)),
            "member",
            plan.name,
        )
        for name in names
    ]


def _leaf_models(config: Config, plan: MixtureSpec) -> list[str]:
    seats = [seat.model for layer in plan.layers for seat in layer]
    names: list[str] = []
    for name in (*seats, *([plan.aggregator] if plan.has_final_model else [])):
        inner = config.mixture_spec(name)
        names += _leaf_models(config, inner) if inner.layers else [name]
    return names


def _member_sampling(plan: MixtureSpec, name: str) -> Sampling:
    """How *plan* draws *name*, in the first seat that it has."""
    # A model may have several seats; alone it is drawn as in the first.
    seats = [seat.sampling for layer in plan.layers for seat in layer if seat.model == name]
    last = plan.answer if plan.aggregator == name else Sampling()
    return (seats[0] if seats else last).with_defaults(plan.sampling)


def _with_sampling(plan: MixtureSpec, sampling: Sampling) -> MixtureSpec:
    return replace(plan, sampling=plan.sampling.with_defaults(sampling))


def choice_baselines(plan: MixtureSpec, extract: Extract) -> list[Participant]:
    """The same proposals, chosen from: nobody writes a new answer."""
    if not plan.layers or plan.pattern.kind != "mixture":
        return []
    # No fallbacks: a fallback would write an answer, and this contender only chooses.
    shared = replace(plan, fallbacks=(), answer=Sampling())
    ranked = replace(shared, name=f"{plan.name}/rank", pattern=PatternChoice.of("rank"))
    counting = PatternChoice.of(VOTE, extract=extract)
    voted = replace(shared, name=f"{plan.name}/vote", pattern=counting, aggregator=VOTE)
    return [Participant(ranked, "rank", plan.name), Participant(voted, "vote", plan.name)]


def self_moa_baseline(plan: MixtureSpec, best: str) -> Participant | None:
    """As many calls in the same layers, all of them *best*'s; None where that is *plan* itself."""
    layers = tuple(
        # No path: an error there would point at a line of the file that names someone else.
        tuple(replace(seat, model=best, path=()) for seat in layer)
        for layer in plan.layers
    )
    drawn = replace(
        plan, name=f"{plan.name}/self", layers=layers, aggregator=best, fallbacks=(),
        pattern=PatternChoice(), where=None,
    )  # fmt: skip
    itself = all(seat.model == best for layer in plan.layers for seat in layer)
    return None if itself and plan.aggregator == best else Participant(drawn, "self", plan.name)


def equal_cost_baseline(
    plan: MixtureSpec, best: str, times: float, extract: Extract, written: float
) -> Participant | None:
    """
    *best*, drawn as often as the mixture's money buys: *times* what one of its answers takes.

    The answer is what most draws say; for open text, which nobody can count, *best* brings them
    together: that takes an answer more, and every draw is read again, of which *written* is the
    share that it wrote. None where the money buys but one draw.
    """
    counted = extract != "text"
    # Counting takes no call, so half a draw more is rounded up; writing takes one, and reads all
    # draws.
    bought = times + 0.5 if counted else (times - 1) / (1 + written)
    draws = min(int(bought), MOST_DRAWS)
    if draws < 2:
        return None
    return Participant(
        MixtureSpec(
            f"{plan.name}/money",
            ((MemberSpec(best, draws, sampling=_member_sampling(plan, best)),),),
            VOTE if counted else best,
            sampling=plan.sampling,
            pattern=PatternChoice.of(VOTE, extract=extract) if counted else PatternChoice(),
        ),
        "money",
        plan.name,
    )
