"""
Is a mixture better than what is simpler, by how much, at what price: paired, on the same prompts.

Everyone answers the same prompts with the same seed. Scores of a task are compared as they are;
without a task a judge reads the mixture's answer beside each opponent's, in both orders.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mixtura.budget import Amount, Expected, Pocket, priced
from mixtura.budget import forecast as calls_for
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.evals import (
    answers,
    families,
    forecast,
    journal,
    opponents,
    pairwise,
    provider,
    run,
    stats,
)
from mixtura.evals.comparison import Comparison, Field, Key, Match, outcome
from mixtura.evals.opponents import EXTRACTS, Entrant
from mixtura.evals.run import Asked, Progress
from mixtura.evals.tasks import jsonl
from mixtura.events import Emit, Event, Recalled
from mixtura.model import Model, Wrapper
from mixtura.patterns.extract import Extract
from mixtura.plan import Plan
from mixtura.price import Pricer, cost
from mixtura.types import Completion, Request, ask

JUDGING = "the judge"
"""Whose progress is told while answers are compared."""
OTHERS = 4
"""Opponents of a mixture besides its members: self, rank, vote and money."""
USUAL_SPREAD = 0.5
"""
The standard deviation of paired differences that is reckoned with before there are any: that of
two models of which one alone is right on every fourth prompt.
"""

Watch = Callable[[str, Progress], None]
"""Told of every contender's progress, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What is compared, and how: the prompts and their task, or a *judge* of open answers.

    *max_cost*: dollars for everything, earlier runs included; *deadline*: seconds for an answer.
    """

    asked: Asked
    judge: str | None = None
    logs: Path = Path("logs")
    max_cost: float | None = None
    deadline: float | None = None
    connections: int = provider.AT_ONCE
    fresh: bool = False

    @property
    def extract(self) -> Extract:
        """What a vote counts here; ``text`` where there is no final answer to count."""
        if self.judge or self.asked.rubric:
            return "text"
        task, data = self.asked.task, self.asked.data
        how = jsonl.usual(data, self.asked.scoring) if task == "jsonl" and data else task
        return EXTRACTS.get(how, "text")


class Estimate(NamedTuple):
    """Before anything is paid: how much it is, at most, and what so many prompts can show."""

    prompts: int
    calls: int
    max_cost_usd: float | None
    unknown_prices: tuple[str, ...]
    shows: float
    """A true difference that so many prompts show four times in five."""
    for_two_points: int
    """Prompts that would show two points."""


# ---- before


def estimate(config: Config, names: Sequence[str], terms: Terms) -> Estimate:
    """
    What ``compare`` would take at most, and what it could show. Asks no model.

    Raises ConfigError for what cannot be compared.
    """
    plans = _plans(config, names)
    questions = _questions(config, plans[0], terms.asked)
    calls = [
        call
        for question in questions
        for plan in plans
        for call in _expected(config, plan, question, terms)
    ]
    amount, unknown = priced(calls, config.price)
    return Estimate(
        len(questions),
        len(calls),
        None if unknown else amount.dollars,
        unknown,
        stats.visible_difference(USUAL_SPREAD, len(questions)),
        stats.prompts_for_difference(USUAL_SPREAD, stats.WANTED),
    )


def _questions(config: Config, plan: Plan, asked: Asked) -> list[str]:
    """A prompt for each answer. Raises ConfigError."""
    samples = list(run.prepare(config, plan, asked).task.dataset)[: asked.limit] * asked.epochs
    return [forecast.question(one) for one in samples]


def _plans(config: Config, names: Sequence[str]) -> list[Plan]:
    plans = [config.plan(name) for name in dict.fromkeys(names)]
    if not plans:
        raise ConfigError("there is no one to compare: name a mixture")
    if len(plans) == 1 and not plans[0].layers:
        said = f"{plans[0].name} is a model alone, with no one to compare it with"
        raise ConfigError(f"{said}: name a mixture, or several models")
    return plans


def _expected(config: Config, plan: Plan, question: str, terms: Terms) -> list[Expected]:
    """The calls for one prompt; the proposals that several contenders share are made once."""

    def calls_of(one: Plan) -> list[Expected]:
        return calls_for(config.outline(one), ask(question))

    rows = calls_of(plan)
    matches = 1
    if plan.layers:
        rows += _opposing(config, plan, calls_of, terms.extract)
        matches += len(opponents.members(config, plan)) + OTHERS
    if terms.judge:
        judge = config.outline(config.plan(terms.judge))
        verdicts = matches * len(pairwise.BOTH)
        rows += calls_for(judge, forecast.judged(question)) * verdicts
    return rows


def _opposing(
    config: Config, plan: Plan, calls_of: Callable[[Plan], list[Expected]], extract: Extract
) -> list[Expected]:
    """The calls of a mixture's opponents, whichever of its members is the best one."""

    def price(calls: list[Expected]) -> Amount:
        return priced(calls, config.price)[0]

    shared = sum(seat.samples for layer in plan.layers for seat in layer)
    choosers = [calls_of(one.plan)[shared:] for one in opponents.choosers(plan, extract)]
    whole = price(calls_of(plan))
    alone = {one.name: calls_of(one.plan) for one in opponents.members(config, plan)}
    none: list[Expected] = []
    drawn = [opponents.same_draws(plan, name) for name in alone]
    bought = [
        opponents.same_money(plan, name, _times(whole, price(calls)), extract, 0.0)
        for name, calls in alone.items()
    ]
    draws = max((calls_of(one.plan) for one in drawn if one), key=price, default=none)
    money = max((calls_of(one.plan) for one in bought if one), key=len, default=none)
    return list(chain(*alone.values(), *choosers, draws, money))


