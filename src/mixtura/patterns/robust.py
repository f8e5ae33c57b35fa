"""Robust: an answer that one member which lies cannot turn."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec

from mixtura.core.errors import ModelError, QuorumNotMetError
from mixtura.core.events import Notice
from mixtura.core.roles import PlannedCall
from mixtura.core.similarity import cosine_similarity, tfidf_vectors
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.final_step import FinalStep
from mixtura.patterns.answer_groups import (
    SAME_TEXT_SIMILARITY,
    AnswerReader,
    write_calls_alike,
)
from mixtura.patterns.choosing import is_finished, with_tool_calls_as_text
from mixtura.patterns.defanged_writer import (
    DefangedProposals,
    DefangedWriter,
    count_defanged,
    defang_answers,
    defang_proposals,
)
from mixtura.patterns.final_answer import EXTRACTORS, Extract, extract_marked
from mixtura.patterns.spec import PatternSpec, require_proposers
from mixtura.patterns.vote import check_extract
from mixtura.patterns.web_addresses import SuspectAddresses

LEAST_SHARE = 0.5
"""A proposal that weighs less than this part of an equal share is left out."""
SHOWN_NAMES = 5
"""Suspect addresses that are named; of more their number is said."""


class WeightedProposals(NamedTuple):
    """The proposals as voters: how much each weighs, and the final answer that each gives."""

    proposals: tuple[Completion, ...]
    shares: tuple[float, ...]
    """Of all votes, 1 in sum: a member's draws share its one, unless there is no other member."""
    weights: tuple[float, ...]
    answers: tuple[str | None, ...]
    """All None where the answer cannot be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Robust(AggregatedPattern):
    """
    For members that may lie (Wolf et al. 2025, arXiv 2503.05856), as long as most do not.

    Each member has one vote, which its draws share. A proposal weighs its share times
    exp(a / *softness*), a how much it agrees with other members; those far below their share are
    left out. Where the answer can be checked (*extract*) and more than half of the votes are for
    the same one, a proposal with it is the answer. Else, where those left
    agree in substance, the aggregator writes the answer. Else it writes one without each of them
    in turn, and the one that agrees most with all proposals, by their weights, is the answer.

    Hosts and links that one member alone names, and the question does not, are defanged in what
    the aggregator reads and in the answer. Raises ValueError without layers or for a *softness*
    that is not above 0.
    """

    extract: Extract | AnswerReader | str = "auto"
    softness: float = 0.2
    name: str = "robust"
    proposals_answer = True

    def __post_init__(self) -> None:
        AggregatedPattern.__post_init__(self)
        if not self.layers:
            raise ValueError("without proposers nobody can be compared")
        if self.softness <= 0:
            raise ValueError("the softness of weights is above 0")

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.aggregator.model.name, self.aggregator.model.name)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        """At most: an answer without each proposal in turn; with fewer than three, one."""
        last = self.aggregator
        if len(reads) < 3:
            return [PlannedCall(last.model, last.sampling, reads=reads, answers=True)]
        parts = [tuple(one for one in reads if one != left_out) for left_out in reads]
        return [PlannedCall(last.model, last.sampling, reads=part, answers=True) for part in parts]

    async def write_answer(self, step: FinalStep) -> Completion:
        """A proposal or the aggregator's answer. Raises ModelError where nobody can write one."""
        size = estimate_request_bytes(step.request) + count_defanged(step.proposals)
        defanged = await run_in_thread_if_large(
            size, defang_proposals, step.request, step.proposals
        )
        self._report_suspects(step, defanged)
        # Also for a report of where they agree: people read it.
        step.proposals = step.member_proposals = defanged.proposals
        voters = self._weigh_proposals(step.proposals)
        elected = _find_majority(voters)
        if elected is not None:
            why = _describe_majority(voters, elected)
            return step.choose(elected, why, degraded=_defanged_notice(defanged.found[elected]))
        kept = self._filter_proposals(step, voters)
        if len(kept) < 3 or _agree_in_substance(voters, kept):
            if len(kept) < 3 and not _agree_in_substance(voters, kept):
                step.add_notices("two members differ: there is no majority to tell which is right")
            return await self._write_from(step, kept, defanged.suspects)
        return await self._leave_each_out(step, voters, kept, defanged.suspects)

    def _weigh_proposals(self, proposals: tuple[Completion, ...]) -> WeightedProposals:
        shown = [with_tool_calls_as_text(proposal) for proposal in proposals]
        answers = tuple(self._read_answer(one) for one in proposals)
        members = [one.model for one in proposals]
        shares = _share_votes(members)
        given = [share for share, answer in zip(shares, answers, strict=True) if answer is not None]
        if len(given) < 2 or not _is_half(sum(given)):
            answers = (None,) * len(proposals)
        agreement = _agreement_with_others([one.text for one in shown], answers, members)
        highest = max(agreement)
        weights = [
            share * math.exp((a - highest) / self.softness)
            for share, a in zip(shares, agreement, strict=True)
        ]
        total = sum(weights)
        return WeightedProposals(proposals, shares, tuple(w / total for w in weights), answers)

    def _read_answer(self, proposal: Completion) -> str | None:
        if not is_finished(proposal) or self.extract == "text":
            return None
        if calls := write_calls_alike(proposal):
            return calls
        if self.extract == "auto":
            return extract_marked(proposal.text)
        read = EXTRACTORS[self.extract] if isinstance(self.extract, str) else self.extract
        return read(proposal.text)

    def _report_suspects(self, step: FinalStep, defanged: DefangedProposals) -> None:
        if not (emit := step.emit_inside):
            return
        for member, named in defanged.named_by.items():
            said = f"only {member} names {_list_names(named)}: defanged for the aggregator"
            emit(Notice(self.name, said))

    def _filter_proposals(self, step: FinalStep, voters: WeightedProposals) -> list[int]:
        """The positions of those read, the most trusted first; most votes are always kept."""
        trust = [w / share for w, share in zip(voters.weights, voters.shares, strict=True)]
        order = sorted(range(len(trust)), key=lambda i: -trust[i])
        kept: list[int] = []
        votes = 0.0
        for i in order:
            if trust[i] < LEAST_SHARE and _is_most(votes):
                break
            kept.append(i)
            votes += voters.shares[i]
        if emit := step.emit_inside:
            for i in order[len(kept) :]:
                weight = f"{voters.weights[i]:.2f}, an equal share is {voters.shares[i]:.2f}"
                said = f"proposal {i + 1}, by {voters.proposals[i].model}, agrees little with the"
                emit(Notice(self.name, f"{said} others (weight {weight}): left out"))
        return kept

    async def _write_from(
        self, step: FinalStep, kept: Sequence[int], suspects: SuspectAddresses
    ) -> Completion:
        last = self.aggregator
        writers = [DefangedWriter(model, suspects) for model in (last.model, *last.fallbacks)]
        answer = await step.ask(
            writers[0], [step.proposals[i] for i in kept],
            sampling=last.sampling, fallbacks=tuple(writers[1:]),
        )  # fmt: skip
        found = [one for writer in writers for one in writer.found]
        step.add_notices(*_defanged_notice(found))
        return answer

    async def _leave_each_out(
        self,
        step: FinalStep,
        voters: WeightedProposals,
        kept: list[int],
        suspects: SuspectAddresses,
    ) -> Completion:
        """The answer without one of *kept* that agrees most with all proposals."""
        parts = [[step.proposals[i] for i in kept if i != left_out] for left_out in kept]
        drafts, problems = await self._ask_writers(step, parts)
        step.add_notices(*problems)
        if not drafts:
            step.announce()
            best = kept[0]
            why = "no aggregator answered: the proposal that agrees most with the others"
            return step.choose(best, why, degraded=(why,))
        defanged = await run_in_thread_if_large(
            count_defanged(drafts), defang_answers, drafts, suspects
        )
        step.proposals = tuple(draft for draft, _ in defanged)
        scores = self._score_drafts(step.proposals, voters)
        best = scores.index(max(scores))
        why = f"of {pluralize_count(len(scores), 'answer')}, each without one proposal, it agrees"
        return step.choose(
            best, f"{why} most with all of them", degraded=_defanged_notice(defanged[best][1])
        )

    async def _ask_writers(
        self, step: FinalStep, parts: Sequence[Sequence[Completion]]
    ) -> tuple[tuple[Completion, ...], list[str]]:
        """An answer for each of *parts*, by the aggregator, else by a fallback; what failed."""
        last, problems = self.aggregator, list[str]()
        error: ModelError | None = None
        for model in (last.model, *last.fallbacks):
            try:
                result = await step.ask_readers(
                    model, parts, last.sampling, depth=step.depth - 1, answers=True
                )
            except QuorumNotMetError as failed:
                error = failed.causes[0]
                problems.append(f"the aggregator {model.name} failed: {error}")
            else:
                problems += [f"{one.model} failed: {one}" for one in result.lost]
                return result.proposals, problems
        if error is not None and step.request.tools:
            raise error
        return (), problems

    def _score_drafts(
        self, drafts: Sequence[Completion], voters: WeightedProposals
    ) -> list[tuple[float, float]]:
        """For each draft: the weight of the proposals with its answer, then of its words."""
        checkable = any(answer is not None for answer in voters.answers)
        shown = [with_tool_calls_as_text(one) for one in (*voters.proposals, *drafts)]
        vectors = tfidf_vectors([one.text for one in shown])
        size = len(voters.proposals)
        scores: list[tuple[float, float]] = []
        for i, draft in enumerate(drafts, size):
            answer = self._read_answer(draft) if checkable else None
            same = [
                weight for weight, other in zip(voters.weights, voters.answers, strict=True)
                if answer is not None and other == answer
            ]  # fmt: skip
            words = (
                weight * cosine_similarity(vectors[i], vectors[j])
                for j, weight in enumerate(voters.weights)
            )
            scores.append((sum(same), sum(words)))
        return scores


