"""A comparison's outcome: who scored what, each pair with its interval, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.evals.comparison.answers import ComparisonData, Key, Matchup, mean_if_known
from mixtura.evals.comparison.baselines import Participant
from mixtura.evals.comparison.result import (
    Comparison,
    ContenderRow,
    DecidedPrompt,
    PairedResult,
    PairwiseBias,
)
from mixtura.evals.judges import bias as judges
from mixtura.evals.judges import pairwise
from mixtura.evals.log_reader import (
    NOTHING_SCORED,
    SampleAnswer,
    repetition_notes,
    truncation_note,
)
from mixtura.evals.statistics import intervals, length_control

PROMPTS_SHOWN = 5
"""How many of the most clearly won, and lost, prompts are reported."""
MIN_LENGTH_PROMPTS = 30
"""With fewer prompts no length-controlled win rate is computed."""


# ---- the outcome


def build_comparison(
    field: ComparisonData,
    matches: Sequence[Matchup],
    *,
    spent: float | None,
    capped: int = 0,
    warnings: Sequence[str] = (),
) -> Comparison:
    """The comparison of *matches*, in their order; the first gives the verdict."""
    pairs = [pair for match in matches if (pair := _build_pair(field, match))]
    examples = [one for match in matches for one in _most_decided_prompts(field, match)]
    # Backwards, so that the first mixture stays where several have the same opponent.
    against = {theirs: ours for ours, theirs in reversed(matches)}
    return Comparison(
        task=field.task,
        measure="win rate" if field.judge else "score",
        judge=field.judge,
        prompts=len({sample for rows in field.answers.values() for sample, _ in rows}),
        contenders=tuple(
            _build_row(field, one, against.get(one.name, one.name))
            for one in field.entrants.values()
        ),
        pairs=tuple(pairs),
        told=tuple(examples),
        verdict=_overall_verdict(pairs, matches),
        bias=_judge_bias(field),
        warnings=(
            *warnings,
            *_missing_warnings(field),
            *_truncation_warnings(field),
            *_zero_score_warnings(field),
            *_repetition_warnings(field),
        ),
        spent_usd=spent,
        capped=capped,
    )


def _truncation_warnings(field: ComparisonData) -> list[str]:
    """A warning for each contender with answers cut off at the limit of tokens."""
    cut_counts = {
        name: sum(one.cut for one in field.answers[name].values()) for name in field.entrants
    }
    return [
        truncation_note(cut, len(field.answers[name]), to_one_line(name))
        for name, cut in cut_counts.items()
        if cut
    ]


def _zero_score_warnings(field: ComparisonData) -> list[str]:
    """A warning where no answer of any contender scored: the file may be wrong."""
    if field.judge:
        return []
    scores = [
        score for name in field.entrants for score in field.participant_scores(name, name).values()
    ]
    if len(scores) < 2 or any(scores):
        return []
    return [f"{NOTHING_SCORED}."]


def _repetition_warnings(field: ComparisonData) -> list[str]:
    """A warning where a prompt is in the file several times."""
    every = [one for rows in field.answers.values() for one in rows.values()]
    return repetition_notes({one.sample: one.question for one in every}.values())


def _build_row(field: ComparisonData, entrant: Participant, mixture: str) -> ContenderRow:
    scores = field.participant_scores(mixture, entrant.name)
    low, value, high = intervals.mean_interval(_scores_by_prompt(scores, list(scores)))
    if field.judge and entrant.name == mixture:
        low = high = value  # against itself: half, by definition
    there = field.given_answers(entrant.name)
    return ContenderRow(
        name=entrant.name,
        kind=entrant.kind,
        against=entrant.against,
        score=value,
        low=low,
        high=high,
        n=len(scores),
        missing=len(field.answers[entrant.name]) - len(scores),
        cost_usd=field.mean_dollars(entrant.name),
        seconds=mean_if_known([one.duration_seconds for one in there]),
        tokens=field.mean_tokens(entrant.name),
        calls=mean_if_known([float(len(list(one.leaf_calls()))) for one in there]),
    )


def _build_pair(field: ComparisonData, match: Matchup) -> PairedResult | None:
    """None where fewer than two prompts have a score on both sides."""
    ours, theirs = (field.participant_scores(match.ours, name) for name in match)
    keys = [key for key in ours if key in theirs]
    if len({sample for sample, _ in keys}) < 2:
        return None
    reach = (-0.5, 0.5) if field.judge else (-1.0, 1.0)  # a win rate is held against one half
    estimate = intervals.paired_difference(
        _scores_by_prompt(ours, keys), _scores_by_prompt(theirs, keys), reach=reach
    )
    by = [ours[key] - theirs[key] for key in keys]
    times, unit = field.cost_ratio(*match)
    return PairedResult(
        ours=match.ours,
        theirs=match.theirs,
        kind=field.entrants[match.theirs].kind,
        difference=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.prompts,
        wins=sum(one > 0 for one in by),
        losses=sum(one < 0 for one in by),
        draws=sum(one == 0 for one in by),
        times=times,
        times_the=unit,
        lc_win_rate=_length_controlled_rate(field, match),
        verdict=intervals.describe_difference(estimate, price=times, unit=unit),
    )


def _scores_by_prompt(scores: dict[Key, float], keys: Sequence[Key]) -> list[list[float]]:
    """Scores by prompt, its epochs together; where one is missing, not a number."""
    epochs = max((epoch for _, epoch in keys), default=0)
    there = set(keys)
    # Epochs of one prompt are no prompts of their own: together they are one row of the bootstrap.
    return [
        [
            scores[key] if key in there else math.nan
            for key in ((sample, e + 1) for e in range(epochs))
        ]
        for sample in dict.fromkeys(sample for sample, _ in keys)
    ]


def _length_controlled_rate(field: ComparisonData, match: Matchup) -> float | None:
    """The win rate that a fit predicts for answers of equal length; None without a judge."""
    if field.judge is None:
        return None
    theirs = field.participant_scores(*match)
    if len(theirs) < MIN_LENGTH_PROMPTS:
        return None
    mine, other = (field.answers[name] for name in match)
    lengths = length_control.length_differences(
        np.array([float(len(other[key].text)) for key in theirs]),
        np.array([float(len(mine[key].text)) for key in theirs]),
    )
    # The scores are the opponent's; its win is the mixture's loss.
    wins = np.array([1 - value for value in theirs.values()])
    return length_control.average_fit(wins, lengths).win_rate / 100


def _most_decided_prompts(field: ComparisonData, match: Matchup) -> list[DecidedPrompt]:
    """The prompts that were won by most, and those that were lost by most."""
    ours, theirs = (field.participant_scores(match.ours, name) for name in match)
    by = {key: ours[key] - theirs[key] for key in ours if key in theirs}
    won = sorted((key for key in by if by[key] > 0), key=lambda key: -by[key])
    lost = sorted((key for key in by if by[key] < 0), key=lambda key: by[key])
    return [
        _decided_prompt(field, match, key, by[key])
        for key in won[:PROMPTS_SHOWN] + lost[:PROMPTS_SHOWN]
    ]


def _decided_prompt(field: ComparisonData, match: Matchup, key: Key, by: float) -> DecidedPrompt:
    mine, other = (field.answers[name][key] for name in match)
    return DecidedPrompt(
        ours=match.ours,
        theirs=match.theirs,
        sample=key[0],
        question=mine.question,
        target=mine.target,
        by=by,
        our_answer=mine.text,
        their_answer=other.text,
    )


def _overall_verdict(pairs: Sequence[PairedResult], matches: Sequence[Matchup]) -> str:
    """One sentence on the first pair: a mixture against its best member, where it has members."""
    if not pairs or not matches or (pairs[0].ours, pairs[0].theirs) != matches[0]:
        return "No result: fewer than two prompts have a score on both sides"
    first = pairs[0]
    role = ", its best member" if first.kind == "member" else ""
    return f"{first.ours} against {first.theirs}{role}: {first.verdict}"


def _judge_bias(field: ComparisonData) -> PairwiseBias | None:
    """The judge's bias over every pair that it read in both orders."""
    read = [
        (one, len(field.answers[ours][key].text), len(field.answers[theirs][key].text))
        for (ours, theirs), judgements in field.judgements.items()
        for key, one in judgements.items()
    ]
    first, second = pairwise.preferences_by_position([one for one, _, _ in read])
    if sum(a is not None and b is not None for a, b in zip(first, second, strict=True)) < 2:
        return None
    position = judges.position_bias(first, second)
    length = judges.length_bias(
        [one.mean_preference for one, _, _ in read],
        [float(mine) for _, mine, _ in read],
        [float(other) for _, _, other in read],
    )
    return PairwiseBias(
        position_shift=position.shift.value,
        consistent=position.consistent,
        first=position.first,
        second=position.second,
        length_correlation=length.correlation,
        length_slope=length.slope.value if length.slope else None,
    )


def _missing_warnings(field: ComparisonData) -> list[str]:
    """For each contender how many scores are missing, and the reason of the first."""
    warnings: list[str] = []
    for name, rows in field.answers.items():
        lost = [
            one.missing for one in rows.values() if not one.has_answer or _is_unscored(field, one)
        ]
        if lost:
            why = to_one_line(lost[0]) or "no reason was given"
            warnings.append(
                f"{name}: {len(lost)} of {pluralize_count(len(rows), 'answer')} missing: {why}"
            )
    for (ours, theirs), judgements in field.judgements.items():
        lost = [one.missing_reason for one in judgements.values() if one.mean_preference is None]
        if lost:
            warnings.append(
                f"{ours} and {theirs}: {len(lost)} of {len(judgements)} pairs have no verdict:"
                f" {lost[0]}"
            )
    return warnings


def _is_unscored(field: ComparisonData, one: SampleAnswer) -> bool:
    return field.judge is None and one.score is None