def _times(ours: Amount, theirs: Amount) -> float:
    """How often one costs what the other does, in tokens where there are no dollars."""
    if ours.dollars and theirs.dollars:
        return ours.dollars / theirs.dollars
    return ours.tokens / theirs.tokens


# ---- the run


def compare(
    config: Config, names: Sequence[str], terms: Terms, *, watch: Watch | None = None
) -> Comparison:
    """
    Have everyone answer, and say who is better. What an earlier run answered is not asked again.

    Raises ConfigError before anything is asked; what else is raised, see ``run.evaluate``.
    """
    plans = _plans(config, names)
    if terms.max_cost is not None:
        judge = [config.plan(terms.judge)] if terms.judge else []
        forecast.check_priced(config, (*plans, *judge))
    referee = _Referee(config, terms, watch, plans)
    for plan in plans:
        referee.answered(Entrant(plan, "mixture" if plan.layers else "member"))
    matches: list[Match] = []
    for plan in plans:
        if plan.layers:
            matches += _opposed(config, plan, referee)
    first, *others = (plan.name for plan in plans)
    known = {frozenset(match) for match in matches}
    others = [name for name in others if frozenset((first, name)) not in known]
    matches += referee.judged(first, others)
    warnings = [*_kinship(config, plans, terms), *referee.notes]
    return outcome(referee.field, matches, spent=referee.spent, warnings=warnings)


def _kinship(config: Config, plans: Sequence[Plan], terms: Terms) -> Sequence[str]:
    """Whether the judge is of a family that takes part."""
    if terms.judge is None:
        return ()
    ours = {name for plan in plans for name in families.members(config, plan)}
    return families.kinship(families.members(config, config.plan(terms.judge)), ours, ()).warnings


def _opposed(config: Config, plan: Plan, referee: _Referee) -> list[Match]:
    """A mixture and everyone whom it has to beat, its best member first."""
    alone = opponents.members(config, plan)
    for one in alone:
        referee.answered(one)
    matches = referee.judged(plan.name, [one.name for one in alone if one.name != plan.name])
    best = referee.field.best(plan.name, [match.theirs for match in matches])
    times, _ = referee.field.times(plan.name, best)
    later = [
        opponents.same_draws(plan, best),
        *opponents.choosers(plan, referee.terms.extract),
        opponents.same_money(
            plan, best, times or 0.0, referee.terms.extract, referee.field.written(best)
        ),
    ]
    entrants = [one for one in later if one is not None]
    for one in entrants:
        referee.answered(one)
    matches.sort(key=lambda match: match.theirs != best)
    return matches + referee.judged(plan.name, [one.name for one in entrants])


