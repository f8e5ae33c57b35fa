"""A selection from beginning to end: answers collected, teams searched for, the winner judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mixtura.config import Config
from mixtura.errors import BudgetExceededError, ConfigError, MixturaError
from mixtura.evals import families
from mixtura.evals.answers import Contender
from mixtura.evals.opponents import EXTRACTS
from mixtura.evals.run import Progress
from mixtura.evals.tasks import jsonl
from mixtura.patterns.extract import BY_NAME
from mixtura.selection import outcome, search
from mixtura.selection.choice import chosen
from mixtura.selection.diversity import diversity
from mixtura.selection.measuring import CappedError, Laboratory, Terms
from mixtura.selection.outcome import Against, Prompts, Selection
from mixtura.selection.prompts import Split, split
from mixtura.selection.roles import roles
from mixtura.selection.search import Measured, Search, Team, Trial, pooled
from mixtura.text import one_line, plural

Watch = Callable[[str, Progress], None]
"""Told what is being done, and how far it is."""
RESERVED = 1 / 4
"""The share of a cap that is kept for the held-out prompts."""


def select(
    config: Config, names: Sequence[str], terms: Terms, *, watch: Watch | None = None
) -> Selection:
    """
    The best team of the candidates *names*. What an earlier run was told is not asked again.

    Raises ConfigError before anything is asked, BudgetExceededError where the cap leaves nothing
    to choose from, MixturaError where fewer than two candidates answer.
    """
    check(config, names, terms)
    prompts = split(
        terms.data, terms.logs, limit=terms.limit, seed=terms.seed, share=terms.held_out
    )
    laboratory = Laboratory(config, terms, prompts.folder, names)
    warnings = list(_kinship(config, names, terms.judge))
    return _Selecting(laboratory, terms, prompts, watch, warnings).done(list(names))


def _kinship(config: Config, names: Sequence[str], judge: str | None) -> Sequence[str]:
    """Whether the judge is of a family that takes part."""
    if judge is None:
        return ()
    ours = {model for name in names for model in families.members(config, config.plan(name))}
    return families.kinship(families.members(config, config.plan(judge)), ours, ()).warnings


def check(config: Config, names: Sequence[str], terms: Terms) -> None:
    """Raises ConfigError for what cannot be selected from, before anything is asked."""
    if len(set(names)) < 2:
        raise ConfigError("a selection needs two candidates or more: --models A B …")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--models: {twice} stands there twice: the search draws by itself")
    for name in (*names, *([terms.judge] if terms.judge else [])):
        if any(letter in name for letter in ",>*"):
            raise ConfigError(f"--models: '{name}' is no name of one model: , > and * make teams")
        config.mixture(config.plan(name))
    if terms.aggregator is not None and terms.aggregator not in names:
        raise ConfigError(f"--aggregator: {terms.aggregator} is none of the candidates")
    if terms.judge in names:
        raise ConfigError(f"--judge: {terms.judge} is a candidate: no one judges their own answers")
    if terms.judge and terms.scoring:
        raise ConfigError(
            "--scoring is for answers that are checked, --judge for those that are not"
        )


@dataclass(slots=True)
class _Selecting:
    """One selection under way."""

    laboratory: Laboratory
    terms: Terms
    prompts: Split
    watch: Watch | None
    warnings: list[str]

    def done(self, names: list[str]) -> Selection:
        cap = self.terms.max_cost
        self.laboratory.reserve = 0.0 if cap is None else cap * RESERVED
        try:
            alone, texts = self._collected(names)
        except CappedError as error:
            raise _too_little(error, "every candidate had answered every prompt") from None
        found = self._searched(self._begun(alone))
        team = chosen(found, self.terms.goal)
        while team is not None and (trials := search.parts(found, team)):
            try:
                found = self._told(found, trials, "what each member adds")
            except CappedError:
                self._ended_early()
                break
            team = chosen(found, self.terms.goal)
        if team is None:
            raise self._nothing(found)
        if not found.found(team).score:
            raise MixturaError(
                "no team scored at all, so there is none to choose: is that the models, or do the"
                " targets, the scoring or the prompts not fit? Look at an answer (inspect view"
                f" --log-dir {self.prompts.folder}){_listed(self.laboratory.cut())}"
            )
        self.laboratory.reserve = 0.0
        try:
            return self._judged(found, team, alone, texts)
        except CappedError as error:
            raise _too_little(error, "the held-out prompts had judged the winner") from None

    # ---- the candidates

    def _collected(
        self, names: Sequence[str]
    ) -> tuple[dict[str, tuple[Measured, ...]], dict[str, list[str | None]]]:
        """What each candidate scores on every slice, and its first answers; bad ones left out."""
        answered = {name: self._answered(name) for name in names}
        there = {n: f for n, f in answered.items() if any(a.answered for c in f for a in c.answers)}
        for name in names:
            if name not in there:
                why = one_line(answered[name][0].answers[0].missing)
                self.warnings.append(f"{name} is left out: it answered nothing: {why}")
        if len(there) < 2:
            raise MixturaError(f"fewer than two candidates answered. {' '.join(self.warnings)}")
        if self.laboratory.manner == "win rate":
            self._find_reference(there)
        alone = {name: self._measured(found) for name, found in there.items()}
        texts = {name: _texts(found) for name, found in there.items()}
        return alone, texts

    def _answered(self, name: str) -> list[Contender]:
        total = self.prompts.searched * self.terms.most_draws
        found: list[Contender] = []
        for part in self.prompts.slices:
            before = sum(len(one.answers) for one in found)
            told = self._telling(f"{name}, alone", before, total)
            found.append(self.laboratory.alone(name, part, told))
        return found

    def _find_reference(self, answered: Mapping[str, Sequence[Contender]]) -> None:
        """The best of the first slice, where all are judged beside the first candidate."""
        self.laboratory.reference = next(iter(answered))
        part = self.prompts.slices[0]
        scores = {
            name: self.laboratory.measured(found[0], part).score or 0.0
            for name, found in answered.items()
        }
        self.laboratory.reference = max(scores, key=scores.__getitem__)

    def _measured(self, found: Sequence[Contender]) -> tuple[Measured, ...]:
        return tuple(
            self.laboratory.measured(one, part)
            for one, part in zip(found, self.prompts.slices, strict=True)
        )

    # ---- the search

    def _begun(self, alone: Mapping[str, tuple[Measured, ...]]) -> Search:
        def score(name: str) -> float:
            value = pooled(alone[name]).score
            return math.inf if value is None else -value

        return search.begin(
            Search(
                models=tuple(sorted(alone, key=score)),
                size=self.terms.size,
                slices=tuple(part.prompts for part in self.prompts.slices),
                aggregator=self.terms.aggregator,
                bounds=self.terms.bounds,
                beam=self.terms.beam,
            )
        )

    def _searched(self, state: Search) -> Search:
        while trials := search.ask(state):
            try:
                state = self._told(state, trials, _label(state))
            except CappedError:
                self._ended_early()
                break
        return state

    def _told(self, state: Search, trials: Sequence[Trial], label: str) -> Search:
        """The search with what these trials found."""
        results: dict[Team, Measured] = {}
        total = sum(self.prompts.slices[trial.slice].prompts for trial in trials)
        before = 0
        for team, number in trials:
            part = self.prompts.slices[number]
            told = self._telling(label, before, total)
            results[team] = self.laboratory.measured(self.laboratory.team(team, part, told), part)
            before += part.prompts
        return search.tell(state, results)

    def _ended_early(self) -> None:
        said = "the cap ended the search early: a higher --max-cost goes on from there"
        if said not in self.warnings:
            self.warnings.append(said)

    def _nothing(self, found: Search) -> MixturaError:
        if self.warnings and "cap" in self.warnings[-1]:
            error = BudgetExceededError("the cap has no room left")
            return _too_little(error, "any team was measured on all the prompts")
        if any(search.pooled(parts).known for parts in found.measured.values()):
            return ConfigError("no team keeps within --answer-cost and --answer-seconds")
        return MixturaError("no team has a score: see the logs in " + str(self.prompts.folder))

    # ---- the winner

    def _judged(
        self,
        found: Search,
        team: Team,
        alone: Mapping[str, tuple[Measured, ...]],
        texts: Mapping[str, list[str | None]],
    ) -> Selection:
        terms, laboratory = self.terms, self.laboratory
        whole = {name: pooled(parts) for name, parts in alone.items()}
        different = diversity(
            texts, {n: m.scores for n, m in whole.items() if m.known}, self._final()
        )
        held = self._held_out(team)
        best = outcome.best(found, team, held, whole, different)
        against = self._against(found, team, held)
        return Selection(
            task=terms.task or "jsonl",
            measure=laboratory.manner,
            judge=terms.judge,
            reference=laboratory.reference,
            goal=terms.goal,
            prompts=Prompts(self.prompts.searched, self.prompts.held_out.prompts),
            best=best,
            against=against,
            overfit=outcome.overfit(best),
            tried=outcome.tried(found, whole),
            roles=roles(found, whole),
            diversity=different,
            calls=laboratory.calls,
            exhaustive_calls=self._exhaustive(len(alone)),
            spent_usd=laboratory.spent,
            warnings=(
                *self.warnings,
                *laboratory.cut(),
                *laboratory.notes,
                *_doubts(against),
            ),
        )

    def _held_out(self, team: Team) -> Measured:
        part = self.prompts.held_out
        told = self._telling("the winner, on the held-out prompts")
        return self.laboratory.measured(self.laboratory.team(team, part, told), part)

    def _against(self, found: Search, team: Team, held: Measured) -> tuple[Against, ...]:
        """The best model alone, and the best single-proposer team, on the held-out prompts."""
        part = self.prompts.held_out
        single = found.models[0]
        told = self._telling("the best model alone, on the held-out prompts")
        theirs = self.laboratory.measured(self.laboratory.alone(single, part, told), part)
        rows = [outcome.against(single, "alone", held, theirs)]
        ranked = [one for one in search.leaders(found) if one.single and len(one.members) > 1]
        if ranked and ranked[0] != team:
            told = self._telling("the best single-proposer team, on the held-out prompts")
            drawn = self.laboratory.team(ranked[0], part, told)
            theirs = self.laboratory.measured(drawn, part)
            name = outcome.written(ranked[0])
            rows.append(outcome.against(name, "single-proposer", held, theirs))
        return tuple(rows)

    def _final(self) -> Callable[[str], str | None] | None:
        """How the final answer is taken out of a text, where there is one."""
        terms = self.terms
        if self.laboratory.manner != "score":
            return None
        kind = EXTRACTS.get(terms.task or jsonl.usual(terms.data, terms.scoring))
        return BY_NAME.get(kind) if kind else None

    def _exhaustive(self, count: int) -> int:
        """Calls that it takes to try every team of the full size under every aggregator."""
        teams = math.comb(count, self.terms.size) + count
        aggregators = 1 if self.terms.aggregator else count
        drafts = count * self.terms.most_draws
        return self.prompts.searched * (drafts + teams * aggregators)

    # ---- progress

    def _telling(
        self, label: str, before: int = 0, total: int | None = None
    ) -> Callable[[Progress], None] | None:
        """Tells of one of several evaluations: so many answers came *before* it, of *total*."""
        watch = self.watch
        if watch is None:
            return None

        def told(progress: Progress) -> None:
            whole = progress.total if total is None else total
            watch(label, Progress(before + progress.done, whole, progress.failed))

        return told


def _texts(found: Sequence[Contender]) -> list[str | None]:
    """A candidate's first answer to each prompt."""
    return [
        one.text if one.answered else None
        for contender in found
        for one in sorted(contender.answers, key=lambda one: one.sample)
        if one.epoch == 1
    ]


def _label(state: Search) -> str:
    race = state.race
    assert race is not None
    stages = {
        "aggregators": "who aggregates",
        "single-proposer": "draws of one model",
        "members": f"teams of {len(race.teams[0].members)}",
        "swaps": "the best team with one member changed",
        "rewritten": "the best team, written by others",
    }
    turn = f"round {race.slice + 1} of {len(state.slices)}"
    return f"{stages[race.stage]}, {turn} ({plural(len(race.teams), 'team')})"


def _too_little(error: BudgetExceededError, what: str) -> BudgetExceededError:
    return BudgetExceededError(
        f"{error} before {what}: a higher --max-cost goes on from there", charges=error.charges
    )


def _listed(said: Sequence[str]) -> str:
    return "".join(f"; {one}" for one in said)


def _doubts(rows: Sequence[Against]) -> list[str]:
    """Where what is simpler is as good."""
    return [
        f"{row.name}, {row.kind}, is not seen to be worse: {row.verdict}"
        for row in rows
        if row.low is None or row.low <= 0
    ]
