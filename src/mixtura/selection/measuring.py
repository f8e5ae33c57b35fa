"""Candidates and teams on parts of the prompts: asked once, scored or judged, and paid for."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mixtura.budget import Pocket
from mixtura.config import Config
from mixtura.errors import BudgetExceededError, ConfigError
from mixtura.evals import answers, forecast, journal, pairwise, provider, run
from mixtura.evals.answers import Answer, Contender
from mixtura.evals.run import Asked, Progress
from mixtura.evals.tasks import jsonl, source
from mixtura.plan import Plan, composed, seated
from mixtura.selection.choice import Goal
from mixtura.selection.prompts import HELD_OUT, Part
from mixtura.selection.search import BEAM, NO_BOUNDS, Bounds, Measured, Team
from mixtura.text import one_line

Manner = Literal["score", "grade", "win rate"]
"""By a task's own check; by a judge who reads a rubric; by a judge beside a reference answer."""
Told = Callable[[Progress], None]
DRAFTS = composed([seated("any")], None, None, name="any").sampling
"""How proposers are asked in a mixture that is written as a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What is selected for, and how.

    *data*: the prompts, of which *held_out*, a share, judge the winner. *size*: the most members;
    *draws*: answers of each candidate to each prompt, at least as many. *max_cost*: dollars for
    the whole selection, earlier runs included; *bounds*: for one answer of the team.
    """

    data: str
    task: str | None = None
    judge: str | None = None
    scoring: str | None = None
    goal: Goal = "quality"
    size: int = 3
    draws: int | None = None
    aggregator: str | None = None
    limit: int | None = None
    seed: int = 0
    held_out: float = HELD_OUT
    beam: int = BEAM
    bounds: Bounds = NO_BOUNDS
    logs: Path = Path("logs")
    max_cost: float | None = None
    deadline: float | None = None
    connections: int = provider.AT_ONCE

    @property
    def most_draws(self) -> int:
        """Answers of each candidate to each prompt: a single-proposer team needs its size."""
        return max(self.draws or 0, self.size)

    @property
    def manner(self) -> Manner:
        """Raises ConfigError where rows with and without a rubric are mixed."""
        if self.judge is None:
            return "score"
        if self.task is not None:
            return "grade"
        ruled = [bool(row.get("rubric")) for row in source.rows(self.data)]
        if any(ruled) and not all(ruled):
            raise ConfigError(f"{self.data}: some rows have a rubric and some have none")
        return "grade" if any(ruled) else "win rate"

    def asked(self, data: str, manner: Manner, epochs: int = 1) -> Asked:
        """An evaluation on some prompts. No seed: draws are to differ by themselves."""
        return Asked(
            task=self.task or "jsonl",
            data=data,
            judge=self.judge if manner == "grade" else None,
            scoring=jsonl.UNSCORED if manner == "win rate" else self.scoring,
            epochs=epochs,
        )


class CappedError(BudgetExceededError):
    """The cap has no room for what is to be measured next."""