class _Referee:
    """Has contenders answer and a judge read, and keeps count of what that took."""

    def __init__(
        self, config: Config, terms: Terms, watch: Watch | None, plans: Sequence[Plan]
    ) -> None:
        self.terms = terms
        judge = config.plan(terms.judge) if terms.judge else None
        identity = run.judging_identity(config, plans, judge, terms.asked)
        path = journal.location(terms.logs, f"judge-{identity}")
        self._verdict_calls = journal.JournaledCalls(path, config.price, fresh=terms.fresh)
        self._priced = judge is None or not forecast.unpriced(config, (judge,))
        self.field = Field(terms.asked.task, terms.judge)
        self._config = config
        self._watch = watch
        self._bills: list[float | None] = []
        self._said: dict[pairwise.Pair, pairwise.Judged] = {}

    @property
    def spent(self) -> float | None:
        """Dollars really paid; None where a price is unknown."""
        judged = self._verdict_calls.tally
        if None in self._bills or not (self._priced or judged == journal.Tally()):
            return None
        return self._paid

    @property
    def _paid(self) -> float:
        """What is known of it; the judge's calls of earlier runs are in it."""
        return math.fsum((*(b for b in self._bills if b), self._verdict_calls.tally.cost_usd))

    @property
    def notes(self) -> list[str]:
        """What is to be said of the judge's calls."""
        return journal.unfinished_notes(self._verdict_calls.tally)

    @property
    def _left(self) -> float | None:
        """What is left of the cap, which is for everyone together."""
        most = self.terms.max_cost
        return None if most is None else max(most - self._paid, 0.0)

    def answered(self, entrant: Entrant) -> None:
        """Have someone answer every prompt, once, however often they are entered."""
        if entrant.name in self.field.entrants:
            return
        terms = self.terms
        result = run.evaluate(
            self._config,
            entrant.plan,
            terms.asked,
            logs=terms.logs,
            max_cost=self._left,
            deadline=terms.deadline,
            connections=terms.connections,
            fresh=terms.fresh,
            watch=self._watching(entrant.name),
        )
        self._bills.append(result.cost_usd)
        self.field.enter(entrant, answers.of_log(result.log))

    def judged(self, ours: str, others: Iterable[str]) -> list[Match]:
        """The matches of *ours* against *others*, read by the judge where there is one."""
        matches = [Match(ours, other) for other in others]
        if self.terms.judge is None:
            return matches
        rows = [
            (match, key, pair)
            for match in matches
            if match not in self.field.judged
            for key, pair in self._to_read(match)
        ]
        for match in matches:
            self.field.judged.setdefault(match, {})
        pairs = list(dict.fromkeys(pair for _, _, pair in rows if pair not in self._said))
        self._said.update(zip(pairs, self._verdicts(pairs) if pairs else [], strict=True))
        for match, key, pair in rows:
            self.field.judged[match][key] = self._said[pair]
        return matches

    def _to_read(self, match: Match) -> Iterable[tuple[Key, pairwise.Pair]]:
        """The prompts that both answered."""
        ours, theirs = (self.field.answers[name] for name in match)
        for key, mine in ours.items():
            other = theirs.get(key)
            if other and mine.answered and other.answered:
                yield key, pairwise.Pair(mine.question, mine.text, other.text, mine.target)

    def _verdicts(self, pairs: Sequence[pairwise.Pair]) -> list[pairwise.Judged]:
        terms = self.terms
        pocket = Pocket("this comparison", self._left)
        plan = self._config.plan(terms.judge or "")
        runnable = self._config.runnable(plan, deadline=terms.deadline, purses=[pocket])
        patient = run.Patient(runnable, run.Turns())
        watch = self._watching(JUDGING)

        def done(count: int) -> None:
            if watch:
                watch(Progress(count, len(pairs), 0))

        at_once = terms.connections
        with self._verdict_calls.keeping() as requests:
            recounted = _Recounted(patient, pocket, self._config.price, requests)
            judge = patient if self._verdict_calls.begun else recounted
            return asyncio.run(pairwise.judged_all(judge, pairs, at_once=at_once, watch=done))

    def _watching(self, name: str) -> run.Watch | None:
        watch = self._watch
        return (lambda progress: watch(name, progress)) if watch else None


class _Recounted(Wrapper):
    """
    Counts what an earlier run paid for a verdict, where no journal tells it: the cap is for all
    runs together.
    """

    def __init__(
        self, model: Model, pocket: Pocket, pricer: Pricer, requests: journal.Journal
    ) -> None:
        super().__init__(model)
        self._requests = requests
        self._pocket = pocket
        self._pricer = pricer

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        def heard(event: Event) -> None:
            if type(event) is Recalled:
                paid = cost(event.charges, self._pricer) or 0.0
                self._pocket.spent = self._pocket.spent.plus(Amount(paid))
                usage = [charge.usage for charge in event.charges]
                told = journal.Tally(
                    paid,
                    sum(one.prompt_tokens for one in usage),
                    sum(one.completion_tokens for one in usage),
                    len(usage),
                )
                self._requests.carry(told)
            if emit:
                emit(event)

        return await self._model.complete(request, heard)