# ---- what agreement is


def _share_votes(members: Sequence[str]) -> tuple[float, ...]:
    """Of all votes, 1 in sum, each proposal's: a member's draws share one, beside other members."""
    draws = Counter(members)
    return tuple(1 / len(draws) / draws[member] for member in members)


def _is_half(votes: float) -> bool:
    return votes > 0.5 - 1e-9


def _is_most(votes: float) -> bool:
    return votes > 0.5 + 1e-9


def _agreement_with_others(
    texts: Sequence[str], answers: Sequence[str | None], members: Sequence[str]
) -> list[float]:
    """
    How much each agrees with other members, with other draws where there is one member, 0 to 1:
    the share of their votes for its answer, where that can be checked; else the mean cosine with
    theirs.
    """
    checkable = any(answer is not None for answer in answers)
    rows = [] if checkable else tfidf_vectors(texts)
    alone = len(set(members)) == 1
    shares = _share_votes(members)
    agreement: list[float] = []
    for i, member in enumerate(members):
        others = [j for j, one in enumerate(members) if j != i and (alone or one != member)]
        if checkable:
            same = [
                shares[j] for j in others if answers[i] is not None and answers[j] == answers[i]
            ]
        else:
            same = [shares[j] * cosine_similarity(rows[i], rows[j]) for j in others]
        agreement.append(sum(same) / (sum(shares[j] for j in others) or 1))
    return agreement