class Laboratory:
    """Asks what is to be measured, and keeps count of calls and dollars."""

    def __init__(self, config: Config, terms: Terms, folder: Path, names: Sequence[str]) -> None:
        self.calls = 0
        self.manner: Manner = terms.manner
        self.reference: str | None = None
        """The candidate whose first answers all others are judged beside."""
        self.reserve = 0.0
        """Dollars of the cap that are kept for later."""
        self._config = config
        self._terms = terms
        self._folder = folder
        self._bills: list[float | None] = []
        self._found: dict[tuple[str, Path, int], Contender] = {}
        judge = config.plan(terms.judge) if terms.judge else None
        plans = [config.plan(name) for name in names]
        identity = run.judging_identity(config, plans, judge, terms.asked(terms.data, self.manner))
        path = journal.location(folder, f"judge-{identity}")
        self._verdict_calls = journal.JournaledCalls(path, config.price)
        self._priced = judge is None or not forecast.unpriced(config, (judge,))
        self._told = journal.Tally()
        self._tell_verdicts()

    def _tell_verdicts(self) -> None:
        """Count the judge's calls that were not told by now, those of earlier runs first."""
        before, now = self._told, self._verdict_calls.tally
        self._told = now
        if now != before:
            self.calls += now.calls - before.calls
            self._bills.append(now.cost_usd - before.cost_usd if self._priced else None)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the judge's calls."""
        return journal.unfinished_notes(self._told)

    @property
    def spent(self) -> float | None:
        """Dollars, those of earlier runs of the same selection included."""
        return None if None in self._bills else self._paid

    @property
    def _paid(self) -> float:
        return math.fsum(bill for bill in self._bills if bill)

    def alone(self, name: str, part: Part, told: Told | None = None) -> Contender:
        """A candidate by itself, asked as a proposer is: its answers are a team's proposals."""
        plan = self._config.plan(name)
        asked = replace(plan, sampling=plan.sampling.over(DRAFTS))
        return self._answers(asked, part, self._terms.most_draws, told)

    def team(self, team: Team, part: Part, told: Told | None = None) -> Contender:
        return self._answers(self._config.plan(written(team)), part, 1, told)

    def measured(self, found: Contender, part: Part) -> Measured:
        """The scores in the order of the prompts; what an answer takes, as if none was kept."""
        rows: dict[str, list[Answer]] = {}
        for one in sorted(found.answers, key=lambda one: (one.sample, one.epoch)):
            rows.setdefault(one.sample, []).append(one)
        scores = self._scores(found, rows, part)
        there = [one for one in found.answers if one.answered]
        return Measured(
            tuple(scores),
            _mean([one.cost_usd for one in there]),
            _mean([one.seconds for one in there]),
        )

    # ---- answers

    def _answers(self, plan: Plan, part: Part, epochs: int, told: Told | None) -> Contender:
        key = plan.name, part.file, epochs
        if key not in self._found:
            result = run.evaluate(
                self._config,
                plan,
                self._terms.asked(str(part.file), self.manner, epochs),
                logs=self._folder / _slug(plan.name),
                max_cost=self._left,
                deadline=self._terms.deadline,
                connections=self._terms.connections,
                watch=told,
            )
            self.calls += result.calls
            self._bills.append(result.cost_usd)
            if result.capped:
                raise CappedError(f"the cap of ${self._terms.max_cost:g} has no room left")
            self._found[key] = answers.of_log(result.log)
        return self._found[key]

    @property
    def _left(self) -> float | None:
        most = self._terms.max_cost
        return None if most is None else max(most - self.reserve - self._paid, 0.0)

    def cut(self) -> list[str]:
        """Whose answers the limit of tokens cut off, in words."""
        rows: dict[str, list[bool]] = {}
        for found in self._found.values():
            rows.setdefault(found.name, []).extend(one.cut for one in found.answers)
        return [
            answers.cut_note(sum(row), len(row), one_line(name))
            for name, row in rows.items()
            if any(row)
        ]

    # ---- scores

    def _scores(
        self, found: Contender, rows: Mapping[str, Sequence[Answer]], part: Part
    ) -> list[float | None]:
        if self.manner != "win rate":
            return [_mean_known([one.score for one in row]) for row in rows.values()]
        assert self.reference is not None
        if found.name == self.reference:
            return [0.5 if row[0].answered else None for row in rows.values()]
        others = {
            one.sample: one for one in self.alone(self.reference, part).answers if one.epoch == 1
        }
        return self._judged([(row[0], others.get(sample)) for sample, row in rows.items()])

    def _judged(self, rows: Sequence[tuple[Answer, Answer | None]]) -> list[float | None]:
        """How far the judge prefers each answer to the reference; None where it cannot say."""
        pairs = {
            place: pairwise.Pair(ours.question, ours.text, other.text, ours.target)
            for place, (ours, other) in enumerate(rows)
            if other is not None and ours.answered and other.answered
        }
        left = self._left
        purses = [] if left is None else [Pocket("this selection", left)]
        plan = self._config.plan(self._terms.judge or "")
        judge = self._config.runnable(plan, deadline=self._terms.deadline, purses=purses)
        at_once = self._terms.connections
        with self._verdict_calls.keeping():
            said = asyncio.run(pairwise.judged_all(judge, list(pairs.values()), at_once=at_once))
        self._tell_verdicts()
        if any(isinstance(game.error, BudgetExceededError) for one in said for game in one.games):
            raise CappedError(f"the cap of ${self._terms.max_cost:g} has no room left")
        preferences = dict(zip(pairs, (one.preference for one in said), strict=True))
        return [preferences.get(place) for place in range(len(rows))]


def written(team: Team) -> str:
    """A team as the name of a mixture: ``a,b>c``, or ``a*3>c``."""
    times = {name: team.members.count(name) for name in team.members}
    row = ",".join(name if count == 1 else f"{name}*{count}" for name, count in times.items())
    return f"{row}>{team.aggregator}"


def _slug(name: str) -> str:
    """A folder's name."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)[:60]
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is unknown, or there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
