"""Recorded evaluations of one task, as the analyses ask for them: by shape, scored by prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from mixtura.evals.log_reader import SINGLE_MODEL, LoggedEvaluation, RecordedCall, SampleAnswer
from mixtura.reports.rows import SHARE_RANGE, Interval, mean_interval

MIXTURE, RANK = "mixture", "rank"
Team = tuple[str, ...]


def layer_count(contender: LoggedEvaluation) -> int:
    """Layers in the paper's count."""
    return 1 if contender.pattern == SINGLE_MODEL else len(contender.layers) + 1


def scores_by_prompt(contender: LoggedEvaluation) -> dict[str, float]:
    """The mean score of each prompt's answers, of those that have one."""
    scores_of: dict[str, list[float]] = {}
    for answer in contender.answers:
        if answer.score is not None:
            scores_of.setdefault(answer.sample, []).append(answer.score)
    return {sample: fmean(scores) for sample, scores in scores_of.items()}


def mean_score(contender: LoggedEvaluation) -> Interval | None:
    """The mean over prompts."""
    return mean_interval(scores_by_prompt(contender).values(), SHARE_RANGE)


def calls_by_layer(answer: SampleAnswer) -> list[list[RecordedCall]]:
    """The calls of one answer, layer by layer; mixtures inside it are opened."""
    layers: dict[int, list[RecordedCall]] = {}
    for call in answer.calls:
        layers.setdefault(call.layer, []).extend(call.leaf_calls())
    return [layers[layer] for layer in sorted(layers)]


def contender_label(contender: LoggedEvaluation) -> str:
    """What a contender is called in a figure: its model, or who proposes and who writes."""
    if contender.pattern == SINGLE_MODEL:
        return contender.name
    rows = [_count_names(row) for row in contender.layers]
    same = len(set(rows)) == 1 and len(rows) > 1
    team = f"({rows[0]}) × {len(rows)} layers" if same else " → ".join(rows)
    how = "" if contender.pattern == MIXTURE else contender.pattern
    by = " by " if how and contender.aggregator else ""
    return f"{team} → {how}{by}{contender.aggregator or ''}{_settings_label(contender.settings)}"


def _settings_label(settings: Mapping[str, Any] | None) -> str:
    """The settings that are not the usual ones, where they are short enough for a figure."""
    words = [
        f"{name} {value}"
        if isinstance(value, int | float | str) and len(str(value)) <= 16
        else name
        for name, value in (settings or {}).items()
    ]
    return f" ({', '.join(words)})" if words else ""


def _count_names(row: Sequence[str]) -> str:
    times = Counter(row)
    return ", ".join(f"{name} × {n}" if n > 1 else name for name, n in times.items())


@dataclass(frozen=True)
class TaskRuns:
    """The evaluations of one task; of those of the same shape and settings, the fullest one."""

    task: str
    contenders: tuple[LoggedEvaluation, ...]
    unscored: tuple[str, ...] = ()
    """Who answered and has no score."""

    @cached_property
    def single_models(self) -> Mapping[str, LoggedEvaluation]:
        """Models that were asked alone, by name."""
        return {one.name: one for one in self.contenders if one.pattern == SINGLE_MODEL}

    @cached_property
    def single_model_scores(self) -> Mapping[str, float]:
        """How good each is on average, of those that have a score."""
        scores = {name: mean_score(one) for name, one in self.single_models.items()}
        return {name: interval.mean for name, interval in scores.items() if interval}

    def iter_mixtures(self, pattern: str = MIXTURE) -> Iterator[LoggedEvaluation]:
        return (one for one in self.contenders if one.pattern == pattern)

    def main_team(self) -> Team | None:
        """The proposers that most was tried with: several models, each layer the same."""
        tried = Counter(
            team
            for one in self.iter_mixtures()
            if (team := uniform_team(one)) and len(set(team)) > 1
        )
        # Of equals the larger team: the paper's figures are of the whole one.
        return max(tried, key=lambda team: (tried[team], len(team))) if tried else None


def uniform_team(contender: LoggedEvaluation) -> Team | None:
    """The proposers of a mixture whose layers are all the same, in one order for all; else None."""
    rows = {tuple(sorted(row)) for row in contender.layers}
    return rows.pop() if len(rows) == 1 else None


def group_by_task(contenders: Iterable[LoggedEvaluation]) -> list[TaskRuns]:
    """
    Contenders apart by task and by prompts, the task with the most of them first.

    Two files of the same task, which share no prompt, are two tasks. Who has no answer yet is
    left out; who has answers and not one score is only named.
    """
    groups: list[_TaskGroup] = []
    for one in contenders:
        if not one.answers:
            continue
        # The id alone does not do: rows without one are numbered, so two files have the same ids.
        prompts = {(answer.sample, answer.question) for answer in one.answers}
        matching_group = next(
            (g for g in groups if g.task == one.task and g.prompts & prompts), None
        )
        if matching_group is None:
            matching_group = _TaskGroup(one.task, set(), [])
            groups.append(matching_group)
        matching_group.prompts.update(prompts)
        matching_group.contenders.append(one)
    times: Counter[str] = Counter()
    every: list[TaskRuns] = []
    for group in sorted(groups, key=lambda group: -len(group.contenders)):
        times[group.task] += 1
        again = f" {times[group.task]}" if times[group.task] > 1 else ""
        fullest = _most_scored(group.contenders)
        scored = tuple(one for one in fullest if scores_by_prompt(one))
        unscored = tuple(contender_label(one) for one in fullest if not scores_by_prompt(one))
        every.append(TaskRuns(f"{group.task}{again}", scored, unscored))
    return every


class _TaskGroup(NamedTuple):
    task: str
    prompts: set[tuple[str, str]]
    contenders: list[LoggedEvaluation]


def _most_scored(contenders: Iterable[LoggedEvaluation]) -> list[LoggedEvaluation]:
    """
    Of those of the same shape and settings the one with the most scores, and the most agreement
    numbers.
    """
    kept: dict[tuple[object, ...], LoggedEvaluation] = {}
    for one in contenders:
        # Not by name: that of a mixture is the user's, and may mean another team in another file.
        shape = (
            one.layers,
            one.aggregator,
            one.pattern,
            one.name if one.pattern == SINGLE_MODEL else "",
            msgspec.json.encode(one.settings or {}, order="sorted"),
        )
        if shape not in kept or _completeness_rank(one) > _completeness_rank(kept[shape]):
            kept[shape] = one
    return list(kept.values())


def _completeness_rank(contender: LoggedEvaluation) -> tuple[int, int]:
    numbers = sum(answer.agreement is not None for answer in contender.answers)
    return len(scores_by_prompt(contender)), numbers
