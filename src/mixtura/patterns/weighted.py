"""Weighted: a vote in which each proposal counts by the probability that it is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.events import Emit
from mixtura.core.model import Model
from mixtura.core.roles import PlannedCall
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion, Json, Request, Sampling
from mixtura.patterns.answer_groups import AnswerGroup, AnswerReader, group_by_answer
from mixtura.patterns.choosing import (
    JudgingChooser,
    Verdict,
    fallback_verdict,
    with_tool_calls_as_text,
)
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.spec import FinalModel, PatternSpec
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.patterns.vote import ExtractSettings
from mixtura.prompts.synthesis import truth_prompt

ONE_TOKEN = Sampling(temperature=0.0, max_tokens=8)
"""The sampling of a verdict of one digit."""

Confidence = Literal["p-true", "tokens", "self-certainty"]
"""What a proposal's weight is made of."""

TOP_TOKENS = 5
"""So many of the likeliest tokens are asked for in each place of a proposal."""
GROUP_TOKENS = 2048
"""Tokens of a group, of which the least confident one decides: those of the method's authors."""
LEAST_LOGPROB = -30.0
"""Some endpoints write -9999 for a token that is all but impossible: one would outweigh a text."""
BORDA_POWER = 0.5
"""Of a rank's votes: at 0 all ranks count alike, the higher it is, the more the first decide."""


@dataclass(frozen=True, slots=True)
class Weighted(JudgingChooser):
    """
    Confidence-informed self-consistency (Taubenfeld et al. 2025, arXiv 2502.06233, section 3): a
    vote in which a proposal weighs softmax(c / T). c is P(True): the probability of the one token
    with which *model* says that the proposal is correct, where its endpoint gives
    log-probabilities; elsewhere 1 or 0, as it says. n calls more.

    Two other kinds of *confidence* come from the log-probabilities of the proposals' own tokens
    and take no call. ``tokens`` (Fu et al. 2025, arXiv 2508.15260): a weight is a proposal's
    confidence in its least confident group of tokens, a token's being the mean of -log p of the
    likeliest ones in its place. ``self-certainty`` (Kang et al. 2025, arXiv 2502.18581): by rank in
    the mean of the same over all tokens, (n - rank + 1) ** 0.5. Where a proposal has none, *model*
    is asked for all of them after all, and ``degraded`` says so.

    A proposal without a verdict has the mean weight of the others; that is said in ``degraded``.
    Of equal sums the first answer is taken, and of those who give it the most probable.
    """

    extract: Extract | AnswerReader = "text"
    temperature: float = 0.5
    sampling: Sampling = field(default=ONE_TOKEN)
    confidence: Confidence = "p-true"

    @property
    def proposal_extra(self) -> Json:
        """Log-probabilities, where they are weighed."""
        return {} if self.confidence == "p-true" else {"logprobs": True, "top_logprobs": TOP_TOKENS}

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """A call for each proposal; at most, where their own tokens are weighed."""
        return [PlannedCall(self.model, self.sampling, reads=(i,)) for i in range(proposals)]

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """The proposal with the weightiest answer. Raises what a function *extract* raises."""
        groups = group_by_answer(proposals, self.extract)
        if not groups:
            return fallback_verdict(proposals, "the vote found no answer in any proposal")
        if self.confidence == "p-true":
            return await self._weigh_truths(request, proposals, groups, emit)
        measured = [token_confidences(proposal) for proposal in proposals]
        if missing := measured.count(()):
            said = f"{pluralize_count(missing, 'proposal')} without log-probabilities"
            verdict = await self._weigh_truths(request, proposals, groups, emit)
            notice = f"{said}: {self.name} was asked about each one instead"
            return verdict._replace(degraded=(notice, *verdict.degraded))
        return self._elect(groups, _weigh_tokens(measured, self.confidence))

    async def _weigh_truths(
        self,
        request: Request,
        proposals: Sequence[Completion],
        groups: Sequence[AnswerGroup],
        emit: Emit | None,
    ) -> Verdict:
        """The choice by P(True), which *model* is asked for."""
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
        verdict = self._elect(groups, weigh_truths(truths, self.temperature))
        return verdict._replace(degraded=(problem,)) if missing else verdict

    def _elect(self, groups: Sequence[AnswerGroup], weights: Sequence[float]) -> Verdict:
        # Rounded: of equal sums the first answer is taken, not the one that rounding favours.
        best = max(groups, key=lambda group: round(sum(weights[i] for i in group.positions), 12))
        chosen = max(best.positions, key=weights.__getitem__)
        share = sum(weights[i] for i in best.positions)
        why = f"{share:.0%} of the weight for {to_one_line(best.answer)[:80]}"
        return Verdict(chosen, why, (), Support("weights", min(share, 1.0)))


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


# ---- the confidence in a proposal's own tokens


def token_confidences(proposal: Completion) -> tuple[float, ...]:
    """For each token, the mean of -log p of the likeliest ones in its place; empty without them."""
    rows = [
        [max(LEAST_LOGPROB, float(row["logprob"])) for row in token.get("top_logprobs") or ()]
        for token in proposal.logprobs
    ]
    # One token alone says how likely it is, and nothing of what else there was.
    return tuple(-sum(row) / len(row) for row in rows if len(row) > 1)


def least_group_mean(confidences: Sequence[float], size: int = GROUP_TOKENS) -> float:
    """The mean of the least confident *size* tokens in a row; of all, where there are fewer."""
    size = min(size, len(confidences))
    whole = least = math.fsum(confidences[:size])
    for gone, come in zip(confidences, confidences[size:], strict=False):
        whole += come - gone
        least = min(least, whole)
    return least / size


def rank_votes(scores: Sequence[float], power: float = BORDA_POWER) -> list[float]:
    """The votes of each, (n - rank + 1) ** *power*; equal scores have the same rank."""
    return [(len(scores) - sum(other > one for other in scores)) ** power for one in scores]


def _weigh_tokens(measured: Sequence[Sequence[float]], kind: Confidence) -> list[float]:
    """Weights from the confidences of each proposal's tokens; 1 in sum."""
    if kind == "self-certainty":
        votes = rank_votes([math.fsum(row) / len(row) for row in measured])
    else:
        votes = [least_group_mean(row) for row in measured]
    total = math.fsum(votes)
    return [vote / total if total > 0 else 1 / len(votes) for vote in votes]


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """The softmax of scores / *temperature*: weights that add up to 1."""
    top = max(scores)
    powers = [math.exp((score - top) / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


class WeightedSettings(ExtractSettings, frozen=True):
    """The settings of `Weighted` in a file: *softness* is the softmax's temperature."""

    confidence: Confidence = "p-true"
    softness: Annotated[float, msgspec.Meta(gt=0, le=100)] = 0.5


def _make_chooser(judge: Model, *, softness: float, **more: Any) -> Weighted:
    return Weighted(judge, temperature=softness, **more)


def _weighs_tokens(settings: Any) -> bool:
    return settings.confidence != "p-true"


def _describe_final_step(settings: WeightedSettings) -> str:
    by = (
        "its tokens' log-probabilities"
        if _weighs_tokens(settings)
        else "the probability that it is right"
    )
    return f"weighs each proposal by {by}: the most weight wins"


PATTERN = PatternSpec(
    name="weighted",
    help="a vote in which proposals count by the probability that they are right",
    chooser=_make_chooser,
    settings=WeightedSettings,
    final_model=FinalModel(
        "judge", "the model that judges how likely a proposal is to be right", ONE_TOKEN
    ),
    describe_final_step=_describe_final_step,
    action="weighs the drafts",
    may_stop_early=_weighs_tokens,
)
