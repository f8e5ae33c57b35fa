"""Pairs that a judge compared, in a sample's metadata, and what they say of the judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inspect_ai.log import EvalSample

from mixtura.evals.findings import (
    JudgeBias,
    JudgeContext,
    estimate_known_mean,
    label_agreement,
    read_labels,
    score_metadata,
)
from mixtura.evals.judges import bias
from mixtura.evals.judges.pairwise import (
    AS_GIVEN,
    JudgeCall,
    PairJudgement,
    preferences_by_position,
)
from mixtura.evals.statistics.intervals import OptionalScore

LABELS = ("model", "other", "tie")
"""What people may say of a pair."""
_LABEL = {"first": "model", "second": "other", "tie": "tie", None: None}
_WORTH = {"first": 1.0, "second": 0.0, "tie": 0.5, None: None}


class JudgedTurn(NamedTuple):
    """One pair: the model's answer first, the other's second."""

    judgement: PairJudgement
    length: int
    other_length: int

    @property
    def consistent_verdict(self) -> float | None:
        """The verdict that all orders share, 1, 0 or 0.5; those that differ are a tie."""
        verdicts = {call.verdict for call in self.judgement.calls}
        if None in verdicts:
            return None
        return _WORTH[verdicts.pop()] if len(verdicts) == 1 else 0.5


def turns_to_dicts(turns: Sequence[JudgedTurn]) -> list[dict[str, Any]]:
    """Turns as plain data, for a score's metadata."""
    return [
        {
            "games": [
                {"swapped": call.swapped, "preference": call.preference, "reply": call.reply}
                for call in turn.judgement.calls
            ],
            "lengths": [turn.length, turn.other_length],
        }
        for turn in turns
    ]


def read_turns(sample: EvalSample) -> list[JudgedTurn]:
    """The same, read back; nothing where the sample failed."""
    return [
        JudgedTurn(
            PairJudgement(tuple(JudgeCall(**call) for call in row["games"])), *row["lengths"]
        )
        for row in score_metadata(sample).get("turns", ())
    ]


def judge_bias(samples: Sequence[EvalSample], side: JudgeContext) -> JudgeBias:
    """How far the judge can be trusted, by its verdicts on these pairs.

    Raises ConfigError for a file of labels that cannot be read.
    """
    turns = [turn for sample in samples for turn in read_turns(sample)]
    preferences = [turn.judgement.mean_preference for turn in turns]
    return JudgeBias(
        position=_position_bias(turns),
        first_place=estimate_known_mean(list(_first_place_preferences(turns))),
        length=_length_bias(turns, preferences),
        own_family=_own_family_bias(preferences, side),
        agreement=label_agreement(_judge_labels(samples), read_labels(side.labels, LABELS)),
    )


def _position_bias(turns: Sequence[JudgedTurn]) -> bias.PositionBias | None:
    first, second = preferences_by_position([turn.judgement for turn in turns])
    known = [pair for pair in zip(first, second, strict=True) if None not in pair]
    return bias.position_bias(first, second) if len(known) > 1 else None


def _first_place_preferences(turns: Sequence[JudgedTurn]) -> Iterator[OptionalScore]:
    """The preference for whatever stood first, of pairs that were judged in one order."""
    for turn in turns:
        if len(turn.judgement.calls) == 1:
            (call,) = turn.judgement.calls
            preference = call.preference
            yield preference if preference is None or not call.swapped else 1 - preference


def _length_bias(
    turns: Sequence[JudgedTurn], preferences: Sequence[OptionalScore]
) -> bias.LengthBias | None:
    measured = bias.length_bias(
        preferences, [turn.length for turn in turns], [turn.other_length for turn in turns]
    )
    return None if measured.slope is None else measured


def _own_family_bias(
    preferences: Sequence[OptionalScore], side: JudgeContext
) -> bias.IntervalEstimate | None:
    known = [score for score in preferences if score is not None]
    if not side.own or len(known) < 2:
        return None
    return bias.self_preference(known if side.own > 0 else [1 - score for score in known])


def _judge_labels(samples: Sequence[EvalSample]) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for sample in samples:
        for number, turn in enumerate(read_turns(sample), 1):
            preference = turn.judgement.mean_preference
            call = JudgeCall(AS_GIVEN, preference)
            labels.setdefault(f"{sample.id}/{number}", _LABEL[call.verdict])
    return labels
