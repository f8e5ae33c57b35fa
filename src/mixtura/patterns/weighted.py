"""Weighted: a vote in which each proposal counts by the probability that it is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.events import Emit
from mixtura.core.model import Model
from mixtura.core.roles import PlannedCall
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion, Json, Request, Sampling
from mixtura.patterns.answer_groups import AnswerReader, group_by_answer
from mixtura.patterns.choosing import (
    Chosen,
    JudgingChooser,
    Verdict,
    build_judged,
    fallback_verdict,
    with_tool_calls_as_text,
)
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.spec import FinalModel, PatternParts, PatternSpec
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.patterns.vote import check_extract_setting
from mixtura.prompts.synthesis import truth_prompt

ONE_TOKEN = Sampling(temperature=0.0, max_tokens=8)
"""The sampling of a verdict of one digit."""


@dataclass(frozen=True, slots=True)
class Weighted(JudgingChooser):
    """
    Confidence-informed self-consistency (Taubenfeld et al. 2025, arXiv 2502.06233, section 3): a
    vote in which a proposal weighs softmax(c / T). c is P(True): the probability of the one token
    with which *model* says that the proposal is correct, where its endpoint gives
    log-probabilities; elsewhere 1 or 0, as it says. n calls more.

    A proposal without a verdict has the mean weight of the others; that is said in ``degraded``.
    Of equal sums the first answer is taken, and of those who give it the most probable.
    """

    extract: Extract | AnswerReader = "text"
    temperature: float = 0.5
    sampling: Sampling = field(default=ONE_TOKEN)

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """A call for each proposal."""
        return [PlannedCall(self.model, self.sampling, reads=(i,)) for i in range(proposals)]

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """The proposal with the weightiest answer. Raises what a function *extract* raises."""
        groups = group_by_answer(proposals, self.extract)
        if not groups:
            return fallback_verdict(proposals, "the vote found no answer in any proposal")
        judges = [
            _TruthJudge(self.model, _parse_truth, [with_tool_calls_as_text(proposal)])
            for proposal in proposals
        ]
        error = await ask_judges(judges, truth_prompt, request, self.sampling, emit)
        truths = [judge.verdict for judge in judges]
        known = [truth for truth in truths if truth is not None]
        missing = len(truths) - len(known)
        problem = f"{self.name} gave no verdict on {pluralize_count(missing, 'proposal')}"
        problem += f": {error}" if error else ""
        if not known:
            return fallback_verdict(proposals, problem)
        weights = weigh_truths(truths, self.temperature)
        # Rounded: of equal sums the first answer is taken, not the one that rounding favours.
        best = max(groups, key=lambda group: round(sum(weights[i] for i in group.positions), 12))
        chosen = max(best.positions, key=weights.__getitem__)
        share = sum(weights[i] for i in best.positions)
        why = f"{share:.0%} of the weight for {to_one_line(best.answer)[:80]}"
        support = Support("weights", min(share, 1.0))
        return Verdict(chosen, why, (problem,) if missing else (), support)


class _TruthJudge(Judge[float]):
    """A judge that is asked for the probabilities of its tokens, too."""

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        asked = {"logprobs": True, "top_logprobs": 20, **request.extra}
        return await super().complete(replace(request, extra=asked), emit)


def _parse_truth(reply: Completion) -> float | None:
    """P(True) of a reply of one digit; 1 or 0 without log-probabilities; None for another reply."""
    said = reply.text.strip().strip(" .\"'`*")
    if said not in ("0", "1"):
        return None
    for token in reply.logprobs:
        if str(token.get("token", "")).strip() in ("0", "1"):
            probability = {"0": 0.0, "1": 0.0}
            for row in _alternative_tokens(token):
                digit = str(row.get("token", "")).strip()
                if digit in probability:
                    probability[digit] += math.exp(min(0.0, float(row["logprob"])))
            total = sum(probability.values())
            return probability["1"] / total if total > 0 else float(said)
    return float(said)


def _alternative_tokens(token: Json) -> list[Json]:
    """What the model could have said in this place, with what it said."""
    rows: list[Json] = list(token.get("top_logprobs") or ())
    if not any(row.get("token") == token.get("token") for row in rows):
        rows.append(token)
    return rows


def weigh_truths(truths: Sequence[float | None], temperature: float) -> list[float]:
    """The softmax of those that are known; each of the others has their mean. 1 in sum."""
    known = iter(softmax([truth for truth in truths if truth is not None], temperature))
    mean = 1 / sum(truth is not None for truth in truths)
    weights = [mean if truth is None else next(known) for truth in truths]
    total = sum(weights)
    return [weight / total for weight in weights]


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """The softmax of scores / *temperature*: weights that add up to 1."""
    top = max(scores)
    powers = [math.exp((score - top) / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


class WeightedSettings(msgspec.Struct, frozen=True):
    """The settings of `Weighted` in a file: *softness* is the softmax's temperature."""

    extract: str = "text"
    softness: Annotated[float, msgspec.Meta(gt=0, le=100)] = 0.5


def _make_chooser(judge: Model, parts: PatternParts) -> Weighted:
    settings = parts.settings
    return Weighted(judge, settings.extract, settings.softness, parts.sampling)


PATTERN = PatternSpec(
    name="weighted",
    help="a vote in which proposals count by the probability that they are right",
    kind=Chosen,
    build=build_judged(_make_chooser),
    settings=WeightedSettings,
    final_model=FinalModel(
        "judge", "the model that judges how likely a proposal is to be right", ONE_TOKEN
    ),
    final_step="weighs each proposal by the probability that it is right: the most weight wins",
    role="weighs",
    action="weighs the drafts",
    check=check_extract_setting,
)
