"""Pairs that a judge compared, in a sample's metadata, and what they say of the judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inspect_ai.log import EvalSample

from mixtura.evals import judges
from mixtura.evals.findings import Bias, Side, agreement, estimated, labelled, metadata
from mixtura.evals.pairwise import AS_GIVEN, Game, Judged, by_place
from mixtura.evals.stats import Graded

LABELS = ("model", "other", "tie")
"""What people may say of a pair."""
_LABEL = {"first": "model", "second": "other", "tie": "tie", None: None}
_WORTH = {"first": 1.0, "second": 0.0, "tie": 0.5, None: None}


class Turn(NamedTuple):
    """One pair: the model's answer first, the other's second."""

    judged: Judged
    length: int
    other_length: int

    @property
    def consistent(self) -> float | None:
        """The verdict that all orders share, 1, 0 or 0.5; those that differ are a tie."""
        verdicts = {game.verdict for game in self.judged.games}
        if None in verdicts:
            return None
        return _WORTH[verdicts.pop()] if len(verdicts) == 1 else 0.5


def written(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns as plain data, for a score's metadata."""
    return [
        {
            "games": [
                {"swapped": game.swapped, "preference": game.preference, "reply": game.reply}
                for game in turn.judged.games
            ],
            "lengths": [turn.length, turn.other_length],
        }
        for turn in turns
    ]


def turns_of(sample: EvalSample) -> list[Turn]:
    """The same, read back; nothing where the sample failed."""
    return [
        Turn(Judged(tuple(Game(**game) for game in row["games"])), *row["lengths"])
        for row in metadata(sample).get("turns", ())
    ]


def bias(samples: Sequence[EvalSample], side: Side) -> Bias:
    """How far the judge can be trusted, by what it said of these pairs."""
    turns = [turn for sample in samples for turn in turns_of(sample)]
    said = [turn.judged.preference for turn in turns]
    return Bias(
        position=_position(turns),
        first_place=estimated(list(_first_places(turns))),
        length=_length(turns, said),
        own_family=_own_family(said, side),
        agreement=agreement(_labels(samples), labelled(side.labels, LABELS)),
    )


def _position(turns: Sequence[Turn]) -> judges.PositionBias | None:
    first, second = by_place([turn.judged for turn in turns])
    known = [pair for pair in zip(first, second, strict=True) if None not in pair]
    return judges.position_bias(first, second) if len(known) > 1 else None


def _first_places(turns: Sequence[Turn]) -> Iterator[Graded]:
    """The preference for whatever stood first, of pairs that were judged in one order."""
    for turn in turns:
        if len(turn.judged.games) == 1:
            (game,) = turn.judged.games
            said = game.preference
            yield said if said is None or not game.swapped else 1 - said


def _length(turns: Sequence[Turn], said: Sequence[Graded]) -> judges.LengthBias | None:
    found = judges.length_bias(
        said, [turn.length for turn in turns], [turn.other_length for turn in turns]
    )
    return None if found.slope is None else found


def _own_family(said: Sequence[Graded], side: Side) -> judges.Estimate | None:
    known = [score for score in said if score is not None]
    if not side.own or len(known) < 2:
        return None
    return judges.self_preference(known if side.own > 0 else [1 - score for score in known])


def _labels(samples: Sequence[EvalSample]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for sample in samples:
        for number, turn in enumerate(turns_of(sample), 1):
            said = turn.judged.preference
            game = Game(AS_GIVEN, said)
            found.setdefault(f"{sample.id}/{number}", _LABEL[game.verdict])
    return found
