"""Recorded evaluations of one task, as the analyses ask for them: by shape, scored by prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

from mixtura.evals.answers import ALONE, Answer, Call, Contender
from mixtura.reports.rows import SHARE, Interval, interval

MIXTURE, RANK = "mixture", "rank"
Team = tuple[str, ...]


def depth(contender: Contender) -> int:
    """Layers in the paper's count."""
    return 1 if contender.pattern == ALONE else len(contender.layers) + 1


def by_prompt(contender: Contender) -> dict[str, float]:
    """The mean score of each prompt's answers, of those that have one."""
    found: dict[str, list[float]] = {}
    for answer in contender.answers:
        if answer.score is not None:
            found.setdefault(answer.sample, []).append(answer.score)
    return {sample: fmean(scores) for sample, scores in found.items()}


def score(contender: Contender) -> Interval | None:
    """The mean over prompts."""
    return interval(by_prompt(contender).values(), SHARE)


def staged(answer: Answer) -> list[list[Call]]:
    """The calls of one answer, layer by layer; mixtures inside it are opened."""
    layers: dict[int, list[Call]] = {}
    for call in answer.calls:
        layers.setdefault(call.layer, []).extend(call.leaves())
    return [layers[layer] for layer in sorted(layers)]


def short(contender: Contender) -> str:
    """What a contender is called in a figure: its model, or who proposes and who writes."""
    if contender.pattern == ALONE:
        return contender.name
    rows = [_counted(row) for row in contender.layers]
    same = len(set(rows)) == 1 and len(rows) > 1
    team = f"({rows[0]}) × {len(rows)} layers" if same else " → ".join(rows)
    last = contender.aggregator or "all"
    by = "" if contender.pattern == MIXTURE else f"{contender.pattern} by "
    return f"{team} → {by}{last}"


def _counted(row: Sequence[str]) -> str:
    times = Counter(row)
    return ", ".join(f"{name} × {n}" if n > 1 else name for name, n in times.items())


@dataclass(frozen=True)
class Runs:
    """The evaluations of one task; of those of the same shape, the one with the most scores."""

    task: str
    contenders: tuple[Contender, ...]
    unscored: tuple[str, ...] = ()
    """Who answered and has no score."""

    @cached_property
    def alone(self) -> Mapping[str, Contender]:
        """Models that were asked alone, by name."""
        return {one.name: one for one in self.contenders if one.pattern == ALONE}

    @cached_property
    def alone_scores(self) -> Mapping[str, float]:
        """How good each is on average, of those that have a score."""
        scores = {name: score(one) for name, one in self.alone.items()}
        return {name: found.mean for name, found in scores.items() if found}

    def mixtures(self, pattern: str = MIXTURE) -> Iterator[Contender]:
        return (one for one in self.contenders if one.pattern == pattern)

    def team(self) -> Team | None:
        """The proposers that most was tried with: several models, each layer the same."""
        tried = Counter(
            team for one in self.mixtures() if (team := uniform(one)) and len(set(team)) > 1
        )
        return max(tried, key=lambda team: (tried[team], len(team))) if tried else None


def uniform(contender: Contender) -> Team | None:
    """The proposers of a mixture whose layers are all the same, in one order for all."""
    rows = {tuple(sorted(row)) for row in contender.layers}
    return rows.pop() if len(rows) == 1 else None


def by_task(contenders: Iterable[Contender]) -> list[Runs]:
    """
    Contenders apart by task and by prompts, the task with the most of them first.

    Two files of the same task, which share no prompt, are two tasks. Who has no answer yet is
    left out; who has answers and not one score is only named.
    """
    groups: list[_Group] = []
    for one in contenders:
        if not one.answers:
            continue
        prompts = {(answer.sample, answer.question) for answer in one.answers}
        found = next((g for g in groups if g.task == one.task and g.prompts & prompts), None)
        if found is None:
            found = _Group(one.task, set(), [])
            groups.append(found)
        found.prompts.update(prompts)
        found.contenders.append(one)
    times: Counter[str] = Counter()
    every: list[Runs] = []
    for group in sorted(groups, key=lambda group: -len(group.contenders)):
        times[group.task] += 1
        again = f" {times[group.task]}" if times[group.task] > 1 else ""
        fullest = _fullest(group.contenders)
        scored = tuple(one for one in fullest if by_prompt(one))
        unscored = tuple(short(one) for one in fullest if not by_prompt(one))
        every.append(Runs(f"{group.task}{again}", scored, unscored))
    return every


class _Group(NamedTuple):
    task: str
    prompts: set[tuple[str, str]]
    contenders: list[Contender]


def _fullest(contenders: Iterable[Contender]) -> list[Contender]:
    """Of those of the same shape the one with the most scores."""
    kept: dict[tuple[object, ...], Contender] = {}
    for one in contenders:
        shape = (one.layers, one.aggregator, one.pattern, one.name if one.pattern == ALONE else "")
        if shape not in kept or len(by_prompt(one)) > len(by_prompt(kept[shape])):
            kept[shape] = one
    return list(kept.values())
