"""What answers say besides the score: other figures, tables, how far the judge can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inspect_ai.log import EvalSample

from mixtura.core.errors import ConfigError
from mixtura.evals.judges import bias as judges
from mixtura.evals.judges.bias import JudgeAgreement, LengthBias, PositionBias
from mixtura.evals.log_reader import score_or_reason
from mixtura.evals.rows import read_rows, source_location
from mixtura.evals.statistics import intervals
from mixtura.evals.statistics.intervals import IntervalEstimate, OptionalScore

Row = Mapping[str, Any]


class TableRow(NamedTuple):
    """A row of a table: the mean of *n* scores; None where there is none."""

    name: str
    value: float | None
    n: int


@dataclass(frozen=True, slots=True)
class JudgeBias:
    """How far the judge can be trusted; None is what this task cannot tell."""

    position: PositionBias | None = None
    first_place: IntervalEstimate | None = None
    """How far it prefers what stands first, of pairs judged in one order: 0.5 is fair."""
    length: LengthBias | None = None
    own_family: IntervalEstimate | None = None
    """What answers of its own family gain, where one side is of it."""
    agreement: JudgeAgreement | None = None
    """With people's labels."""


@dataclass(frozen=True, slots=True)
class Findings:
    """
    What the answers of an evaluation say besides its score: figures, tables, and on its judge.
    *most*: what a full score is called in the task's own scale.
    """

    most: float = 1.0
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    tables: Mapping[str, tuple[TableRow, ...]] = field(
        default_factory=dict[str, tuple[TableRow, ...]]
    )
    bias: JudgeBias | None = None
    notes: tuple[str, ...] = ()


class JudgeContext(NamedTuple):
    """Who takes part beside the judge, as far as families go: 1 the model, -1 the other, 0 none."""

    own: int = 0
    model: str = ""
    judge: str = ""
    labels: str | None = None
    """A file of people's labels."""
    difficulty: str | None = None
    gamed: str | None = None
    """Files that AlpacaEval's length control takes."""


# ---- from a log


def score_metadata(sample: EvalSample) -> Row:
    """What the scorer wrote beside the score; nothing where the sample failed."""
    score = next(iter((sample.scores or {}).values()), None)
    return (score.metadata or {}) if score else {}


def score_value(sample: EvalSample) -> float | None:
    """The sample's score from 0 to 1; None where it has none."""
    return score_or_reason(sample)[0]


def mean_table(
    pairs: Iterable[tuple[str, OptionalScore]], most: float = 1.0
) -> tuple[TableRow, ...]:
    """The mean under each name, times *most*; the names in the order in which they come."""
    scores_by_name: dict[str, list[float]] = {}
    for name, score in pairs:
        scores_by_name.setdefault(name, [])
        if score is not None:
            scores_by_name[name].append(score * most)
    return tuple(
        TableRow(name, mean_or_none(row), len(row)) for name, row in scores_by_name.items()
    )


def mean_or_none(row: Sequence[float]) -> float | None:
    return math.fsum(row) / len(row) if row else None


def estimate_known_mean(scores: Sequence[OptionalScore]) -> IntervalEstimate | None:
    """The mean and its interval; None below two scores."""
    known = [score for score in scores if score is not None]
    return intervals.estimate_mean(scores) if len(known) > 1 else None


def grade_length_bias(grades: Sequence[OptionalScore], lengths: Sequence[int]) -> LengthBias | None:
    """How grades of single answers go with length, beside an answer of mean length."""
    # A grade has no answer beside it: a usual one stands for that.
    usual = mean_or_none(lengths) or 0.0
    bias = judges.length_bias(grades, lengths, [usual] * len(lengths))
    return None if bias.slope is None else bias


# ---- people's labels


def read_labels(path: str | None, names: Sequence[str] = ()) -> dict[str, str]:
    """
    People's labels, by sample and turn (``7/1``): ``{"id": …, "turn": 1, "label": …}`` a line.

    *names* are the labels there are; without them it is a number. No file has none. Raises
    ConfigError, with the line, for a row without an id or a label, and for one that stands twice.
    """
    labels: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, row in read_rows(path) if path else ():
        place = source_location(path or "", line)
        try:
            label = str(row["label"]) if names else f"{float(row['label']):g}"
            key = f"{row['id']}/{row.get('turn', 1)}"
        except (KeyError, ValueError, TypeError):
            problem = "it has no `id`, or no valid `label`"
            raise ConfigError(f"{place}: {problem}") from None
        if names and label not in names:
            raise ConfigError(f"{place}: the label '{label}' is not one of {', '.join(names)}")
        if key in labels:
            problem = f"sample {row['id']} already has a label, in line {lines[key]}"
            raise ConfigError(f"{place}: {problem}")
        labels[key], lines[key] = label, line
    return labels


def label_agreement(
    verdicts: Mapping[str, str | None], people: Mapping[str, str]
) -> JudgeAgreement | None:
    """Judge and people on the samples that both labelled; None below two."""
    both = [
        (verdicts[name], people[name]) for name in verdicts if verdicts[name] and name in people
    ]
    if len(both) < 2:
        return None
    return judges.rate_agreement([a for a, _ in both], [b for _, b in both])