def _count_votes(voters: WeightedProposals) -> dict[str, float]:
    """The votes for each answer, of 1 in all."""
    votes: defaultdict[str, float] = defaultdict(float)
    for answer, share in zip(voters.answers, voters.shares, strict=True):
        if answer is not None:
            votes[answer] += share
    return votes


def _find_majority(voters: WeightedProposals) -> int | None:
    """
    Of those with the answer that more than half of all votes are for, the one most like the others
    in its words; None without such an answer.
    """
    votes = _count_votes(voters)
    answer = max(votes, key=votes.__getitem__, default=None)
    if answer is None or not _is_most(votes[answer]):
        return None
    there = [i for i, one in enumerate(voters.answers) if one == answer]
    texts = [with_tool_calls_as_text(voters.proposals[i]).text for i in there]
    members = [voters.proposals[i].model for i in there]
    closeness = _agreement_with_others(texts, [None] * len(texts), members)
    return there[closeness.index(max(closeness))]


def _describe_majority(voters: WeightedProposals, elected: int) -> str:
    answer = voters.answers[elected] or ""
    members = len({one.model for one in voters.proposals})
    count = members if members > 1 else len(voters.proposals)
    votes = _count_votes(voters)[answer] * count
    return f"{votes:.3g} of {count} votes for {to_one_line(answer)[:80]}"


def _agree_in_substance(voters: WeightedProposals, kept: Sequence[int]) -> bool:
    """Whether all of *kept* give one answer or, where none can be checked, are alike in words."""
    if any(answer is not None for answer in voters.answers):
        return len({voters.answers[i] for i in kept}) == 1
    texts = [with_tool_calls_as_text(voters.proposals[i]).text for i in kept]
    rows = tfidf_vectors(texts)
    pairs = [(a, b) for n, a in enumerate(rows) for b in rows[:n]]
    return all(cosine_similarity(a, b) >= SAME_TEXT_SIMILARITY for a, b in pairs)


# ---- addresses


def _defanged_notice(found: Sequence[str]) -> tuple[str, ...]:
    if not found:
        return ()
    return (f"only one member names {_list_names(found)}: defanged in the answer",)


def _list_names(found: Sequence[str]) -> str:
    shown = ", ".join(found[:SHOWN_NAMES])
    more = len(found) - SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


# ---- in a file


class RobustSettings(msgspec.Struct, frozen=True):
    """The settings of `Robust` in a file."""

    extract: str = "auto"
    softness: Annotated[float, msgspec.Meta(gt=0)] = 0.2

    def __post_init__(self) -> None:
        check_extract(self.extract, "auto")


PATTERN = PatternSpec(
    help="what most members agree on; a host that only one of them names is defanged",
    kind=Robust,
    settings=RobustSettings,
    aggregator="the model that writes the answer where no vote decides",
    final_step="a vote where most say the same, else the aggregator, without each draft in turn",
    check_layers=require_proposers("they are compared"),
    may_stop_early=True,
    final_layer_count=2,
)
